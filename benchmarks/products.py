"""What does one network for all products lose against a network for each?

    python -m benchmarks.products [sets=rolls,variants] [epochs=20] [own_epochs=60] [side=64] [seed=0]

Three sets of procedural products. `rolls`: five kinds of textures (`benchmarks.quality.textures`), each product one
large sheet, with the flaws of `benchmarks.quality.flaws`. `sheets`: the same kinds, but each product 18 sheets of
parameters of their own, so that it is hardly one look. `variants`: plates of brushed metal with holes, which differ
by the place where there is none; its defects are plates of another variant, as when parts are mixed up.

One bundle is trained on all products, and one on each (`per_group=product`), by the defaults of `rayae train` but for
size and epochs. `own_epochs` are more, since each of those networks sees but its own pictures an epoch. The AUROC is
that of the primary score inside a product, so that both are asked the same; the false positives are those of normal
test pictures at the cut that the bundle has, calibrated to flag 10 %.
"""

import contextlib
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image

from benchmarks.quality.data import texture
from benchmarks.quality.flaws import FLAWS
from benchmarks.quality.textures import COLUMNS, KINDS, ROWS, SIDE, Sheet, grey, photograph
from rayae.cli import main
from rayae.statistics import area_under
from rayae.terminal import show_table

DEFAULTS = {"sets": "rolls,variants", "epochs": "20", "own_epochs": "60", "side": "64", "seed": "0"}
SHEETS, TEST_SHARE = 18, 3
DOWN, ACROSS = 12, 15
"""Crops of a roll; every third row is one of the test."""
PLATES, HOLES = 150, 4


@dataclass(frozen=True)
class Shot:
    """A picture `[H, W]` uint8 of a product."""

    pixels: NDArray[np.uint8]
    product: str
    group: str
    is_defect: bool
    is_test: bool


@dataclass(frozen=True)
class Lists:
    """The lists of the pictures that are learnt from and of those of the test."""

    train: Path
    test: Path


def sheets() -> Iterator[Shot]:
    """Crops of many sheets of a kind; a third of the sheets are for the test."""
    for kind in KINDS:
        crops = texture(kind, SHEETS)
        for number, (pixels, is_defect) in enumerate(zip(crops.pixels, crops.is_defect, strict=True)):
            sheet = number // (ROWS * COLUMNS)
            yield Shot(pixels[..., 0], kind, f"{kind}-{sheet}", bool(is_defect), sheet % TEST_SHARE == 0)


def rolls() -> Iterator[Shot]:
    """Crops of one large sheet of a kind; rows of crops are the groups, and half of the test crops have a flaw."""
    for kind in KINDS:
        rng = np.random.default_rng([7, *kind.encode()])
        pixels, ground, period = KINDS[kind](rng, (DOWN * SIDE, ACROSS * SIDE))
        bright = 0.8 / np.quantile(pixels, 0.99)
        for row, column in np.ndindex(DOWN, ACROSS):
            place = np.s_[row * SIDE : (row + 1) * SIDE, column * SIDE : (column + 1) * SIDE]
            crop = Sheet(pixels[place] * bright, ground[place] * bright, period, (0.6, 0.8))
            is_test = row % TEST_SHARE == 0
            is_defect = is_test and column % 2 == 0
            flaw = FLAWS[kind][(row * ACROSS + column) % len(FLAWS[kind])]
            shown = photograph(flaw(crop, rng) if is_defect else crop.pixels, rng)
            yield Shot(grey(shown)[..., 0], kind, f"{kind}-{row}", is_defect, is_test)


def variants() -> Iterator[Shot]:
    """Plates of metal, each variant without a hole at one place; a third of the test is plates of another variant."""
    rng = np.random.default_rng(3)
    y, x = np.mgrid[:SIDE, :SIDE]
    for variant in range(HOLES):
        for number in range(PLATES):
            is_test = number % TEST_SHARE == 0
            is_defect = is_test and number % 2 == 0
            lacking = (variant + 1 + int(rng.integers(HOLES - 1))) % HOLES if is_defect else variant
            pixels = KINDS["metal"](rng, (SIDE, SIDE))[0]
            for hole in set(range(HOLES)) - {lacking}:
                at = SIDE * (0.25 + 0.5 * np.array(divmod(hole, 2))) + rng.normal(0, 1.5, 2)
                pixels = np.where(np.hypot(y - at[0], x - at[1])[..., None] < SIDE / 12, 0.05, pixels)
            shown = photograph(pixels * 0.8 / np.quantile(pixels, 0.99), rng)
            yield Shot(grey(shown)[..., 0], f"no-{variant}", f"{variant}-{number}", is_defect, is_test)


