"""What `images=` means: folders, globs, lists, manifests, and everything a file system can hold against it."""

import functools
import http.server
import os
import random
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import folders, listing, storage
from rayae.errors import ConfigError, DataError, RayaeError
from rayae.manifest import COLUMNS, Manifest, content_hash, write_manifest

NASTY = ["new\nline", "'q\"", "é🙂", "-x", "[ab]", "~", "a b", "a::b", "%41", "*", "#?", "s3:", "=1+1", "<b>", "\u202e"]


def touch(folder: Path, *names: str) -> Path:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    return folder


def names(images: str | Sequence[str], below: Path) -> list[str]:
    table, _ = listing.list_images(images)
    return [uri.removeprefix(f"{below}/") for uri in table["uri"].to_pylist()]


def refusal(images: str | Sequence[str]) -> tuple[type[RayaeError], str]:
    with pytest.raises(RayaeError) as error:
        listing.list_images(images)
    return type(error.value), str(error.value)


def test_a_folder_gives_its_pictures_sorted_and_counts_the_rest(tmp_path: Path) -> None:
    touch(tmp_path, "b.PNG", "a.jpeg", "sub/c.tif", "sub.d/x.jpg", "notes.txt", "model.pt", "Makefile", ".hidden.png")
    touch(tmp_path, ".thumbnails/a.jpg", "sub/.git/b.jpg")
    table, passed_over = listing.list_images(str(tmp_path))
    found = [uri.removeprefix(f"{tmp_path}/") for uri in table["uri"].to_pylist()]
    assert found == ["a.jpeg", "b.PNG", "sub.d/x.jpg", "sub/c.tif"]
    assert passed_over == Counter({".txt": 1, ".pt": 1, "no ending": 1, "hidden": 1})
    status = os.stat(tmp_path / "a.jpeg")
    assert table["size_bytes"].to_pylist()[0] == status.st_size
    assert table["etag"].to_pylist()[0] == f"{status.st_mtime_ns:x}"


def test_the_order_is_that_of_the_names_not_of_the_file_system(tmp_path: Path) -> None:
    wanted = [f"{number:02}.png" for number in range(30)]
    for seed in range(3):
        shuffled = random.Random(seed).sample(wanted, len(wanted))
        touch(tmp_path / str(seed), *shuffled)
        for images in (tmp_path / str(seed), tmp_path / str(seed) / "*.png", tmp_path / str(seed) / "**"):
            assert names(str(images), tmp_path / str(seed)) == wanted


def test_files_of_any_name_are_listed_under_a_uri_that_finds_them(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{name}/{name}.png" for name in NASTY))
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"not utf-8")
    table, _ = listing.list_images(str(tmp_path))
    found = table["uri"].to_pylist()
    assert sorted(found) == sorted([*(f"{tmp_path}/{name}/{name}.png" for name in NASTY), f"file://{tmp_path}/%FF.png"])
    assert storage.read_bytes(f"file://{tmp_path}/%FF.png") == b"not utf-8"
    for uri in found:
        assert names(uri, tmp_path) == [uri.removeprefix(f"{tmp_path}/")]
        assert names([uri], tmp_path) == names(uri, tmp_path)
    write_manifest(table, str(tmp_path / "m.parquet"))
    assert listing.list_images(str(tmp_path / "m.parquet"))[0] == table


@pytest.mark.parametrize(
    "form", ["{0}", "{0}/", "{0}/.", "{0}/sub/..", "{0}//", "file://{0}", "pictures", "./pictures/", "~/pictures"]
)
def test_every_form_of_a_folder_gives_the_same_manifest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str
) -> None:
    touch(tmp_path / "pictures", "a.png", "sub/b.png")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    expected, _ = listing.list_images(str(tmp_path / "pictures"))
    found, _ = listing.list_images(form.format(tmp_path / "pictures"))
    assert content_hash(found) == content_hash(expected)


