"""The compiled network learns the same, its weights are anybody's, and without a compiler it is trained as it is."""

import os
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from rayae import detector
from rayae.compiling import compiled
from tests.unit.small_things import DETECTOR, NETWORK
from tests.unit.test_training import CPU, PLAN, UNET, losses, train_and_keep

WITHOUT_COMPILER = """
from tests.unit.test_compiling import train_shortly
progress = train_shortly(compiled=True)
print(progress.history[0].train_loss)
"""


def train_shortly(**more):
    return train_and_keep(replace(PLAN, epochs=1), **more)[0]


@pytest.fixture
def no_compiler(tmp_path):
    """The environment of a machine that has none, nor what one has made before."""
    nothing = {"PATH": str(tmp_path), "CXX": str(tmp_path / "none"), "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    return os.environ | nothing | {"TORCHINDUCTOR_COMPILE_THREADS": "1"}  # else each thread is a process with torch


def test_without_a_compiler_it_is_trained_as_it_is_and_one_sentence_says_so(no_compiler):
    ran = subprocess.run([sys.executable, "-c", WITHOUT_COMPILER], env=no_compiler, capture_output=True, text=True)
    assert ran.returncode == 0
    (line,) = [line for line in ran.stderr.splitlines() if line.startswith("warning: ")]
    assert line.startswith(
        "warning: the network is trained without being compiled, since torch.compile cannot work here "
        "(InvalidCxxCompiler: "
    )
    assert line.endswith("); install a C++ compiler, or say `compile=false`.")
    assert float(ran.stdout) == train_shortly(compiled=False).history[0].train_loss


@pytest.fixture
def graphs(monkeypatch):
    """Compiled, but for the last step, which takes half a minute: graphs are run as they are. How many there were."""
    found, compile_it = [], torch.compile

    def run_as_it_is(graph, inputs):
        found.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda what: compile_it(what, backend=run_as_it_is))
    yield found
    torch._dynamo.reset()


@pytest.mark.parametrize("network", [NETWORK, UNET], ids=["convolutional", "unet"])
def test_compiled_it_learns_the_same(graphs, network):
    asked = replace(PLAN, network=network, epochs=2)
    plain, _ = train_and_keep(asked, compiled=False)
    assert not graphs
    other, _ = train_and_keep(asked, compiled=True)
    assert len(graphs) >= 2  # the line that is tried, and the network
    for one, two in zip(losses(plain), losses(other), strict=True):
        assert one == pytest.approx(two, rel=1e-4)


def test_a_checkpoint_goes_on_whether_compiled_or_not(graphs):
    asked = replace(PLAN, epochs=2)
    for first, second in ((True, False), (False, True)):
        _, kept = train_and_keep(asked, compiled=first)
        whole, _ = train_and_keep(asked, compiled=second, checkpoint=kept[1])
        assert [epoch.epoch for epoch in whole.history] == [1, 2]
        detector.load(NETWORK, whole.outcome.detector, whole.outcome.weights)


def test_only_the_steps_are_compiled(graphs):
    model = detector.build(NETWORK, DETECTOR)
    learner = compiled(model, CPU)
    names = list(model.state_dict())
    before = len(graphs)
    model(torch.rand(2, 1, 32, 32))
    assert len(graphs) == before
    learner(torch.rand(2, 1, 32, 32))
    assert len(graphs) > before
    assert list(model.state_dict()) == names


def test_what_keeps_gradients_back_is_found_in_what_is_compiled(graphs):
    class Parallel(nn.Linear):
        def no_sync(self):
            return "kept back"

    assert compiled(Parallel(1, 1), CPU).no_sync() == "kept back"
    assert not hasattr(compiled(nn.Linear(1, 1), CPU), "no_sync")
