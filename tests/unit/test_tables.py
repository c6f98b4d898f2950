"""Tables that people bring: encodings, separators, types, and what is refused."""

import datetime
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayae import tables
from rayae.errors import ConfigError, DataError
from rayae.manifest import complete, content_hash, write_manifest


def written(folder: Path, name: str, content: str | bytes) -> str:
    (folder / name).write_bytes(content.encode() if isinstance(content, str) else content)
    return str(folder / name)


def refusal(path: str) -> str:
    with pytest.raises(DataError) as error:
        tables.read_images(path)
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        b"a.png\nsub/b.png\n/x/c.png\ns3://bucket/d.png\n",
        b"\xef\xbb\xbfa.png\r\nsub/b.png\r\n\r\n/x/c.png\r\ns3://bucket/d.png",
        b"\n\n  a.png\t\n./sub/../sub/b.png\n/x//c.png\n   \ns3://bucket/d.png\n\n",
    ],
)
def test_a_text_list_is_read_whatever_its_line_ends_marks_and_blanks(tmp_path: Path, text: bytes) -> None:
    found = tables.read_images(written(tmp_path, "list.txt", text))
    assert found["uri"].to_pylist() == [f"{tmp_path}/a.png", f"{tmp_path}/sub/b.png", "/x/c.png", "s3://bucket/d.png"]


def test_a_text_list_may_hold_any_name_but_one_with_a_newline(tmp_path: Path) -> None:
    names = [b"-x.png", b"~x.png", b"[ab].png", b"a,b;c.png", b"\"q'.png", "é🙂\u2028\x85.png".encode(), b"\xff.png"]
    found = tables.read_images(written(tmp_path, "list.txt", b"\n".join(names)))["uri"].to_pylist()
    assert found[:-1] == [f"{tmp_path}/{name.decode()}" for name in names[:-1]]
    assert found[-1] == f"file://{tmp_path}/%FF.png"


@pytest.mark.parametrize("text", ["a.png\n".encode("utf-16"), b"a\0.png"])
def test_a_text_list_that_is_no_utf8_is_refused(tmp_path: Path, text: bytes) -> None:
    path = written(tmp_path, "list.txt", text)
    assert refusal(path) == f"images={path} is no text in UTF-8; write it with one path or URI a line, as UTF-8."


def test_a_csv_keeps_known_columns_as_text_and_gives_others_the_type_of_their_values(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "list.csv",
        "\ufeffpath, group ,label,count,share,day,time,ok,note,size_bytes,nothing\r\n"
        'a.png,007,0,1,0.5,2026-01-02,2026-01-02 03:04:05,true,"a\nb",10,\r\n'
        'b.png,,,,,,,,"say ""x"", é",,\r\n',
    )
    found = tables.read_images(path)
    assert found.to_pylist() == [
        {
            "uri": f"{tmp_path}/a.png",
            "group": "007",
            "label": "0",
            "count": 1,
            "share": 0.5,
            "day": datetime.date(2026, 1, 2),
            "time": datetime.datetime(2026, 1, 2, 3, 4, 5),
            "ok": True,
            "note": "a\nb",
            "size_bytes": 10,
            "nothing": None,
        },
        {"uri": f"{tmp_path}/b.png", "note": 'say "x", é'}
        | dict.fromkeys(("group", "label", "count", "share", "day", "time", "ok", "size_bytes", "nothing")),
    ]


def test_a_list_with_dates_and_times_makes_a_manifest_that_opens_again(tmp_path: Path) -> None:
    path = written(tmp_path, "list.csv", "uri,taken,clock\na.png,2026-01-02 03:04:05,10:00:00\n")
    found = tables.read_images(path)
    written_manifest = write_manifest(complete({n: found[n] for n in found.column_names}), str(tmp_path / "m.parquet"))
    assert content_hash(written_manifest.read_unchanged()) == written_manifest.content_hash


