"""What is taken of a listing: pictures by their ending, and by the patterns, sizes and times of `select`."""

import fnmatch
import re
import string
from collections import Counter
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rayae.errors import ConfigError
from rayae.selection import Select, pictures, regex_of, select

BELOW = "s3://bucket/in [1]/"
NAMES = ["a.png", "b.jpg", "cam1/a.png", "cam1/deep/c.png", "cam12/é 漢.png", "cam1/x+y?.png", "x.tar!/cam1/m.png"]


def taken(asked: Select, prefix: str = BELOW, **columns: object) -> list[str]:
    table = pa.table({"uri": [BELOW + name for name in NAMES], **columns})
    kept = select(table, prefix, asked, Counter())
    return [uri.removeprefix(BELOW) for uri in kept["uri"].to_pylist()]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("*.jpg", ["b.jpg"]),
        ("a.png", ["a.png", "cam1/a.png"]),
        ("?.png", ["a.png", "cam1/a.png", "cam1/deep/c.png", "x.tar!/cam1/m.png"]),
        ("[bc].*", ["b.jpg", "cam1/deep/c.png"]),
        ("[!a].png", ["cam1/deep/c.png", "x.tar!/cam1/m.png"]),
        ("cam1/*", ["cam1/a.png", "cam1/x+y?.png"]),
        ("cam1/**", ["cam1/a.png", "cam1/deep/c.png", "cam1/x+y?.png"]),
        ("cam*/*.png", ["cam1/a.png", "cam12/é 漢.png", "cam1/x+y?.png"]),
        ("**/cam1/*", ["cam1/a.png", "cam1/x+y?.png", "x.tar!/cam1/m.png"]),
        ("é *", ["cam12/é 漢.png"]),
        ("x+y[?].png", ["cam1/x+y?.png"]),
        ("s3://bucket/**/deep/*", ["cam1/deep/c.png"]),
        ("s3://other/**", []),
        ("/cam1/*", []),
        ("A.PNG", []),
    ],
)
def test_a_pattern_looks_at_the_name_the_path_below_the_folder_or_the_whole_uri(
    pattern: str, expected: list[str]
) -> None:
    assert taken(Select(include=(pattern,))) == expected
    assert taken(Select(exclude=(pattern,))) == [name for name in NAMES if name not in expected]


def test_of_several_patterns_one_must_match_and_none_that_excludes() -> None:
    asked = Select(include=("*.jpg", "cam1/**"), exclude=("deep/*", "**/deep/*", "x*"))
    assert taken(asked) == ["b.jpg", "cam1/a.png"]


def test_for_the_images_of_a_list_a_path_is_the_whole_uri() -> None:
    assert taken(Select(include=("cam1/*",)), prefix="") == []
    assert taken(Select(include=("**/cam1/*",)), prefix="") == ["cam1/a.png", "cam1/x+y?.png", "x.tar!/cam1/m.png"]


TEXT = st.text(st.sampled_from("abAB.-_[]!*?é漢\n +^\\$(){}|"), max_size=8)


@given(TEXT, TEXT)
def test_within_a_name_a_pattern_means_what_it_means_to_a_shell(pattern: str, name: str) -> None:
    pattern = pattern.replace("**", "*")
    if re.search(r"\[!?\]|\[[^\]]*[-\\^\[][^\]]*\]", pattern):
        return  # odd sets of characters, on which shells differ
    found = pc.match_substring_regex(pa.array([name]), f"(?s)^{regex_of(pattern)}$")[0].as_py()
    assert found == fnmatch.fnmatchcase(name, pattern)


@given(st.text(st.characters(codec="utf-8", exclude_characters="*?["), max_size=10))
def test_a_name_without_special_characters_matches_itself_alone(name: str) -> None:
    names = pa.array([name, f"{name}x", f"x{name}", string.ascii_letters])
    assert pc.match_substring_regex(names, f"(?s)^{regex_of(name)}$").to_pylist() == [True, False, False, False]


def test_sizes_are_within_their_bounds_and_what_is_not_known_is_taken() -> None:
    sizes = pa.array([0, 9, 10, 11, 20, 21, None], pa.int64())
    assert taken(Select(min_bytes=10, max_bytes=20), size_bytes=sizes) == [*NAMES[2:5], NAMES[6]]
    assert taken(Select(max_bytes=9), size_bytes=sizes) == [*NAMES[:2], NAMES[6]]


def test_times_begin_with_newer_and_end_before_older() -> None:
    days = [datetime(2026, 1, day, tzinfo=UTC) for day in range(1, 7)]
    times = pa.array([*days, None], pa.timestamp("us", "UTC"))
    assert taken(Select(newer=days[1], older=days[3]), modified=times) == [*NAMES[1:3], NAMES[6]]
    assert taken(Select(newer=days[5]), modified=times) == NAMES[5:]


def test_what_is_not_taken_is_counted() -> None:
    passed_over: Counter[str] = Counter()
    table = pa.table({"uri": [BELOW + name for name in NAMES]})
    select(table, BELOW, Select(include=("b.jpg",)), passed_over)
    assert passed_over == Counter({"not selected": 6})
    assert select(table, BELOW, Select(pages="all"), passed_over) is table


def test_of_a_folder_names_with_an_ending_of_pictures_are_taken_unless_they_are_hidden() -> None:
    names = [
        "a.PNG",
        ".b.png",
        ".x/c.png",
        "x/.d.txt",
        "n.TXT",
        "Makefile",
        "x.y/Makefile",
        "é.png",
        "new\nline.png",
        "/",
    ]
    passed_over: Counter[str] = Counter()
    table = pa.table({"uri": [f"s3://b/.cache/{name}" for name in names]})
    found = pictures(table, "s3://b/.cache/", frozenset({".png"}), passed_over)
    assert [uri.removeprefix("s3://b/.cache/") for uri in found["uri"].to_pylist()] == [
        "a.PNG",
        "é.png",
        "new\nline.png",
    ]
    assert passed_over == Counter({"hidden": 3, "no ending": 3, ".txt": 1})


def test_a_pattern_that_cannot_be_matched_is_named() -> None:
    with pytest.raises(
        ConfigError, match=r"^the pattern '\[z-a\]\.png' cannot be matched \(z-a\); mend what is in its"
    ):
        regex_of("[z-a].png")
