"""Home of the programs that are compared: how each is called, and when it had scored how many images."""

import os
import sys
import tarfile
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import pyarrow.parquet as pq

from benchmarks.speed.images import ImageSet
from benchmarks.speed.notes import notes_in

HOUSE = Path(__file__).parents[2]
PEERS = HOUSE / ".peers" / "bin" / "python"
CORES = len(os.sched_getaffinity(0))
TARS = 4 * CORES


@dataclass(frozen=True)
class Program:
    """One way to score a list of images."""

    command: Callable[[ImageSet, str, str], list[str]]
    """Its words, for images, the folder of the bundle, and the one for what it writes."""
    notes: Callable[[Path], list[tuple[float, int]]] = notes_in
    """When how many images were done, of what it has written."""


def module(name: str, python: str | Path = sys.executable) -> Program:
    """A module of this package."""
    return Program(
        lambda images, bundle, out: [str(python), "-m", f"benchmarks.speed.{name}", images.list, bundle, out]
    )


def rayae(placement: str) -> Program:
    """This project, by its command line."""
    return Program(lambda images, bundle, out: [sys.executable, "-m", "rayae", "score", f"images={images.list}",
        f"bundle={bundle}", f"out={out}/run", f"placement={placement}",
        *([] if placement == "inline" else [f"workers={CORES}"])], chunks_in)  # fmt: skip


def webdataset() -> Program:
    """A DataLoader over tars, which lie beside the list and are made when they are first asked for."""

    def command(images: ImageSet, bundle: str, out: str) -> list[str]:
        words = module("by_webdataset", PEERS).command(images, bundle, out)
        return [*words[:3], str(tars_of(images)), *words[4:]]

    return Program(command)


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


def chunks_in(out: Path) -> list[tuple[float, int]]:
    """When each chunk of a run of rayae was written, and its images."""
    files = out.glob("run/chunks/*.parquet")
    return [(file.stat().st_mtime, pq.ParquetFile(file).metadata.num_rows) for file in files]


PROGRAMS = {
    "by hand": module("by_hand"),
    "rayae": rayae("together"),
    "rayae inline": rayae("inline"),
    "Ray Data": module("by_ray_data"),
    "Daft": module("by_daft", PEERS),
    "webdataset": webdataset(),
}