SETS: dict[str, Callable[[], Iterator[Shot]]] = {"rolls": rolls, "variants": variants, "sheets": sheets}


def write(folder: Path, shots: Iterator[Shot]) -> Lists:
    """Write the pictures as PNG, and the lists."""
    rows = list[tuple[str, str, str, str, bool]]()
    for number, shot in enumerate(shots):
        path = folder / shot.product / f"{number:05}.png"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(shot.pixels).save(path)
        label = "defect" if shot.is_defect else "good"
        rows.append((str(path), label, shot.product, shot.group, shot.is_test))
    table = pd.DataFrame(rows, columns=["uri", "label", "product", "group", "is_test"])
    found = Lists(folder / "train.csv", folder / "test.csv")
    for path, is_test in ((found.train, False), (found.test, True)):
        table[table["is_test"] == is_test].drop(columns="is_test").to_csv(path, index=False)
    return found


def rows_of(lists: Lists, asked: dict[str, str], name: str, *words: str) -> pd.DataFrame:
    """Train on the one list and score the other; the result rows."""
    size = [f"preprocess.height={asked['side']}", f"preprocess.width={asked['side']}", "preprocess.mode=grey"]
    bundle, run = lists.train.with_name(f"{name}-bundle"), lists.train.with_name(f"{name}-run")
    more = [*size, f"seed={asked['seed']}", "patience=1000", "alpha=0.1", "placement=inline"]
    done(["train", f"images={lists.train}", f"out={bundle}", *more, *words])
    done(["score", f"images={lists.test}", f"bundle={bundle}", f"out={run}", "placement=inline"])
    return pd.read_parquet(run / "chunks")


def done(words: list[str]) -> None:
    """Do a verb, or end with its exit code; what it says goes where the table does not."""
    with contextlib.redirect_stdout(sys.stderr):
        code = main(words)
    if code:
        sys.exit(code)


def figures(rows: pd.DataFrame) -> pd.DataFrame:
    """AUROC of the primary score and share of normal pictures that are flagged, by product."""
    found = {
        product: {
            "AUROC": area_under(own["score"].to_numpy(), (own["label"] == "defect").to_numpy()),
            "flagged": float(own[own["label"] == "good"]["is_anomaly"].astype(float).mean()),
            "defects": int((own["label"] == "defect").sum()),
        }
        for product, own in rows.groupby("product")
    }
    return pd.DataFrame(found).T


def show(name: str, alone: pd.DataFrame, together: pd.DataFrame, asked: dict[str, str]) -> None:
    """The table, with the mean of the products as its last line."""
    both = pd.concat({"one": together, "own": alone}, axis=1)
    both.loc["mean"] = both.mean()
    lines = [
        (
            str(product),
            f"{row['one', 'AUROC']:.3f}",
            f"{row['own', 'AUROC']:.3f}",
            f"{row['own', 'AUROC'] - row['one', 'AUROC']:+.3f}",
            f"{row['one', 'flagged']:.2f}",
            f"{row['own', 'flagged']:.2f}",
        )
        for product, row in both.iterrows()
    ]
    columns = ("product", "one network: AUROC", "its own: AUROC", "difference", "one: false pos.", "own: false pos.")
    size, epochs = f"{asked['side']} x {asked['side']}", f"{asked['epochs']} epochs, its own {asked['own_epochs']}"
    show_table(f"{name}: {epochs}, {size}, {alone['defects'].min():.0f} or more defects a product", columns, lines)


def run(words: list[str]) -> None:
    """Make the pictures of each set, train both ways, and print the table."""
    asked = DEFAULTS | dict(word.partition("=")[::2] for word in words)
    for name in asked["sets"].split(","):
        with tempfile.TemporaryDirectory() as folder:
            lists = write(Path(folder), SETS[name]())
            together = rows_of(lists, asked, "one", f"epochs={asked['epochs']}")
            alone = rows_of(lists, asked, "own", "per_group=product", f"epochs={asked['own_epochs']}")
        show(name, figures(alone), figures(together), asked)


if __name__ == "__main__":
    run(sys.argv[1:])
