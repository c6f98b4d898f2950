"""Home of the picture sets: photographs of solar cells, clothes of one class, and procedural textures.

Every set is pixels `[N, H, W, C]` uint8 with what each picture is and of which group, in memory.
"""

import functools
import gzip
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.quality.flaws import FLAWS
from benchmarks.quality.textures import COLUMNS, KINDS, ROWS, grey, make_sheet, photograph
from rayae import solar_cells
from rayae.errors import ConfigError, DataError
from rayae.preprocess import Preprocess
from rayae.statistics import Bools

FASHION = Path("/usr/share/datasets/fashion-mnist")
CLOTHES = {"tshirt": 0, "trouser": 1, "sandal": 5, "bag": 8}
NORMAL_CLOTHES, OTHER_CLOTHES = 1500, 100
"""Pictures of the normal class, and of each of the nine others."""
SHEETS, FLAWED_CROPS = 60, 3


@dataclass(frozen=True)
class PictureSet:
    """Pictures in a fixed order; each is either normal or a defect."""

    name: str
    pixels: NDArray[np.uint8]
    is_defect: Bools
    groups: NDArray[np.intp] | None
    """Dense numbers from 0; None where every picture stands for itself."""
    file_bytes: NDArray[np.int64] | None
    """Size of the file of each picture; None where there are no files."""

    @property
    def clusters(self) -> NDArray[np.intp]:
        """The groups, or a number for each picture."""
        return np.arange(len(self.is_defect)) if self.groups is None else self.groups

    @functools.cached_property
    def digest(self) -> str:
        """CRC of all that a score can depend on, in hex: it tells whether kept scores are of these pictures."""
        crc = zlib.crc32(self.pixels.tobytes())
        for part in (self.is_defect, self.clusters):
            crc = zlib.crc32(part.astype(np.int64).tobytes(), crc)
        return f"{crc:08x}"


def solar(cell_type: str) -> PictureSet:
    """The solar cells that the experts were sure of, 128 x 128 grey; groups are 64 numbers in a row.

    DataError when they are not cached and cannot be fetched.
    """
    folder = Path(solar_cells.fetch(None)).parent
    lines = [line.split() for line in (folder / "labels.csv").read_text().splitlines()]
    chosen = [line for line in lines if line[2] == cell_type and float(line[1]) in solar_cells.LABELS]
    files = [(folder / path).read_bytes() for path, _, _ in chosen]
    pictures = [Preprocess("grey", 128, 128).decode(data).pixels for data in files]
    numbers = np.array([int(Path(path).stem.removeprefix("cell")) for path, _, _ in chosen])
    return PictureSet(
        name=cell_type,
        pixels=np.stack([pixels for pixels in pictures if pixels is not None]),
        is_defect=np.array([solar_cells.LABELS[float(chance)] == "defect" for _, chance, _ in chosen]),
        groups=np.unique((numbers - 1) // solar_cells.CELLS_A_GROUP, return_inverse=True)[1],
        file_bytes=np.array([len(data) for data in files]),
    )


def clothes(name: str) -> PictureSet:
    """One class of Fashion-MNIST as normal among the nine others, 28 x 28 grey on a black border of 2 pixels.

    Xiao, Rasul and Vollgraf 2017, MIT licence, from Debian's `dataset-fashion-mnist`; DataError where that is not
    installed.
    """
    if not FASHION.is_dir():
        raise DataError(f"there is no {FASHION}; install Debian's package dataset-fashion-mnist (MIT licence).")
    pixels = _unpacked("train-images-idx3-ubyte.gz", 16).reshape(-1, 28, 28)
    classes = _unpacked("train-labels-idx1-ubyte.gz", 8)
    sizes = {number: NORMAL_CLOTHES if number == CLOTHES[name] else OTHER_CLOTHES for number in range(10)}
    chosen = np.concatenate([np.flatnonzero(classes == number)[:count] for number, count in sizes.items()])
    padded = np.pad(pixels[chosen], ((0, 0), (2, 2), (2, 2)))[..., None]
    return PictureSet(name, padded, classes[chosen] != CLOTHES[name], None, None)


def _unpacked(name: str, offset: int) -> NDArray[np.uint8]:
    return np.frombuffer(gzip.decompress((FASHION / name).read_bytes()), np.uint8, offset=offset)


def texture(name: str, sheets: int = SHEETS) -> PictureSet:
    """Crops of procedural sheets, 128 x 128, in grey or as `KIND-rgb`; three of the twelve of a sheet have a flaw.

    The groups are the sheets. A sheet depends on its kind and number alone, so that grey and colour are the same.
    """
    kind = name.removesuffix("-rgb")
    made = [_sheet_crops(kind, number) for number in range(sheets)]
    pixels = np.concatenate([crops for crops, _ in made])
    return PictureSet(
        name=name,
        pixels=pixels if name.endswith("-rgb") else grey(pixels),
        is_defect=np.concatenate([flawed for _, flawed in made]),
        groups=np.arange(sheets).repeat(ROWS * COLUMNS),
        file_bytes=None,
    )


def _sheet_crops(kind: str, number: int) -> tuple[NDArray[np.uint8], Bools]:
    """The crops of one sheet, and which of them have a flaw; the kinds of flaw take turns."""
    rng = np.random.default_rng([number, *kind.encode()])
    sheet = make_sheet(kind, rng)
    flawed = np.isin(np.arange(ROWS * COLUMNS), rng.permutation(ROWS * COLUMNS)[:FLAWED_CROPS])
    crops, turn = [], number * FLAWED_CROPS
    for place, has_flaw in enumerate(flawed):
        crop = sheet.crop(place)
        pixels = FLAWS[kind][turn % len(FLAWS[kind])](crop, rng) if has_flaw else crop.pixels
        turn += int(has_flaw)
        crops.append(photograph(pixels, rng))
    return np.stack(crops), flawed


SETS: dict[str, Callable[[str], PictureSet]] = {
    **dict.fromkeys(("mono", "poly"), solar),
    **dict.fromkeys(CLOTHES, clothes),
    **{name: texture for kind in KINDS for name in (kind, f"{kind}-rgb")},
}
USUAL = ("mono", "poly", *CLOTHES, "cloth", "metal", "stone-rgb", "wood-rgb", "dots-rgb")
"""What is run when no set is named."""


def load(name: str) -> PictureSet:
    """The set of that name; ConfigError for a name that is none, DataError where its files cannot be had."""
    if name not in SETS:
        raise ConfigError(f"there is no picture set {name!r}; there are {', '.join(SETS)}.")
    return SETS[name](name)
