"""Hostile bytes for all that reads files: real ones, mutated and cut, in a process with limits.

    python -m tests.unit.fuzzing EXAMPLES SEED [TARGET ...]

ends with 0 when nothing was raised but what is documented, no example took more than 20 s, and memory stayed within
its bound. What fails is shown with its bytes, made as small as can be; a crash or a hang with its traceback.
"""

import faulthandler
import io
import json
import resource
import struct
import sys
import tarfile
import tempfile
import warnings
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import hypothesis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from PIL import Image

from rayae import archives, manifest, tables
from rayae.errors import DataError, RayaeError
from rayae.preprocess import Preprocess
from rayae.results import Status
from tests.unit.pictures import encoded, every_kind, heic, photo, png_chunk

SECONDS_OF_AN_EXAMPLE = 20
MORE_MEMORY = 1024**3
"""Bytes of memory beyond what the process has at its start; pictures are limited to 2 million pixels here."""
MORE_ADDRESSES = 8 * 1024**3
PREPROCESS = Preprocess("rgb", 32, 32, max_pixels=2_000_000, float_range=(0.0, 1.0))
OF_DECODING = {"scored", "empty", "not_an_image", "truncated", "unsupported", "too_small", "too_large"}
OF_ARCHIVES = {Status.TRUNCATED, Status.UNSUPPORTED, Status.EMPTY, Status.TOO_LARGE}
LARGE = [0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 2**31 - 1, 2**31, 2**32 - 1, 2**63 - 1, 2**64 - 1]

PLACES = st.one_of(
    st.floats(0, 1).map(lambda x: x**3), st.floats(0, 1), st.floats(0, 1).map(lambda x: 1 - x**3)
)  # what says where all else is stands at the beginning or at the end
EDITS = st.one_of(
    st.tuples(st.just("set"), PLACES, st.binary(min_size=1, max_size=8)),
    st.tuples(st.just("insert"), PLACES, st.binary(min_size=1, max_size=40)),
    st.tuples(st.just("drop"), PLACES, st.integers(1, 600)),
    st.tuples(st.just("cut"), PLACES, st.just(0)),
    st.tuples(st.just("copy"), PLACES, st.tuples(PLACES, st.integers(1, 600))),
    st.tuples(
        st.just("number"), PLACES, st.tuples(st.sampled_from("<>"), st.sampled_from("HIQ"), st.sampled_from(LARGE))
    ),
)


def mutated(data: bytes, edits: list[tuple[str, float, object]]) -> bytes:
    """Bytes after some edits."""
    changed = bytearray(data)
    for kind, place, what in edits:
        at = min(int(place * len(changed)), max(0, len(changed) - 1))
        match kind, what:
            case "set", bytes(new):
                changed[at : at + len(new)] = new
            case "insert", bytes(new):
                changed[at:at] = new
            case "drop", int(count):
                del changed[at : at + count]
            case "cut", _:
                del changed[at:]
            case "copy", (float(start), int(count)):
                begin = int(start * len(changed))
                changed[at:at] = changed[begin : begin + count]
            case "number", (str(order), str(code), int(number)):
                new = struct.pack(order + code, number % 2 ** (8 * struct.calcsize(code)))
                changed[at : at + len(new)] = new
    return bytes(changed)


def with_right_tar_checksums(data: bytes) -> bytes:
    """A tar whose headers are believed, whatever they say."""
    changed = bytearray(data)
    for at in range(0, len(changed) - 511, 512):
        if changed[at + 257 : at + 262] == b"ustar":
            changed[at + 148 : at + 156] = b" " * 8
            changed[at + 148 : at + 156] = b"%06o\0 " % sum(changed[at : at + 512])
    return bytes(changed)


def with_right_png_checksums(data: bytes) -> bytes:
    """A PNG whose chunks are believed, whatever they say."""
    changed, at = data[:8], 8
    while data.startswith(b"\x89PNG") and at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        if at + 12 + length > len(data):
            break
        changed += png_chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return changed + data[at:]


