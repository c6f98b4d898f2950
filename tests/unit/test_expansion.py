"""Archives among what is listed: their members in their place, in order, with the columns of their row."""

import io
import tarfile
import zipfile
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from rayae import listing
from rayae.errors import ConfigError, DataError
from rayae.labels import labelled_images
from rayae.selection import Select

PIXEL = io.BytesIO()
Image.new("L", (8, 8)).save(PIXEL, "PNG")
PNG = PIXEL.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """a.png, m.tar (good/1.png, 2.png, notes.txt), p.tif of three pages, sub/q.ZIP (good/1.png), z.png."""
    (tmp_path / "sub").mkdir()
    for name in ("a.png", "z.png"):
        (tmp_path / name).write_bytes(PNG)
    with tarfile.open(tmp_path / "m.tar", "w") as tar:
        for name in ("good/1.png", "2.png", "notes.txt"):
            member = tarfile.TarInfo(name)
            member.size = len(PNG)
            tar.addfile(member, io.BytesIO(PNG))
    with zipfile.ZipFile(tmp_path / "sub" / "q.ZIP", "w") as zipped:
        zipped.writestr("good/1.png", PNG)
    pages = [Image.new("L", (8, 8), value) for value in range(3)]
    pages[0].save(tmp_path / "p.tif", save_all=True, append_images=pages[1:])
    return tmp_path


def names(table: pa.Table, folder: Path) -> list[str]:
    return [uri.removeprefix(f"{folder}/") for uri in table["uri"].to_pylist()]


def test_members_stand_where_their_archive_lies_with_its_uri_and_their_place(folder: Path) -> None:
    table, passed_over = listing.list_images(str(folder))
    assert names(table, folder) == [
        *("a.png", "m.tar!/good/1.png", "m.tar!/2.png", "p.tif", "sub/q.ZIP!/good/1.png", "z.png")
    ]
    assert table["container"].to_pylist() == [
        *(None, f"{folder}/m.tar", f"{folder}/m.tar", None, f"{folder}/sub/q.ZIP", None)
    ]
    assert [place and place.partition(":")[0] for place in table["place"].to_pylist()] == [
        *(None, "tar", "tar", None, "zip", None)
    ]
    assert table["size_bytes"].to_pylist()[1] == len(PNG)
    assert passed_over == Counter({".txt": 1})


def test_the_notes_say_how_many_images_came_from_how_many_archives(folder: Path) -> None:
    table, notes = labelled_images(str(folder), "folder")
    assert notes[:2] == ["6 images listed", "3 of them come from 2 archive(s)"]
    assert table["label"].to_pylist() == [folder.name, "good", folder.name, folder.name, "good", folder.name]


def test_a_folder_that_is_called_as_an_archive_beside_it_is_refused(folder: Path) -> None:
    (folder / "m.tar!" / "d!").mkdir(parents=True)
    (folder / "m.tar!" / "d!" / "2.png").write_bytes(PNG)
    with pytest.raises(DataError, match=rf"^images names the archive {folder}/m\.tar and a folder {folder}/m\.tar!: "):
        listing.list_images(str(folder))


def test_a_column_modified_is_the_users_own_and_no_time_of_a_file(folder: Path) -> None:
    (folder / "list.csv").write_text("uri,modified\na.png,true\n")
    table, _ = listing.list_images([f"{folder}/sub", f"{folder}/list.csv"])
    assert set(table["modified"].to_pylist()) == {None, True}


def test_a_query_that_ends_like_an_archive_makes_none(folder: Path) -> None:
    (folder / "list.txt").write_text("https://h/a.png?f=x.zip\nhttps://h/b.png?sig=a.tar\n")
    table, _ = listing.list_images(f"{folder}/list.txt")
    assert table["uri"].to_pylist() == ["https://h/a.png?f=x.zip", "https://h/b.png?sig=a.tar"]
    assert table["place"].null_count == 2


@pytest.mark.parametrize("ending", ["tar", "zip"])
def test_pages_in_an_archive_are_chosen_with_the_tiff_that_they_are_of(tmp_path: Path, ending: str) -> None:
    pages = [Image.new("L", (8, 8), value) for value in range(3)]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    pages[0].save(tmp_path / "b.tif")
    path = tmp_path / f"x.{ending}"
    if ending == "tar":
        with tarfile.open(path, "w") as file:
            for name in ("a.tif", "b.tif"):
                file.add(tmp_path / name, name)
    else:
        with zipfile.ZipFile(path, "w") as archive:
            for name in ("a.tif", "b.tif"):
                archive.write(tmp_path / name, name)

    def chosen(**asked: tuple[str, ...]) -> list[str]:
        table, _ = listing.list_images(str(path), Select(pages="all", **asked))
        return [name.partition("!/")[2] for name in names(table, tmp_path)]

    all_of_a = [f"a.tif!/page-{number}" for number in (1, 2, 3)]
    assert chosen(include=("*.tif",)) == [*all_of_a, "b.tif"]
    assert chosen(include=("a.tif",)) == all_of_a
    assert chosen(exclude=("a.tif",)) == ["b.tif"]


