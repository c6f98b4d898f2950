"""Does `rayae plan` foretell what scoring takes?

    python -m benchmarks.plan [sides=128,500] [images=20000,5000] [rounds=3]

The JPEGs and the network are those of `benchmarks.speed`. In each round the seconds are foretold in a process of its
own as `rayae plan` does it, for this process alone (`inline`), one worker, and a worker a core; then each run is done.
Ratios are what it took over what was foretold in the same round; what others do on this machine counts in both.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from benchmarks import untrained
from benchmarks.speed import images as pictures
from benchmarks.speed.model import PRECISION, PREPROCESS, SCORE
from benchmarks.speed.programs import CORES
from benchmarks.speed.ratios import spread
from rayae.forecast import forecast
from rayae.settings import PlanSettings
from rayae.terminal import say, show_table
from rayae.verbs.plan import sampled_and_whole

DEFAULTS = {"sides": "128,500", "images": "20000,5000", "rounds": "3"}
COLUMNS = ("pictures", "workers", "foretold s", "took s", "took / foretold")
INLINE = 0
"""In place of a number of workers: this process, without Ray."""
WORKERS = (INLINE, *sorted({1, CORES}))


def words_of(images: str, bundle: str, workers: int) -> list[str]:
    placed = ["placement=inline"] if workers == INLINE else ["placement=together", f"workers={workers}"]
    return [f"images={images}", f"bundle={bundle}", *placed]


def foretell(words: list[str]) -> float:
    """The seconds that a run will take."""
    given = dict(word.split("=", 1) for word in words)
    settings = PlanSettings.model_validate(given)
    sampled, whole = sampled_and_whole(settings)
    cpus = None if settings.placement == "inline" else settings.resources.cpus_per_worker
    return forecast(sampled, whole, settings.workers or 1, cpus).hours * 3600


def foretold(words: list[str]) -> float:
    """The same, of a process of its own."""
    command = [sys.executable, "-m", "benchmarks.plan", "foretell", *words]
    said = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return float(said.splitlines()[-1])


def taken(words: list[str]) -> float:
    """The seconds that a run takes."""
    with tempfile.TemporaryDirectory() as out:
        command, began = [sys.executable, "-m", "rayae", "score", *words, f"out={out}/run"], time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return time.monotonic() - began


def compare(sizes: list[tuple[int, int]], rounds: int) -> None:
    """Foretell and do all runs, and print a table."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        bundle = f"{folder}/bundle"
        untrained.write(bundle, untrained.network_of(PREPROCESS, 16, 64), PREPROCESS, (SCORE,), PRECISION)
        for side, count in sizes:
            images = pictures.make(Path(folder, "images"), side, count)
            for workers in WORKERS:
                words, pairs = words_of(images.list, bundle, workers), list[tuple[float, float]]()
                for _ in range(rounds):
                    pairs.append((foretold(words), taken(words)))
                    say(f"{side} px, {workers or 'inline'}: foretold {pairs[-1][0]:.1f} s, took {pairs[-1][1]:.1f} s")
                rows.append([f"{count:,} of {side} px", f"{workers or 'inline'}", *figures(pairs)])
    show_table(f"{CORES} cores, {rounds} rounds", COLUMNS, rows)


def figures(pairs: list[tuple[float, float]]) -> list[str]:
    """Medians, and the ratios with the lowest and the highest."""
    ratios = [took / told for told, took in pairs]
    told, took = (median(column) for column in zip(*pairs, strict=True))
    return [f"{told:.1f}", f"{took:.1f}", spread(ratios)]


if __name__ == "__main__":
    if sys.argv[1:2] == ["foretell"]:
        say(f"{foretell(sys.argv[2:])}")
    else:
        given = DEFAULTS | dict(word.split("=", 1) for word in sys.argv[1:])
        sides, counts = ([int(number) for number in given[key].split(",")] for key in ("sides", "images"))
        compare(list(zip(sides, counts, strict=True)), int(given["rounds"]))
