import io
import os
import re
import struct
import sys
import warnings
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from rayae.formats import heif
from rayae.formats.jpeg import MAX_SCANS
from rayae.preprocess import Picture, Preprocess
from rayae.results import Status
from tests.unit.pictures import encoded, every_kind, heic, jpeg_of_size, photo, png_chunk, png_header, with_chunk

PREPROCESS = Preprocess("rgb", 32, 32)
MAGIC = {
    "avif": 12,
    "jpeg": 3,
    "png": 8,
    "tiff": 4,
    "webp": 12,
    "bmp": 2,
    "gif": 6,
    "jpeg 2000": 12,
    "jpeg 2000 raw": 4,
}
LATER_PARTS = ("gif animated",)
"""Cut after their first frame, these still have all the pixels that are looked at."""


def decode(data: bytes) -> Picture:
    """Decode, and hold what is true of every picture, good or bad."""
    picture = PREPROCESS.decode(data)
    assert (picture.pixels is not None) == (picture.status == Status.SCORED) == (picture.error is None)
    if picture.pixels is not None:
        assert (picture.pixels.shape, picture.pixels.dtype) == ((32, 32, 3), np.uint8)
    if picture.error is not None:
        assert picture.error.isprintable()
        assert 10 < len(picture.error) <= 300
        assert picture.error.endswith((".", "…"))
    return picture


def refusal(data: bytes) -> tuple[Status, str | None]:
    picture = decode(data)
    return picture.status, picture.error


@pytest.mark.filterwarnings("ignore:Truncated File Read")  # Pillow, of a TIFF without its last four bytes
@pytest.mark.parametrize("name", every_kind())
def test_a_cut_picture_is_never_scored_with_part_of_its_pixels(name: str) -> None:
    data = every_kind()[name]
    whole = decode(data).pixels
    magic = MAGIC.get(name, MAGIC.get(name.rsplit(" ", 1)[0], MAGIC[name.split()[0]]))
    for length in {*range(40), *range(40, len(data), 1 + len(data) // 100), *range(len(data) - 20, len(data))}:
        picture = decode(data[:length])
        if picture.status == Status.SCORED:
            assert name in LATER_PARTS or name == "tiff 16" or length >= len(data) - 4, length
            assert (picture.pixels == whole).all()
        else:
            expected = Status.EMPTY if not length else Status.NOT_AN_IMAGE if length < magic else Status.TRUNCATED
            assert picture.status == expected, (length, picture.error)


@pytest.mark.parametrize("name", [name for name in every_kind() if name.startswith(("jpeg", "png", "webp"))])
def test_a_file_that_lacks_its_last_byte_is_truncated(name: str) -> None:
    assert decode(every_kind()[name][:-1]).status == Status.TRUNCATED


def test_a_jpeg_without_its_end_marker_is_truncated() -> None:
    said = "The JPEG is cut or damaged: Premature end of JPEG file."
    assert refusal(every_kind()["jpeg"][:-2]) == (Status.TRUNCATED, said)


def test_bytes_after_the_end_of_a_picture_do_no_harm() -> None:
    for name in ("jpeg", "png", "gif", "bmp", "tiff"):
        data = every_kind()[name]
        assert (decode(data + b"\0" * 500 + os.urandom(500)).pixels == decode(data).pixels).all()


@pytest.mark.parametrize("name", ["jpeg", "jpeg progressive", "jpeg grey", "jpeg restart", "png", "png 16"])
def test_garbage_in_the_middle_is_seen(name: str) -> None:
    data = every_kind()[name]
    for garbage in (b"\xff" * 40, bytes(range(0, 240, 3))):
        middle = len(data) // 2
        status, error = refusal(data[:middle] + garbage + data[middle + len(garbage) :])
        assert status == Status.TRUNCATED
        assert error is not None
        assert "is cut or damaged: " in error


def test_every_flipped_bit_of_a_png_is_seen() -> None:
    data = every_kind()["png"]
    for at in range(8, len(data), 7):
        damaged = bytearray(data)
        damaged[at] ^= 1 << at % 8
        assert decode(bytes(damaged)).status != Status.SCORED, at


def test_a_png_without_compression_does_not_hide_a_flipped_bit() -> None:
    data = bytearray(encoded(photo(64, 64), "PNG", compress_level=0))
    data[5000] ^= 4
    status, error = refusal(bytes(data))
    assert status == Status.TRUNCATED
    assert error is not None
    assert error.startswith("The PNG is cut or damaged: the checksum of its b'IDAT' chunk at byte ")


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(
    name=st.sampled_from(sorted(every_kind())),
    edits=st.lists(st.tuples(st.floats(0, 1), st.binary(max_size=4), st.integers(0, 6)), min_size=1, max_size=4),
)
def test_no_bytes_raise(name: str, edits: list[tuple[float, bytes, int]]) -> None:
    data = every_kind()[name]
    for place, new, removed in edits:
        at = int(place**2 * len(data))  # headers are where the trouble is
        data = data[:at] + new + data[at + removed :]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns of odd tags in a TIFF
        picture = decode(data)
    assert picture.status in {"scored", "empty", "not_an_image", "truncated", "unsupported", "too_small", "too_large"}


@settings(max_examples=150, derandomize=True, deadline=None, database=None)
@given(magic=st.sampled_from([data[:n] for data in every_kind().values() for n in (12, 26, 40)]), rest=st.binary())
def test_no_bytes_behind_a_magic_number_raise(magic: bytes, rest: bytes) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode(magic + rest).status != Status.EMPTY


@pytest.mark.parametrize(
    ("data", "looks"),
    [
        (b"\n<!DOCTYPE HTML><title>404</title>", "an HTML page, often an error page saved as a picture"),
        (b"<html><body>Please log in", "an HTML page, often an error page saved as a picture"),
        (b'\xef\xbb\xbf<?xml version="1.0"?><svg/>', "an XML text, such as SVG or an error message of object storage"),
        (
            b"<svg xmlns='http://www.w3.org/2000/svg'/>",
            "an XML text, such as SVG or an error message of object storage",
        ),
        (b"%PDF-1.7\n", "a PDF"),
        (b"PK\x03\x04rest", "a ZIP archive"),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer; the picture itself was not fetched"),
        (b'{"error": "not found"}', "a JSON text"),
        (b"\0\0\0\x18ftypisom", "a video"),
        (bytes(5000), "zero bytes, often a write that did not finish"),
    ],
)
def test_what_is_no_picture_is_named(data: bytes, looks: str) -> None:
    assert refusal(data) == (Status.NOT_AN_IMAGE, f"This is no picture: it starts like {looks}.")


def test_what_nobody_knows_shows_its_first_bytes() -> None:
    said = r"This is no picture that is known: it starts with b'hello\x00\x1b[31m\xff'."
    assert refusal(b"hello\0\x1b[31m\xff") == (Status.NOT_AN_IMAGE, said)
    assert decode(b"BMW sells cars, and this is a text about them").status == Status.NOT_AN_IMAGE
    assert refusal(b"") == (Status.EMPTY, "The file has no bytes.")


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\xff\x0a\x00", "JPEG XL"),
        (b"8BPS\0\1", "Photoshop"),
        (b"P5\n4 4\n255\n", "PNM"),
        (bytes(128) + b"DICM", "DICOM"),
    ],
)
def test_pictures_of_other_formats_are_unsupported(data: bytes, kind: str) -> None:
    decoded = "JPEG, PNG, TIFF, WebP, GIF, JPEG 2000, AVIF, HEIC, BMP are"
    assert refusal(data) == (Status.UNSUPPORTED, f"This is a {kind} picture, which is not decoded; {decoded}.")


