"""Synthetic defects in pictures on a CUDA device, drawn by a generator on the CPU."""

import pytest
import torch

from rayae.defects import damage
from tests.unit.textures import textures

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.fixture
def waiting_is_an_error():
    before = torch.cuda.get_sync_debug_mode()
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode(before)


@pytest.mark.parametrize("is_limited", [False, True], ids=["anywhere", "where pixels have weights"])
def test_defects_are_made_without_a_wait_for_the_device(is_limited, waiting_is_an_error):
    pictures = textures(16, 3, 64, 64).cuda()
    where = (torch.arange(64, device="cuda") > 40).float().expand(64, 64) if is_limited else None
    generator = torch.Generator().manual_seed(0)
    damage(pictures, generator, share=1.0, where=where)  # the matrices that are kept are moved there once
    waiting_is_an_error()
    damaged = damage(pictures, generator, share=1.0, where=where)
    torch.cuda.set_sync_debug_mode("default")
    assert damaged.places.any()


def test_a_gpu_puts_defects_where_a_cpu_does():
    pictures, where = textures(16, 1, 64, 64), torch.zeros(64, 64)
    where[20:40, 30:60], where[5:12, 5:12] = 1, 0.3
    here, there = (
        damage(pictures.to(device), torch.Generator().manual_seed(0), share=1.0, where=where.to(device))
        for device in ("cpu", "cuda")
    )
    assert (here.pictures - there.pictures.cpu()).abs().max() < 0.02
    assert (here.places != there.places.cpu()).float().mean() < 0.001
