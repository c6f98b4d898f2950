import importlib.util
import io
import json
import struct
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rayae.errors import ConfigError
from rayae.preprocess import Picture, Preprocess
from rayae.results import Status
from tests.unit.pictures import encoded, every_kind, heic, photo, png_chunk, png_of_depth, with_chunk

RGB, GREY = Preprocess("rgb", 64, 64), Preprocess("grey", 64, 64)


def pixels_of(data: bytes, preprocess: Preprocess = RGB) -> NDArray[np.int64]:
    picture = preprocess.decode(data)
    assert (picture.status, picture.error) == (Status.SCORED, None)
    assert picture.pixels is not None
    assert picture.pixels.shape == (preprocess.height, preprocess.width, preprocess.channels)
    assert picture.pixels.dtype == np.uint8
    assert picture.pixels.flags.c_contiguous
    return picture.pixels.astype(np.int64)


def difference(one: NDArray[Any], other: NDArray[Any]) -> float:
    """Mean absolute difference in grey levels."""
    return float(np.abs(one - other).mean())


@pytest.mark.parametrize("name", every_kind())
@pytest.mark.parametrize("preprocess", [RGB, GREY, Preprocess("rgb", 48, 160)])
def test_every_kind_of_picture_shows_the_same(name: str, preprocess: Preprocess) -> None:
    picture = preprocess.decode(every_kind()[name])
    assert (picture.width, picture.height) == (83, 61)
    if name.endswith("16"):
        shown = Image.fromarray(photo(61, 83)).convert("L")
    else:
        shown = Image.open(io.BytesIO(every_kind()[name])).convert("RGB")
    expected = pixels_of(encoded(shown, "PNG"), preprocess)
    assert difference(pixels_of(every_kind()[name], preprocess), expected) <= (1.0 if name.startswith("jpeg") else 0)


SIZES = [(480, 640), (517, 389), (1001, 743), (300, 300), (129, 1030), (128, 128)]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize(("mode", "subsampling", "tolerance"), [("grey", 2, 0.25), ("rgb", 0, 0.5), ("rgb", 2, 0.7)])
def test_a_jpeg_decoded_small_agrees_with_its_full_decode(
    height: int, width: int, mode: Any, subsampling: int, tolerance: float
) -> None:
    jpeg = encoded(photo(height, width), "JPEG", quality=90, subsampling=subsampling)
    full = encoded(simplejpeg.decode_jpeg(jpeg), "PNG", compress_level=1)
    for side in (64, 128):
        preprocess = Preprocess(mode, side, side)
        assert difference(pixels_of(jpeg, preprocess), pixels_of(full, preprocess)) <= tolerance


@pytest.mark.parametrize(("height", "width", "factor"), [(300, 300, 2), (517, 389, 2), (1001, 743, 4)])
def test_shrinking_is_nearer_the_true_area_average_than_box(height: int, width: int, factor: int) -> None:
    pixels = photo(height, width)
    area = np.einsum("ij,jkc,lk->ilc", shares(height, 128), pixels.astype(float), shares(width, 128), optimize=True)
    found = pixels_of(encoded(pixels, "PNG", compress_level=1), Preprocess("rgb", 128, 128))
    smaller, covered = Image.fromarray(pixels).reduce(factor), (0, 0, width / factor, height / factor)
    box = np.asarray(smaller.resize((128, 128), Image.Resampling.BOX, box=covered)).astype(int)
    assert difference(found, area) < 2.5
    assert difference(found, area) < 0.8 * difference(box, area)


def shares(source: int, target: int) -> NDArray[np.float64]:
    """How much of each source pixel lies in each target pixel; rows sum to 1."""
    edges, pixel = np.arange(target + 1) * source / target, np.arange(source)
    overlap = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    covered: NDArray[np.float64] = np.clip(overlap, 0, None) * target / source
    return covered


def test_a_whole_factor_is_the_mean_of_blocks() -> None:
    pixels = photo(512, 512)
    blocks = pixels.reshape(64, 8, 64, 8, 3).mean(axis=(1, 3))
    assert np.abs(pixels_of(encoded(pixels, "PNG")) - blocks).max() <= 0.51


def test_a_picture_of_the_right_size_is_left_as_it_is() -> None:
    pixels = photo(64, 64)
    assert (pixels_of(encoded(pixels, "PNG")) == pixels).all()


def test_a_small_picture_grows_smoothly() -> None:
    ramp = np.repeat(np.linspace(0, 255, 16).astype(np.uint8)[None], 16, axis=0)
    row = pixels_of(encoded(ramp, "PNG"), GREY)[32, :, 0]
    assert (np.diff(row) >= 0).all()
    assert np.diff(row).max() <= 5