@pytest.mark.parametrize("mode", ["I", "F"])
def test_floats_and_wide_integers_are_unsupported_without_a_range(mode: str) -> None:
    advice = "set preprocess.float_range=[low,high] to the values that become black and white"
    said = f"The TIFF has floats or 32-bit integers (mode {mode}); {advice}."
    assert refusal(encoded(Image.new(mode, (40, 40)), "TIFF")) == (Status.UNSUPPORTED, said)


def test_jpegs_that_the_decoder_does_not_know_are_unsupported() -> None:
    data = every_kind()["jpeg"]
    frame = data.index(b"\xff\xc0")
    deep = data[: frame + 4] + b"\x0c" + data[frame + 5 :]
    said = "The JPEG has 3 channels of 12 bits; 1, 3 or 4 channels of 8 bits are decoded."
    assert refusal(deep) == (Status.UNSUPPORTED, said)
    odd = data[: frame + 11] + b"\x31" + data[frame + 12 :]
    said = "The JPEG has an odd chroma sampling, [(3, 1), (1, 1), (1, 1)]."
    assert refusal(odd) == (Status.UNSUPPORTED, said)
    hierarchical = data[: frame + 1] + b"\xc5" + data[frame + 2 :]
    assert refusal(hierarchical) == (Status.UNSUPPORTED, "The JPEG is lossless or hierarchical (SOF C5).")


