"""Home of scoring on Ray Data: the table of chunks, streamed through a pool of actors that each do whole chunks."""

import warnings
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pyarrow as pa
import ray.data
from ray.data import ActorPoolStrategy, DataContext
from ray.exceptions import RayError
from ray.util.annotations import RayDeprecationWarning

from rayae.errors import ClusterError, RayaeError
from rayae.manifest import Chunk
from rayae.on_ray.cluster import Workers, last_line
from rayae.results import ChunkSummary
from rayae.run import Run
from rayae.scoring import ChunkScorer, ScoringPlan

TRIES_A_CHUNK = 3
BOUNDED_RETRIES: dict[str, Any] = {"max_restarts": -1, "max_task_retries": TRIES_A_CHUNK - 1}
"""Dead actors are replaced for ever, but no chunk is tried for ever, as it is by Ray Data's default. There is no other
way to say so: Ray 2.60 calls these arguments deprecated and names no successor."""
FORGIVEN_CHUNKS = 16
"""Chunks that may kill their worker at every try before the run is given up; they are done again with care."""


class ScoringActor:
    """A `ChunkScorer` in a Ray actor: a row of the chunk table in, a row with its summary out.

    What the storage or the data refuse is sent back as a sentence: as an exception Ray would take it for a death.
    """

    def __init__(self, plan: ScoringPlan) -> None:
        self.scorer = ChunkScorer(plan)

    def __call__(self, rows: pa.Table) -> pa.Table:
        summaries: list[str | None] = []
        refusals: list[str | None] = []
        for row in rows.to_pylist():
            try:
                summaries.append(self.scorer(Chunk(**row)).to_json())
                refusals.append(None)
            except RayaeError as error:
                summaries.append(None)
                refusals.append(str(error))
        return pa.table({"summary": pa.array(summaries, pa.string()), "refusal": pa.array(refusals, pa.string())})


def score_on_ray(plan: ScoringPlan, run: Run, chunks: list[Chunk], workers: Workers) -> Iterator[ChunkSummary]:
    """Score chunks on the cluster, as they finish. A chunk that kills its worker each time is decoded in isolation."""
    yield from _stream(plan, chunks, workers, forgiven=FORGIVEN_CHUNKS)
    left = {chunk.number for chunk in run.chunks_left()}
    again = [chunk for chunk in chunks if chunk.number in left]
    if again:
        careful = replace(workers, count=min(workers.count, len(again)))
        yield from _stream(replace(plan, isolated=True), again, careful, forgiven=0)


def _stream(plan: ScoringPlan, chunks: list[Chunk], workers: Workers, forgiven: int) -> Iterator[ChunkSummary]:
    warnings.filterwarnings("ignore", "`ray_remote_args` is deprecated", RayDeprecationWarning)
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = forgiven
    table = [pa.table({"number": [c.number], "first": [c.first], "rows": [c.rows]}) for c in chunks]
    scored = ray.data.from_arrow(table).map_batches(
        ScoringActor,
        fn_constructor_args=(plan,),
        batch_size=None,
        batch_format="pyarrow",
        compute=ActorPoolStrategy(size=min(workers.count, len(chunks))),
        num_cpus=workers.cpus,
        num_gpus=workers.gpus,
        **BOUNDED_RETRIES,
    )
    try:
        for row in scored.iter_rows():
            yield _summary(row)
    except RayError as error:
        raise ClusterError(
            f"the workers failed more often than is forgiven: {last_line(error)}. "
            "The chunks that were written stay; run the same command again to do the rest."
        ) from error


def _summary(row: dict[str, Any]) -> ChunkSummary:
    if row["refusal"] is not None:
        raise RayaeError(row["refusal"])
    return ChunkSummary.from_json(row["summary"])