def test_one_side_may_shrink_while_the_other_grows() -> None:
    pixels = np.full((16, 400), 90, np.uint8)
    assert (pixels_of(encoded(pixels, "PNG"), GREY) == 90).all()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_pixels(form: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if form == "WEBP" else {"quality": 95, "subsampling": 0} if form == "JPEG" else {}
    tagged = encoded(photo(64, 96), form, exif=exif, **options)
    upright = encoded(ImageOps.exif_transpose(Image.open(io.BytesIO(tagged))).convert("RGB"), "PNG")
    applied, ignored = Preprocess("rgb", 32, 48), Preprocess("rgb", 32, 48, exif="ignore")
    assert difference(pixels_of(tagged, applied), pixels_of(upright, applied)) <= 0.5
    plain = encoded(photo(64, 96), form, **options)
    assert (pixels_of(tagged, ignored) == pixels_of(plain, ignored)).all()
    assert (applied.decode(tagged).width, applied.decode(tagged).height) == (96, 64)


def test_an_avif_and_a_heic_are_turned_as_their_container_says() -> None:
    for exif_rule in ("apply", "ignore"):
        preprocess = Preprocess("rgb", 83, 61, exif=exif_rule)
        turned, upright = np.rot90(photo(61, 83), -1), {}
        if "avif" in every_kind():
            exif = Image.Exif()
            exif[0x0112] = 6  # which is taken out of it when it is written
            upright["avif"] = encoded(Image.fromarray(photo(61, 83)), "AVIF", exif=exif, quality=95)
        if importlib.util.find_spec("pi_heif"):
            upright["heic"] = heic("turned")
        for data in upright.values():
            picture = preprocess.decode(data)
            assert (picture.width, picture.height) == (61, 83)
            assert difference(pixels_of(data, preprocess), turned) < 4


def test_a_heic_shows_the_same() -> None:
    pytest.importorskip("pi_heif")
    preprocess = Preprocess("rgb", 61, 83)
    assert difference(pixels_of(heic(), preprocess), photo(61, 83)) < 2


def test_exif_after_the_pixels_of_a_png_counts() -> None:
    exif = b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    png = encoded(photo(64, 64), "PNG")
    turned = pixels_of(with_chunk(png, b"eXIf", exif, before_pixels=False))
    assert (turned == np.rot90(photo(64, 64), -1)).all()


@pytest.mark.parametrize("exif", [b"", b"junk", b"MM\0*", b"MM\0*\xff\xff\xff\xff", b"II*\0\x08\0\0\0\xff\xff\x12\x01"])
@pytest.mark.parametrize("form", ["JPEG", "WEBP"])
def test_exif_that_cannot_be_read_is_none(exif: bytes, form: str) -> None:
    pixels = photo(64, 96)
    tagged = encoded(pixels, form, exif=b"Exif\0\0" + exif)
    assert (pixels_of(tagged) == pixels_of(encoded(pixels, form))).all()


def test_xmp_does_not_turn_a_picture() -> None:
    xmp = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
    tagged = encoded(photo(64, 96), "TIFF", tiffinfo={700: xmp})
    assert (pixels_of(tagged) == pixels_of(encoded(photo(64, 96), "TIFF"))).all()


@pytest.mark.parametrize("form", ["PNG", "TIFF", "JPEG2000"])
def test_of_sixteen_bits_the_upper_eight_are_kept(form: str) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (64, 64), dtype=np.uint16)
    assert (pixels_of(encoded(deep, form), GREY)[..., 0] == deep >> 8).all()
    assert (pixels_of(encoded(deep, form))[..., 1] == deep >> 8).all()


def test_a_big_endian_and_an_inverted_tiff_of_sixteen_bits_are_read_right() -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (64, 64), dtype=np.uint16)
    big = Image.frombytes("I;16B", (64, 64), deep.astype(">u2").tobytes())
    assert (pixels_of(encoded(big, "TIFF"), GREY)[..., 0] == deep >> 8).all()
    white_is_zero = encoded(deep, "TIFF", tiffinfo={262: 0})
    assert (pixels_of(white_is_zero, GREY)[..., 0] == 255 - (deep >> 8)).all()