def test_a_compressed_tar_in_a_folder_is_a_row_and_stops_no_listing(folder: Path) -> None:
    with tarfile.open(folder / "b.tar", "w:gz"):
        pass
    table, _ = listing.list_images(str(folder))
    assert names(table, folder)[:3] == ["a.png", "b.tar!/compressed", "m.tar!/good/1.png"]
    assert names(table, folder)[-1] == "z.png"


def test_every_page_of_a_tiff_is_an_image_when_all_are_asked_for(folder: Path) -> None:
    table, _ = listing.list_images(f"{folder}/p.tif", Select(pages="all"))
    assert names(table, folder) == ["p.tif!/page-1", "p.tif!/page-2", "p.tif!/page-3"]
    assert table["place"].to_pylist() == ["page:0", "page:1", "page:2"]


@pytest.mark.parametrize(
    ("select", "expected"),
    [
        (Select(include=("m.tar",)), ["m.tar!/good/1.png", "m.tar!/2.png"]),
        (Select(include=("**/good/*",)), ["m.tar!/good/1.png", "sub/q.ZIP!/good/1.png"]),
        (Select(exclude=("*.tar", "?.png")), ["p.tif"]),
        (Select(exclude=("sub/*",), include=("1.png",)), ["m.tar!/good/1.png"]),
        (Select(max_bytes=len(PNG)), ["a.png", "m.tar!/good/1.png", "m.tar!/2.png", "sub/q.ZIP!/good/1.png", "z.png"]),
    ],
)
def test_an_archive_is_taken_or_left_as_a_whole_and_its_members_one_by_one(
    folder: Path, select: Select, expected: list[str]
) -> None:
    assert names(listing.list_images(str(folder), select)[0], folder) == expected


def test_the_members_of_an_archive_in_a_list_have_the_columns_of_its_row(folder: Path) -> None:
    (folder / "list.csv").write_text("path,label,line\nm.tar,good,7\nz.png,bad,8\nsub/q.ZIP,bad,9\n")
    table, _ = listing.list_images(str(folder / "list.csv"))
    assert names(table, folder) == ["m.tar!/good/1.png", "m.tar!/2.png", "z.png", "sub/q.ZIP!/good/1.png"]
    assert table["label"].to_pylist() == ["good", "good", "bad", "bad"]
    assert table["line"].to_pylist() == [7, 7, 8, 9]
    assert listing.list_images(str(folder / "list.csv"))[0] == table


def test_a_broken_archive_costs_its_own_tail(folder: Path) -> None:
    data = (folder / "m.tar").read_bytes()
    (folder / "m.tar").write_bytes(data[:1100])
    table, _ = listing.list_images(str(folder))
    assert names(table, folder)[:3] == ["a.png", "m.tar!/good/1.png", "m.tar!/damaged-1024"]
    assert table["place"].to_pylist()[2] == "damaged:1024"
    assert names(table, folder)[-1] == "z.png"


def test_a_parquet_file_with_image_bytes_is_listed_when_it_is_named_or_matched_but_not_in_a_folder(
    folder: Path,
) -> None:
    rows = {"image": [{"bytes": PNG, "path": "b.png"}, {"bytes": PNG, "path": None}], "line": [1, 2]}
    pq.write_table(pa.table(rows), folder / "images.parquet")
    expected = ["images.parquet!/row-0/b.png", "images.parquet!/row-1"]
    for images in ("images.parquet", "*.parquet"):
        table, _ = listing.list_images(str(folder / images))
        assert names(table, folder) == expected
        assert table["line"].to_pylist() == [1, 2]
    both, passed_over = listing.list_images([str(folder), str(folder / "images.parquet")])
    assert names(both, folder)[-2:] == expected
    assert passed_over[".parquet"] == 1


def test_the_column_of_the_images_is_chosen_where_there_are_several(folder: Path) -> None:
    path = str(folder / "two.parquet")
    pq.write_table(pa.table({"left": [PNG], "right": [PNG]}), path)
    with pytest.raises(DataError, match=r"set select.image_column to one of"):
        listing.list_images(path)
    table, _ = listing.list_images(path, Select(image_column="right"))
    assert table["place"].to_pylist()[0].endswith(":right")


def test_sizes_that_are_not_known_before_reading_cannot_be_chosen_by(folder: Path) -> None:
    path = str(folder / "one.parquet")
    pq.write_table(pa.table({"image": [PNG]}), path)
    with pytest.raises(ConfigError) as error:
        listing.list_images(path, Select(min_bytes=1))
    assert str(error.value) == (
        "select.min_bytes= and select.max_bytes= need the sizes of the images, and "
        f"{path} does not say them; choose among files in folders, or leave these settings out."
    )