def decode(data: bytes, page: int = 0) -> None:
    for candidate in {data, with_right_png_checksums(data)}:
        picture = PREPROCESS.decode(candidate, page)
        assert picture.status in OF_DECODING, picture.status
        assert (picture.pixels is None) == (picture.error is not None)


def refuse_unknown(unreadable: archives.Unreadable) -> None:
    assert unreadable.status in OF_ARCHIVES
    assert unreadable.sentence.endswith(".")


def expand_and_read(ending: str, folder: Path, data: bytes) -> None:
    """List an archive and read all that it holds, as the reader does."""
    path = folder / f"a{ending}"
    path.write_bytes(data)
    cache = archives.Cache()

    def fetch(first: int, length: int | None) -> bytes:
        assert first >= 0
        assert length is None or 0 <= length <= 2 * archives.parquet.MOST_GROUP_BYTES
        return data[first:] if length is None else data[first : first + length]

    try:
        rows = [row for table in archives.expand(str(path), pages=True) for row in table.to_pylist()]
    except DataError:
        return
    assert len({row["uri"] for row in rows}) == len(rows)
    for row in rows[:300]:
        if row["place"] is None or (row["size_bytes"] or 0) > 2**28:  # the reader refuses those by their size
            continue
        try:
            found = archives.read_member(row["place"], row["size_bytes"], fetch, cache.of("a", None))
        except archives.Unreadable as unreadable:
            refuse_unknown(unreadable)
            continue
        assert ending in (".parquet", ".tif") or len(found) == (row["size_bytes"] or 0)
        if ending == ".tif":
            decode(found, archives.page_of(row["place"]))


def read_list(ending: str, folder: Path, data: bytes) -> None:
    path = folder / f"a{ending}"
    path.write_bytes(data)
    try:
        table = tables.read_images(str(path))
    except RayaeError:
        return
    assert "uri" in table.column_names


def read_manifest(folder: Path, data: bytes) -> None:
    path = folder / "manifest.parquet"
    path.write_bytes(data)
    try:
        opened = manifest.Manifest.open(str(path))
        opened.read(0, 10)
        opened.read_unchanged()
    except RayaeError:
        return


def tars() -> list[bytes]:
    found = []
    for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w", format=form) as tar:
            for name in (
                "a.jpg",
                "b.json",
                "größe/" + "x" * (80 if form == tarfile.USTAR_FORMAT else 200) + ".png",
                "c.tif",
            ):
                info = tarfile.TarInfo(name)
                info.size, info.mtime = 700, 1.5
                tar.addfile(info, io.BytesIO(bytes(700)))
        found.append(buffer.getvalue())
    return found


def zips() -> list[bytes]:
    found = []
    for method in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as file:
            for name in ("a.jpg", "b.json", "größe.png", "c.tif"):
                with file.open(name, "w", force_zip64=name == "c.tif") as member:
                    member.write(b"picture" * 100)
        found.append(buffer.getvalue())
    return found


def parquets() -> list[bytes]:
    found = []
    features = {"info": {"features": {"label": {"_type": "ClassLabel", "names": ["good", "bad"]}}}}
    for options in ({"compression": "none"}, {"use_dictionary": False}, {"write_page_checksum": True}):
        images = [{"bytes": np.random.default_rng(n).bytes(300), "path": f"{n}.png"} for n in range(12)]
        columns = {"image": images, "label": [0, 1] * 6, "text": ["x", None] * 6, "boxes": [[1.5, 2.5]] * 12}
        table = pa.table({name: pa.array(values) for name, values in columns.items()})
        buffer = io.BytesIO()
        pq.write_table(
            table.replace_schema_metadata({"huggingface": json.dumps(features)}), buffer, row_group_size=5, **options
        )
        found.append(buffer.getvalue())
    return found


