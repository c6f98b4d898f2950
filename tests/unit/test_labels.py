"""Labels and groups: how paths of a CSV find their images, and what the folders are called."""

import os
from collections.abc import Sequence
from pathlib import Path

import pytest

from rayae import labels, listing, manifest, tables
from rayae.errors import ConfigError, DataError, RayaeError, StorageError
from rayae.labels import attach_labels, labelled_images, stream_labelled
from rayae.manifest import complete, content_hash


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name in ("a.png", "b.png", "sub/c.png"):
        (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "images" / name).write_bytes(b"x")
    return tmp_path


def csv(folder: Path, text: str, name: str = "labels.csv") -> str:
    (folder / name).write_bytes(text.encode())
    return str(folder / name)


def found(images: str | Sequence[str], given: str) -> list[str | None]:
    table, _ = labelled_images(images, given)
    labels: list[str | None] = table["label"].to_pylist()
    return labels


def refusal(images: str | Sequence[str], given: str) -> str:
    with pytest.raises(DataError) as error:
        labelled_images(images, given)
    return str(error.value)


@pytest.mark.parametrize(
    "paths",
    [
        ("a.png", "sub/c.png"),
        ("./a.png", "sub/../sub//c.png"),
        ("images/a.png", "images/sub/c.png"),
        ("{0}/images/a.png", "{0}/images/sub/c.png"),
        ("file://{0}/images/a.png", "{0}/images/./sub/c.png"),
    ],
)
@pytest.mark.parametrize("place", [".", "images", "elsewhere"])
def test_a_path_is_absolute_or_relative_to_the_csv_or_to_the_images(
    data: Path, paths: tuple[str, str], place: str
) -> None:
    (data / place).mkdir(exist_ok=True)
    first, second = (path.format(data) for path in paths)
    given = csv(data / place, f"path,label,group\n{second},scratch,007\n{first},good,08\n")
    table, notes = labelled_images(str(data / "images"), given)
    assert table["label"].to_pylist() == ["good", None, "scratch"]
    assert table["group"].to_pylist() == ["08", None, "007"]
    assert [note for note in notes if "passed over" not in note] == [
        "3 images listed",
        "labels: 1 good, 1 scratch; 1 of 2 mean normal (`good` or `normal`)",
        f"1 images have no label in {given}",
    ]


def test_the_images_may_be_a_glob_a_list_or_relative_to_the_folder_one_is_in(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(data)
    given = csv(data, "path,label\na.png,good\nsub/c.png,bad\n")
    for images in ("images", "images/**/*.png", ["images/a.png", "images/sub"], "images/../images/"):
        assert "good" in found(images, "labels.csv")
    assert found("images", given) == ["good", None, "bad"]


def test_a_csv_from_another_program_is_read(data: Path) -> None:
    given = csv(data, '\ufeffpath,label,note\r\n"a.png",good,"two\nlines"\r\nb.png,"a ""bad"" one",\r\n')
    table, _ = labelled_images(str(data / "images"), given)
    assert table["label"].to_pylist() == ["good", 'a "bad" one', None]
    assert table["note"].to_pylist() == ["two\nlines", None, None]


def test_names_that_are_hard_on_a_csv_find_their_images(tmp_path: Path) -> None:
    names = ["new\nline.png", 'quo"te,.png', "é🙂.png", "~x.png", "[ab].png", " spaces .png"]
    for name in names:
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"x")
    lines = ['"' + name.replace('"', '""') + f'",{number}' for number, name in enumerate(names)]
    given = csv(tmp_path, "\n".join(["path,label", *lines, f"file://{tmp_path}/%FF.png,last"]))
    assert sorted(label or "" for label in found(str(tmp_path), given)) == ["0", "1", "2", "3", "4", "5", "last"]


