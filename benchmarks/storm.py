"""Does a minute in which storage refuses a fifth of all GETs cost a row, and when is the rate back?

    python benchmarks/storm.py [images=14000] [calm_s=25] [storm_s=60] [share=0.2] [delay_ms=200]

`rayae score` over small pictures that rclone serves on loopback, haproxy in front: every answer takes `delay_ms`, so
that the requests under way decide the rate, as they do far from storage. The rate is that of the GETs that haproxy let
through. It is back when ten seconds have nine tenths of the rate before the storm.
"""

import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from rayae.cli import main as rayae
from rayae.run import Run
from rayae.terminal import say, show_table
from tests.conftest import SMALL_TRAINING, write_pictures
from tests.servers import Front, haproxy, rclone

DISTINCT = 200
BACK_WITHIN_S = 30
WINDOW_S = 10


def main(words: list[str]) -> None:
    """Read `key=value`, and measure."""
    given = {"images": 14_000, "calm_s": 25, "storm_s": 60, "share": 0.2, "delay_ms": 200}
    given |= {key: float(value) for key, _, value in (word.partition("=") for word in words)}
    with tempfile.TemporaryDirectory(prefix="rayae-storm-") as name:
        folder = Path(name)
        bundle = _pictures_and_bundle(folder, int(given["images"]))
        with rclone(folder / "served") as server, haproxy(server) as front:
            os.environ.update(front.environment())
            began, ended, run = _score_through_a_storm(front, folder, bundle, given)
            rates = _rates(front)
        _tell(run, rates, began, ended, given)


def _pictures_and_bundle(folder: Path, count: int) -> Path:
    """A bucket of hard links to a few pictures, and a bundle trained on those."""
    pictures = sorted(write_pictures(folder / "pictures", DISTINCT).rglob("*.png"))
    bucket = folder / "served" / "pictures" / "images"
    bucket.mkdir(parents=True)
    for number in range(count):
        os.link(pictures[number % DISTINCT], bucket / f"{number:06}.png")
    words = ["train", f"images={folder / 'pictures'}", f"out={folder / 'bundle'}", "epochs=1", "placement=inline"]
    assert rayae([*words, *SMALL_TRAINING]) == 0
    return folder / "bundle"


def _score_through_a_storm(
    front: Front, folder: Path, bundle: Path, given: dict[str, float]
) -> tuple[float, float, Path]:
    """When the storm began and ended, and the run."""
    run, delay_ms = folder / "run", int(given["delay_ms"])
    front.set(delay_ms=delay_ms)
    words = ["score", "images=s3://pictures/images", f"bundle={bundle}", f"out={run}", "placement=inline"]
    process = subprocess.Popen([sys.executable, "-m", "rayae", *words])
    while not any(line.startswith("GET") and ".png" in line for line in front.lines()):
        time.sleep(0.2)
    time.sleep(given["calm_s"])
    began = time.time()
    front.set(delay_ms=delay_ms, slow_down=given["share"])
    time.sleep(given["storm_s"])
    ended = time.time()
    front.set(delay_ms=delay_ms)
    assert process.poll() is None, "the run was over before the storm; give more images="
    assert process.wait() == 0
    return began, ended, run


def _rates(front: Front) -> Counter[int]:
    """GETs of images that were let through, by second."""
    lines = [line for line in front.lines() if line.startswith("GET") and ".png" in line and " 200 " in line]
    return Counter(int(line.rpartition("at=")[2]) for line in lines)


def _tell(run: Path, rates: Counter[int], began: float, ended: float, given: dict[str, float]) -> None:
    assert rayae(["verify", str(run)]) == 0
    statuses = Counter(Run.open(str(run)).results(["status"])["status"].to_pylist())

    def rate(first: float, seconds: float) -> float:
        return sum(rates[int(first) + second] for second in range(int(seconds))) / int(seconds)

    before, during = rate(began - 15, 14), rate(began + 5, given["storm_s"] - 6)
    last = max(rates) - WINDOW_S
    back = next((s for s in range(int(last - ended)) if rate(ended + s, WINDOW_S) >= 0.9 * before), None)
    rows = [
        ("GETs a second before the storm", f"{before:.0f}"),
        ("GETs a second during the storm", f"{during:.0f}"),
        ("rows by status", ", ".join(f"{count:,} {status}" for status, count in statuses.items())),
        ("seconds until the rate was back", "never" if back is None else str(back)),
    ]
    show_table(f"{given['share']:.0%} of all GETs refused for {given['storm_s']:g} s", ("what", "figure"), rows)
    if statuses != {"scored": int(given["images"])} or back is None or back > BACK_WITHIN_S:
        say(f"the bar is: all rows scored, and the rate back within {BACK_WITHIN_S} s")
        sys.exit(1)


if __name__ == "__main__":
    main(sys.argv[1:])
