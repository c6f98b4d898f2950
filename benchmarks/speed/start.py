"""What does a run cost before and after its images, and when is the first chunk under way?

    python -m benchmarks.speed.start [rounds=3]

Bare Ray (a cluster of this machine, and actors that import torch), bare Ray Data (a row through each actor of a pool
that imports torch: the least that a Dataset costs), `rayae score` on Ray with as many workers and a chunk of one image
for each, and the same with `placement=inline`, in turn. `first` is when all actors of bare Ray are there, when the
first row is through, and when rayae has written the first chunk; ratios and differences are to bare Ray in the same
round.
"""

import sys
import tempfile
from pathlib import Path
from statistics import median

from benchmarks import untrained
from benchmarks.speed.images import make
from benchmarks.speed.meter import take
from benchmarks.speed.model import PRECISION, PREPROCESS, SCORE
from benchmarks.speed.programs import CORES, HOUSE
from benchmarks.speed.ratios import spread
from rayae.terminal import show_table

ENVIRONMENT = {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOUSE)}
COLUMNS = ("program", "CPU s", "to bare Ray", "wall s", "to bare Ray", "first s", "later than bare Ray")
BARE, BARE_DATA = "bare Ray", "bare Ray Data"
Figures = tuple[float, float, float]
"""CPU seconds, wall seconds, and seconds until the first."""


def bare(folder: Path, module: str) -> Figures:
    """Bare Ray, or bare Ray Data."""
    words = [sys.executable, "-m", f"benchmarks.speed.{module}", str(CORES), str(folder)]
    taken = take(words, ENVIRONMENT, folder / "log.txt")
    return taken.cpu_s, taken.wall_s, (folder / "ready.txt").stat().st_mtime - taken.started


def scored(folder: Path, placement: str, images: str, bundle: str) -> Figures:
    """A run of one image a worker."""
    words = ["rayae", "score", f"images={images}", f"bundle={bundle}", f"out={folder}/run", f"placement={placement}"]
    workers = [] if placement == "inline" else [f"workers={CORES}"]
    taken = take([sys.executable, "-m", *words, "chunk_images=1", *workers], ENVIRONMENT, folder / "log.txt")
    first = min(path.stat().st_mtime for path in folder.glob("run/chunks/*.parquet"))
    return taken.cpu_s, taken.wall_s, first - taken.started


def main(rounds: int) -> None:
    """Let them take turns, and print a table."""
    with tempfile.TemporaryDirectory() as place:
        bundle = f"{place}/bundle"
        untrained.write(bundle, untrained.network_of(PREPROCESS), PREPROCESS, (SCORE,), PRECISION)
        images = make(Path(place), 128, CORES).list
        programs = {
            BARE: lambda folder: bare(folder, "bare_ray"),
            BARE_DATA: lambda folder: bare(folder, "bare_ray_data"),
            "rayae": lambda folder: scored(folder, "together", images, bundle),
            "rayae inline": lambda folder: scored(folder, "inline", images, bundle),
        }
        found = dict[str, list[Figures]]()
        for _ in range(rounds + 1):
            for name, program in programs.items():
                with tempfile.TemporaryDirectory() as folder:
                    found.setdefault(name, []).append(program(Path(folder)))
    warm = {name: figures[1:] for name, figures in found.items()}  # the first round fills the cache of files
    show_table(f"{CORES} workers, {rounds} rounds", COLUMNS, [_row(name, warm) for name in warm])


def _row(name: str, found: dict[str, list[Figures]]) -> list[str]:
    cpu, wall, first = zip(*found[name], strict=True)
    bare_cpu, bare_wall, bare_first = zip(*found[BARE], strict=True)
    return [
        name,
        f"{median(cpu):.1f}",
        _ratios(cpu, bare_cpu),
        f"{median(wall):.1f}",
        _ratios(wall, bare_wall),
        f"{median(first):.1f}",
        f"{median(one - other for one, other in zip(first, bare_first, strict=True)):+.1f}",
    ]


def _ratios(own: tuple[float, ...], others: tuple[float, ...]) -> str:
    return spread([one / other for one, other in zip(own, others, strict=True)])


if __name__ == "__main__":
    given = dict(word.split("=", 1) for word in sys.argv[1:])
    main(int(given.get("rounds", "3")))