def test_links_in_a_circle_end_and_a_real_place_comes_before_a_link_to_it(tmp_path: Path) -> None:
    touch(tmp_path, "z/real.png", "a/own.png")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "z")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "z" / "itself").symlink_to("itself")
    (tmp_path / "z" / "self").symlink_to(".")
    expected = ["a/own.png", "z/real.png"]
    assert names(str(tmp_path), tmp_path) == expected
    assert names(str(tmp_path / "**" / "*.png"), tmp_path) == expected
    assert names(str(tmp_path / "**" / "**" / "*.png"), tmp_path) == expected


def test_a_folder_that_is_reached_only_by_a_link_is_listed(tmp_path: Path) -> None:
    touch(tmp_path / "elsewhere", "a.png", "deep/b.png")
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "link").symlink_to(tmp_path / "elsewhere")
    assert names(str(tmp_path / "pictures"), tmp_path) == ["pictures/link/a.png", "pictures/link/deep/b.png"]
    assert names(str(tmp_path / "pictures" / "link"), tmp_path) == names(str(tmp_path / "pictures"), tmp_path)


def test_a_link_that_leads_nowhere_keeps_its_row_without_a_size(tmp_path: Path) -> None:
    (tmp_path / "a.png").symlink_to(tmp_path / "gone.png")
    for images in (tmp_path, tmp_path / "*.png", tmp_path / "**"):
        table, _ = listing.list_images(str(images))
        assert table.select(["uri", "size_bytes", "etag"]).to_pylist() == [
            {"uri": f"{tmp_path}/a.png", "size_bytes": None, "etag": None}
        ]


def test_a_pipe_in_a_folder_is_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    table, passed_over = listing.list_images(str(tmp_path))
    assert table["uri"].to_pylist() == [f"{tmp_path}/a.png"]
    assert passed_over == Counter({"no regular file": 1})


