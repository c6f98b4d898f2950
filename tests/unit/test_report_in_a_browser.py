from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae.report import ReportPage, WorstPicture, compose, render
from tests.unit.browser import WITH_A_BROWSER, done, opened
from tests.unit.test_report import asked, picture, record, results

HOSTILE = """<img src=x onerror="document.title='it ran'"><script>document.title='it ran'</script>.png"""
SIZES = pytest.mark.parametrize("width", [1280, 420])

pytestmark = WITH_A_BROWSER


def hostile_page(pictures: int) -> ReportPage:
    """A page on which every text that comes from outside is hostile."""
    table = pa.table(
        {
            "image_id": [0, 1],
            "uri": [HOSTILE, HOSTILE],
            "label": [HOSTILE, None],
            "group": [HOSTILE, None],
            "status": ["scored", "missing"],
            "error": [None, HOSTILE],
            "score": pa.array([0.5, None], pa.float32()),
            "p_value": [0.1, None],
            "is_anomaly": pa.nulls(2, pa.bool_()),
            "bundle_id": [HOSTILE, HOSTILE],
            "threshold_id": pa.nulls(2, pa.string()),
        }
    )
    hostile = record(3, rayae=HOSTILE, bundle=HOSTILE, images=HOSTILE, fingerprint_hash=HOSTILE)
    pixels = np.zeros((8, 8, 1), np.uint8)
    worst = [WorstPicture(0, HOSTILE, pixels, pixels, np.zeros((8, 8), np.float32), reason=HOSTILE)] * pictures
    found = asked(table)
    return compose(f"/runs/{HOSTILE}", hostile, None, *found, score_name=HOSTILE, pictures=worst, notes=[HOSTILE])


@pytest.mark.parametrize("pictures", [0, 1])
def test_no_script_runs_from_a_name(tmp_path: Path, pictures: int) -> None:
    dom, complaints = opened(render(hostile_page(pictures)), tmp_path)
    assert complaints == ""
    assert "it ran</title>" not in dom
    assert "anomaly report</title>" in dom
    assert dom.count("<script") == 2
    assert '<img src="x"' not in dom
    assert "&lt;script&gt;" in dom
    assert '<li class="card"' in dom


def test_this_browser_would_run_the_script_if_it_were_there(tmp_path: Path) -> None:
    assert "<title>it ran</title>" in opened(f"<title>quiet</title>{HOSTILE}", tmp_path)[0]


def page_of(rows: int, pictures: int = 2) -> str:
    """So many flagged images, the highest score first: image 0 has 1.0. Groups and labels come in turn."""
    scores = np.linspace(1.0, 0.5, rows)
    groups = [("north", "south", None)[row % 3] for row in range(rows)]
    labels = [("good", "crack")[row % 2] for row in range(rows)]
    p_values = np.linspace(0.5, 0.01, rows)
    table = results(scores.tolist(), 0.1, group=groups, label=labels, p_value=p_values)
    shown = [picture(row, f"/photos/{row}.png") for row in range(pictures)]
    return render(compose("/runs/night", record(rows), None, *asked(table), pictures=shown))


def names(*rows: int) -> list[str]:
    return [f"/photos/{row}.png" for row in rows]


@SIZES
def test_a_page_holds_24_of_5000_rows_whatever_is_asked_of_them(tmp_path: Path, width: int) -> None:
    deed = """
    const count = () => document.querySelectorAll("#gallery-cards .card").length;
    said.push(count(), status());
    for (const key of ["score", "p", "group", "uri"]) { write("gallery-sort", key, "change"); said.push(count()); }
    for (const text of ["7", "77", "777"]) { write("gallery-text", text, "input"); said.push(count()); }
    said.push(status());
    """
    counts = [24, "1 to 24 of 5,000", *[24] * 4, 24, 24, 5]
    assert done(page_of(5000), tmp_path, deed, width=width) == [*counts, "1 to 5 of 5, of 5,000"]


def test_rows_are_sorted_and_those_without_a_value_come_last(tmp_path: Path) -> None:
    deed = """
    for (const key of ["rank", "p", "group", "uri"]) { write("gallery-sort", key, "change"); said.push(names()); }
    document.getElementById("gallery-turned").click();
    said.push(names());
    write("gallery-sort", "group", "change");
    said.push(names());
    """
    assert done(page_of(12), tmp_path, deed) == [
        names(*range(12)),
        names(*reversed(range(12))),
        names(0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11),
        names(*range(12)),
        names(*reversed(range(12))),
        names(1, 4, 7, 10, 0, 3, 6, 9, 2, 5, 8, 11),
    ]


