"""Home of compaction: the rows of a finished run, sorted by score, in few files; then one write makes them the run's.

The sort is external: rows are dealt out by score into temporary files of this machine, each of which fits into memory.
A run is uncompacted until its file list is there and compacted from then on, wherever a process is killed.
"""

import contextlib
import json
import re
import secrets
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayae import storage
from rayae.errors import RunError, StorageError
from rayae.filelist import RESULTS, FileList, ResultFile, merged
from rayae.result_files import read_ahead, read_chunk
from rayae.results import METADATA_KEY, SCHEMA_VERSION, ChunkSummary, chunk_name, summarise
from rayae.run import CHUNKS, Run
from rayae.terminal import Progress

ROW_GROUP_ROWS = 8192
"""Rows of a row group: who reads the highest scores takes one or a few, about 1 % of a file of 128 MB."""
SORTED_BYTES = 128 * 1024**2
"""Rows in memory, in bytes, that are sorted at once; the sort takes about three times as much."""
DEALT_BYTES = 64 * 1024**2
"""Rows in memory, in bytes, that are dealt out at once: enough that every temporary file gets a good many of them."""
MOST_SPILLS = 512
"""Temporary files that are open at once; a system allows 1,024 by default."""
MOST_SAMPLES = 2**20
REMOVERS = 16
OWN_NAME = re.compile(r"part-\d{5,}-[0-9a-f]{8}\.parquet")
NOT_SCORED = np.uint64(0xFFFFFFFF)

Keys = NDArray[np.uint64]


def sort_keys(table: pa.Table) -> Keys:
    """A number for each row; ascending, they are the order of a compacted run: highest scores first, those without a
    score last, and of equal scores the first in the manifest first."""
    scores = table["score"].to_numpy(zero_copy_only=False).astype(np.float32) + np.float32(0)  # -0 becomes 0
    bits = scores.view(np.uint32)
    ascending = np.where(bits >> 31 == 1, ~bits, bits | np.uint32(1 << 31))
    descending = np.where(np.isnan(scores), NOT_SCORED, (~ascending).astype(np.uint64))
    keys: Keys = (descending << np.uint64(32)) | table["image_id"].to_numpy().astype(np.uint64)
    return keys


def compact(run: Run, file_bytes: int, check: Callable[[], None], sorted_bytes: int = SORTED_BYTES) -> FileList:
    """Write the rows of a finished run as files of about `file_bytes`, switch to them, and remove the chunk files.

    `check` is called before the switch, and may raise. Temporary files take the space of the rows, uncompressed.
    RunError when a file is not as planned.
    """
    clean(run)
    summaries = run.summaries()
    with tempfile.TemporaryDirectory(prefix="rayae-compact-") as folder:
        spills = _deal(run, _cuts(run, sorted_bytes), Path(folder))
        files = _write(run, spills, file_bytes)
    if sum(file.rows for file in files) != run.rows:
        raise RunError(f"{run.uri} changed while it was compacted; run the same command again.")
    listed = FileList(run.record["fingerprint_hash"], tuple(files), merged(summaries))
    check()
    if not listed.switch(run.uri):
        raise RunError(f"{run.uri} was compacted by another process meanwhile.")
    clean(run)
    return listed


def clean(run: Run) -> int:
    """Remove what a compaction that was killed has left: its files before the switch, chunk files after it.

    Returns how many files that were; files of other people stay.
    """
    gone = leftovers(run)
    for folder, names in gone.items():
        uri = storage.join(run.uri, folder)
        if storage.list_names(uri) == names:
            storage.remove(uri)  # at once: on object storage that is a request for 1,000 files instead of some for one
            continue
        with ThreadPoolExecutor(REMOVERS) as pool:
            list(pool.map(storage.remove, [storage.join(uri, name) for name in names]))
        storage.sweep(uri)
    return sum(map(len, gone.values()))


def leftovers(run: Run) -> dict[str, list[str]]:
    """The names, by folder and sorted, of what a compaction that was killed has left; nothing when there is nothing."""
    listed = run.file_list()
    kept = set() if listed is None else {file.name for file in listed.files}
    done = set() if listed is None else {chunk_name(chunk.number) for chunk in run.chunks}
    chunks = [name for name in storage.list_names(storage.join(run.uri, CHUNKS)) if name in done]
    results = storage.list_names(storage.join(run.uri, RESULTS))
    results = [name for name in results if OWN_NAME.fullmatch(name) and name not in kept]
    return {folder: names for folder, names in ((CHUNKS, chunks), (RESULTS, results)) if names}


