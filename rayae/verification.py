"""Home of the question whether a run is whole: every manifest row there exactly once, as planned, and undamaged."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.errors import RayaeError
from rayae.manifest import Chunk
from rayae.results import (
    FROM_MANIFEST,
    PIXEL_STATISTICS,
    ChunkSummary,
    Status,
    chunk_name,
    result_schema,
    summarise,
    user_columns,
)
from rayae.run import CHUNKS, RECORD, SUCCESS, Run, read_chunk, short_hash, total
from rayae.threshold import Threshold, flag

Flags = NDArray[np.bool_]


def problems(run: Run) -> list[str]:
    """What is wrong with a run, a sentence each; nothing when it is whole."""
    found = _record_problems(run)
    if found:
        return found  # there is no plan to hold the files against
    found = _file_problems(run)
    try:
        manifest = run.manifest.read_unchanged()
    except RayaeError as error:
        return [*found, str(error)]
    left = {chunk.number for chunk in run.chunks_left()}
    summaries = []
    for chunk in run.chunks:
        if chunk.number not in left:
            wrong, summary = _check_chunk(run, chunk, manifest.slice(chunk.first, chunk.rows))
            found += wrong
            summaries.append(summary)
    if not found:
        found += _success_problems(run, [summary for summary in summaries if summary is not None])
    return found


def _record_problems(run: Run) -> list[str]:
    """Whether `run.json` agrees with itself: the fingerprint is of this plan."""
    record, fingerprint = run.record, run.fingerprint
    threshold = record["threshold"]
    try:
        follows = {
            "chunks": f"{len(record['chunks'])} ({short_hash(record['chunks'])})",
            "images": record["rows"],
            "primary_score": record["primary_score"],
            "threshold": None if threshold is None else Threshold.from_dict(threshold).id,
        }
    except RayaeError as error:
        return [f"{run.uri}: {RECORD} was changed by hand: {error}"]
    wrong = [key for key, value in follows.items() if fingerprint.get(key) != value]
    if short_hash(fingerprint) != record["fingerprint_hash"]:
        wrong.append("fingerprint_hash")
    return (
        [f"{run.uri}: {RECORD} was changed by hand: {', '.join(wrong)} do not follow from the plan."] if wrong else []
    )


def _file_problems(run: Run) -> list[str]:
    left, strange, found = run.chunks_left(), run.strange_files(), []
    if left:
        rows = sum(chunk.rows for chunk in left)
        names = ", ".join(chunk_name(chunk.number) for chunk in left[:5])
        more = " ..." if len(left) > 5 else ""
        found.append(f"{rows:,} of {run.rows:,} rows are missing, in {len(left)} chunk(s): {names}{more}.")
    if strange:
        found.append(
            f"{len(strange)} file(s) in {CHUNKS}/ are none of the plan's, the first is {strange[0]}; remove them, "
            "since whoever reads the folder reads them too."
        )
    return found


def _check_chunk(run: Run, chunk: Chunk, expected: pa.Table) -> tuple[list[str], ChunkSummary | None]:
    uri = run.chunk_uri(chunk.number)
    try:
        table, about = read_chunk(uri)
    except RayaeError as error:
        return [str(error)], None
    found = []
    if about["fingerprint"] != run.record["fingerprint_hash"]:
        found.append(f"{uri} belongs to another plan: its fingerprint differs.")
    if table.schema != result_schema(expected.schema, run.record["scores"]):
        return [
            *found,
            f"{uri} does not have the columns of a result, or not with their types and in their order.",
        ], None
    for name in (*FROM_MANIFEST, *user_columns(expected.column_names)):
        if not _same(table[name], expected[name]):
            message = f"{uri} does not have the {chunk.rows} planned rows: its column {name} differs from the manifest."
            return [*found, message], None
    found += [f"{uri}: {sentence}" for sentence in _row_problems(run, table)]
    try:
        summary = ChunkSummary.from_dict(about["summary"])
    except (TypeError, KeyError, ValueError):
        return [*found, f"{uri}: its summary is damaged."], None
    if summary != summarise(chunk.number, table, summary.seconds):
        found.append(f"{uri}: its rows do not add up to its summary.")
    return found, summary


def _same(values: pa.ChunkedArray, expected: pa.ChunkedArray) -> bool:
    texts = [pc.cast(column, pa.string()).combine_chunks() for column in (values, expected)]  # text: NaN equals NaN
    return bool(texts[0].equals(texts[1]))


def _row_problems(run: Run, table: pa.Table) -> list[str]:
    """What is wrong with the outcome of rows, a sentence a kind."""
    fingerprint, record = run.fingerprint, run.record
    status = np.array(table["status"].to_pylist(), dtype=object)
    scored = status == Status.SCORED
    nobody = np.zeros(len(scored), dtype=bool)
    p = _numbers(table["p_value"])
    primary = _numbers(table[record["primary_score"]])
    checks = {
        "have a status that nobody knows": ~np.isin(status, [None, *Status]) | (status == None),  # noqa: E711
        "are not scored and give no reason, or are scored and give one": _there(table["error"]) == scored,
        "have no score though scored, or one though not": _any_differs(table, [*record["scores"], "score"], scored),
        "have a score that is no finite number": _any_infinite(table, [*record["scores"], "score"]),
        "have no pixel statistic though scored, or one though not": _any_differs(table, PIXEL_STATISTICS, scored),
        "have a pixel statistic that is no finite number": _any_infinite(table, PIXEL_STATISTICS),
        f"have a score that is not their {record['primary_score']}": scored & (_numbers(table["score"]) != primary),
        "have no p-value though scored, or one though not": _there(table["p_value"])
        != (nobody if fingerprint.get("calibration") is None else scored),
        "have a p-value that is none": _there(table["p_value"]) & ~((p > 0) & (p <= 1)),
        "are flagged otherwise than their score and the threshold say": _flagged_otherwise(record, table, scored),
        "name another bundle or threshold": _is_not(table["bundle_id"], fingerprint.get("bundle"))
        | _is_not(table["threshold_id"], fingerprint.get("threshold")),
    }
    ids = table["image_id"].to_numpy()
    return [
        f"{int(wrong.sum())} row(s) {sentence}, the first is the image {ids[np.flatnonzero(wrong)[0]]}."
        for sentence, wrong in checks.items()
        if wrong.any()
    ]


def _numbers(values: pa.ChunkedArray) -> NDArray[Any]:
    found: NDArray[Any] = values.to_numpy(zero_copy_only=False)
    return found


def _there(values: pa.ChunkedArray) -> Flags:
    return np.asarray(values.is_valid().to_numpy(), dtype=bool)


def _any_differs(table: pa.Table, names: Sequence[str], scored: Flags) -> Flags:
    return _any(_there(table[name]) != scored for name in names)


def _any_infinite(table: pa.Table, names: Sequence[str]) -> Flags:
    return _any(_there(table[name]) & ~np.isfinite(_numbers(table[name])) for name in names)


def _any(kinds: Iterable[Flags]) -> Flags:
    found: Flags = np.logical_or.reduce(list(kinds))
    return found


def _flagged_otherwise(record: Mapping[str, Any], table: pa.Table, scored: Flags) -> Flags:
    """Strictly above the cut, both float32, where scored; null elsewhere, and everywhere without a threshold."""
    there = _there(table["is_anomaly"])
    if record["threshold"] is None:
        return there
    flags = np.asarray(pc.fill_null(table["is_anomaly"], False).to_numpy(), dtype=bool)
    expected = flag(_numbers(table["score"]), Threshold.from_dict(record["threshold"]))
    wrong: Flags = (there != scored) | (scored & (flags != expected))
    return wrong


def _is_not(values: pa.ChunkedArray, expected: str | None) -> Flags:
    return np.array([value != expected for value in values.to_pylist()], dtype=bool)


def _success_problems(run: Run, summaries: list[ChunkSummary]) -> list[str]:
    try:
        success = run.success()
    except RayaeError as error:
        return [str(error)]
    if success is None:
        return [f"all chunks are there but {SUCCESS} is not; run `rayae score {run.uri}` to finish the run."]
    counted, stated = total(summaries), success.get("statistics") if isinstance(success, dict) else None
    if not isinstance(stated, dict):
        return [f"{SUCCESS} is damaged; remove it, and run `rayae score {run.uri}` to finish the run."]
    wrong = [key for key in ("images", "by_status", "flagged") if stated.get(key) != counted[key]]
    return [f"{SUCCESS} does not say what the chunk files say, in {', '.join(wrong)}."] if wrong else []