def test_labels_of_one_value_keep_their_leading_zeros_and_own_columns_their_type(data: Path) -> None:
    given = csv(data, "path,label,group,weight\na.png,0,007,1.5\nb.png,1,7,\n")
    table, _ = labelled_images(str(data / "images"), given)
    assert table["label"].to_pylist() == ["0", "1", None]
    assert table["group"].to_pylist() == ["007", "7", None]
    assert table["weight"].to_pylist() == [1.5, None, None]


def test_paths_that_match_nothing_are_counted(data: Path) -> None:
    given = csv(data, "path,label\na.png,good\ngone.png,good\nb.png,bad\nsub/c.png,bad\n")
    _, notes = labelled_images(str(data / "images"), given)
    assert notes[-1] == f"1 paths in {given} name none of the images"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            "path,class\na.png,good\n",
            "labels={0} has no column `label`; it needs `path` and `label` and may have `group`, `split` and columns "
            "of your own. Its columns are path, class.",
        ),
        (
            "uri,label\na.png,good\n",
            "labels={0} has no column `path`; it needs `path` and `label` and may have `group`, `split` and columns "
            "of your own. Its columns are uri, label.",
        ),
        ("path;label\na.png;good\n", "{0} separates its columns by ';'; write it with commas."),
        ("path,label\n,good\n,bad\na.png,good\n", "labels={0} has 2 row(s) without a path."),
        (
            "path,label\na.png,good\na.png,bad\n",
            "labels={0} names {1}/images/a.png more than once, as 'a.png' and 'a.png'; keep one line for each image.",
        ),
        (
            "path,label\nb.png,bad\na.png,good\n./a.png,bad\n",
            "labels={0} names {1}/images/a.png more than once, as 'a.png' and './a.png'; keep one line for each image.",
        ),
        (
            "path,label,split\na.png,good,training\n",
            "labels={0}: the split 'training' is unknown; it is one of train, validation, calibration, test.",
        ),
        ("path,label,uri\na.png,good,x\n", "labels={0}: the column 'uri' is filled in by the listing; leave it out."),
        (
            "path,label,image_id\na.png,good,1\n",
            "labels={0}: the column 'image_id' is filled in by the listing; leave it out.",
        ),
        (
            "path,label,score\na.png,good,1\n",
            "labels={0}: the column 'score' has the name of a result column; give it another name.",
        ),
        (
            "path,label\nx/gone.png,good\n",
            "labels={0} names none of the images: its first path is 'x/gone.png', the first image is "
            "{1}/images/a.png; paths are absolute, or relative to the CSV or to the folder of the images.",
        ),
        (
            "path,label\n",
            "labels={0} has no rows below its header; give a line with `path` and `label` an image.",
        ),
    ],
)
def test_labels_that_cannot_be_used_are_refused_with_the_reason(data: Path, text: str, sentence: str) -> None:
    given = csv(data, text)
    assert refusal(str(data / "images"), given) == sentence.format(given, data)


