"""One image in a hundred is bad, each in its own way: a row with its status for each, and no neighbour is harmed."""

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rayae.cli import main
from rayae.run import Run
from tests.conftest import write_pictures
from tests.s3.conftest import Bucket
from tests.servers import Front

GOOD = 1485
LARGEST = 60_000


def png(width: int, height: int) -> bytes:
    """A picture that says how large it is, and has next to nothing in it."""

    def piece(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + piece(b"IHDR", head) + piece(b"IDAT", zlib.compress(b"")) + piece(b"IEND", b"")


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def bad_inputs() -> dict[str, tuple[bytes | None, str]]:
    """Names, bytes (None: there is nothing) and the status that each gets."""
    grey = np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)
    whole_png, whole_jpeg = encoded(grey, "png"), encoded(grey, "jpeg")
    wrong_crc = bytearray(whole_png)
    wrong_crc[len(whole_png) // 2] ^= 0xFF
    return {
        "empty.png": (b"", "empty"),
        "missing.png": (None, "missing"),
        "forbidden.png": (whole_png, "forbidden"),
        "always-busy.png": (whole_png, "throttled"),
        "always-broken.png": (whole_png, "timeout"),
        "half a.png": (whole_png[: len(whole_png) // 2], "truncated"),
        "half a.jpg": (whole_jpeg[: len(whole_jpeg) // 2], "truncated"),
        "flipped.png": (bytes(wrong_crc), "truncated"),
        "page.png": (b"<html><body>502 Bad Gateway</body></html>", "not_an_image"),
        "noise.jpg": (np.random.default_rng(1).bytes(4096), "not_an_image"),
        "film.png": (b"\x00\x00\x00\x18ftypmp42\x00\x00\x00\x00mp42isom" + bytes(64), "not_an_image"),
        "tiny.png": (encoded(grey[:4, :4], "png"), "too_small"),
        "bomb.png": (png(30_000, 30_000), "too_large"),
        "heavy.png": (
            encoded(np.random.default_rng(2).integers(0, 255, (300, 300), dtype=np.uint8), "png"),
            "too_large",
        ),
        "floats.tif": (encoded(grey.astype(np.float32), "tiff"), "unsupported"),
    }


def test_of_a_hundred_images_one_is_bad_in_any_of_fifteen_ways_and_each_gets_its_status(
    front: Front, bucket: Bucket, bundle: Path, tmp_path: Path
) -> None:
    front.set()
    bad, run = bad_inputs(), tmp_path / "run"
    assert len(bad) == 15
    for name, (data, _) in bad.items():
        if data is not None:
            bucket.put(f"bad/{name}", data)
    uris = [str(path) for path in sorted(write_pictures(tmp_path / "images", 99).rglob("*.png"))]
    for copy in range(1, GOOD // 99):
        (tmp_path / f"copy-{copy}").mkdir()
        for path in map(Path, uris[:99]):
            os.link(path, tmp_path / f"copy-{copy}" / path.name)
            uris.append(str(tmp_path / f"copy-{copy}" / path.name))
    for number, name in enumerate(bad):
        uris.insert(100 * number + 37, f"{bucket.uri}/bad/{name}")
    (tmp_path / "list.txt").write_text("".join(f"{uri}\n" for uri in uris))
    os.environ["AWS_ENDPOINT_URL"] = front.url
    asked = bucket.server.asked()
    words = [f"images={tmp_path / 'list.txt'}", f"bundle={bundle}", f"out={run}", "placement=inline"]
    assert main(["score", *words, "reader.deadline_s=3", f"reader.max_bytes={LARGEST}"]) == 0
    assert main(["verify", str(run)]) == 0
    rows = Run.open(str(run)).results().to_pandas()
    assert rows["uri"].tolist() == uris
    failed = rows[rows["status"] != "scored"]
    found = {uri.rpartition("/")[2]: status for uri, status in zip(failed["uri"], failed["status"], strict=True)}
    assert found == {name: status for name, (_, status) in bad.items()}
    assert failed["error"].str.len().min() > 10
    assert failed[["score", "is_anomaly", "mse"]].isna().all(axis=None)
    scored = rows[rows["status"] == "scored"]
    of_name = scored.groupby(scored["uri"].str.rpartition("/")[2])["score"]
    assert (of_name.nunique() == 1).all()  # the same picture has the same score beside any neighbour
    assert of_name.size().eq(GOOD // 99).all()
    # what cannot change is asked for once; busy and broken storage answered before it came to the server
    assert {asked.of("GET", f"/bad/{name}") for name in bad if not name.startswith(("always", "forbidden"))} == {1}


@pytest.mark.parametrize("budget", ["max_failed_fraction=0.005", "max_failed_by_status={too_small: 0.001}"])
def test_too_many_bad_images_stop_the_run_with_what_was_seen(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], budget: str
) -> None:
    folder = write_pictures(tmp_path / "images", 300)
    for number in range(3):
        (folder / "good" / f"part010{number}.png").write_bytes(bad_inputs()["tiny.png"][0] or b"")
    words = [f"images={folder}", f"bundle={bundle}", f"out={tmp_path / 'run'}", "placement=inline", budget]
    assert main(["score", *words, "chunk_images=20"]) == 1
    said = capsys.readouterr().err
    assert "3 too_small" in said
    assert budget.partition("=")[0] in said
    assert len(list((tmp_path / "run" / "chunks").glob("*.parquet"))) == 10