def test_rows_are_filtered_by_text_group_and_label_together(tmp_path: Path) -> None:
    deed = """
    write("gallery-group", "north", "change"); said.push(names());
    write("gallery-label", "crack", "change"); said.push(names());
    write("gallery-text", "PHOTOS 9", "input"); said.push(names(), location.hash);
    write("gallery-text", "no such", "input"); said.push(names(), status());
    """
    found = done(page_of(12), tmp_path, deed)
    address = "#filter=PHOTOS+9&group=north&label=crack"
    assert found == [names(0, 3, 6, 9), names(3, 9), names(9), address, [], "No image fits, of 12"]


def test_an_address_opens_the_page_as_it_was_left(tmp_path: Path) -> None:
    deed = """said.push(names(), status());"""
    assert done(page_of(60), tmp_path, deed, "#sort=uri&turned=1&filter=.png&group=south") == [
        names(*range(58, 0, -3)),
        "1 to 20 of 20, of 60",
    ]
    assert done(page_of(60), tmp_path, deed, "#page=3") == [names(*range(48, 60)), "49 to 60 of 60"]


@pytest.mark.parametrize(
    "hash_", ["#evaluation", "#sort=nothing&group=nobody&page=x", "#page=-4", "#page=999", "#%E0%A4"]
)
def test_a_strange_address_opens_the_page_all_the_same(tmp_path: Path, hash_: str) -> None:
    assert len(done(page_of(30), tmp_path, "said.push(...names());", hash_)) in (24, 6)


@SIZES
def test_the_keyboard_does_it_all(tmp_path: Path, width: int) -> None:
    deed = """
    const at = () => {
      const active = document.activeElement;
      said.push(active.matches(".card") ? active.querySelector(".path").textContent : active.id);
    };
    press("ArrowRight"); at();
    press("ArrowRight"); at();
    press("ArrowLeft"); press("ArrowLeft"); at();
    for (let step = 0; step < 24; step += 1) press("ArrowRight");
    at(); said.push(names().length);
    press("/"); at();
    write("gallery-text", "29", "input"); said.push(names());
    press("ArrowLeft"); at();
    press("Escape"); at(); said.push(names().length);
    """
    assert done(page_of(30), tmp_path, deed, width=width) == [
        *names(0, 1, 0, 24),
        6,
        "gallery-text",
        names(29),
        "gallery-text",
        "",
        24,
    ]


def test_up_and_down_go_by_rows_of_the_grid(tmp_path: Path) -> None:
    deed = """
    press("ArrowRight"); press("ArrowDown");
    said.push(document.activeElement.querySelector(".path").textContent);
    """
    assert done(page_of(30), tmp_path, deed, width=1280) == names(2)
    assert done(page_of(30), tmp_path, deed, width=420) == names(1)


def test_cards_with_pictures_keep_them_when_they_come_back(tmp_path: Path) -> None:
    deed = """
    const pictures = () => said.push(document.querySelectorAll("#gallery-cards img").length);
    pictures();
    document.querySelector(".turn-after").click(); pictures();
    document.querySelector(".turn-before").click(); pictures();
    """
    assert done(page_of(30), tmp_path, deed) == [6, 0, 6]


def test_an_image_of_this_machine_is_a_link(tmp_path: Path) -> None:
    deed = """said.push(...[...document.querySelectorAll("#gallery-cards a")].map((link) => link.href));"""
    assert done(page_of(3), tmp_path, deed) == [f"file:///photos/{row}.png" for row in range(3)]


@SIZES
def test_nothing_is_wider_than_the_screen(tmp_path: Path, width: int) -> None:
    deed = """said.push(innerWidth, document.documentElement.scrollWidth);"""
    assert done(page_of(100), tmp_path, deed, width=width) == [width, width]


def test_the_browser_complains_of_nothing(tmp_path: Path) -> None:
    assert opened(page_of(100), tmp_path)[1] == ""


def test_this_browser_would_complain_of_an_error(tmp_path: Path) -> None:
    assert "Uncaught" in opened("<script>nothing.at.all</script>", tmp_path)[1]
