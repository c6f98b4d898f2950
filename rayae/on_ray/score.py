"""Home of scoring on Ray Data: the table of chunks, streamed through a pool of actors that each do whole chunks."""

import functools
import math
import os
import traceback
import warnings
from collections.abc import Generator, Iterator
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import ray
import ray.data
from ray.data import ActorPoolStrategy, DataContext, Dataset, ExecutionResources, TaskPoolStrategy
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from rayae import decoded
from rayae.bundle_set import open_model
from rayae.chunk_reader import ChunkReader, ScoringPlan
from rayae.decoded import pixel_bytes
from rayae.errors import ClusterError, RayaeError
from rayae.manifest import Chunk
from rayae.on_ray.capacity import Workers
from rayae.on_ray.cluster import last_line, refusal
from rayae.on_ray.waiting import lacking_told
from rayae.results import ChunkSummary
from rayae.run import Run
from rayae.terminal import warn

if TYPE_CHECKING:
    from rayae.scoring import ChunkScorer

TRIES_A_CHUNK = 3
BOUNDED_RETRIES: dict[str, Any] = {"max_restarts": -1, "max_task_retries": TRIES_A_CHUNK - 1}
"""Dead actors are replaced for ever, but no chunk is tried for ever, as it is by Ray Data's default. There is no other
way to say so: Ray 2.60 calls these arguments deprecated and names no successor."""
BOUNDED_TASKS: dict[str, Any] = {"max_retries": TRIES_A_CHUNK - 1}
CHUNKS_A_DECODER, CHUNKS_A_WORKER = 2, 4
"""Decoded chunks that may lie in the object store: the one a decoder makes and the one before it; the one a worker
scores, the next one, and two more in case of a slow one."""
CHUNKS_IN_HAND = 2
"""Chunks that a worker is given at a time: the one it scores and the next."""
TOLD_OF_AN_IMAGE = 512
"""Bytes, about, of what is told of an image beside its pixels."""
FORGIVEN_CHUNKS = 16
"""Chunks that may kill their worker at every try before the others, too, are done with care."""
TOLD = pa.schema([(name, pa.string()) for name in ("summary", "refused_by", "refusal", "bug")])
"""What an actor tells of a chunk: its summary; or the class and the sentence of a RayaeError; or a traceback."""

REFUSED = ("refused_by", "refusal", "bug")
CHUNK = ("number", "first", "rows")


class ScoringActor:
    """A `ChunkScorer` in a Ray actor: a row of the chunk table in, a row of TOLD out.

    Exceptions are sent back as rows: Ray would count them with the deaths, forgive them, and lose their class. The
    model is loaded with the first chunk, so that what is wrong with it takes the same way.
    """

    def __init__(self, plan: ScoringPlan) -> None:
        self.plan = plan
        self.scorer: ChunkScorer | None = None

    def __call__(self, rows: pa.Table) -> pa.Table:
        return pa.Table.from_pylist([self.tell(rows.slice(row, 1)) for row in range(rows.num_rows)], schema=TOLD)

    def tell(self, row: pa.Table) -> dict[str, str | None]:
        """Do the chunk of a row, and say what became of it."""
        if "refusal" in row.column_names:
            said: dict[str, str | None] = row.select(REFUSED).to_pylist()[0]
            if any(value is not None for value in said.values()):
                return said  # by whoever decoded it
        (chunk,) = (Chunk(**one) for one in row.select(CHUNK).to_pylist())
        try:
            return {"summary": self.score(chunk, row).to_json()}
        except RayaeError as error:
            return {"refused_by": type(error).__name__, "refusal": str(error)}
        except Exception as error:  # noqa: BLE001 (the driver raises it, with this traceback)
            if self.scorer is not None and self.scorer.is_broken(error):
                warn(f"this worker ends, since its device is lost to it: {error}")
                os._exit(1)  # every further chunk would fail here; Ray starts another worker and tries this one again
            return {"bug": traceback.format_exc()}

    def score(self, chunk: Chunk, row: pa.Table) -> ChunkSummary:
        """Do a chunk, or what is left of it when its pixels stand in the row."""
        if self.scorer is None:
            from rayae.scoring import ChunkScorer  # and torch with it: tasks that decode do without

            self.scorer = ChunkScorer(self.plan)
        return self.scorer.finish(chunk, row) if "pixels" in row.column_names else self.scorer(chunk)


@functools.lru_cache(maxsize=2)
def _reader_of(plan: ScoringPlan) -> ChunkReader:
    """The reader of this process: tasks come one after the other to the same."""
    return ChunkReader(plan)


def decode_chunks(rows: pa.Table, plan: ScoringPlan) -> pa.Table:
    """A Ray Data step: a row of the chunk table in; out the same with the columns of `decoded.SCHEMA` and REFUSED."""
    (chunk,) = (Chunk(**row) for row in rows.to_pylist())
    pictures, refused = decoded.NOTHING, dict[str, str]()
    try:
        pictures = _reader_of(plan).decode(chunk)
    except RayaeError as error:
        refused = {"refused_by": type(error).__name__, "refusal": str(error)}
    except Exception:  # noqa: BLE001 (the driver raises it, with this traceback)
        refused = {"bug": traceback.format_exc()}
    told = pa.Table.from_pylist([refused], schema=pa.schema([TOLD.field(name) for name in REFUSED]))
    return pa.table({name: table[name] for table in (rows, pictures, told) for name in table.column_names})


