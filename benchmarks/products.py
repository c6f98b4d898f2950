"""What does one network for all products lose against a network for each?

    python -m benchmarks.products [epochs=20] [sheets=18] [side=64] [seed=0]

Five kinds of procedural textures stand for products (`benchmarks.quality.textures`): crops of sheets, of which a third
are kept for the test, whole sheets. One bundle is trained on all of them, and one on each (`per_group=product`), by the
defaults of `rayae train` but for size and epochs: the same pictures as often, so the same number of steps in all. The
AUROC is that of the primary score inside a product, so that both are asked the same; the false positives are those of
normal test pictures at the cut that the bundle has, calibrated to flag 10 %.
"""

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from PIL import Image

from benchmarks.quality.data import texture
from benchmarks.quality.textures import COLUMNS, KINDS, ROWS
from rayae.cli import main
from rayae.statistics import area_under
from rayae.terminal import show_table

DEFAULTS = {"epochs": 20, "sheets": 18, "side": 64, "seed": 0}
TEST_SHARE = 3


@dataclass(frozen=True)
class Lists:
    """The lists of the pictures that are learnt from and of those of the test."""

    train: Path
    test: Path


def write(folder: Path, sheets: int) -> Lists:
    """Write the crops as PNG, and the lists."""
    rows = list[tuple[str, str, str, str, bool]]()
    for kind in KINDS:
        crops = texture(kind, sheets)
        for number, (pixels, is_defect) in enumerate(zip(crops.pixels, crops.is_defect, strict=True)):
            path, sheet = folder / kind / f"{number:05}.png", number // (ROWS * COLUMNS)
            path.parent.mkdir(exist_ok=True)
            Image.fromarray(pixels[..., 0]).save(path)
            is_test = sheet % TEST_SHARE == 0
            rows.append((str(path), "defect" if is_defect else "good", kind, f"{kind}-{sheet}", is_test))
    table = pd.DataFrame(rows, columns=["uri", "label", "product", "group", "is_test"])
    found = Lists(folder / "train.csv", folder / "test.csv")
    for path, is_test in ((found.train, False), (found.test, True)):
        table[table["is_test"] == is_test].drop(columns="is_test").to_csv(path, index=False)
    return found


def rows_of(folder: Path, lists: Lists, asked: dict[str, int], name: str, *words: str) -> pd.DataFrame:
    """Train on the one list and score the other; the result rows."""
    size = [f"preprocess.height={asked['side']}", f"preprocess.width={asked['side']}", "preprocess.mode=grey"]
    more = [*size, f"epochs={asked['epochs']}", f"patience={asked['epochs']}", f"seed={asked['seed']}", "alpha=0.1"]
    bundle, run = folder / f"{name}-bundle", folder / f"{name}-run"
    done(["train", f"images={lists.train}", f"out={bundle}", "placement=inline", *more, *words])
    done(["score", f"images={lists.test}", f"bundle={bundle}", f"out={run}", "placement=inline"])
    return pd.read_parquet(run / "chunks")


def done(words: list[str]) -> None:
    """Do a verb, or end with its exit code."""
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


def show(alone: pd.DataFrame, together: pd.DataFrame, asked: dict[str, int]) -> None:
    """The table, with the mean of the products as its last line."""
    both = together.join(alone, lsuffix=" of one", rsuffix=" of its own")
    both.loc["mean"] = both.mean()
    lines = [
        (
            str(product),
            f"{row['AUROC of one']:.3f}",
            f"{row['AUROC of its own']:.3f}",
            f"{row['AUROC of its own'] - row['AUROC of one']:+.3f}",
            f"{row['flagged of one']:.2f}",
            f"{row['flagged of its own']:.2f}",
        )
        for product, row in both.iterrows()
    ]
    columns = ("product", "one network: AUROC", "its own: AUROC", "difference", "one: false pos.", "own: false pos.")
    defects = int(alone["defects"].min())
    title = f"{asked['epochs']} epochs, {asked['side']} x {asked['side']}, {defects} or more defects a product"
    show_table(title, columns, lines)


def run(words: list[str]) -> None:
    """Make the pictures, train both ways, and print the table."""
    asked = DEFAULTS | {name: int(value) for name, _, value in (word.partition("=") for word in words)}
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        lists = write(folder, asked["sheets"])
        together = rows_of(folder, lists, asked, "one")
        alone = rows_of(folder, lists, asked, "own", "per_group=product")
    show(figures(alone), figures(together), asked)


if __name__ == "__main__":
    run(sys.argv[1:])
