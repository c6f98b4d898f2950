"""ANALYSE: home of the report: a run and what is known of it, put into the words and figures of one page."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.decisions import Decision
from rayae.distributions import distribution
from rayae.gallery import left_out, link, p_words, rows_of, title
from rayae.histogram import number
from rayae.judgement import drifted, judged
from rayae.overview import EXAMPLES, Overview, Tally
from rayae.page import Count, Fact, Failure, Gallery, Products, Rate, Rates, ReportPage, Shown, Worst, render
from rayae.pictures import INFERNO, brightest, heat, photograph
from rayae.results import Status
from rayae.statistics import clopper_pearson, percent
from rayae.threshold import Threshold

__all__ = ["ReportPage", "WorstPicture", "compose", "render"]

GROUPS_SHOWN, DRIFTS_SHOWN = 30, 3
CONFIDENCE = 0.95
"""Of the intervals of rates, where no threshold says another one."""


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
    overview: Overview,
    shown: pa.Table,
    *,
    score_name: str = "score",
    threshold: Threshold | None = None,
    decision: Decision | None = None,
    calibration: NDArray[np.float32] | None = None,
    evaluation: Mapping[str, Any] | None = None,
    drifts: Sequence[Mapping[str, Any]] = (),
    products: Products | None = None,
    pictures: Sequence[WorstPicture] = (),
    notes: Sequence[str] = (),
) -> ReportPage:
    """Put a run into words and figures; `pictures` are those of the first of the rows `shown`.

    With a decision it is the flags of that which the overview counts, and `threshold` is its cut; where groups have
    their own, there is no verdict, since it holds all images against one.
    """
    confidence = CONFIDENCE if threshold is None else threshold.confidence
    several = decision is not None and len(decision.ruling.thresholds) > 1
    cutting = None if threshold is None or threshold.flags_nothing else threshold
    cut = None if cutting is None else cutting.cut
    own = distribution(overview.scores, score_name, cutting, calibration)
    drawn = (own,) if products is None else products.distributions
    return ReportPage(
        name=uri.rstrip("/").rsplit("/", 1)[-1],
        headline=_headline(overview, None if decision is None else decision.counts.for_review),
        verdict=None if several else verdict(overview.flagged, overview.judged, cutting),
        guarantee=None if threshold is None else threshold.guarantee,
        notes=(*_unfinished(record, success, overview.images), *notes),
        gallery=_gallery(uri, overview, shown, pictures, decision, in_turn=products is not None),
        score_name=score_name,
        distributions=tuple(one for one in drawn if one is not None),
        groups=_rates(overview, confidence),
        products=products,
        evaluation=None if evaluation is None else judged(evaluation, cut),
        drifts=tuple(drifted(record) for record in drifts[:DRIFTS_SHOWN]),
        statuses=tuple(_count(status, count, overview.images) for status, count in overview.by_status.items()),
        flagged=_count("flagged", overview.flagged, overview.judged) if overview.judged else None,
        failures=tuple(
            _failure(status, count, overview.examples[status])
            for status, count in overview.by_status.items()
            if status != Status.SCORED
        ),
        run=_run_facts(uri, record, success, overview, threshold, decision),
        stages=_stages(success),
        version=str(record["rayae"]),
    )


def _noun(count: int) -> str:
    return "image" if count == 1 else "images"


def _images(count: int) -> str:
    return f"{count:,} {_noun(count)}"


def _headline(overview: Overview, for_review: int | None) -> str:
    images, scored = overview.images, overview.scored
    failed = "." if scored == images else f"; {images - scored:,} could not be scored."
    if not scored:
        return f"None of {_images(images)} could be scored."
    if not overview.judged:
        return f"{_images(scored)} scored and none judged, for want of a threshold{failed}"
    share = percent(overview.flagged / scored)
    review = f", {for_review:,} more for a person to look at" if for_review else ""
    return f"{overview.flagged:,} of {scored:,} scored {_noun(scored)} flagged ({share}){review}{failed}"


def verdict(flagged: int, judged: int, threshold: Threshold | None) -> str | None:
    """What the share of flagged images says, held against the false alarms of the cut; None where these are unknown.

    Also for a false discovery rate, which promises a share of what is flagged, and says so.
    """
    if threshold is None or threshold.rule == "fdr":
        return None
    expected, upper, confidence = threshold.expected_fpr, threshold.upper_fpr, threshold.confidence
    if not judged or expected is None or upper is None or not threshold.n:
        return None
    low, high = clopper_pearson(flagged, judged, confidence)
    lower, _ = clopper_pearson(round(expected * threshold.n), threshold.n, confidence)
    words = f"the {percent(confidence)} interval of this share is {percent(low)} to {percent(high)}"
    if low > upper:
        return (
            f"False alarms alone do not explain that: of normal images no more than {percent(upper)} would be flagged, "
            f"and {words}. Either there are defects, or the images are not like those the cut was calibrated on."
        )
    if high < lower:
        return (
            f"That is less than false alarms alone should be: of normal images at least {percent(lower)} would be "
            f"flagged, and {words}. So the images are not like those the cut was calibrated on, and its figures do not "
            "hold for them."
        )
    return f"False alarms alone may explain that: of normal images up to {percent(upper)} would be flagged."


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
    overview: Overview,
    threshold: Threshold | None,
    decision: Decision | None,
) -> tuple[Fact, ...]:
    images, ids = record["images"], overview.bundle_ids
    facts = {
        "Run": uri,
        "Images": ", ".join(images) if isinstance(images, list) else str(images),
        "Manifest": f"{_images(int(record['rows']))} in {len(record['chunks']):,} chunks",
        "Bundle": str(record["bundle"]),
        "Bundle id": ", ".join(ids) if len(ids) <= EXAMPLES else f"{len(ids):,} bundles",
        "Fingerprint": str(record["fingerprint_hash"]),
        **({} if decision is None else _decision_facts(decision)),
        **({} if threshold is None else _threshold_facts(threshold)),
        "Created": _moment(record["created"]),
        "Finished": "not yet" if success is None else _moment(success["finished"]),
    }
    if success is not None:
        facts |= _speed(success["statistics"], int(record["rows"]))
    return tuple(Fact(name, value) for name, value in (facts | {"Version": f"rayae {record['rayae']}"}).items())


def _decision_facts(decision: Decision) -> dict[str, str]:
    asked = ", ".join(f"{name} = {value}" for name, value in decision.ruling.settings.items())
    groups = len(decision.ruling.thresholds) - 1
    own = {"Cuts of their own": f"{groups:,} by group; all other images have the one below"} if groups else {}
    return {"Decision": decision.id, "Decided": _moment(decision.created), "Asked": asked, **own}


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S %Z}"


def _threshold_facts(threshold: Threshold) -> dict[str, str]:
    aim = "" if threshold.alpha is None else f", aiming at {percent(threshold.alpha)} of normal images"
    known = "no calibration images" if threshold.n is None else f"{_images(threshold.n)}"
    return {
        "Threshold": "none" if threshold.flags_nothing else f"{threshold.score} above {np.float32(threshold.cut)!s}",
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


def _failure(status: str, count: int, examples: Sequence[tuple[str, str | None]]) -> Failure:
    named = tuple(Fact(uri, error or "No reason was recorded.") for uri, error in examples)
    return Failure(status, f"{count:,}", count > len(named), named)


def _rates(overview: Overview, confidence: float) -> Rates | None:
    """The shares of groups that are flagged, first those of which most is sure: by the lower end of the interval."""
    judged = [group for group in overview.groups if group.judged]
    found = [(group, *clopper_pearson(group.flagged, group.judged, confidence)) for group in judged]
    if not found:
        return None
    shown = sorted(found, key=lambda one: -one[1])[:GROUPS_SHOWN]
    scale = max(high for _, _, high in shown)
    rows = tuple(_rate(*one, scale) for one in shown)
    return Rates(_groups_about(overview, confidence), percent(scale), rows)


def _rate(group: Tally, low: float, high: float, scale: float) -> Rate:
    return Rate(
        name=str(group.value),
        count=f"{group.flagged:,} of {group.judged:,}",
        share=percent(group.flagged / group.judged),
        interval=f"({percent(low)} to {percent(high)})",
        left=100 * low / scale,
        width=100 * (high - low) / scale,
    )


def _groups_about(overview: Overview, confidence: float) -> str:
    """How the rates of groups are to be read, and which of them are left out."""
    count = overview.group_count
    some = f" {GROUPS_SHOWN} of {count:,} groups are shown." if count > GROUPS_SHOWN else ""
    counted = f" Only the {len(overview.groups):,} with most flags are counted." if count > len(overview.groups) else ""
    return (
        f"The {percent(confidence)} intervals are Clopper and Pearson's and count images as independent; first comes "
        f"the group whose interval begins highest.{some}{counted}"
    )


def _stages(success: Mapping[str, Any] | None) -> tuple[Count, ...]:
    seconds: Mapping[str, float] = {} if success is None else success["statistics"]["seconds"]
    total = sum(seconds.values()) or 1.0
    return tuple(
        Count(stage, f"{spent:,.1f}", percent(spent / total), 100 * spent / total) for stage, spent in seconds.items()
    )


def _gallery(
    uri: str,
    overview: Overview,
    shown: pa.Table,
    pictures: Sequence[WorstPicture],
    decision: Decision | None,
    *,
    in_turn: bool,
) -> Gallery:
    scale = scale_of(pictures)
    drawn = sum(picture.original is not None for picture in pictures)
    order = ["The highest of each product come first, then the second of each, and so on."] if in_turn else []
    return Gallery(
        title=title(overview, shown),
        notes=(*order, *left_out(overview, shown, len(pictures), drawn, question(uri, decision))),
        cards=cards(pictures, shown, scale),
        rows=tuple(rows_of(shown)),
        colours=", ".join(INFERNO),
        brightest=None if scale is None else number(scale),
    )


def question(uri: str, decision: Decision | None) -> str:
    """The command that writes all flagged images into a table."""
    sql = "SELECT uri, score FROM results WHERE is_anomaly"
    if decision is not None:
        flags = f"FROM flags WHERE decision = '{decision.id}' AND is_anomaly"
        sql = f"SELECT uri, score FROM results WHERE image_id IN (SELECT image_id {flags})"
    return f'rayae query {uri} "{sql}" out=flagged.csv'


def cards(pictures: Sequence[WorstPicture], results: pa.Table, scale: float | None) -> tuple[Worst, ...]:
    """A card for each picture, with what the rows say of it: image_id, score, p_value, is_anomaly, label, and group."""
    return tuple(_worst(rank, picture, results, scale) for rank, picture in enumerate(pictures, 1))


def _worst(rank: int, picture: WorstPicture, results: pa.Table, scale: float | None) -> Worst:
    row = results.filter(pc.equal(results["image_id"], picture.image_id)).slice(0, 1).to_pylist()[0]
    return Worst(
        rank=rank,
        image_id=picture.image_id,
        uri=picture.uri,
        score=number(row["score"]),
        p_value=p_words(row["p_value"]),
        flagged=row["is_anomaly"],
        label=row["label"],
        group=row.get("group"),
        link=link(picture.uri),
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
