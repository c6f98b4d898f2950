"""ANALYSE: home of the report: a run and what is known of it, put into the words and figures of one page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.histogram import histogram, number
from rayae.page import Count, Fact, Failure, Judgement, ReportPage, Shown, Table, Worst, render
from rayae.pictures import INFERNO, brightest, heat, photograph
from rayae.results import Status
from rayae.run import Run
from rayae.score_names import IN_WORDS
from rayae.statistics import percent
from rayae.threshold import Threshold

__all__ = ["COLUMNS", "ReportPage", "WorstPicture", "compose", "render"]

COLUMNS = (
    "image_id",
    "uri",
    "label",
    "status",
    "error",
    "score",
    "p_value",
    "is_anomaly",
    "bundle_id",
    "threshold_id",
)
"""The result columns that the page needs."""

EXAMPLES = 5
NOTHING = "\N{EN DASH}"


@dataclass(frozen=True)
class WorstPicture:
    """An image with a high score: pixels as the network saw them, what it made of them, error of each pixel.

    They are shown in the size in which they come: `pictures` makes them small. `reason` stands in for the three when
    the image could not be read or reconstructed again.
    """

    image_id: int
    uri: str
    original: NDArray[np.uint8] | None = None
    reconstruction: NDArray[np.uint8] | None = None
    error_map: NDArray[np.floating[Any]] | NDArray[np.uint8] | None = None
    reason: str | None = None


def compose(
    uri: str,
    record: Mapping[str, Any],
    success: Mapping[str, Any] | None,
    results: pa.Table,
    *,
    score_name: str = "score",
    threshold: Threshold | None = None,
    calibration: NDArray[np.float32] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    products: Table | None = None,
    pictures: Sequence[WorstPicture] = (),
    notes: Sequence[str] = (),
) -> ReportPage:
    """Put a run into words and figures; `results` needs `COLUMNS`, and `pictures` come worst first."""
    scale = scale_of(pictures)
    by_status = _by_status(results)
    scores = results["score"].drop_null().to_numpy().astype(np.float64)
    return ReportPage(
        name=uri.rstrip("/").rsplit("/", 1)[-1],
        headline=_headline(results),
        guarantee=None if threshold is None else threshold.guarantee,
        notes=(*_unfinished(record, success, results.num_rows), *notes),
        run=_run_facts(uri, record, success, results, threshold),
        statuses=tuple(_count(status, count, results.num_rows) for status, count in by_status.items()),
        flagged=_flagged(results),
        score_name=score_name,
        score_words=IN_WORDS.get(score_name),
        histogram=histogram(scores, _finite(calibration), None if threshold is None else threshold.cut),
        calibrated_on=None if calibration is None or not len(calibration) else f"{len(calibration):,}",
        products=products,
        evaluation=None if evaluation is None else _judged(evaluation),
        worst=cards(pictures, results, scale),
        colours=", ".join(INFERNO),
        brightest=None if scale is None else number(scale),
        failures=tuple(
            _failure(status, count, results) for status, count in by_status.items() if status != Status.SCORED
        ),
        stages=_stages(success),
        version=str(record["rayae"]),
    )


def _by_status(results: pa.Table) -> dict[str, int]:
    pairs = pc.value_counts(results["status"]).to_pylist()
    counts = sorted(((pair["values"], pair["counts"]) for pair in pairs), key=lambda pair: (-pair[1], pair[0]))
    return {Status.SCORED.value: 0} | dict(counts)


def _noun(count: int) -> str:
    return "image" if count == 1 else "images"


def _images(count: int) -> str:
    return f"{count:,} {_noun(count)}"


def _headline(results: pa.Table) -> str:
    rows, scored = results.num_rows, results.num_rows - results["score"].null_count
    failed = "." if scored == rows else f"; {rows - scored:,} could not be scored."
    if not scored:
        return f"None of {_images(rows)} could be scored."
    if results["is_anomaly"].null_count == rows:
        return f"{_images(scored)} scored and none judged, for want of a threshold{failed}"
    flagged = pc.sum(results["is_anomaly"]).as_py()
    return f"{flagged:,} of {scored:,} scored {_noun(scored)} flagged ({percent(flagged / scored)}){failed}"


def _unfinished(record: Mapping[str, Any], success: Mapping[str, Any] | None, rows: int) -> list[str]:
    missing = int(record["rows"]) - rows
    if missing:
        rest = f"have no result yet; the figures below are of the other {rows:,}"
        return [f"Unfinished: {missing:,} of {_images(int(record['rows']))} {rest}."]
    closed = success is not None
    return [] if closed else ["Unfinished: every image has its result, but the run was not closed."]


def _run_facts(
    uri: str,
    record: Mapping[str, Any],
    success: Mapping[str, Any] | None,
    results: pa.Table,
    threshold: Threshold | None,
) -> tuple[Fact, ...]:
    images = record["images"]
    bundle_ids = pc.unique(results["bundle_id"].drop_null()).to_pylist()
    facts = {
        "Run": uri,
        "Images": ", ".join(images) if isinstance(images, list) else str(images),
        "Manifest": f"{_images(int(record['rows']))} in {len(record['chunks']):,} chunks",
        "Bundle": str(record["bundle"]),
        "Bundle id": ", ".join(bundle_ids) if len(bundle_ids) <= EXAMPLES else f"{len(bundle_ids):,} bundles",
        **({} if threshold is None else _threshold_facts(threshold)),
        "Created": _moment(record["created"]),
        "Finished": "not yet" if success is None else _moment(success["finished"]),
    }
    if success is not None:
        facts |= _speed(success["statistics"], int(record["rows"]))
    return tuple(Fact(name, value) for name, value in (facts | {"Version": f"rayae {record['rayae']}"}).items())


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S %Z}"


def _threshold_facts(threshold: Threshold) -> dict[str, str]:
    aim = "" if threshold.alpha is None else f", aiming at {percent(threshold.alpha)} of normal images"
    known = "no calibration images" if threshold.n is None else f"{_images(threshold.n)}"
    return {
        "Threshold": f"{threshold.score} above {np.float32(threshold.cut)!s}",
        "Rule": f"{threshold.rule}{aim}, {known}",
        "Threshold id": threshold.id,
    }


def _speed(statistics: Mapping[str, Any], images: int) -> dict[str, str]:
    """The speed of the session that finished the run, named so when it did not score all images; none when it did none.

    Statistics hold no count of the session's images, but its speed and seconds, both rounded, give it well enough.
    """
    speed, seconds = statistics["images_per_second"], statistics["wall_seconds"]
    if not speed:
        return {}
    fewer = (speed + 0.05) * (seconds + 0.005) < images
    name = "Speed, last session" if fewer else "Speed"
    return {name: f"{speed:,.{0 if speed >= 10 else 1}f} images/s over {seconds:,.1f} s"}


def _count(name: str, count: int, total: int) -> Count:
    share = count / total if total else 0.0
    return Count(name, f"{count:,}", percent(share), 100 * share)


def _flagged(results: pa.Table) -> Count | None:
    judged = results.num_rows - results["is_anomaly"].null_count
    return _count("flagged", pc.sum(results["is_anomaly"]).as_py(), judged) if judged else None


def _finite(values: NDArray[np.float32] | None) -> NDArray[np.float64] | None:
    return None if values is None else values[np.isfinite(values)].astype(np.float64)


def _failure(status: str, count: int, results: pa.Table) -> Failure:
    rows = results.filter(pc.equal(results["status"], status)).slice(0, EXAMPLES).to_pylist()
    examples = tuple(Fact(row["uri"], row["error"] or "No reason was recorded.") for row in rows)
    return Failure(status, f"{count:,}", count > len(examples), examples)


def _stages(success: Mapping[str, Any] | None) -> tuple[Count, ...]:
    seconds: Mapping[str, float] = {} if success is None else success["statistics"]["seconds"]
    total = sum(seconds.values()) or 1.0
    return tuple(
        Count(stage, f"{spent:,.1f}", percent(spent / total), 100 * spent / total) for stage, spent in seconds.items()
    )


def cards(pictures: Sequence[WorstPicture], results: pa.Table, scale: float | None) -> tuple[Worst, ...]:
    """A card for each picture, with what the rows say of it: image_id, score, p_value, is_anomaly and label."""
    return tuple(_worst(rank, picture, results, scale) for rank, picture in enumerate(pictures, 1))


def _worst(rank: int, picture: WorstPicture, results: pa.Table, scale: float | None) -> Worst:
    row = results.filter(pc.equal(results["image_id"], picture.image_id)).slice(0, 1).to_pylist()[0]
    return Worst(
        rank=rank,
        image_id=picture.image_id,
        uri=picture.uri,
        score=number(row["score"]),
        p_value=None if row["p_value"] is None else f"{row['p_value']:.2g}",
        flagged=row["is_anomaly"],
        label=row["label"],
        pictures=shown(picture, scale),
        reason=picture.reason,
    )


def shown(picture: WorstPicture, scale: float | None) -> tuple[Shown, ...]:
    """What there is of a picture: the original, the reconstruction, the error map."""
    pairs = (("original", picture.original), ("reconstruction", picture.reconstruction))
    found = [Shown(name, photograph(pixels)) for name, pixels in pairs if pixels is not None]
    if picture.error_map is not None and scale is not None:
        found.append(Shown("error map", heat(picture.error_map, scale)))
    return tuple(found)


def scale_of(pictures: Sequence[WorstPicture]) -> float | None:
    """The error that gets the brightest colour in their error maps; None when there are none."""
    maps = [picture.error_map for picture in pictures if picture.error_map is not None]
    return brightest(maps) if maps else None


def _judged(evaluation: Mapping[str, Any]) -> Judgement:
    return _judgement_of_products(evaluation) if "products" in evaluation else _judgement(evaluation)


def _judgement(evaluation: Mapping[str, Any]) -> Judgement:
    """What `evaluation.json` says, in the shape that `evaluation.Evaluation.to_dict` gives it."""
    at, floors, primary = evaluation["at_cut"], evaluation["floors"], evaluation["primary"]
    interval = f"{percent(evaluation['confidence'])} interval"
    skill = [(score["name"], score["auroc"], score["average_precision"]) for score in evaluation["skill"]]
    skill += [("random order", {"value": 0.5, "low": None, "high": None}, floors["average_precision_random"])]
    held = [
        (floor["title"], floor["auroc"], _figure(floor["lead"], "+.3f"))
        for kind in ("trivial", "components", "nearest")
        for floor in floors[kind]
    ]
    rates = ("recall", "precision", "false_positive_rate", "f1")
    at_cut = [(name.replace("_", " ").replace("f1", "F1"), at[name]) for name in rates]
    at_cut += [("F1 of flagging everything", floors["f1_flag_everything"])]
    roles = [(e["role"], f"{e['images']:,}", _error(e["median"]), _error(e["mean"])) for e in evaluation["errors"]]
    return Judgement(
        words=tuple(evaluation["words"]),
        tables=(
            _table("Defects ranked above normal images", f"Score | AUROC, {interval} | Average precision", skill),
            _table("Floors, which need no trained network", f"Floor | AUROC, {interval} | {primary} above it", held),
            _table("At the cut", f"Figure | Value, {interval}", at_cut),
            _table(f"{primary} by role", "Images | Count | Median | Mean", roles),
        ),
    )


def _judgement_of_products(evaluation: Mapping[str, Any]) -> Judgement:
    """The same of a run with a set of bundles, in the shape that `by_product.ByProduct.to_dict` gives it."""
    rows = [
        (
            value,
            one["skill"][0]["auroc"],
            *(one["at_cut"][name] for name in ("recall", "precision", "false_positive_rate")),
        )
        for value, one in evaluation["products"].items()
    ]
    columns = f"{evaluation['column']} | AUROC, {percent(evaluation['confidence'])} interval | Recall | Precision"
    return Judgement(
        words=tuple(evaluation["words"]),
        tables=(_table("Each product by itself", f"{columns} | False-positive rate", rows),),
    )


def products_table(run: Run, results: pa.Table) -> Table | None:
    """What each bundle of a set found in its images; None for a run with one bundle."""
    assignment = run.assignment
    if assignment.column is None:
        return None
    rows = []
    for value, places in assignment.parts(results):
        own = results.take(places)
        cut = None if value is None else assignment.bundles[value].threshold
        flagged, scored = pc.sum(own["is_anomaly"], min_count=0).as_py(), own.num_rows - own["score"].null_count
        name = "without a bundle" if value is None else value
        share = NOTHING if cut is None or not scored else percent(flagged / scored)
        cells = (f"{own.num_rows:,}", f"{scored:,}", NOTHING if cut is None else f"{flagged:,}", share)
        rows.append((name, *cells, NOTHING if cut is None else f"{cut.score} above {np.float32(cut.cut)!s}"))
    columns = (assignment.column, "Images", "Scored", "Flagged", "Share", "Cut")
    return Table(f"Each {assignment.column} has its bundle and its cut", columns, tuple(rows))


def _table(title: str, columns: str, rows: Iterable[Sequence[Any]]) -> Table:
    words = (tuple(cell if isinstance(cell, str) else _figure(cell) for cell in row) for row in rows)
    return Table(title, tuple(columns.split(" | ")), tuple(words))


def _figure(figure: Mapping[str, Any], style: str = ".3f") -> str:
    if figure["value"] is None:
        return NOTHING
    value, low, high = (figure[part] for part in ("value", "low", "high"))
    return f"{value:{style}}" if low is None else f"{value:{style}} ({low:{style}} to {high:{style}})"


def _error(value: float | None) -> str:
    return NOTHING if value is None else number(value)
