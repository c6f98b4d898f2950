"""`rayae drift`: a run against the calibration of its bundle or against another run, as figures and in words."""

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from rayae import __version__, storage
from rayae.database import Database, opened
from rayae.drift import Drift, each_confidence, in_words, measure, titles
from rayae.errors import ConfigError, RunError
from rayae.exhibits import signed, span
from rayae.reference import REFERENCE, RUN, Kept, keep_calibration, keep_run, quantities, sample
from rayae.results import PIXEL_STATISTICS
from rayae.run import DRIFT, DRIFT_RECORD, Run, short_hash
from rayae.settings import DriftSettings
from rayae.statistics import percent
from rayae.terminal import say, show_table, warn
from rayae.verbs.drift_parts import furthest_of, measure_parts, tell_parts, unit_of, unit_of_reference, write_parts
from rayae.verbs.flag_bundle import bundle_of, used_by
from rayae.verbs.query import tell_unfinished

MOST_IMAGES = 1_000_000
"""That a run is measured by, and its reference: by so many a delta is off by 0.001 or so. Some 130 MB."""


def drift(settings: DriftSettings) -> None:
    """Tell how far a run is from its reference, whole and by a column, and write the figures as JSON."""
    run, other = of_one_bundle(settings.run), None
    if settings.against is not None:
        other = of_one_bundle(settings.against)
        refuse_other_bundle(run, other)
    if settings.out is not None:
        run.refuse_as_out(settings.out)
    unit, score = unit_of(run, settings), str(run.record["primary_score"])
    with opened([("a", run), *([] if other is None else [("b", other)])], settings.memory_bytes) as database:
        tell_kept(keep_both(database, run, other, settings, unit), "the run")
        whole = measure_whole(database, settings)
        tell_whole(whole, score, settings.confidence)
        words = in_words(whole.shifts, settings.smallest_effect, score)
        for sentence in words:
            say(sentence)
        parts = [] if settings.by is None else measure_parts(database, settings)
    about = about_it(run, other, settings)
    out = storage.absolute(settings.out or storage.join(run.uri, DRIFT, short_hash(about)))
    furthest = furthest_of(settings, parts)
    if parts:
        tell_parts(settings, furthest, parts, score)
        write_parts(storage.join(out, "parts.parquet"), parts)
    created = datetime.now(UTC).isoformat(timespec="seconds")
    found = {**asdict(whole), "titles": titles(score), "words": words}
    found["furthest"] = [asdict(one) for one in furthest]
    storage.write_json(storage.join(out, DRIFT_RECORD), {"rayae": __version__, "created": created, **about, **found})
    say(f"drift: {out}")


def about_it(run: Run, other: Run | None, settings: DriftSettings) -> Mapping[str, Any]:
    """What is held against what, and how."""
    return {
        "run": run.uri,
        "against": None if other is None else other.uri,
        "bundle_id": run.assignment.bundle_id,
        "score": run.record["primary_score"],
        "settings": {name: getattr(settings, name) for name in ("by", "time", "smallest_effect", "confidence")},
    }


def of_one_bundle(uri: str) -> Run:
    """A run that was scored with one bundle; ConfigError for one of several."""
    run = Run.open(uri)
    run.refuse_several_bundles()
    tell_unfinished(run)
    return run


def refuse_other_bundle(run: Run, other: Run) -> None:
    """ConfigError when two runs cannot be held against each other."""
    if other.uri == run.uri:
        raise ConfigError(f"against={other.uri} is the run itself; name another, or leave it out for the calibration.")
    for what, own, others in (
        ("the bundle", run.assignment.bundle_id, other.assignment.bundle_id),
        ("the primary score", run.record["primary_score"], other.record["primary_score"]),
    ):
        if own != others:
            raise ConfigError(
                f"against={other.uri} has {what} {others} and {run.uri} has {own}, so their scores are not on one "
                "scale; name a run of the same bundle, or see `rayae compare`."
            )


def keep_both(database: Database, run: Run, other: Run | None, settings: DriftSettings, unit: str | None) -> Kept:
    """Make the tables of the run and of its reference; what is kept of the run."""
    if other is None:
        keep_calibration(database, calibration_of(run), str(run.record["primary_score"]))
        return keep_run(database, "a", RUN, used_by(run).uris, unit)
    used = used_by(run).uris
    tell_kept(keep_run(database, "b", REFERENCE, used, unit_of_reference(other, settings, unit)), "the reference")
    return keep_run(database, "a", RUN, used, unit)


def calibration_of(run: Run) -> pa.Table:
    """The calibration images of the bundle of a run; RunError when there are none."""
    bundle = bundle_of(run)
    table = bundle.calibration_table()
    if table is None:
        raise RunError(
            f"{bundle.uri} has no calibration images to hold {run.uri} against; `rayae calibrate` it, or give "
            "against=, another run of the same bundle."
        )
    if bundle.record["calibration"] != run.fingerprint["calibration"]:
        say(f"{bundle.uri} was calibrated again since {run.uri} was planned; the reference is its present calibration")
    if PIXEL_STATISTICS[0] not in table.column_names:
        warn(
            f"{bundle.uri} keeps no pixel statistics of its calibration images, so the camera and the product cannot "
            "be told apart; `rayae calibrate` on the same images keeps them."
        )
    return table


def tell_kept(kept: Kept, what: str) -> None:
    """Say how many images count."""
    left_out = {"labelled as defects": kept.defects, "used to make the bundle": kept.used}
    others = " and ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
    say(f"drift: {kept.images:,} images of {what}{f', without {others}' if others else ''}")


def measure_whole(database: Database, settings: DriftSettings) -> Drift:
    """The shifts of all images of the run, or of so many as are enough."""
    names = quantities(database)
    own, others = (sample(database, table, names, most=MOST_IMAGES) for table in (RUN, REFERENCE))
    if MOST_IMAGES in (len(own.keys), len(others.keys)):
        say(f"drift: of more than {MOST_IMAGES:,} images those are measured whose URIs have the lowest hashes")
    return measure(None, own, others, each_confidence(settings.confidence, len(names)), settings.smallest_effect)


def tell_whole(whole: Drift, score: str, confidence: float) -> None:
    """Show the shifts of all images."""
    columns = ["quantity", "Cliff's delta", f"{percent(confidence)} interval", "median, in robust SD"]
    rows = [
        [titles(score)[one.name], signed(one.delta.value), span(one.delta, signed), signed(one.median_shift)]
        for one in whole.shifts
    ]
    show_table(f"{whole.images:,} images against the reference", columns, rows)
    for why in dict.fromkeys(one.delta.reason or f"intervals: {one.delta.method}" for one in whole.shifts):
        say(why)
