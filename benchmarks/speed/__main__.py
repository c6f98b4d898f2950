"""How near is `rayae score` to a loop by hand, and how far ahead of other programs?

    python -m benchmarks.speed [sides=128,500,2000] [images=20000,6000,1200] [rounds=3] [programs=...]

All score the same JPEGs with the same network and weights, on all cores, and write URI and score to Parquet: `rayae`, a
loop by hand (the limit of the machine), the way that the documentation of Ray Data shows, Daft with its native runner,
and a DataLoader over tars of webdataset. `whole` is from the command to its end. Each round also scores a tenth of the
images; `steady` is the rate of what the whole has more, so neither start nor end counts, nor what a program has decoded
ahead. CPU seconds are of all processes, memory is the highest sum of their proportional set sizes. The programs take
turns; figures are medians of the rounds with the lowest and highest, ratios are to the loop by hand of the same round,
and each program scores a tenth of the images once before. Scores are those of the bundle (`diff`: the largest
difference to the loop by hand, as a share of the median score); other decoders and filters than rayae's differ more.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow.dataset as ds

from benchmarks import untrained
from benchmarks.speed import images as pictures
from benchmarks.speed.images import ImageSet
from benchmarks.speed.meter import Taken, take
from benchmarks.speed.model import PRECISION, PREPROCESS, SCORE
from benchmarks.speed.programs import HOUSE, PROGRAMS
from benchmarks.speed.ratios import spread
from rayae.terminal import say, show_table

DEFAULTS = {"sides": "128,500,2000", "images": "20000,6000,1200", "rounds": "3", "programs": ",".join(PROGRAMS)}
LIMIT = "by hand"
BASE_WIDTH, LATENT = 16, 64
COLUMNS = ("program", "steady images/s", "to the limit", "whole images/s", "to the limit", "CPU ms", "peak MB", "diff")


@dataclass(frozen=True)
class Figures:
    """What a program did in a round."""

    steady: float
    """Images a second."""
    whole: float
    """Images a second, start and end included."""
    cpu_ms: float
    """CPU milliseconds an image, of all processes, without start and end."""
    peak_mb: float
    scores: dict[str, float]


def measure(name: str, fewer: ImageSet, images: ImageSet, bundle: str, log: Path) -> Figures:
    """Let a program score a tenth of the images, and all of them."""
    few, _ = run(name, fewer, bundle, log)
    taken, scores = run(name, images, bundle, log)
    steady = (images.count - fewer.count) / (taken.wall_s - few.wall_s)
    say(
        f"{images.side} px, {images.count:,} images, {name}: {steady:,.0f} images/s steady, {taken.wall_s:.1f} s in all"
    )
    cpu_ms = (taken.cpu_s - few.cpu_s) / (images.count - fewer.count) * 1000
    return Figures(steady, images.count / taken.wall_s, cpu_ms, taken.peak_mb, scores)


def run(name: str, images: ImageSet, bundle: str, log: Path) -> tuple[Taken, dict[str, float]]:
    """What a program took for some images, and the score of each by its URI."""
    with tempfile.TemporaryDirectory(dir=log.parent) as out:
        command = PROGRAMS[name](images, bundle, out)
        taken = take(command, {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(HOUSE)}, log)
        scores = scores_in(Path(out))
    if len(scores) != images.count:
        raise SystemExit(f"{name} gave {len(scores):,} scores for {images.count:,} images; see {log}")
    return taken, scores


def scores_in(out: Path) -> dict[str, float]:
    """The scores by URI, of all Parquet files that a program has left."""
    runs = out / "run" / "chunks"
    files = [str(path) for path in (runs if runs.exists() else out).rglob("*.parquet")]
    table = ds.dataset(files).to_table(columns=["uri", "score"])
    return dict(zip(table["uri"].to_pylist(), table["score"].to_pylist(), strict=True))


def difference(scores: dict[str, float], others: dict[str, float]) -> float:
    """The largest difference of two programs' scores, as a share of the median score."""
    mine, theirs = (np.array([found[uri] for uri in others]) for found in (scores, others))
    return float(np.abs(mine - theirs).max() / np.median(theirs))


def row(name: str, rounds: list[dict[str, Figures]]) -> list[str]:
    """The line of a program: medians, and ratios within each round."""
    own, limit = [one[name] for one in rounds], [one[LIMIT] for one in rounds]
    return [
        name,
        f"{median(one.steady for one in own):,.0f}",
        spread([one.steady / other.steady for one, other in zip(own, limit, strict=True)]),
        f"{median(one.whole for one in own):,.0f}",
        spread([one.whole / other.whole for one, other in zip(own, limit, strict=True)]),
        f"{median(one.cpu_ms for one in own):.2f}",
        f"{median(one.peak_mb for one in own):,.0f}",
        f"{difference(own[0].scores, limit[0].scores):.1e}",
    ]


def compare(sizes: list[tuple[int, int]], rounds: int, names: list[str]) -> None:
    """Let the programs take turns with each set of images, and print a table of each."""
    with tempfile.TemporaryDirectory() as folder:
        bundle, log = f"{folder}/bundle", Path(folder, "log.txt")
        network = untrained.network_of(PREPROCESS, BASE_WIDTH, LATENT)
        untrained.write(bundle, network, PREPROCESS, (SCORE,), PRECISION)
        for side, count in sizes:
            fewer = pictures.make(Path(folder, "fewer"), side, max(64, count // 10))
            images = pictures.make(Path(folder, "all"), side, count)
            for name in names:
                run(name, fewer, bundle, log)
            found = [{name: measure(name, fewer, images, bundle, log) for name in names} for _ in range(rounds)]
            title = (
                f"{count:,} JPEGs of {side} x {side}, {rounds} rounds; network of {BASE_WIDTH} channels, {PRECISION}"
            )
            show_table(title, COLUMNS, [row(name, found) for name in names])


if __name__ == "__main__":
    given = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
    sides, counts = ([int(number) for number in given[key].split(",")] for key in ("sides", "images"))
    wanted = given["programs"].split(",")
    compare(list(zip(sides, counts, strict=True)), int(given["rounds"]), [LIMIT, *(n for n in wanted if n != LIMIT)])