def test_uri_comes_before_path_and_the_listing_numbers_the_rows_itself(tmp_path: Path) -> None:
    found = tables.read_images(written(tmp_path, "list.csv", "image_id,path,uri\n7,a.png,b.png\n"))
    assert found.to_pydict() == {"uri": [f"{tmp_path}/b.png"]}


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name,label\na,b\n", "images={} has no column `uri` or `path`; its columns are name, label."),
        ("Path\na\n", "images={} has no column `uri` or `path`; its columns are Path."),
        ("path;label\na;b\n", "{} separates its columns by ';'; write it with commas."),
        ("path\tlabel\na\tb\n", "{} separates its columns by '\\t'; write it with commas."),
        ("path,x,x\na,1,2\n", "{} has the column 'x' twice; give each column a name of its own."),
        (
            ",path\n0,a\n",
            "{} has a column without a name (pandas writes its index so; give it `index=False`).",
        ),
        ("path,x\na,1\n,2\n,3\n", "images={}: the column `path` has 2 empty value(s)."),
        ("", "{} cannot be read as a CSV in UTF-8 with a header and commas: Empty CSV file."),
    ],
)
def test_a_csv_that_is_no_list_is_refused_with_the_reason(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, "list.csv", text)
    assert refusal(path) == sentence.format(path)


@pytest.mark.parametrize("text", [b"path\n\xe9.png\n", "path\na\n".encode("utf-16"), b"path,x\na\nb,1,2\n"])
def test_a_csv_in_another_encoding_or_with_uneven_rows_is_refused(tmp_path: Path, text: bytes) -> None:
    path = written(tmp_path, "list.csv", text)
    assert refusal(path).startswith(f"{path} cannot be read as a CSV in UTF-8 with a header and commas: ")


def test_sizes_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "list.csv", "path,size_bytes\na,12 KB\n")
    assert refusal(path).startswith(f"images={path}: the column `size_bytes` cannot be read as int64: ")


def a_parquet(folder: Path, **columns: Any) -> str:
    path = str(folder / "list.parquet")
    pq.write_table(pa.table({"uri": ["a.png", "s3://b/c.png"]} | columns), path)
    return path


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([1, None], pa.int8()), pa.int8()),
        (pa.array([2**63, None], pa.uint64()), pa.uint64()),
        (pa.array([1.5, None], pa.float32()), pa.float32()),
        (pa.array(["x", None], pa.large_string()), pa.string()),
        (pa.array(["x", None]).dictionary_encode(), pa.string()),
        (pa.array([1, None], pa.timestamp("s")), pa.timestamp("ms")),
        (pa.array([1, None], pa.timestamp("ns", "UTC")), pa.timestamp("ns", "UTC")),
        (pa.array([1, None], pa.date64()), pa.date32()),
        (pa.array([1, None], pa.time32("s")), pa.time32("ms")),
        (pa.nulls(2), pa.string()),
        (pa.array([True, None]), pa.bool_()),
    ],
)
def test_own_columns_of_a_parquet_keep_a_plain_type_and_their_values(
    tmp_path: Path, values: pa.Array, kind: pa.DataType
) -> None:
    found = tables.read_images(a_parquet(tmp_path, own=values))
    assert found["uri"].to_pylist() == [f"{tmp_path}/a.png", "s3://b/c.png"]
    assert found["own"].type == kind
    assert found["own"].is_valid().to_pylist() == values.is_valid().to_pylist()
    again = write_manifest(complete({n: found[n] for n in found.column_names}), str(tmp_path / "m.parquet"))
    assert again.read_unchanged()["own"].type == kind


@pytest.mark.parametrize("values", [[b"\x89PNG", None], [[1, 2], None], [{"bytes": b"x"}, None]])
def test_columns_that_are_no_plain_values_are_refused(tmp_path: Path, values: list[Any]) -> None:
    path = a_parquet(tmp_path, image=pa.array(values))
    kind = pq.read_schema(path).field("image").type
    assert refusal(path) == (
        f"{path}: the column 'image' has the type {kind}; leave it out: a column of your own "
        "holds text, numbers, dates or truth values."
    )


def test_labels_and_groups_of_a_parquet_become_text(tmp_path: Path) -> None:
    found = tables.read_images(a_parquet(tmp_path, label=[0, 1], group=[True, None], size_bytes=[1.0, None]))
    assert found.to_pydict() | {"uri": None} == {
        "uri": None,
        "label": ["0", "1"],
        "group": ["true", None],
        "size_bytes": [1, None],
    }


def test_a_null_uri_in_a_parquet_is_refused(tmp_path: Path) -> None:
    path = a_parquet(tmp_path, uri=pa.array(["a", None]))
    assert refusal(path) == f"images={path}: the column `uri` has 1 empty value(s)."