def tiffs() -> list[bytes]:
    pages = [Image.fromarray(photo(16, 24, seed)) for seed in range(3)]
    options = [{}, {"big_tiff": True}, {"compression": "tiff_lzw"}, {"compression": "jpeg"}]
    found = [encoded(pages[0], "TIFF", save_all=True, append_images=pages[1:], **one) for one in options]
    return [*found, encoded(np.linspace(0, 1, 256, dtype=np.float32).reshape(16, 16), "TIFF")]


def lists() -> list[bytes]:
    buffer = io.BytesIO()
    pq.write_table(pa.table({"uri": ["a.png", "b.png"], "label": ["good", None], "n": [1, 2]}), buffer)
    return [
        b"uri,label,n\na.png,good,1\n'b,c.png',bad,2\n",
        "\ufeffpath\nü.png\n".encode(),
        b'{"uri": "a.png", "n": 1}\n',
        buffer.getvalue(),
    ]


def manifests() -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "manifest.parquet"
        columns = {"uri": [f"/{n}.png" for n in range(20)], "size_bytes": range(20), "camera": ["a"] * 20}
        manifest.write_manifest(manifest.complete(columns), str(path))
        return [path.read_bytes()]


def pictures() -> list[bytes]:
    return [*every_kind().values(), heic(), heic("turned")]


@dataclass(frozen=True)
class Target:
    """Something that reads bytes: real ones for it, and what it does with hostile ones."""

    real: Callable[[], list[bytes]]
    read: Callable[[Path, bytes], None]


TARGETS = {
    "decoder": Target(cache(pictures), lambda folder, data: decode(data)),
    "tar": Target(cache(tars), partial(expand_and_read, ".tar")),
    "tar believed": Target(
        cache(tars), lambda folder, data: expand_and_read(".tar", folder, with_right_tar_checksums(data))
    ),
    "zip": Target(cache(zips), partial(expand_and_read, ".zip")),
    "parquet": Target(cache(parquets), partial(expand_and_read, ".parquet")),
    "tiff pages": Target(cache(tiffs), partial(expand_and_read, ".tif")),
    "manifest": Target(cache(manifests), read_manifest),
    "list csv": Target(cache(lists), partial(read_list, ".csv")),
    "list txt": Target(cache(lists), partial(read_list, ".txt")),
    "list jsonl": Target(cache(lists), partial(read_list, ".jsonl")),
    "list parquet": Target(cache(lists), partial(read_list, ".parquet")),
}


def fuzz(name: str, examples: int, seed: int) -> None:
    """Give a target so many examples; the same ones for the same seed."""
    target = TARGETS[name]
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:

        @hypothesis.seed(seed)
        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
            phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        )
        @hypothesis.given(st.sampled_from(target.real()), st.lists(EDITS, min_size=1, max_size=5))
        def survives(data: bytes, edits: list[tuple[str, float, object]]) -> None:
            faulthandler.dump_traceback_later(SECONDS_OF_AN_EXAMPLE, exit=True)
            try:
                target.read(Path(folder), mutated(data, edits))
            finally:
                faulthandler.cancel_dump_traceback_later()

        survives()


def memory_bytes() -> int:
    """The most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main(examples: int, seed: int, names: list[str]) -> None:
    faulthandler.enable()
    warnings.simplefilter("ignore")  # Pillow warns of odd tags
    for name in names:
        TARGETS[name].real()
    used = memory_bytes()
    addresses = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (addresses + MORE_ADDRESSES,) * 2)
    for name in names:
        fuzz(name, examples, seed)
        more = memory_bytes() - used
        assert more < MORE_MEMORY, f"{name} took {more / 1024**2:.0f} MiB"
        sys.stdout.write(f"{name}: {examples} examples of seed {seed}, {more / 1024**2:.0f} MiB of memory\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:] or list(TARGETS))