def test_a_path_that_may_name_two_images_is_refused_unless_the_csv_lies_beside_one(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.png").write_bytes(b"x")
    images = [str(tmp_path / "one"), str(tmp_path / "two")]
    given = csv(tmp_path, "path,label\na.png,good\n")
    assert refusal(images, given) == (
        f"labels={given}: the path 'a.png' may be {tmp_path}/one/a.png or {tmp_path}/two/a.png; write the whole path."
    )
    assert found(images, csv(tmp_path / "two", "path,label\na.png,good\n")) == [None, "good"]


def test_labels_that_are_not_there_are_told(data: Path) -> None:
    with pytest.raises(StorageError) as error:
        labelled_images(str(data / "images"), str(data / "gone.csv"))
    assert str(error.value) == f"cannot read {data}/gone.csv: there is no such file or directory."
    with pytest.raises(RayaeError):
        labelled_images(str(data / "images"), str(data / "images"))


def test_a_list_with_an_unknown_split_is_refused(data: Path) -> None:
    given = csv(data, "path,split\na.png,val\n", "list.csv")
    with pytest.raises(DataError) as error:
        labelled_images(given, None)
    assert str(error.value) == (
        "the images: the split 'val' is unknown; it is one of train, validation, calibration, test."
    )


def test_the_folders_of_a_data_set_are_its_labels(tmp_path: Path) -> None:
    layout = ["train/good/0.png", "train/good/1.png", "test/good/0.png", "test/broken large/0.png", "test/Normal/0.png"]
    for name in layout:
        (tmp_path / "bottle" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "bottle" / name).write_bytes(b"x")
    table, notes = labelled_images(str(tmp_path / "bottle"), "folder")
    assert table["label"].to_pylist() == ["Normal", "broken large", "good", "good", "good"]
    assert notes == [
        "5 images listed",
        "labels: 3 good, 1 Normal, 1 broken large; 4 of 5 mean normal (`good` or `normal`)",
    ]
    assert found(str(tmp_path / "bottle" / "train" / "*"), "folder") == ["good", "good"]
    assert found(str(tmp_path / "bottle" / "test" / "good"), "folder") == ["good"]


def test_a_label_that_means_a_missing_value_is_pointed_at(data: Path) -> None:
    _, notes = labelled_images(str(data / "images"), csv(data, "path,label\na.png,good\nb.png,NaN\n"))
    assert "1 images have the label 'NaN', a defect; an empty cell is no label" in notes


def test_a_bare_folder_gives_its_own_name_and_the_note_says_that_nothing_is_normal(data: Path) -> None:
    (data / "images" / "sub" / "c.png").unlink()
    _, notes = labelled_images(str(data / "images"), "folder")
    assert notes[-1] == "labels: 2 images; 0 of 2 mean normal (`good` or `normal`)"


def test_a_folder_name_is_what_people_see(tmp_path: Path) -> None:
    for folder in ("défaut", os.fsdecode(b"\xff%41"), "new\nline"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / os.fsdecode(b"\xfe.png")).write_bytes(b"x")
    assert sorted(label or "" for label in found(str(tmp_path), "folder")) == ["\\xff%41", "défaut", "new\nline"]


@pytest.mark.parametrize(
    ("uri", "name"),
    [("/a.png", None), ("/x/a.png", "x"), ("s3://bucket/a.png", "bucket"), ("memory://a.png", None), ("/x y/a", "x y")],
)
def test_the_folder_of_an_image_is_the_last_before_its_name(uri: str, name: str | None) -> None:
    assert labels._folder_name(uri) == name


def test_labels_do_not_depend_on_the_order_of_the_csv(data: Path) -> None:
    one = csv(data, "path,label\na.png,good\nb.png,bad\n", "one.csv")
    other = csv(data, "path,label\nb.png,bad\na.png,good\n", "other.csv")
    hashes = {content_hash(labelled_images(str(data / "images"), given)[0]) for given in (one, other)}
    assert len(hashes) == 1


def test_an_unknown_folder_is_told_before_the_labels_are_looked_at(data: Path) -> None:
    with pytest.raises(ConfigError):
        labelled_images(str(data / "gone"), str(data / "gone.csv"))


def test_many_labels_are_matched_in_a_moment(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"images/{number}.png\n" for number in range(20_000)))
    given = csv(tmp_path, "path,label\n" + "".join(f"images/{number}.png,good\n" for number in range(20_000)))
    assert found(str(tmp_path / "list.txt"), given) == ["good"] * 20_000
    assert listing.roots(str(tmp_path / "list.txt")) == [str(tmp_path / "list.txt"), str(tmp_path)]


def test_a_folder_above_that_means_normal_is_the_label_of_all_below_it(tmp_path: Path) -> None:
    uris = [
        f"{tmp_path}/{name}" for name in ("good/Halle Ä/1.png", "scratch/b 2/2.png", "good/3.png", "train/good/4.png")
    ]
    table = complete({"uri": uris})
    labelled, _ = attach_labels(table, "folder", str(tmp_path))
    assert labelled["label"].to_pylist() == ["good", "b 2", "good", "good"]


