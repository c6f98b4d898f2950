import base64
import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from html.parser import HTMLParser
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from scipy.stats import binomtest

from rayae.database import Database
from rayae.evaluation import NO_CUT, NO_NORMAL, evaluate
from rayae.judgement import curve
from rayae.manifest import complete
from rayae.overview import Judged, Overview
from rayae.page import named
from rayae.report import ReportPage, WorstPicture, compose, render, verdict
from rayae.results import result_schema
from rayae.statistics import percent
from rayae.threshold import Threshold, conformal

HOSTILE = [
    "<script>alert(1)</script>.png",
    '"><img src=x onerror=alert(1)>.png',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}{% raw %}.png",
    "javascript:alert(1)//https://example.com/a.png",
    "</title></style><link rel=stylesheet href=https://example.com/a.css>",
    "photo\u202egnp.exe",
    "a\x00b\x1b[31mc\nd\u2028e\ufeff.png",
    "x" * 1000,
]
VOID = {"meta", "img", "br", "hr", "input", "link"}
URL_ATTRIBUTES = {
    "src",
    "href",
    "action",
    "data",
    "poster",
    "srcset",
    "xlink:href",
    "formaction",
    "background",
}


class Seen(HTMLParser):
    """What a browser would make of a page: elements, attributes, and the text of its body."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.scripts: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: Sequence[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open[-1:] != ["style"]:
            self.text += data


def results(scores: Sequence[float | None], cut: float | None = None, **columns: Sequence[Any]) -> pa.Table:
    """Result rows with these scores; those without one are missing files."""
    there = [score is not None for score in scores]
    rows: dict[str, Any] = {
        "image_id": pa.array(range(len(scores)), pa.int64()),
        "uri": pa.array([f"/photos/{row}.png" for row in range(len(scores))], pa.string()),
        "label": pa.nulls(len(scores), pa.string()),
        "group": pa.nulls(len(scores), pa.string()),
        "status": pa.array(["scored" if scored else "missing" for scored in there], pa.string()),
        "error": pa.array([None if scored else "There is no such file." for scored in there], pa.string()),
        "score": pa.array(scores, pa.float32()),
        "p_value": pa.array([0.25 if scored else None for scored in there], pa.float64()),
        "is_anomaly": pa.array([None if score is None or cut is None else score > cut for score in scores], pa.bool_()),
        "bundle_id": ["0123456789ab"] * len(scores),
        "threshold_id": pa.array([None if cut is None else "ba9876543210"] * len(scores), pa.string()),
    }
    table = pa.table(rows | {name: pa.array(values) for name, values in columns.items()})
    assert set(table.column_names) <= set(result_schema(complete({"uri": ["a.png"]}).schema, []).names)
    return table


def asked(table: pa.Table, cut: float | None = None, rows: int = 5000, worst: int = 12) -> tuple[Overview, pa.Table]:
    """What the tables of a run with these results answer."""
    with duckdb.connect(":memory:") as connection:
        connection.register("results", table)
        judged = Judged(Database(connection, {}))
        return judged.overview(cut), judged.shown(rows, worst, None)


def fixed(cut: float) -> Threshold:
    words = "The cut was set by hand."
    return Threshold("fixed", "mse", float(np.float32(cut)), None, None, None, None, None, 0.95, words, "0123456789ab")


def record(rows: int, **changes: Any) -> dict[str, Any]:
    created = "2026-11-22T21:04:09+00:00"
    return {
        "rayae": "0.1.0",
        "created": created,
        "bundle": "/b",
        "images": "/photos",
        "rows": rows,
        "chunks": [0],
        "fingerprint_hash": "f1" * 6,
    } | changes


SUCCESS = {
    "finished": "2026-11-22T21:05:00+00:00",
    "statistics": {"seconds": {"fetch": 1.0, "model": 3.0}, "wall_seconds": 51.0, "images_per_second": 12.3},
}


def page_of(table: pa.Table, rows: int = 5000, worst: int = 12, **parts: Any) -> ReportPage:
    threshold = parts.get("threshold")
    found = asked(table, None if threshold is None else threshold.cut, rows, worst)
    return compose("/runs/night", record(table.num_rows), SUCCESS, *found, **parts)


def picture(image_id: int, uri: str, side: int = 8) -> WorstPicture:
    pixels = np.full((side, side, 1), 128, np.uint8)
    return WorstPicture(image_id, uri, pixels, pixels, np.zeros((side, side), np.float32))


def facts(page: ReportPage) -> dict[str, str]:
    return {fact.name: fact.value for fact in page.run}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_name_is_shown_and_not_executed(name: str) -> None:
    names = {"uri": [name, name], "label": [name, None], "group": [name, None], "error": [None, name]}
    table = results([0.5, None], 0.4, **names)
    parts = {"pictures": [picture(0, name)], "notes": [name], "score_name": name}
    rec = record(2, bundle=name, images=[name, name])
    html = render(compose(f"/runs/{name}", rec, SUCCESS, *asked(table, 0.4), threshold=fixed(0.4), **parts))

    seen = Seen(html)
    tags = {tag for tag, _ in seen.elements}
    assert not tags & {"link", "iframe", "object", "embed", "base", "form", "a", "foreignobject"}
    assert [kind.get("type") for tag, kind in seen.elements if tag == "script"] == ["application/json", None]
    assert json.loads(seen.scripts[0])[0]["label"] == spelt_out(name)
    for tag, attributes in seen.elements:
        assert not [key for key in attributes if key.startswith("on")], tag
        for key in URL_ATTRIBUTES & set(attributes):
            assert (attributes[key] or "").startswith("data:image/png;base64,")
    assert seen.text.count(spelt_out(name)) >= 8
    assert all(c.isprintable() or c == "\n" for c in html)


def spelt_out(name: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in name)


def test_the_page_forbids_every_request_and_every_script_but_its_own() -> None:
    seen = Seen(render(page_of(results([0.5]))))
    policies = [a["content"] for _, a in seen.elements if a.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(seen.scripts[1].encode()).digest()).decode()
    rest = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src"
    assert policies == [f"{rest} 'sha256-{digest}'"]


def test_what_cannot_be_seen_is_spelt_out_and_marked() -> None:
    assert str(named("a\u202eb<")) == 'a<span class="escape">\\u202e</span>b&lt;'
    assert str(named("é שלום \udcff")) == 'é שלום <span class="escape">\\udcff</span>'


def test_the_golden_errors_are_counted() -> None:
    page = page_of(results([0.002, 0.0015, 0.005, 0.0008, 0.007], 0.004), threshold=fixed(0.004))
    assert page.headline == "2 of 5 scored images flagged (40 %)."
    assert page.guarantee == "The cut was set by hand."
    assert facts(page)["Threshold"] == "mse above 0.004"
    assert facts(page)["Created"] == "2026-11-22 21:04:09 UTC"
    assert facts(page)["Speed"] == "12 images/s over 51.0 s"
    assert page.distributions
    assert [bar.flagged for bar in page.distributions[0].histogram.bars].count(True) == 2


def speed(rows: int, images_per_second: float, wall_seconds: float) -> list[tuple[str, str]]:
    statistics = {"seconds": {}, "wall_seconds": wall_seconds, "images_per_second": images_per_second}
    page = compose("/runs/night", record(rows), SUCCESS | {"statistics": statistics}, *asked(results([0.1] * 3)))
    return [(name, value) for name, value in facts(page).items() if name.startswith("Speed")]


def test_the_speed_is_named_that_of_the_last_session_when_others_did_the_rest() -> None:
    assert speed(3, 0.3, 9.81) == [("Speed", "0.3 images/s over 9.8 s")]
    assert speed(1_000_000, 1234.6, 810.0) == [("Speed", "1,235 images/s over 810.0 s")]
    assert speed(1_000_000, 1234.6, 700.0) == [("Speed, last session", "1,235 images/s over 700.0 s")]


def test_a_session_that_scored_nothing_has_no_speed() -> None:
    assert speed(3, 0.0, 0.02) == []


def test_every_status_has_its_count_and_share_and_failures_their_examples() -> None:
    status = ["scored"] * 2 + ["missing"] * 7 + ["truncated"]
    page = page_of(results([0.1, 0.2, *[None] * 8], 0.15, status=status), threshold=fixed(0.15))
    counts = [(line.name, line.count, line.share) for line in page.statuses]
    assert counts == [("scored", "2", "20 %"), ("missing", "7", "70 %"), ("truncated", "1", "10 %")]
    assert [(kind.status, kind.count, len(kind.examples), kind.more) for kind in page.failures] == [
        ("missing", "7", 5, True),
        ("truncated", "1", 1, False),
    ]
    assert page.headline == "1 of 2 scored images flagged (50 %); 8 could not be scored."
    assert page.flagged is not None
    assert (page.flagged.count, page.flagged.share) == ("1", "50 %")


def test_a_run_of_failures_alone_has_a_page() -> None:
    page = page_of(results([None, None, None], 0.1), threshold=fixed(0.1))
    assert page.headline == "None of 3 images could be scored."
    assert page.distributions == ()
    assert page.flagged is None
    text = Seen(render(page)).text
    assert "No image has a score." in text
    assert "nan" not in text.lower()


def test_a_run_without_threshold_flags_nobody_and_says_so() -> None:
    page = page_of(results([0.1, None]))
    assert page.headline == "1 image scored and none judged, for want of a threshold; 1 could not be scored."
    assert page.flagged is None
    assert page.gallery.title == "The highest score"
    assert "flagged (" not in Seen(render(page)).text


def test_nothing_flagged_is_not_the_same_as_nobody_looked() -> None:
    assert page_of(results([0.1, 0.2], 0.3)).headline == "0 of 2 scored images flagged (0 %)."


def test_one_image_has_a_page() -> None:
    page = page_of(results([0.1], 0.05), threshold=fixed(0.05), pictures=[picture(0, "/photos/0.png")])
    assert page.headline == "1 of 1 scored image flagged (100 %)."
    assert "nan" not in Seen(render(page)).text.lower()


def test_an_unfinished_run_says_how_many_images_are_missing() -> None:
    page = compose("/runs/night", record(10), None, *asked(results([0.1] * 4)))
    assert page.notes == ("Unfinished: 6 of 10 images have no result yet; the figures below are of the other 4.",)
    assert facts(page)["Finished"] == "not yet"
    assert not page.stages
    complete = compose("/runs/night", record(4), None, *asked(results([0.1] * 4)))
    assert complete.notes == ("Unfinished: every image has its result, but the run was not closed.",)
    assert page_of(results([0.1] * 4)).notes == ()


def test_all_error_maps_share_one_scale() -> None:
    dark, bright = np.zeros((4, 4), np.float32), np.full((4, 4), 0.5, np.float32)
    pixels = np.zeros((4, 4, 3), np.uint8)
    pictures = [WorstPicture(row, "a.png", pixels, pixels, errors) for row, errors in enumerate([bright, dark])]
    page = page_of(results([0.5, 0.4]), pictures=pictures)
    assert page.gallery.brightest == "0.5"
    assert [[shown.name for shown in card.pictures] for card in page.gallery.cards] == [
        ["original", "reconstruction", "error map"]
    ] * 2
    assert page.gallery.cards[0].pictures[2] != page.gallery.cards[1].pictures[2]


def test_an_image_without_pictures_keeps_its_card_and_its_reason() -> None:
    gone = WorstPicture(1, "/photos/1.png", reason="It could not be read again: there is no such file.")
    page = page_of(results([0.1, 0.5], 0.3, label=[None, "defect"]), pictures=[gone])
    card = page.gallery.cards[0]
    assert (card.score, card.p_value, card.flagged, card.label) == ("0.5", "0.25", True, "defect")
    assert card.pictures == ()
    assert page.gallery.brightest is None
    assert "It could not be read again: there is no such file." in Seen(render(page)).text


def test_calibration_scores_stand_behind_the_bars() -> None:
    calibration = np.linspace(0.1, 0.2, 50, dtype=np.float32)
    threshold = conformal(calibration, score="mse", alpha=0.1, bundle_id="0123456789ab")
    page = page_of(results([0.11, 0.12, 0.4], threshold.cut), threshold=threshold, calibration=calibration)
    assert facts(page)["Rule"] == "conformal, aiming at 10 % of normal images, 50 images"
    assert page.distributions
    assert page.distributions[0].histogram.outline is not None
    assert "50 calibration images" in Seen(render(page)).text


def test_the_score_is_told_in_words() -> None:
    text = Seen(render(page_of(results([0.1, 0.2], None), score_name="nearest_distance"))).text
    assert "It is the distance to the most similar of the training images, by their thumbnails." in text


def test_the_evaluation_is_told_in_its_words_and_figures() -> None:
    table = results([0.002, 0.0015, 0.005, 0.0008, 0.007], 0.004, label=["good", "good", "crack", "good", "crack"])
    full = table.append_column("size_bytes", pa.array([9, 8, 7, 6, 5]))
    full = full.append_column("component_mse", pa.array([0.1, 0.4, 0.3, 0.9, 0.2]))
    found = evaluate(full, primary="mse", scores=["mse"], cut=0.004, roles=[None, None, None, "train", None])
    page = page_of(table, evaluation=json.loads(json.dumps(found.to_dict())))
    assert page.evaluation is not None
    assert (page.evaluation.verdict, *page.evaluation.words) == tuple(found.words)
    seen = Seen(render(page)).text
    assert seen.index(page.evaluation.verdict) < seen.index("Distribution of the score")
    ranking, floors, at_cut, roles = page.evaluation.tables
    assert ranking.rows[0][0] == "mse"
    assert ranking.rows[0][1].startswith("1.000")
    assert floors.columns == ("Floor", "AUROC, 95 % interval", "mse above it")
    assert floors.rows[0] == ("file size alone (defects smaller)", "1.000", "+0.000")
    assert floors.rows[1] == ("mean brightness alone", "–", "–")
    assert floors.rows[5] == ("component_mse", "0.500 (0.019 to 0.981)", "+0.500 (+0.000 to +1.000)")
    assert roles.title == "mse by role"
    assert at_cut.rows[0] == ("recall", "1.000 (0.158 to 1.000)")
    assert roles.rows[0] == ("train", "1", "0.0008", "0.0008")
    assert [row[0] for row in roles.rows] == ["train", "unseen normal", "unseen defect"]
    text = Seen(render(page)).text
    assert all(sentence in text for sentence in found.words)
    assert page.evaluation.curve is not None
    assert [line.name for line in page.evaluation.curve.lines] == ["precision", "recall"]
    assert "Precision and recall if the cut were elsewhere" in text


def points(*figures: tuple[float, float, float]) -> list[dict[str, Any]]:
    """Cuts with precision and recall, without intervals."""
    names = ("precision", "recall")
    return [
        {"cut": cut}
        | {name: {"value": value, "low": None, "high": None} for name, value in zip(names, pair, strict=True)}
        for cut, *pair in figures
    ]


def test_the_curve_is_drawn_from_the_lowest_cut_to_the_highest_with_the_cut_in_it() -> None:
    drawn = curve(points((3.0, 1.0, 0.25), (2.0, 0.75, 0.5), (1.0, 0.5, 1.0)), 2.5)
    assert drawn is not None
    precision, recall = drawn.lines
    assert precision.points == "0.00,50.00 50.00,25.00 100.00,0.00"
    assert recall.points == "0.00,0.00 50.00,50.00 100.00,75.00"
    assert drawn.cut is not None
    assert drawn.cut.at == pytest.approx(75)
    beyond = curve(points((3.0, 1.0, 0.25), (2.0, 0.75, 0.5)), 9.0)
    assert beyond is not None
    assert beyond.cut is None


def test_one_cut_alone_is_no_curve() -> None:
    assert curve(points((3.0, 1.0, 0.25)), 3.0) is None
    assert curve([], 3.0) is None


def cut_of(expected: float | None, upper: float | None) -> Threshold:
    return replace(fixed(0.5), expected_fpr=expected, upper_fpr=upper, n=None if upper is None else 2000)


def test_the_verdict_holds_the_flags_against_the_false_alarms_of_the_cut() -> None:
    more = verdict(200, 1000, cut_of(0.01, 0.02)) or ""
    assert more.startswith("False alarms alone do not explain that: of normal images no more than 2 % would be flagged")
    low, high = binomtest(200, 1000).proportion_ci(0.95, "exact")
    assert f"the 95 % interval of this share is {100 * low:.1f} % to {100 * high:.1f} %" in more
    assert (verdict(11, 1000, cut_of(0.01, 0.02)) or "").startswith("False alarms alone may explain that")
    less = verdict(5, 10_000, cut_of(0.01, 0.02)) or ""
    lower = binomtest(20, 2000).proportion_ci(0.95, "exact").low
    assert less.startswith("That is less than false alarms alone should be: of normal images at least ")
    assert f"at least {percent(lower)} would be flagged" in less
    assert (verdict(65, 10_000, cut_of(0.01, 0.02)) or "").startswith("False alarms alone may explain that")
    assert verdict(5, 10, cut_of(None, None)) is None
    assert verdict(0, 0, cut_of(0.01, 0.02)) is None


def test_groups_have_their_shares_and_first_comes_what_is_surest() -> None:
    group = ["small"] + ["large"] * 100 + ["quiet"] * 50
    page = page_of(results([0.9] + [0.9] * 60 + [0.1] * 90, 0.5, group=group), threshold=fixed(0.5))
    assert page.groups is not None
    assert [(rate.name, rate.count) for rate in page.groups.rows] == [
        ("large", "60 of 100"),
        ("small", "1 of 1"),
        ("quiet", "0 of 50"),
    ]
    low, high = binomtest(60, 100).proportion_ci(0.95, "exact")
    assert (page.groups.rows[0].left, page.groups.rows[0].width) == pytest.approx((100 * low, 100 * (high - low)))
    assert page.groups.scale == "100 %"
    assert "Flagged by group" in Seen(render(page)).text


def test_of_many_groups_thirty_are_shown_and_it_says_so() -> None:
    page = page_of(results([0.9] * 40, 0.5, group=[f"g{row}" for row in range(40)]), threshold=fixed(0.5))
    assert page.groups is not None
    assert len(page.groups.rows) == 30
    assert page.groups.about.endswith(" 30 of 40 groups are shown.")


def test_without_groups_or_a_cut_there_are_no_rates() -> None:
    assert page_of(results([0.9, 0.1], 0.5), threshold=fixed(0.5)).groups is None
    assert page_of(results([0.9, 0.1], group=["a", "b"])).groups is None


def test_a_page_that_leaves_flagged_images_out_says_how_to_list_them() -> None:
    page = page_of(results([0.9] * 3, 0.5), rows=2, threshold=fixed(0.5))
    query = 'rayae query /runs/night "SELECT uri, score FROM results WHERE is_anomaly" out=flagged.csv'
    assert page.gallery.notes[0] == (
        f"1 flagged image is not on this page, which holds 2 rows (`rows=`); `{query}` lists all."
    )


def test_the_page_says_what_it_was_made_of() -> None:
    assert facts(page_of(results([0.1])))["Fingerprint"] == "f1" * 6


def test_what_cannot_be_had_has_no_table_and_a_sentence() -> None:
    table = results([0.002, 0.0015, 0.005], 0.004, label=["crack"] * 3)
    full = table.append_column("size_bytes", pa.array([9, 8, 7]))
    found = evaluate(full, primary="mse", scores=["mse"], cut=None, roles=[None] * 3)
    page = page_of(table, evaluation=json.loads(json.dumps(found.to_dict())))
    assert page.evaluation is not None
    assert [one.title for one in page.evaluation.tables] == ["mse by role"]
    assert page.evaluation.curve is None
    assert {NO_NORMAL, NO_CUT} <= {*page.evaluation.words}
