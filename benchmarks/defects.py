"""What does making defects cost beside the training step that they are for?

    python benchmarks/defects.py [side=128] [batch=32] [rounds=6]

Processor time of one thread, defects and steps in turn, the median of the rounds. The step is a U-Net of four widths
(16, 32, 64, 96) in float32, forward and backward, on pictures of one channel: as small a network as is worth training,
so that the share of the defects is as large as it gets.
"""

import statistics
import sys
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from rayae.defects import damage
from rayae.tasks import TASKS, posed
from rayae.terminal import show_table

WIDTHS = (16, 32, 64, 96)


class UNet(nn.Module):
    """The stem halves the picture by pixel unshuffle; every level is two convolutions of 3 x 3."""

    def __init__(self) -> None:
        super().__init__()
        pairs = list(zip((4, *WIDTHS), WIDTHS, strict=False))
        self.down = nn.ModuleList([_level(inside, outside) for inside, outside in pairs])
        self.up = nn.ModuleList([_level(inside + outside, inside) for inside, outside in pairs[:0:-1]])
        self.last = nn.Conv2d(WIDTHS[0], 4, 3, padding=1)

    def forward(self, pictures: Tensor) -> Tensor:
        features = [self.down[0](nn.functional.pixel_unshuffle(pictures, 2))]
        for level in self.down[1:]:
            features.append(level(nn.functional.max_pool2d(features[-1], 2)))
        out = features.pop()
        for level in self.up:
            out = level(torch.cat([nn.functional.interpolate(out, scale_factor=2.0), features.pop()], 1))
        return nn.functional.pixel_shuffle(self.last(out), 2)


def _level(inside: int, outside: int) -> nn.Module:
    def one(channels: int) -> list[nn.Module]:
        convolution = nn.Conv2d(channels, outside, 3, padding=1, bias=False)
        return [convolution, nn.GroupNorm(outside // 8, outside), nn.SiLU()]

    return nn.Sequential(*one(inside), *one(outside))


def seconds(work: Callable[[], object]) -> float:
    """Processor time, which other work on the machine lengthens least."""
    started = time.process_time()
    work()
    return time.process_time() - started


def compare(side: int, batch: int, rounds: int) -> None:
    """Take turns, so that a slow minute meets all alike, and print the table."""
    torch.set_num_threads(1)
    generator = torch.Generator().manual_seed(0)
    pictures, network = torch.rand(batch, 1, side, side, generator=generator), UNet()
    works: dict[str, Callable[[], object]] = {
        "training step": lambda: (network(pictures) - pictures).square().mean().backward(),
        "damage": lambda: damage(pictures, generator),
    }
    works |= {f"task {task}": lambda task=task: posed(task, pictures, generator) for task in TASKS}
    found: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            spent = seconds(work)
            if number:
                found[name].append(spent)
    medians = {name: statistics.median(spent) for name, spent in found.items()}
    rows = [
        [name, f"{batch / spent:,.0f}" if spent else "-", f"{spent / medians['training step']:.3f}"]
        for name, spent in medians.items()
    ]
    show_table(f"{batch} pictures of {side} x {side}, one thread", ("what", "images/s", "share of a step"), rows)


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    compare(*(int(given.get(key, default)) for key, default in (("side", 128), ("batch", 32), ("rounds", 6))))