def test_a_folder_above_the_images_says_nothing(tmp_path: Path) -> None:
    table = complete({"uri": [f"{tmp_path}/normal/parts/scratch/1.png"]})
    labelled, _ = attach_labels(table, "folder", f"{tmp_path}/normal/parts")
    assert labelled["label"].to_pylist() == ["scratch"]


def test_labels_come_to_a_stream_as_they_come_to_its_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "TABLE_ROWS", 7)
    monkeypatch.setattr(manifest, "BLOCK_ROWS", 5)
    (tmp_path / "list.txt").write_text("".join(f"images/{number}.png\n" for number in range(50)))
    rows = "".join(f"images/{number}.png,{'good' if number % 2 else 'bad'}\n" for number in range(0, 60, 3))
    given = csv(tmp_path, f"path,label\n{rows}")
    stream = stream_labelled(str(tmp_path / "list.txt"), given)
    pieces = list(stream)
    assert len(pieces) > 5
    assert {piece.schema for piece in pieces} == {stream.schema}
    expected = [("good" if number % 2 else "bad") if number % 3 == 0 else None for number in range(50)]
    assert [label for piece in pieces for label in piece["label"].to_pylist()] == expected
    assert stream.notes == [
        "50 images listed",
        "labels: 9 bad, 8 good; 8 of 17 mean normal (`good` or `normal`)",
        f"33 images have no label in {given}",
        f"3 paths in {given} name none of the images",
    ]


@pytest.mark.parametrize(
    ("uri", "label"),
    [
        ("s3://b/parts/good.tar!/scratch/1.png", "scratch"),
        ("s3://b/parts/shard.tar!/1.png", "parts"),
        ("s3://b/parts/x.parquet!/row-17", "parts"),
        ("s3://b/parts/x.parquet!/row-17/dent/1.png", "dent"),
        ("s3://b/parts/x.tif!/page-2", "parts"),
        ("s3://b/good/x.zip!/a/b/1.png", "good"),
    ],
)
def test_archives_are_no_folders(uri: str, label: str) -> None:
    labelled, _ = attach_labels(complete({"uri": [uri]}), "folder", "s3://b")
    assert labelled["label"].to_pylist() == [label]


def test_labels_that_stand_in_a_list_are_told(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("uri,label\na.png,0\nb.png,1\nc.png,1\n")
    _, notes = labelled_images(str(tmp_path / "list.csv"), None)
    assert notes[-1] == "labels: 2 1, 1 0; 0 of 3 mean normal (`good` or `normal`)"


@pytest.mark.parametrize("name", ["good/x.tar!/a.png", "x.tar!/good/a.tif!/page-2", "good/x.tar!/a.tif!/page-2"])
def test_members_and_pages_of_archives_are_labelled_by_folders_alone(name: str) -> None:
    table = complete({"uri": [f"/d/{name}"]})
    assert attach_labels(table, "folder", "/d")[0]["label"].to_pylist() == ["good"]


def test_the_query_of_an_address_is_no_folder() -> None:
    uris = ["https://h/good/a.png?sig=abc/def", "https://h/loose/a.tif?api_key=abc!/page-2"]
    labelled, notes = attach_labels(complete({"uri": uris}), "folder", "https://h/list.csv")
    assert labelled["label"].to_pylist() == ["good", "loose"]
    assert "abc" not in " ".join(notes)


def test_a_folder_that_ends_like_an_archive_is_but_a_folder(tmp_path: Path) -> None:
    for name in ("good/NG!/a.png", "scratch!/b.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    table, _ = labelled_images([f"{tmp_path}/good/NG!", f"{tmp_path}/scratch!"], "folder")
    assert table["label"].to_pylist() == ["NG!", "scratch!"]
