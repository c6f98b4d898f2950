"""`rayae plan`: a sample is scored for real, nothing is kept; the sums are in `test_forecast`."""

import shutil
from pathlib import Path

import pytest

from benchmarks import untrained
from rayae.cli import main
from rayae.manifest import Manifest, write_manifest
from rayae.preprocess import Preprocess
from rayae.verbs.plan import BLOCK_IMAGES, sampled_rows
from tests.conftest import write_pictures

SMALL = Preprocess("grey", 32, 32)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    untrained.write(str(tmp_path / "bundle"), untrained.network_of(SMALL), SMALL)
    return tmp_path / "bundle"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    return write_pictures(tmp_path / "images", 200, defects=0)


def test_the_whole_is_told_from_a_sample_and_nothing_is_kept(
    images: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(tmp_path.rglob("*"))
    words = ["plan", str(images), f"bundle={bundle}", "sample=64", "price_per_hour=3", "price_per_1000_requests=0.1"]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "64 of 200 images are scored as a sample" in said
    assert "200 images, " in said
    assert "workers cost" in said
    assert "requests cost" in said
    assert "bottleneck: " in said
    assert sorted(tmp_path.rglob("*")) == before


def test_pictures_that_cannot_be_scored_are_counted(
    images: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in sorted(images.rglob("*.png"))[::2]:
        path.write_bytes(b"")
    assert main(["plan", str(images), f"bundle={bundle}", "placement=inline"]) == 0
    assert "sampled images could not be scored" in capsys.readouterr().err


def test_no_images_are_a_sentence(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    assert main(["plan", str(tmp_path / "empty"), f"bundle={bundle}"]) != 0
    assert "error: " in capsys.readouterr().err


def test_the_sample_is_from_all_over_the_list(images: Path, tmp_path: Path) -> None:
    assert main(["index", str(images), f"out={tmp_path / 'list.parquet'}"]) == 0
    manifest = Manifest.open(str(tmp_path / "list.parquet"))
    blocks = [table["image_id"].to_pylist() for table in sampled_rows(manifest, 64)]
    assert [len(block) for block in blocks] == [BLOCK_IMAGES] * 4
    assert blocks[0][0] == 0
    assert blocks[-1][-1] == 199
    assert write_manifest(sampled_rows(manifest, 64), str(tmp_path / "sample.parquet")).rows == 64


def test_of_a_short_list_all_images_are_the_sample(images: Path, tmp_path: Path) -> None:
    assert main(["index", str(images), f"out={tmp_path / 'list.parquet'}"]) == 0
    manifest = Manifest.open(str(tmp_path / "list.parquet"))
    shutil.rmtree(images)
    assert sum(table.num_rows for table in sampled_rows(manifest, 1024)) == 200
