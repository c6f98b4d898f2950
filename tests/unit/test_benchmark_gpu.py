from types import SimpleNamespace

import pytest
import torch
from torch.autograd import DeviceType

from benchmarks.gpu import covered, main, shares_of, spans_of


def test_kernels_that_overlap_count_once_and_gaps_are_what_is_left() -> None:
    kernels, copies = [(0.0, 4.0), (2.0, 5.0)], [(4.5, 6.0), (9.0, 10.0)]
    found = shares_of(kernels, copies)
    assert (found.kernels, found.copies, found.gaps) == pytest.approx((0.5, 0.25, 0.3))
    assert covered([]) == 0


def test_events_of_the_host_are_neither_kernels_nor_copies() -> None:
    def event(name: str, kind: DeviceType, start: float) -> SimpleNamespace:
        return SimpleNamespace(name=name, device_type=kind, time_range=SimpleNamespace(start=start, end=start + 1))

    events = [
        event("Memcpy HtoD (Pinned -> Device)", DeviceType.CUDA, 0),
        event("gemm", DeviceType.CUDA, 1),
        event("cudaLaunchKernel", DeviceType.CPU, 0),
    ]
    assert spans_of(events) == ([(1, 2)], [(0, 1)])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_without_a_gpu_it_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    main(32, 2, 8)
    assert capsys.readouterr().out == "there is no CUDA device here, so nothing was measured\n"
