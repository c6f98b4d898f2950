import subprocess
from pathlib import Path

import pandas as pd
import pytest

from rayae import solar_cells
from rayae.errors import DataError
from rayae.solar_cells import fetch, write_labels


@pytest.fixture
def labels(tmp_path: Path) -> pd.DataFrame:
    """The labels of 640 cells, every fourth of them doubtful or defective, as the demo writes them."""
    chances = ["0.0", "0.0", "1.0", "0.3333333333333333"]
    lines = [f"images/cell{number:04}.png  {chances[number % 4]}   mono" for number in range(1, 641)]
    (tmp_path / "labels.csv").write_text("\n".join(lines) + "\n")
    (tmp_path / "images").mkdir()
    return pd.read_csv(write_labels(str(tmp_path / "images"), str(tmp_path / "out.csv")))


def test_doubtful_cells_have_no_label(labels: pd.DataFrame) -> None:
    assert labels["label"].fillna("none").value_counts().to_dict() == {"normal": 320, "defect": 160, "none": 160}
    assert set(labels[labels["label"].isna()]["defect_probability"]) == {0.3333333333333333}


def test_a_module_is_64_cells_in_a_row_and_on_one_side(labels: pd.DataFrame) -> None:
    assert labels.groupby("group").size().tolist() == [64] * 10
    assert (labels.groupby("group")["split"].nunique() == 1).all()
    assert labels.groupby("split")["group"].nunique().to_dict() == {"calibration": 2, "test": 2, "train": 6}


def test_a_download_that_fails_is_told_in_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = subprocess.CompletedProcess([], 1, "", "ERROR: No matching distribution found\n")
    monkeypatch.setattr(solar_cells.subprocess, "run", lambda *args, **kwargs: failed)
    with pytest.raises(DataError, match="No matching distribution found; the demo needs access to PyPI once"):
        fetch(str(tmp_path / "cache"))
    assert not (tmp_path / "cache" / "elpv_dataset").exists()