def as_nobody(images: str) -> str:
    """What listing says to a user who is not root."""
    code = (
        "import os, sys\nfrom rayae import listing\nfrom rayae.errors import RayaeError\n"
        "import pyarrow.parquet, fsspec.implementations.local\n"
        "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
        "try: print(len(listing.list_images(sys.argv[1])[0]))\n"
        "except RayaeError as error: print(type(error).__name__, error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code, images], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def common() -> Iterator[Path]:
    """A temporary folder that every user of this machine can look into; that of pytest is the user's own."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("images", ["{0}", "{0}/**/*.png", "{0}/*/*.png"])
def test_a_folder_that_cannot_be_read_is_an_error_and_never_left_out(common: Path, images: str) -> None:
    touch(common, "open/a.png", "shut/b.png")
    (common / "shut").chmod(0o300)
    assert as_nobody(images.format(common)) == (
        f"DataError cannot list the folder {common}/shut: Permission denied; give this user access to it, "
        "or name the images without it."
    )
    (common / "shut").chmod(0o700)


def test_files_in_a_folder_that_may_be_listed_but_not_entered_keep_their_rows(common: Path) -> None:
    touch(common, "shut/b.png")
    (common / "shut").chmod(0o744)
    assert as_nobody(str(common)) == "1"


def test_a_file_of_the_very_name_comes_before_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "[ab].png", "a.png", "b.png", "folder[1]/c.png", "folder1/d.png")
    assert names(str(tmp_path / "[ab].png"), tmp_path) == ["[ab].png"]
    assert names(str(tmp_path / "folder[1]"), tmp_path) == ["folder[1]/c.png"]
    assert listing.roots(str(tmp_path / "folder[1]")) == [f"{tmp_path}/folder[1]", str(tmp_path)]
    (tmp_path / "[ab].png").unlink()
    assert names(str(tmp_path / "[ab].png"), tmp_path) == ["a.png", "b.png"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.png", ["a.png", "b.png"]),
        ("?.png", ["a.png", "b.png"]),
        ("[!a].png", ["b.png"]),
        ("*", ["a.png", "b.png", "notes.md"]),
        ("*/*.png", ["x/c.png", "y/d.png"]),
        ("**/*.png", ["a.png", "b.png", "x/c.png", "x/deep/e.png", "y/d.png"]),
        ("**", ["a.png", "b.png", "notes.md", "x/c.png", "x/deep/e.png", "y/d.png"]),
        ("x/**/e.png", ["x/deep/e.png"]),
        ("[xy]", ["x/c.png", "x/deep/e.png", "y/d.png"]),
        ("**/deep", ["x/deep/e.png"]),
        (".*.png", [".hidden.png"]),
        ("a.png/*", None),
    ],
)
def test_a_glob_gives_the_files_that_match_or_the_pictures_in_folders_that_match(
    tmp_path: Path, pattern: str, expected: list[str] | None
) -> None:
    touch(tmp_path, "a.png", "b.png", ".hidden.png", "notes.md", "x/c.png", "y/d.png", "x/deep/e.png")
    if expected is not None:
        assert names(str(tmp_path / pattern), tmp_path) == expected
    else:
        kind, sentence = refusal(str(tmp_path / pattern))
        assert kind is DataError
        assert "holds no images: found nothing" in sentence


def test_a_list_keeps_its_order_and_may_mix_all_there_is(tmp_path: Path) -> None:
    touch(tmp_path, "z/b.png", "z/a.png", "m.png", "g1.tif", "g2.tif")
    (tmp_path / "list.txt").write_text("l2.png\nl1.png\n")
    (tmp_path / "list.csv").write_text("path,line\nc.png,7\n")
    items = ["z", "list.txt", "m.png", "list.csv", "g*.tif", "gone.png"]
    images = [str(tmp_path / item) for item in items]
    assert names(images, tmp_path) == [
        *("z/a.png", "z/b.png", "l2.png", "l1.png", "m.png", "c.png", "g1.tif", "g2.tif", "gone.png")
    ]
    table, _ = listing.list_images(images)
    assert table["line"].to_pylist() == [None] * 5 + [7] + [None] * 3
    assert table["image_id"].to_pylist() == list(range(9))
    assert table["size_bytes"].to_pylist() == [7, 7, None, None, 5, None, 6, 6, None]


def test_lists_whose_own_columns_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("path,line\na,7\n")
    (tmp_path / "b.csv").write_text("path,line\nb,seven\n")
    (tmp_path / "c.csv").write_text("path,line\nc,7.5\n")
    kind, sentence = refusal([str(tmp_path / "a.csv"), str(tmp_path / "b.csv")])
    assert kind is DataError
    assert sentence.startswith("the lists of images= do not fit together: a column has several types (")
    table, _ = listing.list_images([str(tmp_path / "a.csv"), str(tmp_path / "c.csv")])
    assert table["line"].to_pylist() == [7.0, 7.5]


def test_a_glob_of_lists_reads_the_lists(tmp_path: Path) -> None:
    (tmp_path / "1.csv").write_text("path\na.png\n")
    (tmp_path / "2.csv").write_text("path\nb.png\n")
    assert names(str(tmp_path / "*.csv"), tmp_path) == ["a.png", "b.png"]


@pytest.mark.parametrize("lines", ["a.png\n./a.png\n", "a.png\n{0}/a.png\n", "a.png\nfile://{0}/a.png\nb.png\n"])
def test_an_image_that_is_named_twice_in_whatever_form_is_refused(tmp_path: Path, lines: str) -> None:
    (tmp_path / "list.txt").write_text(lines.format(tmp_path))
    assert refusal(str(tmp_path / "list.txt")) == (
        DataError,
        f"images names 1 image(s) more than once, the first is {tmp_path}/a.png; "
        "name each once (folders that lie in one another overlap).",
    )


def test_folders_that_overlap_are_refused(tmp_path: Path) -> None:
    touch(tmp_path, "sub/a.png")
    assert refusal([str(tmp_path), str(tmp_path / "sub")])[0] is DataError


def test_an_empty_folder_and_one_of_other_files_say_what_was_found(tmp_path: Path) -> None:
    end = "; a folder gives files ending in .jpg, .png, .tif and so on."
    assert refusal(str(tmp_path)) == (DataError, f"images={tmp_path} holds no images: found nothing{end}")
    touch(tmp_path, "a.txt", "b.txt", "c.py", "README")
    assert refusal(str(tmp_path)) == (
        DataError,
        f"images={tmp_path} holds no images: found only other files (2 .txt, 1 no ending, 1 .py){end}",
    )
    (tmp_path / "list.txt").write_text("\n\n")
    assert refusal(str(tmp_path / "list.txt"))[1].endswith(f"holds no images: found nothing{end}")
    assert refusal([])[1] == f"images= holds no images: found nothing{end}"


@pytest.mark.parametrize("name", ["gone", "gone.png", "gone.parquet", "gone.csv", "folder.png/x"])
def test_what_is_not_there_is_the_askers_to_mend(tmp_path: Path, name: str) -> None:
    path = str(tmp_path / name)
    assert refusal(path) == (ConfigError, f"images={path}: there is no such file or folder (looked at {path}).")


@pytest.mark.parametrize("images", ["", " ", [""], ["a", ""]])
def test_nothing_asked_is_never_taken_for_this_folder(
    images: str | list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(touch(tmp_path, "a/a.png"))
    assert refusal(images) == (ConfigError, "images= is empty; give a folder, a glob, a list or a manifest.")


def test_a_single_file_is_an_image_whatever_its_ending(tmp_path: Path) -> None:
    touch(tmp_path, "picture.dat")
    assert names(str(tmp_path / "picture.dat"), tmp_path) == ["picture.dat"]


def test_a_manifest_comes_back_as_it_is_alone_or_in_a_list(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path,label,group,split,weight\nb.png,good,007,test,1\na.png,,,,\n")
    table, _ = listing.list_images(str(tmp_path / "list.csv"))
    path = str(tmp_path / "m.parquet")
    written = write_manifest(table, path)
    for images in (path, [path]):
        again, _ = listing.list_images(images)
        assert again == table
        assert content_hash(again) == written.content_hash
    (tmp_path / "other").mkdir()
    touch(tmp_path, "other/c.png")
    more, _ = listing.list_images([path, str(tmp_path / "other")])
    assert more["image_id"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("alone", [True, False])
def test_a_manifest_that_was_tampered_with_is_refused(tmp_path: Path, alone: bool) -> None:
    path = str(tmp_path / "m.parquet")
    touch(tmp_path, "a.png")
    write_manifest(listing.list_images(str(tmp_path))[0], path)
    table = pq.read_table(path)
    pq.write_table(table.set_column(1, "uri", pa.array(["/other.png"])), path)
    kind, sentence = refusal(path if alone else [path])
    assert kind is DataError
    assert sentence.startswith(f"the manifest {path} was changed after it was written: ")


def test_a_manifest_that_another_program_wrote_anew_is_a_list(tmp_path: Path) -> None:
    path = str(tmp_path / "m.parquet")
    touch(tmp_path, "a.png", "b.png")
    write_manifest(listing.list_images(str(tmp_path))[0], path)
    pq.read_table(path).slice(1).to_pandas().to_parquet(path)
    assert Manifest.open(write_manifest(listing.list_images(path)[0], str(tmp_path / "n.parquet")).uri).rows == 1


@pytest.mark.parametrize(
    ("column", "sentence"),
    [
        ("score", "images: the column 'score' has the name of a result column; give it another name."),
        ("Status", "images: the column 'Status' has the name of a result column; give it another name."),
        ("Label", "images: the column 'Label' is written 'label'; or give it another name."),
    ],
)
def test_own_columns_cannot_have_the_names_of_result_columns(tmp_path: Path, column: str, sentence: str) -> None:
    (tmp_path / "list.csv").write_text(f"path,{column}\na.png,1\n")
    assert refusal(str(tmp_path / "list.csv")) == (DataError, sentence)


def test_scores_of_a_bundle_are_reserved_too() -> None:
    with pytest.raises(DataError, match="'mse' has the name of a result column"):
        listing.refuse_reserved(["uri", "mse"], "the manifest", ["mse", "mae"])
    listing.refuse_reserved(["uri", "label", "split", "mse"], "the manifest", ["mae"])


def test_object_storage_is_listed_with_sizes_in_the_order_of_the_keys() -> None:
    memory = fsspec.filesystem("memory")
    for key in ("b.png", "a.png", "sub/c.jpg", ".cache/d.png", "sub/.e.png", "notes.txt", "sub2/f.png"):
        memory.pipe_file(f"/test-listing/{key}", b"x" * len(key))
    memory.pipe_file("/test-listing/list.csv", b"path,label\n./a.png,good\ns3://b/x.png,\n")
    top = "memory:///test-listing"
    table, passed_over = listing.list_images(f"{top}/")
    found = [uri.rsplit("test-listing/")[1] for uri in table["uri"].to_pylist()]
    assert found == ["a.png", "b.png", "sub/c.jpg", "sub2/f.png"]
    assert table["size_bytes"].to_pylist() == [5, 5, 9, 10]
    assert passed_over == Counter({".csv": 1, ".txt": 1, "hidden": 2})
    assert len(listing.list_images(f"{top}/*.png")[0]) == 2
    assert len(listing.list_images(f"{top}/sub*")[0]) == 2
    assert listing.list_images(f"{top}/a.png")[0]["size_bytes"].to_pylist() == [5]
    assert listing.list_images(f"{top}/list.csv")[0]["uri"].to_pylist() == [f"{top}/a.png", "s3://b/x.png"]
    assert refusal(f"{top}/gone")[0] is ConfigError
    memory.rm("/test-listing", recursive=True)


def test_a_hundred_thousand_lines_take_a_moment(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("".join(f"sub/{number}.png\n" for number in range(100_000)))
    assert len(listing.list_images(str(tmp_path / "list.txt"))[0]) == 100_000


def test_names_with_one_hash_are_told_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "_hashes", lambda uris: np.zeros(len(uris), np.int64))
    touch(tmp_path, "a/1.png", "b/2.png", "b/3.png")
    assert names([f"{tmp_path}/a", f"{tmp_path}/b"], tmp_path) == ["a/1.png", "b/2.png", "b/3.png"]
    assert refusal([f"{tmp_path}/a", f"{tmp_path}/b", f"{tmp_path}/b/2.png"])[1].startswith(
        f"images names 1 image(s) more than once, the first is {tmp_path}/b/2.png; "
    )


def test_a_stream_gives_tables_of_one_schema_and_can_be_listed_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(folders, "TABLE_ROWS", 3)
    touch(tmp_path, *(f"in/{number}.png" for number in range(8)), "in/notes.txt")
    (tmp_path / "list.csv").write_text("path,line\na.png,7\n")
    stream = listing.stream_images([str(tmp_path / "in"), str(tmp_path / "list.csv")])
    for _ in range(2):
        tables = list(stream)
        assert [table.num_rows for table in tables] == [3, 3, 2, 1]
        assert {table.schema for table in tables} == {stream.schema}
        assert stream.passed_over == Counter({".txt": 1})
    assert [*stream.schema.names] == [name for name in COLUMNS.names if name != "image_id"] + ["line"]


@pytest.fixture
def website(tmp_path: Path) -> Iterator[str]:
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_lists_on_a_web_server_and_names_of_images_there_are_taken_but_no_folders(tmp_path: Path, website: str) -> None:
    (tmp_path / "list.csv").write_text("uri,line\na.png,1\nhttps://host/b?c=%20#d,2\n")
    found = names([f"{website}/list.csv", f"{website}/x/[1].png?size=large"], tmp_path)
    assert found == [f"{website}/a.png", "https://host/b?c=%20#d", f"{website}/x/[1].png?size=large"]
    assert refusal(f"{website}/x/") == (
        ConfigError,
        f"images={website}/x/: a web server cannot be listed; give a list of addresses (.txt, .csv, .jsonl).",
    )
