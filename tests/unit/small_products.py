"""Pictures of several products with a CSV that says which is which, as tests of sets of bundles share them."""

from pathlib import Path

from rayae.cli import main
from tests.conftest import SMALL_TRAINING, write_pictures

WORDS = ["placement=inline", "epochs=1", "rule=none", *SMALL_TRAINING]


def products(folder: Path, defects: int = 0, day: str = "day", first_seed: int = 0, **counts: int) -> Path:
    """So many normal pictures of each product, and defects; the CSV that says which they are, five a day."""
    lines = ["path,label,product,group"]
    for seed, (name, count) in enumerate(counts.items(), first_seed):
        write_pictures(folder / name, count, seed, defects)
        kinds = ["good"] * count + ["scratch"] * defects
        lines += [f"{name}/{kind}/part{n:04}.png,{kind},{name},{day}{n // 5}" for n, kind in enumerate(kinds)]
    csv = folder / "labels.csv"
    csv.write_text("\n".join(lines) + "\n")
    return csv


def train(csv: Path, out: Path | str, *words: str) -> int:
    """Train a bundle for each product, for one epoch."""
    return main(["train", f"images={csv.parent}", f"labels={csv}", f"out={out}", "per_group=product", *WORDS, *words])
