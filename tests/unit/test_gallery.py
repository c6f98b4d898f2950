"""The rows of a gallery, and where a browser may open an image: never what a name alone could make of it."""

from pathlib import Path

import pytest

from rayae.gallery import left_out, link, rows_of, title
from tests.unit.test_report import asked, results


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("/data/a b.png", "file:///data/a%20b.png"),
        ("/data/50%.png", "file:///data/50%25.png"),
        ("/data/a#1?x.png", "file:///data/a%231%3Fx.png"),
        ("/data/é\udcff.png", "file:///data/%C3%A9%FF.png"),
        ("https://example.com/a.png?x=1&y=2", "https://example.com/a.png?x=1&y=2"),
        ('http://example.com/"onmouseover="x', "http://example.com/%22onmouseover=%22x"),
        ("s3://bucket/a.png", None),
        ("javascript:alert(1)", None),
        ("data:text/html,x", None),
        ("a.png", None),
    ],
)
def test_a_link_opens_pages_and_local_files_alone(uri: str, expected: str | None) -> None:
    assert link(uri) == expected


def test_the_link_of_a_local_file_leads_to_it(tmp_path: Path) -> None:
    path = tmp_path / "a b#c?d%20é.png"
    assert link(str(path)) == path.as_uri()


def test_a_row_has_its_numbers_for_sorting_and_their_words_for_reading() -> None:
    table = results([0.5, 0.25], 0.4, label=["good", None], group=["cam\n1", None])
    first, second = rows_of(asked(table)[1])
    assert first == {
        "uri": "/photos/0.png",
        "link": "file:///photos/0.png",
        "group": "cam\\n1",
        "label": "good",
        "score": 0.5,
        "p": 0.25,
        "flagged": True,
        "words": ["0.5", "0.25"],
    }
    assert (second["group"], second["label"], second["flagged"]) == (None, None, False)


def test_the_title_says_what_is_shown() -> None:
    assert title(*asked(results([0.5, 0.6, 0.1], 0.4), worst=2)) == "2 flagged images"
    assert title(*asked(results([0.5, 0.1], 0.4))) == "1 flagged image, and 1 more of the highest scores"
    assert title(*asked(results([0.5, 0.6, 0.7], 0.4), rows=2)) == "2 of 3 flagged images"
    assert title(*asked(results([0.1, 0.2], 0.4))) == "The 2 highest scores"
    assert title(*asked(results([0.1], 0.4))) == "The highest score"


def test_what_is_left_out_is_said() -> None:
    overview, shown = asked(results([0.5, 0.6, 0.7, 0.8], 0.4), rows=2)
    assert left_out(overview, shown, 1, 0, "rayae query") == [
        "2 flagged images are not on this page, which holds 2 rows (`rows=`); `rayae query` lists all.",
        "1 of 2 rows are shown with pictures; `gallery=` says how many may be.",
        "1 of these pictures could not be had.",
    ]
    assert left_out(*asked(results([0.5], 0.4)), 1, 1, "") == []