@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (4, 2), (6, 4)])
def test_every_kind_of_png_keeps_the_upper_eight_of_sixteen_bits(colour: int, channels: int) -> None:
    deep = np.random.default_rng(0).integers(0, 65536, (64, 64, channels), dtype=np.uint16)
    if channels in (2, 4):
        deep[..., -1] = 65535
    shades = (deep >> 8)[..., : 3 if channels > 2 else 1]
    assert (pixels_of(png_of_depth(deep, 16, colour)) == shades).all()


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_few_bits_are_stretched_and_palettes_are_looked_up(depth: int) -> None:
    shades = np.random.default_rng(0).integers(0, 2**depth, (64, 64, 1))
    assert (pixels_of(png_of_depth(shades, depth, 0), GREY) == shades * 255 // (2**depth - 1)).all()
    colours = np.random.default_rng(1).integers(0, 256, (2**depth, 3), dtype=np.uint8)
    palette = png_chunk(b"PLTE", colours.tobytes())
    assert (pixels_of(png_of_depth(shades, depth, 3, palette)) == colours[shades[..., 0]]).all()


FLOATS = np.array([[-1.0, 0.0, 0.5, 1.0, 2.0, np.nan, np.inf, -np.inf]] * 8, np.float32)
SHADES = [[0, 0, 128, 255, 255, 0, 255, 0]] * 8


@pytest.mark.parametrize("compression", [None, "tiff_lzw", "tiff_adobe_deflate"])
def test_floats_are_scaled_by_the_range_and_what_is_no_number_is_black(compression: str | None) -> None:
    scaled = Preprocess("grey", 8, 8, float_range=(0.0, 1.0))
    assert pixels_of(encoded(FLOATS, "TIFF", compression=compression), scaled)[..., 0].tolist() == SHADES
    wide = Preprocess("grey", 8, 8, float_range=(-1.0, 2.0))
    expected = [0, 85, 128, 170, 255, 0, 255, 0]
    assert pixels_of(encoded(FLOATS, "TIFF", compression=compression), wide)[0, :, 0].tolist() == expected


def test_floats_of_which_white_is_zero_are_turned_round() -> None:
    scaled = Preprocess("grey", 8, 8, float_range=(0.0, 1.0))
    inverted = encoded(FLOATS, "TIFF", tiffinfo={262: 0})
    assert pixels_of(inverted, scaled)[0, :, 0].tolist() == [255, 255, 127, 0, 0, 0, 0, 255]


def test_wide_integers_are_scaled_with_their_sign() -> None:
    values = np.array([[-70_000, 0, 35_000, 70_000, 2**31 - 1, -5, 1, 2]] * 8, np.int32)
    scaled = Preprocess("grey", 8, 8, float_range=(0, 70_000))
    assert pixels_of(encoded(values, "TIFF"), scaled)[0, :, 0].tolist() == [0, 0, 128, 255, 255, 0, 0, 0]
    unsigned = encoded(np.full((8, 8), -1, np.int32), "TIFF").replace(
        struct.pack("<HHIH", 339, 3, 1, 2), struct.pack("<HHIH", 339, 3, 1, 1)
    )
    assert (pixels_of(unsigned, Preprocess("grey", 8, 8, float_range=(0, 2.0**32))) == 255).all()


def test_a_range_changes_no_picture_of_eight_or_sixteen_bits() -> None:
    scaled = Preprocess("rgb", 64, 64, float_range=(0.0, 1.0))
    for name, data in every_kind().items():
        assert (pixels_of(data, scaled) == pixels_of(data)).all(), name


@pytest.mark.parametrize("low_and_high", [(1.0, 0.0), (1.0, 1.0), (0.0, float("inf")), (float("nan"), 1.0)])
def test_a_range_that_is_none_is_refused(low_and_high: tuple[float, float]) -> None:
    with pytest.raises(
        ConfigError, match=r"^preprocess\.float_range is \[.*\]; give two numbers, the lower one first:"
    ):
        Preprocess("rgb", 64, 64, float_range=low_and_high)


@pytest.mark.parametrize("form", ["PNG", "TIFF", "BMP", "GIF"])
def test_one_bit_is_black_and_white(form: str) -> None:
    bits = np.random.default_rng(0).integers(0, 2, (64, 64)).astype(bool)
    assert (pixels_of(encoded(bits, form), GREY)[..., 0] == bits * 255).all()


def test_transparent_pixels_lie_on_black() -> None:
    colour = np.full((64, 64, 4), (200, 100, 50, 255), np.uint8)
    colour[:, :16, 3], colour[:, 16:32, 3] = 0, 128
    expected = (colour[..., :3] * (colour[..., 3:] / 255)).round()
    for form in ("PNG", "TIFF", "JPEG2000"):
        assert np.abs(pixels_of(encoded(colour, form)) - expected).max() <= 1
    grey = np.dstack([np.full((64, 64), 200, np.uint8), colour[..., 3]])
    assert np.abs(pixels_of(encoded(grey, "PNG"), GREY)[..., 0] - (grey[..., 0] * (grey[..., 1] / 255))).max() <= 1


@pytest.mark.parametrize("mode", ["P", "L", "RGB"])
def test_a_transparent_colour_is_black(mode: str) -> None:
    image = Image.new("RGB", (64, 64), (255, 255, 255))
    image.paste((10, 200, 30), (0, 0, 32, 64))
    image = image.quantize(4) if mode == "P" else image.convert(mode)
    key = image.getpixel((0, 0))
    pixels = pixels_of(encoded(image, "PNG", transparency=key))
    assert (pixels[:, :32] == 0).all()
    assert (pixels[:, 32:] == 255).all()


@pytest.mark.parametrize("variety", ["CMYK", "YCCK", "without a mark of Adobe"])
def test_cmyk_jpegs_look_as_pillow_shows_them(variety: str) -> None:
    cmyk = Image.fromarray(photo(200, 300)).convert("CMYK")
    jpeg = encoded(cmyk, "JPEG", quality=95)
    mark = jpeg.index(b"\xff\xee\0\x0eAdobe")
    if variety == "YCCK":
        jpeg = jpeg[: mark + 15] + b"\2" + jpeg[mark + 16 :]
    elif variety != "CMYK":
        jpeg = jpeg[:mark] + jpeg[mark + 16 :]
    shown = encoded(Image.open(io.BytesIO(jpeg)).convert("RGB"), "PNG")
    for preprocess in (RGB, GREY):
        assert difference(pixels_of(jpeg, preprocess), pixels_of(shown, preprocess)) < 0.9


@pytest.mark.parametrize("form", ["JPEG", "PNG", "TIFF", "WEBP", "BMP", "JPEG2000"])
def test_grey_is_luma_in_every_format(form: str) -> None:
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(form, {})
    pixels = photo(64, 64)
    luma = pixels @ np.array([0.299, 0.587, 0.114])
    assert np.abs(pixels_of(encoded(pixels, form, **options), GREY)[..., 0] - luma).max() <= (
        2 if form == "JPEG" else 1
    )


def test_grey_pictures_have_three_equal_channels_in_rgb() -> None:
    for name in ("jpeg grey", "png 16"):
        pixels = pixels_of(every_kind()[name])
        assert (pixels == pixels[..., :1]).all()


@pytest.mark.parametrize("name", ["gif animated", "webp animated"])
def test_of_an_animation_the_first_frame_is_read(name: str) -> None:
    first = Image.open(io.BytesIO(every_kind()[name])).convert("RGB")
    assert (pixels_of(every_kind()[name]) == pixels_of(encoded(first, "PNG"))).all()


def test_of_a_tiff_the_first_page_is_read() -> None:
    first, second = (Image.fromarray(photo(64, 64, seed)) for seed in (0, 1))
    assert (pixels_of(encoded(first, "TIFF", save_all=True, append_images=[second])) == photo(64, 64)).all()


def test_the_same_bytes_give_the_same_pixels_in_many_threads() -> None:
    kinds = list(every_kind().values()) * 4
    with ThreadPoolExecutor(8) as pool:
        together: list[Picture] = list(pool.map(RGB.decode, kinds))
    for data, picture in zip(kinds, together, strict=True):
        assert picture.pixels is not None
        assert (picture.pixels == pixels_of(data)).all()


def test_a_preprocess_comes_back_from_its_dict_with_the_same_hash() -> None:
    preprocess = Preprocess("grey", 128, 96, exif="ignore", max_pixels=10**6, min_side=4, float_range=(0.0, 0.5))
    assert Preprocess.from_dict(preprocess.to_dict()) == preprocess
    assert json.loads(json.dumps(preprocess.to_dict())) == preprocess.to_dict()
    assert Preprocess.from_dict(preprocess.to_dict()).hash() == preprocess.hash()
    assert (RGB.channels, GREY.channels) == (3, 1)


@pytest.mark.parametrize(
    "change",
    [{"mode": "grey"}, {"height": 32}, {"exif": "ignore"}, {"max_pixels": 9}, {"min_side": 1}, {"float_range": [0, 1]}],
)
def test_every_field_is_in_the_hash(change: dict[str, Any]) -> None:
    assert Preprocess.from_dict(RGB.to_dict() | change).hash() != RGB.hash()


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"^preprocess\.resize_filter is 'cubic'; this version of rayae knows \('area',\)\.$"
    ):
        Preprocess.from_dict(RGB.to_dict() | {"resize_filter": "cubic"})