def test_a_parquet_that_is_damaged_is_refused(tmp_path: Path) -> None:
    path = a_parquet(tmp_path)
    data = Path(path).read_bytes()
    Path(path).write_bytes(data[: len(data) // 2])
    assert refusal(path).startswith(f"{path} cannot be read as Parquet (")


def test_json_lines_keep_known_columns_as_text_and_give_others_the_type_of_their_values(tmp_path: Path) -> None:
    lines = [
        '\ufeff{"uri": "s3://b/a b.png", "label": 0, "group": "007", "n": 1, "ok": true, "size_bytes": 10}',
        "",
        '{"uri": "c.png", "label": "x", "n": 2.5, "note": "é\\n\\u4e2d"}\r',
    ]
    for name in ("list.jsonl", "list.ndjson"):
        found = tables.read_images(written(tmp_path, name, "\n".join(lines)))
        assert found.to_pylist() == [
            {
                "uri": "s3://b/a b.png",
                "label": "0",
                "group": "007",
                "n": 1.0,
                "ok": True,
                "size_bytes": 10,
                "note": None,
            },
            {"uri": f"{tmp_path}/c.png", "label": "x", "group": None, "n": 2.5, "ok": None, "size_bytes": None}
            | {"note": "é\n中"},
        ]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (
            '{"uri": "a"}\n{"uri": "b"\n',
            "{}: line 2 is no JSON in UTF-8 (Expecting ',' delimiter: line 2 column 1 (char 12)).",
        ),
        ('["a.png"]\n', '{}: line 1 is no JSON object; each line is one, as {{"uri": "a.png"}}.'),
        ('{"name": "a"}\n', "images={} has no column `uri` or `path`; its columns are name."),
        ('{"uri": "a"}\n{"uri": ""}\n{"x": 1}\n', "images={}: the column `uri` has 2 empty value(s)."),
        (
            '{"uri": "a", "x": {"y": 1}}\n',
            "{}: the column 'x' has the type struct<y: int64>; leave it out: a column of your own holds text, numbers, "
            "dates or truth values.",
        ),
    ],
)
def test_json_lines_that_are_no_list_are_refused_with_the_reason(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, "list.jsonl", text)
    assert refusal(path) == sentence.format(path)


@pytest.mark.parametrize("depth", [100, 1_000, 100_000])
def test_a_json_line_that_is_nested_deeply_is_refused(tmp_path: Path, depth: int) -> None:
    path = written(tmp_path, "list.jsonl", '{"uri": "a", "x": ' + "[" * depth + "]" * depth + "}")
    assert refusal(path).startswith(str(path))


@pytest.mark.parametrize(
    "text", ['{"uri": "a", "x": 1}\n{"uri": "b", "x": "y"}', '{"uri": "a", "x": 99999999999999999999}']
)
def test_json_values_of_several_types_are_refused(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, "list.jsonl", text)
    assert refusal(path).startswith(f"{path}: the column 'x' has values of several types (")


HARD_KEYS = [
    *(" a b.png", "ü.png", "中文/图.png", "🙂.png", "a+b.png", "100%.png", "%41%2F.png", "q?x=1&y#z.png", "'\"\\.png"),
    *("a//b.png", "//", "./../x.png", "~/a.png", "new\nline.png", "a/", ",;\t.png", "k" * 1000 + ".png", "\u202e.png"),
]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
def test_keys_of_object_storage_survive_a_list_as_they_stand(tmp_path: Path, ending: str) -> None:
    uris = [f"s3://bucket/{key}" for key in HARD_KEYS] + ["https://host/a b?x=%20#y"]
    path = tmp_path / f"list.{ending}"
    if ending == "csv":
        pa.csv.write_csv(pa.table({"uri": uris}), path)
    elif ending == "jsonl":
        path.write_text("".join(json.dumps({"uri": uri}) + "\n" for uri in uris))
    else:
        pq.write_table(pa.table({"uri": uris}), path)
    assert tables.read_images(str(path))["uri"].to_pylist() == uris


def test_keys_survive_a_text_list_but_for_newlines_and_blanks_at_their_ends(tmp_path: Path) -> None:
    uris = [f"s3://bucket/{key}" for key in HARD_KEYS if "\n" not in key]
    assert tables.read_images(written(tmp_path, "list.txt", "\n".join(uris)))["uri"].to_pylist() == uris