def test_a_tiff_of_unknown_compression_is_unsupported() -> None:
    data = encoded(photo(40, 40), "TIFF")
    entry = struct.pack("<HHI", 259, 3, 1)
    at = data.index(entry) + 8
    status, error = refusal(data[:at] + struct.pack("<H", 40000) + data[at + 2 :])
    assert (status, error) == (
        Status.UNSUPPORTED,
        "The TIFF is of a variety that is not decoded: unsupported 40000.",
    )


def resized_heif(data: bytes, width: int, height: int) -> bytes:
    """An AVIF or HEIC whose header says another size."""
    return re.sub(
        rb"(ispe\0{4}).{8}", lambda found: found[1] + struct.pack(">II", width, height), data, flags=re.DOTALL
    )


BOMBS = {
    "png": png_header(60_000, 60_000),
    "jpeg": jpeg_of_size(every_kind()["jpeg"], 60_000, 60_000),
    "bmp": every_kind()["bmp"][:18] + struct.pack("<ii", 60_000, 60_000) + every_kind()["bmp"][26:],
    "gif": b"GIF89a" + struct.pack("<HH", 60_000, 60_000) + every_kind()["gif"][10:],
    "webp": b"RIFF\0\0\0\0WEBPVP8X\x0a\0\0\0\0\0\0\0" + b"\x5f\xea\0" * 2,
    "tiff": encoded(photo(40, 40), "TIFF").replace(
        struct.pack("<HHII", 256, 4, 1, 40), struct.pack("<HHII", 256, 4, 1, 9**9)
    ),
    "jpeg 2000": every_kind()["jpeg 2000"].replace(struct.pack(">II", 61, 83), struct.pack(">II", 60_000, 60_000), 1),
    "jpeg 2000 tile": encoded(photo(61, 83), "JPEG2000", no_jp2=True, tile_size=(61, 83)).replace(
        struct.pack(">II", 83, 61), struct.pack(">II", 60_000, 60_000)
    ),
    **({"avif": resized_heif(every_kind()["avif"], 16_000, 16_000)} if "avif" in every_kind() else {}),
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_decompression_bomb_is_judged_by_its_header(name: str) -> None:
    limit = Image.MAX_IMAGE_PIXELS
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        picture = decode(BOMBS[name])
    assert picture.status == Status.TOO_LARGE, picture.error
    assert picture.error is not None
    assert picture.error.endswith("pixels, more than max_pixels=100000000.")
    assert picture.width is not None
    assert picture.width >= 40
    assert limit == Image.MAX_IMAGE_PIXELS


def test_pillows_own_limit_does_not_come_before_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        Image, "MAX_IMAGE_PIXELS", 4000
    )  # 61 x 83 is between that, a warning, and twice of it, an error
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name in ("jpeg", "png", "webp", "bmp", "gif", "jpeg 2000"):
            assert decode(every_kind()[name]).status == Status.SCORED, name


@pytest.mark.parametrize("name", ["jpeg", "png", "tiff", "webp", "bmp", "gif", "jpeg 2000"])
def test_size_limits_are_settings(name: str) -> None:
    kind = {"jpeg 2000": "JPEG 2000", "webp": "WebP"}.get(name, name.upper())
    small = Preprocess("rgb", 32, 32, max_pixels=61 * 83 - 1).decode(every_kind()[name])
    assert (small.status, small.width, small.height) == (Status.TOO_LARGE, 83, 61)
    assert small.error == f"The {kind} has 83 x 61 pixels, more than max_pixels=5062."
    assert Preprocess("rgb", 32, 32, max_pixels=61 * 83).decode(every_kind()[name]).status == Status.SCORED
    large = Preprocess("rgb", 32, 32, min_side=62).decode(every_kind()[name])
    assert (large.status, large.width, large.height) == (Status.TOO_SMALL, 83, 61)
    assert large.error == f"The {kind} has 83 x 61 pixels, its shorter side less than min_side=62."
    assert Preprocess("rgb", 32, 32, min_side=61).decode(every_kind()[name]).status == Status.SCORED


@pytest.mark.parametrize("before_pixels", [True, False])
@pytest.mark.parametrize("chunk", [b"zTXt", b"iTXt", b"iCCP"])
def test_text_that_unpacks_to_a_bomb_is_too_large(chunk: bytes, before_pixels: bool) -> None:
    head = {b"zTXt": b"k\0\0", b"iTXt": b"k\0\1\0\0\0", b"iCCP": b"k\0\0"}[chunk]
    bomb = with_chunk(every_kind()["png"], chunk, head + zlib.compress(bytes(20_000_000), 9), before_pixels)
    status, error = refusal(bomb)
    assert status == Status.TOO_LARGE
    assert error is not None
    assert error.startswith("The PNG unpacks to more than is allowed: Decompressed data too large")