def score_on_ray(
    plan: ScoringPlan, run: Run, chunks: list[Chunk], workers: Workers, decoders: int = 0
) -> Iterator[ChunkSummary]:
    """Score chunks on the cluster, as they finish. What kills its worker each time is decoded in isolation.

    With `decoders` so many tasks fetch and decode, a CPU each, and the workers only score. The first worker that has a
    node begins.

    Raises the RayaeErrors of the workers; ClusterError when workers die in isolation, too; RuntimeError, with the
    worker's traceback, for a bug.
    """
    with lacking_told(workers, decoders):
        yield from _score(plan, run, chunks, workers, decoders)


def _score(plan: ScoringPlan, run: Run, chunks: list[Chunk], workers: Workers, decoders: int) -> Iterator[ChunkSummary]:
    gave_up, done, again = "", set(), chunks
    dead_nodes = -1
    while again and dead_nodes != (dead_nodes := _dead_nodes()):  # chunks of a node that died are not to blame
        try:
            for summary in _stream(plan, again, workers, decoders, forgiven=FORGIVEN_CHUNKS):
                done.add(summary.chunk)
                yield summary
        except RayError as error:
            gave_up = f"more than {FORGIVEN_CHUNKS} chunks ended each worker that tried them ({last_line(error)}); "
        left = {chunk.number for chunk in (chunks if plan.retried else run.chunks_left())} - done
        again = [chunk for chunk in chunks if chunk.number in left]
    if not again:
        return
    warn(f"{gave_up}{len(again)} chunk(s) are done again with care, decoded in child processes")
    try:
        yield from _stream(replace(plan, isolated=True), again, workers, decoders, forgiven=0)
    except RayError as error:
        raise ClusterError(
            f"the workers failed more often than is forgiven: {last_line(error)}. "
            "The chunks that were written stay; run the same command again to do the rest."
        ) from error


def _dead_nodes() -> int:
    return sum(not node["Alive"] for node in ray.nodes())  # type: ignore[no-untyped-call]


def _stream(
    plan: ScoringPlan, chunks: list[Chunk], workers: Workers, decoders: int, forgiven: int
) -> Iterator[ChunkSummary]:
    rows = iter(_dataset(plan, chunks, workers, decoders, forgiven).iter_rows())
    try:
        for row in rows:
            yield _summary(row)
    finally:
        if isinstance(rows, Generator):
            rows.close()  # else the actors stay as long as somebody holds the traceback of an error


def _dataset(plan: ScoringPlan, chunks: list[Chunk], workers: Workers, decoders: int, forgiven: int) -> Dataset:
    """The table of chunks, and what the actors tell of each; it keeps the context that it is made in.

    A row is a batch: Ray Data wants a size said where there are GPUs. It does not fuse the two steps, with GPUs or
    without, since they are tried again in different ways.
    """
    table = [asdict(chunk) for chunk in chunks]
    context = DataContext.get_current().copy()
    context.enable_progress_bars = False
    context.max_errored_blocks = forgiven
    if decoders:
        context.execution_options.resource_limits = _held(plan, chunks, workers, decoders)
    with DataContext.current(context), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
        rows: Dataset = ray.data.from_items(table, override_num_blocks=len(table))
        if decoders:
            rows = rows.map_batches(
                partial(decode_chunks, plan=plan),
                batch_size=1,
                batch_format="pyarrow",
                compute=TaskPoolStrategy(size=min(decoders, len(chunks))),
                num_cpus=1,
                **BOUNDED_TASKS,
            )
        return rows.map_batches(
            ScoringActor,
            fn_constructor_args=(plan,),
            batch_size=1,
            batch_format="pyarrow",
            compute=_pool(workers, len(chunks)),
            num_cpus=workers.cpus,
            num_gpus=workers.gpus,
            **BOUNDED_RETRIES,
        )


def _pool(workers: Workers, chunks: int) -> ActorPoolStrategy:
    """A worker has the next chunk at hand, but never more than its share: the first to be there would take it all."""
    size = min(workers.count, chunks)
    return ActorPoolStrategy(size=size, max_tasks_in_flight_per_actor=min(CHUNKS_IN_HAND, math.ceil(chunks / size)))


def _held(plan: ScoringPlan, chunks: list[Chunk], workers: Workers, decoders: int) -> ExecutionResources:
    """The most that decoded chunks may take of the object store: decoding waits when it is taken.

    By itself Ray Data decodes ahead until half of the store is full, however large that is.
    """
    most = max(chunk.rows for chunk in chunks)
    chunk_bytes = pixel_bytes(most, open_model(plan.bundle).preprocess) + most * TOLD_OF_AN_IMAGE
    return ExecutionResources.for_limits(
        object_store_memory=chunk_bytes * (CHUNKS_A_DECODER * decoders + CHUNKS_A_WORKER * workers.count)
    )


def _summary(row: dict[str, Any]) -> ChunkSummary:
    if row["bug"] is not None:
        raise RuntimeError(f"a scoring worker met a bug:\n{row['bug']}")
    if row["refusal"] is not None:
        raise refusal(row["refused_by"], row["refusal"])
    return ChunkSummary.from_json(row["summary"])