KEY = st.text(st.characters(codec="utf-8"), min_size=1, max_size=12)
OWN = st.one_of(st.none(), st.text(st.characters(codec="utf-8", exclude_characters="\r\0"), max_size=5))


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(rows=st.lists(st.tuples(KEY, OWN), min_size=1, max_size=8))
def test_any_key_and_any_text_come_back_from_json_lines_and_parquet(
    tmp_path: Path, rows: list[tuple[str, str | None]]
) -> None:
    uris, own = [f"gs://bucket/{key}" for key, _ in rows], [text for _, text in rows]
    lines = "\n".join(json.dumps({"uri": uri, "own": text}) for uri, text in zip(uris, own, strict=True))
    (tmp_path / "list.jsonl").write_text(lines)
    pq.write_table(pa.table({"uri": uris, "own": pa.array(own, pa.string())}), tmp_path / "list.parquet")
    for name in ("list.jsonl", "list.parquet"):
        found = tables.read_images(str(tmp_path / name))
        assert found["uri"].to_pylist() == uris
        assert found["own"].to_pylist() == own


def test_a_large_parquet_list_is_read_in_parts(tmp_path: Path) -> None:
    path = str(tmp_path / "list.parquet")
    pq.write_table(pa.table({"uri": [f"s3://b/{number}" for number in range(150_000)]}), path)
    sizes = [table.num_rows for table in tables.open_list(path).read()]
    assert sum(sizes) == 150_000
    assert max(sizes) <= 65_536


def test_places_in_archives_come_back_from_a_list_and_a_column_of_that_name_is_refused(tmp_path: Path) -> None:
    text = "uri,container,place\ns3://b/x.tar!/a.png,s3://b/x.tar,tar:512\ns3://b/c.png,,\n"
    found = tables.read_images(written(tmp_path, "list.csv", text))
    assert found["place"].to_pylist() == ["tar:512", None]
    path = written(tmp_path, "own.csv", "uri,place\na.png,hall 3\n")
    assert refusal(path) == (
        f"images={path}: the columns `container` and `place` say where in an archive an image lies, and None and "
        "'hall 3' do not; give columns of your own other names."
    )


def test_a_csv_alters_no_value_of_the_users_own(tmp_path: Path) -> None:
    """What a number would not tell apart stays the text that it was."""
    text = (
        "uri,serial,long,n,x,nothing\na,00123,12345678901234567890123,1,0.5,\nb,123,12345678901234567890124,-20,1e3,\n"
    )
    table = tables.read_images(written(tmp_path, "list.csv", text))
    assert table["serial"].to_pylist() == ["00123", "123"]
    assert table["long"].to_pylist() == ["12345678901234567890123", "12345678901234567890124"]
    assert (table["n"].to_pylist(), table["x"].to_pylist()) == ([1, -20], [0.5, 1000.0])
    same = "uri,a,b,c,d\n1.png,9007199254740993,1e-400,-0,12e999\n2.png,9007199254740992,0.5,0,1\n3.png,0.5,1,2,2\n"
    found = tables.read_images(written(tmp_path, "same.csv", same))
    assert [found[name].to_pylist()[0] for name in "abcd"] == ["9007199254740993", "1e-400", "-0", "12e999"]
    values = [0.1 + 0.2, 1 / 3, 1e-300, 123456.789, 2**52 + 0.5, -1.7976931348623157e308]
    rows = "".join(f"{number}.png,{value!r}\n" for number, value in enumerate(values))
    assert tables.read_images(written(tmp_path, "floats.csv", f"uri,x\n{rows}"))["x"].to_pylist() == values


def test_an_etag_is_known_with_its_quotes_and_without(tmp_path: Path) -> None:
    rows = 'uri,etag\na,"""abc"""\nb,abc\nc,"W/""abc"""\n'
    assert tables.read_images(written(tmp_path, "list.csv", rows))["etag"].to_pylist() == ["abc"] * 3


def test_sizes_below_zero_and_unknown_schemes_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "list.csv", "uri,size_bytes\na,-1\nb,5\n")
    assert refusal(path) == f"images={path}: the column `size_bytes` has 1 value(s) below 0."
    path = written(tmp_path, "list.txt", "a.png\nnowhere://b.png\n")
    with pytest.raises(ConfigError, match=r"^nowhere://b\.png: nobody knows how to read nowhere://; "):
        tables.read_images(path)
    assert tables.read_images(written(tmp_path, "more.txt", "HTTP://host/A.png\n"))["uri"].to_pylist() == [
        "http://host/A.png"
    ]


@pytest.mark.parametrize(
    ("name", "ending"),
    [
        ("a.PNG", ".png"),
        ("s3://b/a.tar?x", ".tar?x"),
        ("https://h/a.png?f=x.zip", ".png"),
        ("http://h/a.tar#b.c", ".tar"),
    ],
)
def test_the_ending_of_a_web_address_is_that_of_its_path(name: str, ending: str) -> None:
    assert tables.suffix(name) == ending