def test_pixels_that_unpack_to_more_than_the_header_says_are_not_all_unpacked() -> None:
    header = png_chunk(b"IHDR", struct.pack(">IIBBBBB", 40, 40, 8, 0, 0, 0, 0))
    pixels = png_chunk(b"IDAT", zlib.compress(bytes(50_000_000), 9))
    picture = decode(b"\x89PNG\r\n\x1a\n" + header + pixels + png_chunk(b"IEND", b""))
    assert picture.status in (Status.SCORED, Status.TRUNCATED)


def test_a_jpeg_of_very_many_scans_is_too_large() -> None:
    data = every_kind()["jpeg progressive"]
    assert decode(data).status == Status.SCORED
    last = data.rindex(b"\xff\xda")
    bomb = data[:-2] + data[last:-2] * MAX_SCANS + data[-2:]
    status, error = refusal(bomb)
    assert status == Status.TOO_LARGE
    assert error is not None
    assert error.endswith("scans; more than 100 are refused.")


def test_a_picture_of_one_row_of_pixels_can_be_scored_when_asked() -> None:
    thin = Preprocess("grey", 32, 32, min_side=1)
    for form in ("JPEG", "PNG", "TIFF", "WEBP", "BMP", "GIF", "JPEG2000"):
        for shape in ((1, 1), (1, 700), (700, 1), (3, 500)):
            buffer = io.BytesIO()
            Image.fromarray(np.full(shape, 128, np.uint8)).save(buffer, form)
            pixels = thin.decode(buffer.getvalue()).pixels
            assert pixels is not None
            assert np.abs(pixels.astype(int) - 128).max() <= 2


def test_a_heic_that_is_cut_is_never_scored() -> None:
    pytest.importorskip("pi_heif")
    data = heic()
    assert decode(data).status == Status.SCORED
    for length in range(0, len(data), 60):
        expected = Status.EMPTY if not length else Status.NOT_AN_IMAGE if length < 12 else Status.TRUNCATED
        assert decode(data[:length]).status == expected, length


def test_without_its_extra_a_heic_is_unsupported_and_the_extra_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pi_heif", None)
    heif.plugin_of.cache_clear()
    said = "This is a HEIC picture; they are decoded where rayae has its extra heic: pip install 'rayae[heic]'."
    assert refusal(heic()) == (Status.UNSUPPORTED, said)
    monkeypatch.undo()
    heif.plugin_of.cache_clear()


@pytest.mark.parametrize("brand", [b"mif1", b"msf1", b"avis"])
def test_an_avif_is_known_by_any_of_its_brands(brand: bytes) -> None:
    data = every_kind().get("avif")
    if data is None:
        pytest.skip("this Pillow decodes no AVIF")
    assert data[4:12] == b"ftypavif"
    assert refusal(data[:8] + brand + data[12:])[0] in (Status.SCORED, Status.TRUNCATED)
    assert refusal(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic")[1] != refusal(b"\0\0\0\x18ftypmif1\0\0\0\0mif1avif")[1]


@pytest.mark.parametrize("kind", ["AVIF", "HEIC"])
def test_a_size_that_the_heif_libraries_refuse_is_too_large(kind: str) -> None:
    pytest.importorskip("pi_heif")
    data = heic() if kind == "HEIC" else every_kind().get("avif")
    if data is None:
        pytest.skip("this Pillow decodes no AVIF")
    said = f"The {kind} has 60,000 x 60,000 pixels, more than its decoder takes (268,435,456)."
    assert refusal(resized_heif(data, 60_000, 60_000)) == (Status.TOO_LARGE, said)


def tiled_tiff(side: int) -> bytes:
    """A TIFF of 64 x 64 grey pixels in one tile of that side, deflated, of which a few bytes are there."""
    pixels = zlib.compress(bytes(64 * 64))
    tags = {256: 64, 257: 64, 258: 8, 259: 8, 262: 1, 277: 1, 322: side, 323: side, 324: 200, 325: len(pixels)}
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags)) + entries + bytes(4)
    return head.ljust(200, b"\0") + pixels


def test_a_small_tiff_of_huge_tiles_is_too_large() -> None:
    said = "The TIFF has 64 x 64 pixels in tiles of 46,000 x 46,000; its decoder takes memory for whole tiles."
    assert refusal(tiled_tiff(46_000)) == (Status.TOO_LARGE, said)
    assert decode(tiled_tiff(64)).status == Status.SCORED
    assert decode(tiled_tiff(4000)).status == Status.TRUNCATED
