"""Home of what `evaluate` and `drift` found as it stands on the page of a report: sentences, tables and a curve."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from rayae.histogram import LOGARITHMIC_FROM, Axis, Tick, number, x_ticks
from rayae.page import Curve, Drifted, Judgement, Line, Table
from rayae.statistics import percent

NOTHING = "\N{EN DASH}"
SIGNED = "+.3f"
PARTS_SHOWN = 30
"""Days, groups or other values of a run whose drift stands on its page."""
Point = Mapping[str, Any]


def judged(evaluation: Mapping[str, Any], cut: float | None) -> Judgement:
    """What `evaluation.json` says, of one bundle or of a set, with the curve of cuts and the cut in it."""
    if "products" in evaluation:
        return _of_products(evaluation)
    return _of_one(evaluation, curve(evaluation["trade_off"], cut))


def _of_one(evaluation: Mapping[str, Any], drawn: Curve | None) -> Judgement:
    """In the shape that `findings.Evaluation.to_dict` gives it.

    What cannot be had at all has no table: the words say why.
    """
    interval = f"{percent(evaluation['confidence'])} interval"
    tables = (*_ranked(evaluation, interval), *_at_cut(evaluation, interval), *_by_role(evaluation))
    verdict, *words = evaluation["words"]
    return Judgement(verdict, tuple(words), tables, drawn)


def _ranked(evaluation: Mapping[str, Any], interval: str) -> Iterator[Table]:
    """How scores rank, and the floors."""
    floors, primary = evaluation["floors"], evaluation["primary"]
    if all(score["auroc"]["value"] is None for score in evaluation["skill"]):
        return
    skill = [(score["name"], score["auroc"], score["average_precision"]) for score in evaluation["skill"]]
    skill += [("random order", {"value": 0.5, "low": None, "high": None}, floors["average_precision_random"])]
    yield _table("Defects ranked above normal images", f"Score | AUROC, {interval} | Average precision", skill)
    held = [
        (floor["title"], floor["auroc"], _figure(floor["lead"], SIGNED))
        for kind in ("trivial", "components", "nearest")
        for floor in floors[kind]
    ]
    yield _table("Floors, which need no trained network", f"Floor | AUROC, {interval} | {primary} above it", held)


def _at_cut(evaluation: Mapping[str, Any], interval: str) -> Iterator[Table]:
    """Rates at the cut."""
    at, rates = evaluation["at_cut"], ("recall", "precision", "false_positive_rate", "f1")
    if any(at[name]["value"] is not None for name in rates):
        rows = [(name.replace("_", " ").replace("f1", "F1"), at[name]) for name in rates]
        rows += [("F1 of flagging everything", evaluation["floors"]["f1_flag_everything"])]
        yield _table("At the cut", f"Figure | Value, {interval}", rows)


def _by_role(evaluation: Mapping[str, Any]) -> Iterator[Table]:
    """Scores of images that were used, and of the others."""
    rows = [
        (one["role"], f"{one['images']:,}", number(one["median"]), number(one["mean"]))
        for one in evaluation["errors"]
        if one["median"] is not None and one["mean"] is not None
    ]
    if rows:
        yield _table(f"{evaluation['primary']} by role", "Images | Count | Median | Mean", rows)


def _of_products(evaluation: Mapping[str, Any]) -> Judgement:
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
    verdict, *words = evaluation["words"]
    table = _table("Each product by itself", f"{columns} | False-positive rate", rows)
    return Judgement(verdict, tuple(words), (table,), None)


def drifted(record: Mapping[str, Any]) -> Drifted:
    """What `drift.json` says: how far the run is from its reference, whole and by the column that was asked for."""
    names, asked = record["titles"], record["settings"]
    whole = [
        (names.get(one["name"], one["name"]), _figure(one["delta"], SIGNED), _in_sd(one["median_shift"]))
        for one in record["shifts"]
    ]
    columns = f"Quantity | Cliff's delta, {percent(asked['confidence'])} interval | Median, in robust SD"
    tables = [_table("All images of the run", columns, whole)]
    if parts := record["furthest"]:
        quantities = [names.get(one["name"], one["name"]) for one in parts[0]["shifts"]]
        columns = " | ".join([asked["by"] or "value", "images", "against", *quantities, "what moved"])
        title = f"Cliff's delta by {asked['by']}"
        tables.append(_table(title, columns, [_part(part) for part in parts[:PARTS_SHOWN]]))
    against = "the calibration images of the bundle" if record["against"] is None else record["against"]
    return Drifted(f"Against {against}, on {record['created'][:10]}", tuple(record["words"]), tuple(tables))


def _in_sd(shift: float | None) -> str:
    return NOTHING if shift is None else f"{shift:+.3g}"


def _part(part: Mapping[str, Any]) -> tuple[str, ...]:
    deltas = (f"{one['delta']['value']:{SIGNED}}" for one in part["shifts"])
    against = "its own" if part["is_like"] else "all"
    return (part["value"] or "none", f"{part['images']:,}", against, *deltas, part["cause"])


def curve(points: Sequence[Point], cut: float | None) -> Curve | None:
    """Precision and recall against the cut, in a box of 100 by 100; None with fewer than two different cuts.

    The cut that is in use is marked where it lies among those of the curve.
    """
    places = np.array(sorted(point["cut"] for point in points), dtype=np.float64)
    if len(places) < 2 or places[0] == places[-1]:
        return None
    axis = _axis(places)
    ordered = sorted(points, key=lambda point: float(point["cut"]))
    at = axis.percent(places)
    is_inside = cut is not None and axis.low <= cut <= axis.high
    return Curve(
        lines=tuple(_line(name, [point[name] for point in ordered], at) for name in ("precision", "recall")),
        x_ticks=x_ticks(axis),
        cut=Tick(float(axis.percent(np.array([cut]))[0]), number(cut)) if is_inside and cut is not None else None,
        logarithmic=axis.logarithmic,
    )


def _axis(places: np.ndarray[Any, np.dtype[np.float64]]) -> Axis:
    low, high = float(places[0]), float(places[-1])
    return Axis(low, high, low > 0 and high / low >= LOGARITHMIC_FROM)


def _line(name: str, figures: Sequence[Mapping[str, Any]], at: Iterable[float]) -> Line:
    """A figure and its interval along the places; a figure without an interval is its own."""
    path, upper, lower = list[str](), list[str](), list[str]()
    for x, figure in zip(at, figures, strict=True):
        value, low, high = (figure[part] for part in ("value", "low", "high"))
        path.append(f"{x:.2f},{100 - 100 * value:.2f}")
        upper.append(f"{x:.2f},{100 - 100 * (value if high is None else high):.2f}")
        lower.append(f"{x:.2f},{100 - 100 * (value if low is None else low):.2f}")
    return Line(name, " ".join(path), " ".join([*upper, *reversed(lower)]))


def _table(title: str, columns: str, rows: Iterable[Sequence[Any]]) -> Table:
    words = (tuple(cell if isinstance(cell, str) else _figure(cell) for cell in row) for row in rows)
    return Table(title, tuple(columns.split(" | ")), tuple(words))


def _figure(figure: Mapping[str, Any], style: str = ".3f") -> str:
    if figure["value"] is None:
        return NOTHING
    value, low, high = (figure[part] for part in ("value", "low", "high"))
    return f"{value:{style}}" if low is None else f"{value:{style}} ({low:{style}} to {high:{style}})"
