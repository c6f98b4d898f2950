"""`rayae index`: a manifest out, and nothing else replaced by it."""

from pathlib import Path

import pandas as pd
import pytest

from rayae.errors import ConfigError
from rayae.manifest import Manifest
from rayae.settings import IndexSettings
from rayae.verbs.index import index


@pytest.fixture
def images(tmp_path: Path) -> Path:
    for name in ("good/a.png", "bad/b.png", "notes.txt"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x")
    return tmp_path / "images"


def test_a_folder_becomes_a_manifest_that_says_what_is_in_it(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "m.parquet")
    index(IndexSettings(images=str(images), labels="folder", out=out))
    opened = Manifest.open(out)
    assert capsys.readouterr().out.splitlines() == [
        "2 images listed",
        "1 other files passed over (1 .txt)",
        "labels: 1 bad, 1 good; 1 of 2 mean normal (`good` or `normal`)",
        f"manifest: {out} (2 images, hash {opened.content_hash[:12]})",
    ]
    assert opened.read()["label"].to_pylist() == ["bad", "good"]


def test_indexing_again_replaces_a_manifest_and_a_manifest_gives_itself(images: Path, tmp_path: Path) -> None:
    out = str(tmp_path / "m.parquet")
    index(IndexSettings(images=str(images), out=out))
    first = Manifest.open(out)
    index(IndexSettings(images=out, out=out))
    assert Manifest.open(out) == first
    (images / "c.png").write_bytes(b"x")
    index(IndexSettings(images=str(images), out=out))
    assert Manifest.open(out).rows == 3


def test_a_parquet_file_of_the_users_is_not_replaced(tmp_path: Path) -> None:
    path = tmp_path / "list.parquet"
    pd.DataFrame({"path": ["a.png"]}).to_parquet(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError) as error:
        index(IndexSettings(images=str(path), out=str(path)))
    assert str(error.value) == (
        f"out={path}: there is a file that is no manifest; it is not replaced. Give another name."
    )
    assert path.read_bytes() == before


def test_a_manifest_has_the_ending_of_parquet(images: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        index(IndexSettings(images=str(images), out=str(tmp_path / "m.csv")))
    assert str(error.value) == (
        f"out={tmp_path}/m.csv: a manifest is one Parquet file; give it a name that ends in .parquet."
    )
