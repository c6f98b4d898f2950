"""`rayae index`: a manifest out, and nothing else replaced by it."""

import os
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae.cli import main
from rayae.errors import ConfigError
from rayae.listing import list_images
from rayae.manifest import Manifest, complete, write_manifest
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


@pytest.fixture
def made(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """A manifest of the images, labelled by their folders, without names that begin with x."""
    out = str(tmp_path / "m.parquet")
    assert main(["index", str(images), "labels=folder", "select.exclude=x*", f"out={out}"]) == 0
    capsys.readouterr()
    return out


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().out.splitlines()


def test_an_update_tells_what_is_new_changed_and_gone_and_writes_a_manifest_of_what_to_score(
    images: Path, made: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "good" / "c.png").write_bytes(b"new")
    (images / "good" / "x.png").write_bytes(b"still not asked for")
    (images / "good" / "a.png").write_bytes(b"longer")
    (images / "bad" / "b.png").unlink()
    assert main(["index", "--update", f"out={made}"]) == 0
    folder = Path(made).parent
    assert lines(capsys) == [
        "2 images listed",
        "2 other files passed over (1 .txt, 1 not selected)",
        "labels: 2 good; 2 of 2 mean normal (`good` or `normal`)",
        f"1 image(s) new, the first is {images}/good/c.png",
        f"1 image(s) gone, the first is {images}/bad/b.png",
        f"1 image(s) changed in size or time, the first is {images}/good/a.png",
        f"new and changed: {folder}/m.new.parquet (2 images)",
        f"gone: {folder}/m.gone.parquet (1 images)",
        f"manifest: {made} (2 images, hash {Manifest.open(made).content_hash[:12]})",
    ]
    expected = [f"{images}/good/a.png", f"{images}/good/c.png"]
    new = list_images(f"{folder}/m.new.parquet")[0]
    assert new["uri"].to_pylist() == Manifest.open(made).read()["uri"].to_pylist() == expected
    assert new["label"].to_pylist() == ["good", "good"]
    gone = list_images(f"{folder}/m.gone.parquet")[0]
    assert (gone["uri"].to_pylist(), gone["label"].to_pylist()) == ([f"{images}/bad/b.png"], ["bad"])


def test_an_update_without_a_difference_touches_no_file(
    made: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert main(["index", f"out={made}", "update=true"]) == 0
    found = Manifest.open(made)
    assert lines(capsys)[-1] == f"nothing differs: {made} stays as it is (2 images, hash {found.content_hash[:12]})"
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_what_an_earlier_update_wrote_beside_does_not_outlive_it(images: Path, made: str) -> None:
    (images / "c.png").write_bytes(b"x")
    assert main(["index", "--update", f"out={made}"]) == 0
    assert (images.parent / "m.new.parquet").exists()
    (images / "c.png").unlink()
    assert main(["index", "--update", f"out={made}"]) == 0
    assert not (images.parent / "m.new.parquet").exists()
    assert (images.parent / "m.gone.parquet").exists()


@pytest.mark.parametrize("what", ["new", "gone"])
def test_an_update_replaces_no_file_of_somebody_else(
    images: Path, made: str, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (images / "c.png").write_bytes(b"x")
    (images / "good" / "a.png").unlink()
    foreign, before = images.parent / f"m.{what}.parquet", Path(made).read_bytes()
    pq.write_table(pa.table({"mine": [1]}), foreign)
    theirs = foreign.read_bytes()
    assert main(["index", "--update", f"out={made}"]) == 2
    sentence = f"error: {foreign} would be replaced, and is no manifest; move it, or give `out=` another name.\n"
    assert capsys.readouterr().err == sentence
    assert (foreign.read_bytes(), Path(made).read_bytes()) == (theirs, before)


def test_an_update_with_another_selection_says_what_gone_means(made: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "--update", f"out={made}", "select.exclude=b*"]) == 0
    assert "other images or another selection than before: what they leave out counts as gone" in lines(capsys)


def test_what_is_asked_with_an_update_goes_before_what_the_manifest_was_made_from(images: Path, made: str) -> None:
    (images / "x.png").write_bytes(b"x")
    assert main(["index", "--update", f"out={made}", "select.exclude=b*"]) == 0
    assert Manifest.open(made).read()["uri"].to_pylist() == [f"{images}/good/a.png", f"{images}/x.png"]
    assert Manifest.open(made).made_from == {
        "images": str(images),
        "labels": "folder",
        "select": {"exclude": "b*"},
    }


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (
            ["out={0}/gone.parquet"],
            "out={0}/gone.parquet: there is no manifest to update; without --update one is written.",
        ),
        (
            ["out={0}/run.parquet"],
            "{0}/run.parquet does not say what it was made from; give images= and, if it had some, labels=.",
        ),
        (
            ["out={0}/secret.parquet"],
            "{0}/secret.parquet was made from a URI with a secret, which it does not keep; give images= again.",
        ),
    ],
)
def test_an_update_that_cannot_be_done_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], sentence: str
) -> None:
    write_manifest(complete({"uri": ["/a.png"]}), str(tmp_path / "run.parquet"))
    (tmp_path / "list.csv").write_text("uri\na.png\n")
    secret = {"images": "https://user:***@host/list.csv"}
    write_manifest(complete({"uri": ["/a.png"]}), str(tmp_path / "secret.parquet"), made_from=secret)
    assert main(["index", "--update", *(word.format(tmp_path) for word in words)]) == 2
    assert capsys.readouterr().err == f"error: {sentence.format(tmp_path)}\n"


def test_images_are_required_but_for_an_update(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        index(IndexSettings(out=str(tmp_path / "m.parquet")))
    assert str(error.value) == (
        "images= is required: a folder, a glob, a list or a manifest; only --update does without."
    )


def test_images_are_selected_by_time_and_size(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    os.utime(images / "good" / "a.png", (0, 0))
    (images / "good" / "large.png").write_bytes(b"x" * 100)
    out = f"out={tmp_path}/m.parquet"
    assert main(["index", str(images), out, "select.newer=2000-01-01", "select.max_bytes=99"]) == 0
    assert Manifest.open(f"{tmp_path}/m.parquet").read()["uri"].to_pylist() == [f"{images}/bad/b.png"]
    assert main(["index", str(images), out, "select.older=2000-01-01T00:00+02:00"]) == 0
    assert Manifest.open(f"{tmp_path}/m.parquet").read()["uri"].to_pylist() == [f"{images}/good/a.png"]
    capsys.readouterr()
    assert main(["index", str(images), out, "select.older=yesterday"]) == 2
    assert "select.older: 'yesterday' is no time in ISO 8601, as 2026-11-24 or" in capsys.readouterr().err
    (tmp_path / "list.txt").write_text("a.png\n")
    assert main(["index", f"{tmp_path}/list.txt", out, "select.newer=2000-01-01"]) == 2
    assert "need the times of the images, and" in capsys.readouterr().err
