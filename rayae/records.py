"""Home of the JSON files of a run: what somebody has changed by hand, or cut, is told in a sentence."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rayae import storage
from rayae.errors import RunError

Shape = Any
"""A type or several; `{key: shape}` with the keys that must be there; `[shape]`; `Each(shape)`; or a function that
raises ValueError or TypeError for what does not fit."""


@dataclass(frozen=True)
class Each:
    """A mapping whose values, under whatever keys, have a shape."""

    shape: Shape


def moment(value: Any) -> None:
    """A time as `datetime.isoformat` writes it."""
    datetime.fromisoformat(value)


def first_rows(value: Any) -> None:
    """The first rows of chunks: whole numbers from 0 upwards."""
    if not isinstance(value, list) or not all(type(first) is int for first in value):
        raise ValueError
    if value[:1] != [0] or sorted(set(value)) != value:
        raise ValueError


def images_of_a_run(value: Any) -> None:
    """What `images=` was: a text, or a list of texts."""
    if not all(isinstance(item, str) for item in ([value] if not isinstance(value, list) else value)):
        raise ValueError


def settings_of_a_run(value: Any) -> None:
    """A mapping in which groups are mappings, too."""
    groups = ("storage", "reader", "resources", "max_failed_by_status", "select")
    if not isinstance(value, dict) or not all(isinstance(value.get(group, {}), dict) for group in groups):
        raise ValueError


def sentences(value: Any) -> None:
    """Texts, one at least."""
    if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
        raise ValueError


NUMBER = (int, float)
OPTIONAL_NUMBER = (int, float, type(None))
OPTIONAL_TEXT = (str, type(None))
RECORD_SHAPE = {
    "images": images_of_a_run,
    "settings": settings_of_a_run,
    "calibration_sha256": OPTIONAL_TEXT,
    "fingerprint": {"manifest": str, "bundle": str, "calibration": OPTIONAL_TEXT, "threshold": OPTIONAL_TEXT},
    "fingerprint_hash": str,
    "bundle": str,
    "rows": int,
    "chunks": first_rows,
    "scores": [str],
    "primary_score": str,
    "threshold": (dict, type(None)),
    "created": moment,
    "rayae": str,
}
PRODUCTS_SHAPE = {
    "products": {
        "column": str,
        "bundles": Each(
            {
                "folder": str,
                "bundle_id": str,
                "primary_score": str,
                "scores": [str],
                "calibration": OPTIONAL_TEXT,
                "threshold": (dict, type(None)),
            }
        ),
    }
}
"""Of the record of a run with a set of bundles: which of them scores which image."""
SUCCESS_SHAPE = {
    "finished": moment,
    "statistics": {
        "images": int,
        "by_status": Each(int),
        "flagged": int,
        "seconds": Each(NUMBER),
        "wall_seconds": NUMBER,
        "images_per_second": NUMBER,
    },
}


def figure(value: Any) -> None:
    """A value of an evaluation, with both ends of its interval or with neither."""
    wrong = misfit(value, dict.fromkeys(("value", "low", "high"), OPTIONAL_NUMBER))
    if wrong is not None or (value["low"] is None) != (value["high"] is None):
        raise ValueError(wrong)


def known_figure(value: Any) -> None:
    """The same of a value that is always there."""
    figure(value)
    if value["value"] is None:
        raise ValueError


def ranked_scores(value: Any) -> None:
    """The figures of scores, of one at least: the primary one is the first."""
    wrong = misfit(value, [{"name": str, "auroc": figure, "average_precision": figure}])
    if wrong is not None or not value:
        raise ValueError(wrong)


FLOOR = {"title": str, "auroc": figure, "lead": figure}
EVALUATION_SHAPE = {
    "primary": str,
    "confidence": NUMBER,
    "words": sentences,
    "skill": ranked_scores,
    "at_cut": {"recall": figure, "precision": figure, "false_positive_rate": figure, "f1": figure},
    "trade_off": [{"cut": NUMBER, "recall": known_figure, "precision": known_figure}],
    "floors": {
        **{kind: [FLOOR] for kind in ("trivial", "components", "nearest")},
        "average_precision_random": figure,
        "f1_flag_everything": figure,
    },
    "errors": [{"role": str, "images": int, "median": OPTIONAL_NUMBER, "mean": OPTIONAL_NUMBER}],
}
EVALUATIONS_SHAPE = {"column": str, "words": sentences, "products": Each(EVALUATION_SHAPE), "confidence": NUMBER}
"""Of a run with a set of bundles: an evaluation a product."""
SHIFT = {"name": str, "delta": known_figure, "median_shift": OPTIONAL_NUMBER}
DRIFT_SHAPE = {
    "created": moment,
    "against": OPTIONAL_TEXT,
    "settings": {"by": OPTIONAL_TEXT, "confidence": NUMBER},
    "titles": Each(str),
    "words": [str],
    "shifts": [SHIFT],
    "furthest": [{"value": OPTIONAL_TEXT, "images": int, "is_like": bool, "cause": str, "shifts": [SHIFT]}],
}


def read_record(uri: str, shape: Shape, remedy: str) -> dict[str, Any] | None:
    """The mapping in a JSON file, or None when there is no file; RunError, with the `remedy`, when it does not fit."""
    found = storage.read_version(uri)
    if found is None:
        return None
    try:
        value = json.loads(found[0])
    except (ValueError, RecursionError) as error:
        reason = " ".join(str(error).split()).rstrip(".")
        raise RunError(f"{uri} is damaged: it is not valid JSON ({reason}); {remedy}.") from error
    return fitting(uri, value, shape, remedy)


def fitting(uri: str, value: Any, shape: Shape, remedy: str) -> dict[str, Any]:
    """A value of a JSON file; RunError, with the `remedy`, when it is no mapping of the shape."""
    wrong = misfit(value, shape)
    if wrong is not None or not isinstance(value, dict):
        raise RunError(f"{uri} is damaged or was changed by hand: {wrong}; {remedy}.")
    return value


def misfit(value: Any, shape: Shape, at: str = "") -> str | None:
    """Where a value is not of a shape, in words; None when it is."""
    if isinstance(shape, type | tuple):
        allowed = shape if isinstance(shape, tuple) else (shape,)
        is_of_it = isinstance(value, allowed) and not (isinstance(value, bool) and bool not in allowed)
        return None if is_of_it else f"{at or 'it'} is {_shown(value)}"
    if isinstance(shape, dict | Each):
        return _misfit_of_mapping(value, shape, at)
    if isinstance(shape, list):
        if not isinstance(value, list):
            return f"{at or 'it'} is {_shown(value)}, not a list"
        return next(filter(None, (misfit(item, shape[0], f"{at}[{place}]") for place, item in enumerate(value))), None)
    return _misfit_of_judged(value, shape, at)


def _misfit_of_mapping(value: Any, shape: Mapping[str, Shape] | Each, at: str) -> str | None:
    if not isinstance(value, dict):
        return f"{at or 'it'} is {_shown(value)}, not a mapping"
    inside = dict.fromkeys(value, shape.shape) if isinstance(shape, Each) else shape
    for key, part in inside.items():
        name = f"{at}.{key}" if at else key
        if key not in value:
            return f"{name} is missing"
        wrong = misfit(value[key], part, name)
        if wrong is not None:
            return wrong
    return None


def _misfit_of_judged(value: Any, judge: Callable[[Any], object], at: str) -> str | None:
    try:
        judge(value)
    except (ValueError, TypeError):
        return f"{at or 'it'} is {_shown(value)}"
    return None


def _shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
