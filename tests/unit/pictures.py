"""Small pictures for the tests, made in code: photo-like pixels, and the same in every format that is decoded."""

import io
import struct
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, features

Pixels = NDArray[np.uint8]


@cache
def photo(height: int, width: int, seed: int = 0) -> Pixels:
    """Photo-like pixels [H, W, 3]: detail at every scale, edges, colours that change more slowly than brightness."""
    rng = np.random.default_rng(seed)
    brightness, red, blue = (_noise(rng, height, width, slope) for slope in (1.2, 1.8, 1.8))
    rows, columns = np.mgrid[:height, :width]
    disc = (rows - height * 0.6) ** 2 + (columns - width * 0.3) ** 2 < (min(height, width) * 0.2) ** 2
    grey = 120 + 35 * brightness + 60 * disc
    colours = np.stack([grey + 15 * red, grey - 8 * red - 8 * blue, grey + 15 * blue], axis=-1)
    return np.clip(colours, 0, 255).astype(np.uint8)


def _noise(rng: np.random.Generator, height: int, width: int, slope: float) -> NDArray[np.float64]:
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    spectrum = rng.normal(size=(2, *frequency.shape)) / np.maximum(frequency, 1 / max(height, width)) ** slope
    noise: NDArray[np.float64] = np.fft.irfft2(spectrum[0] + 1j * spectrum[1], s=(height, width))
    return (noise - noise.mean()) / noise.std()


def encoded(pixels: Any, form: str, **options: Any) -> bytes:
    """A picture file, from pixels or from a Pillow image."""
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@cache
def every_kind() -> dict[str, bytes]:
    """One small picture in every format, and in the varieties that take another path through the decoders."""
    image = Image.fromarray(photo(61, 83))
    grey, palette = image.convert("L"), image.quantize(64)
    return {
        "jpeg": encoded(image, "JPEG"),
        "jpeg 4:4:4": encoded(image, "JPEG", subsampling=0),
        "jpeg progressive": encoded(image, "JPEG", progressive=True),
        "jpeg grey": encoded(grey, "JPEG"),
        "jpeg restart": encoded(image, "JPEG", restart_marker_rows=1),
        "jpeg cmyk": encoded(image.convert("CMYK"), "JPEG"),
        "png": encoded(image, "PNG"),
        "png palette": encoded(palette, "PNG"),
        "png 16": encoded(np.asarray(grey).astype(np.uint16) * 257, "PNG"),
        "tiff": encoded(image, "TIFF"),
        "tiff big": encoded(image, "TIFF", big_tiff=True),
        "tiff lzw": encoded(image, "TIFF", compression="tiff_lzw"),
        "tiff deflate": encoded(image, "TIFF", compression="tiff_adobe_deflate"),
        "tiff jpeg": encoded(image, "TIFF", compression="jpeg"),
        "tiff 16": encoded(np.asarray(grey).astype(np.uint16) * 257, "TIFF"),
        "webp": encoded(image, "WEBP"),
        "webp lossless": encoded(image, "WEBP", lossless=True),
        "webp animated": encoded(image, "WEBP", save_all=True, append_images=[image.rotate(180)]),
        "bmp": encoded(image, "BMP"),
        "gif": encoded(palette, "GIF"),
        "gif animated": encoded(palette, "GIF", save_all=True, append_images=[palette.rotate(180)]),
        "jpeg 2000": encoded(image, "JPEG2000"),
        "jpeg 2000 lossy": encoded(image, "JPEG2000", irreversible=True, quality_layers=[20]),
        "jpeg 2000 raw": encoded(image, "JPEG2000", no_jp2=True),
        **({"avif": encoded(image, "AVIF"), "avif grey": encoded(grey, "AVIF")} if features.check("avif") else {}),
    }


def heic(name: str = "photo") -> bytes:
    """The picture of `every_kind` as a HEIC, which nothing here writes: `photo`, or `turned` a quarter to the right."""
    return (Path(__file__).parent / "assets" / f"{name}.heic").read_bytes()


def png_chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


def with_chunk(png: bytes, name: bytes, data: bytes, before_pixels: bool = True) -> bytes:
    """A PNG with one more chunk, after its header or before its end."""
    at = 33 if before_pixels else len(png) - 12
    return png[:at] + png_chunk(name, data) + png[at:]


def png_of_depth(pixels: Any, depth: int, colour: int, extra: bytes = b"") -> bytes:
    """A PNG of samples `[H, W, C]` with so many bits each, of a colour type that Pillow may not write."""
    height, width, channels = pixels.shape
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    samples = pixels.astype(">u2").reshape(height, width * channels, 1).view(np.uint8)
    bits = np.unpackbits(samples, axis=2)[..., 16 - depth :].reshape(height, -1)
    rows = b"".join(b"\0" + row.tobytes() for row in np.packbits(bits, axis=1))
    chunks = png_chunk(b"IHDR", header) + extra + png_chunk(b"IDAT", zlib.compress(rows)) + png_chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def png_header(width: int, height: int) -> bytes:
    """The beginning of a PNG of that size; there are no pixels after it."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


def jpeg_of_size(jpeg: bytes, width: int, height: int) -> bytes:
    """A baseline JPEG whose header says another size."""
    at = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:at] + struct.pack(">HH", height, width) + jpeg[at + 4 :]