def _cuts(run: Run, sorted_bytes: int) -> Keys:
    """Keys, ascending, between which rows are sorted at once; chosen from a sample of all rows."""
    uris = run.result_files()
    step = -(-run.rows // MOST_SAMPLES)
    tables = read_ahead(lambda uri: read_chunk(uri, ["image_id", "score"])[0], uris)
    sample = np.sort(np.concatenate([sort_keys(table)[::step] for table in tables]))
    first = read_chunk(uris[0])[0]
    bytes_in_memory = first.nbytes / first.num_rows * run.rows
    wanted = min(MOST_SPILLS, int(bytes_in_memory // sorted_bytes) + 1)
    return np.unique(sample[(np.arange(1, wanted) * len(sample)) // wanted])


def _deal(run: Run, cuts: Keys, folder: Path) -> list[Path]:
    """Deal the rows out into a temporary file for each space between cuts; the files, in the order of the cuts."""
    spills = [folder / f"{number}.arrows" for number in range(len(cuts) + 1)]
    with ExitStack() as opened, Progress("sort", run.rows, "rows") as progress:
        opened.enter_context(_written(folder))  # ends after the writers, whose ends are written last
        writers: list[pa.RecordBatchStreamWriter] = []
        for table in _gathered(read_ahead(lambda uri: read_chunk(uri)[0], run.result_files())):
            keys = sort_keys(table)
            order = np.argsort(keys)
            ends = [*np.searchsorted(keys[order], cuts).tolist(), table.num_rows]
            in_order = table.take(order)
            writers = writers or [opened.enter_context(pa.ipc.new_stream(str(p), table.schema)) for p in spills]
            for writer, first, end in zip(writers, [0, *ends], ends, strict=False):
                if end > first:
                    writer.write_table(in_order.slice(first, end - first))
            progress.advance(table.num_rows)
    return spills


@contextlib.contextmanager
def _written(folder: Path) -> Iterator[None]:
    """StorageError for what the system says of writing; all else is raised as it is."""
    try:
        yield
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror or error}.") from error


def _gathered(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """The same rows in larger tables."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(one.nbytes for one in held) >= DEALT_BYTES:
            yield pa.concat_tables(held).unify_dictionaries().combine_chunks()
            held = []
    if held:
        yield pa.concat_tables(held).unify_dictionaries().combine_chunks()


def _write(run: Run, spills: Sequence[Path], file_bytes: int) -> list[ResultFile]:
    """Sort each temporary file and write the rows, one file of results after the other."""
    token, files = secrets.token_hex(4), list[ResultFile]()
    groups = _row_groups(spills)
    group = next(groups, None)
    with Progress("write", run.rows, "rows") as progress:
        while group is not None:
            name = f"part-{len(files):05d}-{token}.parquet"
            summaries = list[ChunkSummary]()
            with storage.open_write(storage.join(run.uri, RESULTS, name)) as file:
                with _writer(file, group.schema) as writer:
                    while group is not None and (not summaries or file.tell() < file_bytes):
                        with storage.explained("write", name):
                            writer.write_table(group)
                        summaries.append(summarise(len(files), group, {}))
                        progress.advance(group.num_rows)
                        group = next(groups, None)
                    summary = merged(summaries, len(files))
                    writer.add_key_value_metadata({METADATA_KEY: _about(run, summary)})
                size_bytes = file.tell()
            files.append(ResultFile(name, summary.images, size_bytes))
    return files


def _row_groups(spills: Sequence[Path]) -> Iterator[pa.Table]:
    for spill in spills:
        with pa.memory_map(str(spill)) as mapped, pa.ipc.open_stream(mapped) as stream:
            table = stream.read_all()
            table = table.unify_dictionaries().take(np.argsort(sort_keys(table)))
        spill.unlink()
        for first in range(0, table.num_rows, ROW_GROUP_ROWS):
            yield table.slice(first, ROW_GROUP_ROWS)


@contextlib.contextmanager
def _writer(file: IO[bytes], schema: pa.Schema) -> Iterator[pq.ParquetWriter]:
    plain = {"image_id", "uri", *(field.name for field in schema if pa.types.is_floating(field.type))}
    places = {name: schema.get_field_index(name) for name in ("score", "image_id")}
    writer = pq.ParquetWriter(
        file,
        schema,
        compression="zstd",
        use_dictionary=[name for name in schema.names if name not in plain],
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(places["score"], descending=True), pq.SortingColumn(places["image_id"])],
    )
    try:
        yield writer
    except BaseException:
        writer.is_open = False  # else it would write its footer, when it is collected, into a file that is gone
        raise
    with storage.explained("write", "the footer"):
        writer.close()


def _about(run: Run, summary: ChunkSummary) -> str:
    """The same as in the metadata of a chunk file."""
    fingerprint = run.record["fingerprint_hash"]
    return json.dumps(
        {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint, "summary": json.loads(summary.to_json())}
    )
