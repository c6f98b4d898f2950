"""Home of the question whether a run is whole: every manifest row there exactly once, as planned, and undamaged.

Everything is read as a stream: a chunk or a row group at a time, with the manifest beside it.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae import completeness
from rayae.assignment import Assigned
from rayae.compaction import leftovers
from rayae.errors import DataError, RayaeError, RunError, StorageError
from rayae.filelist import FILES, FileList, merged
from rayae.manifest import Chunk
from rayae.result_files import read_ahead, read_chunk, read_groups
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
from rayae.run import RECORD, SUCCESS, Run, short_hash, total
from rayae.threshold import Threshold, flag

Flags = NDArray[np.bool_]
Advance = Callable[[int], None]
FIRST_NAMED = 3
NOT_THE_COLUMNS = "does not have the columns of a result, or not with their types and in their order."


def problems(run: Run, advance: Advance = lambda rows: None) -> list[str]:
    """What is wrong with a run, a sentence each; nothing when it is whole. `advance` is told of rows that are checked.

    With a manifest that is not the one of the plan there is nothing to hold the rows against, so it is told alone.
    """
    found = _record_problems(run)
    if found:
        return found  # there is no plan to hold the files against
    try:
        listed = run.file_list()
        found = _strange_files(run) + _calibration_problems(run)
        wrong, summaries = _check_chunks(run, advance) if listed is None else _check_compacted(run, listed, advance)
    except (DataError, StorageError) as error:  # of the manifest; those of the files of results are told with them
        return [*found, *_missing(run, []), str(error)]
    except RayaeError as error:
        return [*found, str(error)]
    found += wrong
    return found or _success_problems(run, summaries)


def _calibration_problems(run: Run) -> list[str]:
    """Whether the scores behind the p-values are those of the plan."""
    try:
        _ = run.calibrations
    except RayaeError as error:
        return [str(error)]
    return []


def _strange_files(run: Run) -> list[str]:
    strange = run.strange_files()
    if not strange:
        return []
    remedy = f"`rayae compact {run.uri}` removes what a compaction has left" if leftovers(run) else "remove them"
    return [
        f"{len(strange)} file(s) among the results are none of the run's, the first is {strange[0]}; {remedy}, since "
        "whoever reads the folder reads them too."
    ]


def _missing(run: Run, first: Sequence[str]) -> list[str]:
    """Which chunks are missing, and the `first` images of them."""
    left = run.chunks_left()
    if not left:
        return []
    rows = sum(chunk.rows for chunk in left)
    names = ", ".join(chunk_name(chunk.number) for chunk in left[:5])
    more = " ..." if len(left) > 5 else ""
    begin = f"; the first: {', '.join(first)}" if first else ""
    return [f"{rows:,} of {run.rows:,} rows are missing, in {len(left):,} chunk(s): {names}{more}{begin}."]


def _check_chunks(run: Run, advance: Advance) -> tuple[list[str], list[ChunkSummary]]:
    left = {chunk.number for chunk in run.chunks_left()}
    there = read_ahead(_read, [run.chunk_uri(chunk.number) for chunk in run.chunks if chunk.number not in left])
    found, summaries, lost = list[str](), list[ChunkSummary](), list[str]()
    for chunk, expected in _rows_of_chunks(run):
        if chunk.number in left:
            lost += completeness.named(expected.slice(0, FIRST_NAMED - len(lost)))
            continue
        wrong, summary = _check_chunk(run, chunk, expected, next(there))
        found += wrong
        summaries += [] if summary is None else [summary]
        advance(chunk.rows)
    return [*_missing(run, lost), *found], summaries


def _read(uri: str) -> tuple[pa.Table, dict[str, Any]] | str:
    try:
        return read_chunk(uri)
    except RayaeError as error:
        return str(error)


def _rows_of_chunks(run: Run) -> Iterator[tuple[Chunk, pa.Table]]:
    """Each chunk and its rows of the manifest; DataError after the last when they are not those that were written."""
    chunks = iter(run.chunks)
    chunk, start, held = next(chunks, None), 0, pa.table({})
    for block in run.manifest.batches():
        held = pa.concat_tables([held, block]) if held.num_rows else block
        while chunk is not None and chunk.first + chunk.rows <= start + held.num_rows:
            yield chunk, held.slice(chunk.first - start, chunk.rows)
            chunk = next(chunks, None)
        used = held.num_rows if chunk is None else chunk.first - start
        start, held = start + used, held.slice(used)


def _check_compacted(run: Run, listed: FileList, advance: Advance) -> tuple[list[str], list[ChunkSummary]]:
    """Files of results one after the other; a sum and a mark for each image say whether all are there once."""
    schema = result_schema(run.manifest.schema, run.record["scores"])
    ledger = completeness.Ledger(run.rows, _from_manifest(run.manifest.schema.names))
    found: list[str] = []
    summaries = []
    for uri, part in run.result_parts():
        counted: list[ChunkSummary] = []
        try:
            stated = run.summary_of(uri, part)
            for table in read_groups(uri):
                if table.schema != schema:
                    return [*found, f"{uri} {NOT_THE_COLUMNS}"], []
                found += [f"{uri}: {sentence}" for sentence in [*ledger.add(table), *_row_problems(run, table)]]
                counted.append(summarise(part.number, table, {}))
                advance(table.num_rows)
        except RayaeError as error:
            found.append(str(error))
            continue
        summaries += counted
        if stated != merged(counted, part.number):
            found.append(f"{uri}: its rows do not add up to its summary.")
    found += ledger.compare(run)
    whole = merged(summaries)
    if not found and replace(whole, seconds=listed.summary.seconds) != listed.summary:
        found.append(f"{FILES} does not say what the files of results say.")
    return found, summaries


def _record_problems(run: Run) -> list[str]:
    """Whether `run.json` agrees with itself: the fingerprint is of this plan."""
    record, fingerprint = run.record, run.fingerprint
    try:
        assignment = run.assignment
        follows = {
            "chunks": f"{len(record['chunks'])} ({short_hash(record['chunks'])})",
            "images": record["rows"],
            "primary_score": record["primary_score"],
            "threshold": assignment.threshold_id,
        }
        if assignment.column is not None:
            follows |= {
                "per_group": assignment.column,
                "bundle": assignment.bundle_id,
                "primary_score": assignment.primary_score,
                "calibration": assignment.calibration,
            }
    except RunError as error:
        return [str(error)]
    except RayaeError as error:
        return [f"{run.uri}: {RECORD} was changed by hand: {error}"]
    wrong = [key for key, value in follows.items() if fingerprint.get(key) != value]
    if short_hash(fingerprint) != record["fingerprint_hash"]:
        wrong.append("fingerprint_hash")
    return (
        [f"{run.uri}: {RECORD} was changed by hand: {', '.join(wrong)} do not follow from the plan."] if wrong else []
    )


def _check_chunk(
    run: Run, chunk: Chunk, expected: pa.Table, read: tuple[pa.Table, dict[str, Any]] | str
) -> tuple[list[str], ChunkSummary | None]:
    uri = run.chunk_uri(chunk.number)
    if isinstance(read, str):
        return [read], None
    (table, about), found = read, list[str]()
    if about["fingerprint"] != run.record["fingerprint_hash"]:
        found.append(f"{uri} belongs to another plan: its fingerprint differs.")
    if table.schema != result_schema(expected.schema, run.record["scores"]):
        return [*found, f"{uri} {NOT_THE_COLUMNS}"], None
    for name in _from_manifest(expected.column_names):
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


def _from_manifest(names: Sequence[str]) -> list[str]:
    """The columns that the results have from a manifest with columns of these names."""
    return [*FROM_MANIFEST, *user_columns(names)]


def _same(values: pa.ChunkedArray, expected: pa.ChunkedArray) -> bool:
    if values.type == expected.type and values.equals(expected):
        return True
    texts = [pc.cast(column, pa.string()).combine_chunks() for column in (values, expected)]  # text: NaN equals NaN
    return bool(texts[0].equals(texts[1]))


def _row_problems(run: Run, table: pa.Table) -> list[str]:
    """What is wrong with the outcome of rows, a sentence a kind."""
    found = Counter[str]()
    first = dict[str, int]()
    for value, rows in run.assignment.parts(table):
        part = table if len(rows) == table.num_rows else table.take(rows)
        assigned = None if value is None else run.assignment.bundles[value]
        for sentence, wrong in _checks(run, part, assigned).items():
            if wrong.any():
                found[sentence] += int(wrong.sum())
                image_id = int(part["image_id"].to_numpy()[wrong].min())
                first[sentence] = min(first.get(sentence, image_id), image_id)
    return [
        f"{count} row(s) {sentence}, the first is the image {first[sentence]}." for sentence, count in found.items()
    ]


def _checks(run: Run, table: pa.Table, assigned: Assigned | None) -> dict[str, Flags]:
    """Which of the rows that one bundle scores, or none, have something wrong, by the sentence that says what."""
    scored, all_scores = _is(table["status"], str(Status.SCORED)), run.record["scores"]
    known = np.asarray(pc.is_in(table["status"], pa.array([str(status) for status in Status])), dtype=bool)
    checks = {
        "have a status that nobody knows": ~known,
        "are not scored and give no reason, or are scored and give one": _there(table["error"]) == scored,
        "have a bundle and say that they have none, or the reverse": _is(table["status"], str(Status.NO_BUNDLE))
        == (assigned is not None),
        "have a score that is no finite number": _any_infinite(table, [*all_scores, "score"]),
        "have no pixel statistic though scored, or one though not": _any_differs(table, PIXEL_STATISTICS, scored),
        "have a pixel statistic that is no finite number": _any_infinite(table, PIXEL_STATISTICS),
    }
    nobody = np.zeros(len(scored), dtype=bool)
    bundle = Assigned("", "", "", (), None, None) if assigned is None else assigned
    cut, p = bundle.threshold, _numbers(table["p_value"])
    missing = [name for name in all_scores if name not in bundle.scores]
    primary = _numbers(table[bundle.primary_score]) if assigned is not None else _numbers(table["score"])
    return checks | {
        "have no score though scored, or one though not": _any_differs(table, [*bundle.scores, "score"], scored),
        "have a score that their bundle does not measure": _any_differs(table, missing, nobody) if missing else nobody,
        f"have a score that is not their {bundle.primary_score}": scored & (_numbers(table["score"]) != primary),
        "have no p-value though scored, or one though not": _there(table["p_value"])
        != (nobody if bundle.calibration is None else scored),
        "have a p-value that is none": _there(table["p_value"]) & ~((p > 0) & (p <= 1)),
        "are flagged otherwise than their score and the threshold say": _flagged_otherwise(cut, table, scored),
        "name another bundle or threshold": ~_is(table["bundle_id"], bundle.bundle_id or None)
        | ~_is(table["threshold_id"], None if cut is None else cut.id),
    }


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


def _flagged_otherwise(cut: Threshold | None, table: pa.Table, scored: Flags) -> Flags:
    """Strictly above the cut, both float32, where scored; null elsewhere, and everywhere without a threshold."""
    there = _there(table["is_anomaly"])
    if cut is None:
        return there
    flags = np.asarray(pc.fill_null(table["is_anomaly"], False).to_numpy(), dtype=bool)
    wrong: Flags = (there != scored) | (scored & (flags != flag(_numbers(table["score"]), cut)))
    return wrong


def _is(values: pa.ChunkedArray, expected: str | None) -> Flags:
    if expected is None:
        return ~_there(values)
    return np.asarray(pc.fill_null(pc.equal(values, expected), False), dtype=bool)


def _success_problems(run: Run, summaries: list[ChunkSummary]) -> list[str]:
    try:
        success = run.success()
    except RayaeError as error:
        return [str(error)]
    if success is None:
        return [f"all chunks are there but {SUCCESS} is not; run `rayae score {run.uri}` to finish the run."]
    counted, stated = total(summaries), success["statistics"]
    wrong = [key for key in ("images", "by_status", "flagged") if stated.get(key) != counted[key]]
    return [f"{SUCCESS} does not say what the files of results say, in {', '.join(wrong)}."] if wrong else []
