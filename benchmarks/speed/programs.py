"""Home of the programs that are compared: how each is called."""

import os
import sys
import tarfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.speed.images import ImageSet

HOUSE = Path(__file__).parents[2]
PEERS = HOUSE / ".peers" / "bin" / "python"
CORES = len(os.sched_getaffinity(0))
TARS = 4 * CORES


Program = Callable[[ImageSet, str, str], list[str]]
"""The words of a command, for images, the folder of the bundle, and the one for what it writes."""


def module(name: str, python: str | Path = sys.executable) -> Program:
    """A module of this package."""
    return lambda images, bundle, out: [str(python), "-m", f"benchmarks.speed.{name}", images.list, bundle, out]


def rayae(placement: str, *more: str) -> Program:
    """This project, by its command line."""
    words = [sys.executable, "-m", "rayae", "score", f"placement={placement}", *more]
    return lambda images, bundle, out: [*words, f"images={images.list}", f"bundle={bundle}", f"out={out}/run"]


def webdataset(images: ImageSet, bundle: str, out: str) -> list[str]:
    """A DataLoader over tars, which lie beside the list and are made when they are first asked for."""
    words = module("by_webdataset", PEERS)(images, bundle, out)
    return [*words[:3], str(tars_of(images)), *words[4:]]


def tars_of(images: ImageSet) -> Path:
    """The images of a set in tars, each after its URI."""
    folder = Path(images.list).with_suffix(".tars")
    if not folder.exists():
        folder.mkdir()
        uris = pq.read_table(images.list)["uri"].to_pylist()
        for number in range(TARS):
            with tarfile.open(folder / f"{number:03d}.tar", "w") as tar:
                for uri in uris[number::TARS]:
                    for kind, data in (("jpg", Path(uri).read_bytes()), ("uri", uri.encode())):
                        member = tarfile.TarInfo(f"{Path(uri).stem}.{kind}")
                        member.size = len(data)
                        tar.addfile(member, BytesIO(data))
    return folder


PROGRAMS: dict[str, Program] = {
    "by hand": module("by_hand"),
    "rayae": rayae("together", f"workers={CORES}"),
    "rayae inline": rayae("inline"),
    "Ray Data": module("by_ray_data"),
    "Daft": module("by_daft", PEERS),
    "webdataset": webdataset,
}
