"""Home of what a worker is told of a run, and of reading a chunk: what is to be done of it, fetched and decoded.

Nothing here needs torch, so processes that only plan or decode do without it.
"""

from contextlib import closing
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae.assignment import Part
from rayae.bundle_set import open_assigned
from rayae.decoded import packed
from rayae.errors import RunError
from rayae.loader import Loader
from rayae.manifest import Chunk
from rayae.reader import Reader
from rayae.result_files import read_chunk
from rayae.run import Run


@dataclass(frozen=True)
class ScoringPlan:
    """What a worker must know, small enough to be sent anywhere."""

    run: str
    bundle: str
    """Where the bundle lies, or the set of bundles."""
    fingerprint: str
    reader: Reader
    threads: int
    micro_batch: int | None
    isolated: bool = False
    retried: tuple[str, ...] = ()
    """Statuses of failed images: of chunks whose files are there, only rows that have one of them are done again."""
    most_maps: int = 0
    """Error maps of flagged images that the run keeps at most."""


class ChunkReader:
    """A worker that fetches and decodes: holds what a plan says of the images."""

    def __init__(self, plan: ScoringPlan) -> None:
        self.plan = plan
        self.run = Run.open(plan.run)
        bundle = open_assigned(plan.bundle, next(iter(self.run.assignment.bundles.values())), plan.run)
        if self.run.record["fingerprint_hash"] != plan.fingerprint:
            raise RunError(f"{plan.run} was planned anew while it was scored; score into a new `out=`.")
        self.manifest = self.run.manifest
        self.loader = Loader(plan.reader, bundle.preprocess, plan.threads, isolated=plan.isolated)

    def work(self, chunk: Chunk) -> "Work":
        """What is to be done of a chunk: all its images, or those that are tried again."""
        images, assignment = self.manifest.read(chunk.first, chunk.rows), self.run.assignment
        if not self.plan.retried:
            return Work(images, assignment.parts(images))
        before, _ = read_chunk(self.run.chunk_uri(chunk.number))
        failed = np.flatnonzero(pc.is_in(before["status"], pa.array(self.plan.retried)))
        again = images.take(failed)
        return Work(again, assignment.parts(again), before, failed)

    def decode(self, chunk: Chunk) -> pa.Table:
        """Fetch and decode what is to be done of a chunk, as one row of `decoded.SCHEMA`."""
        images = self.work(chunk).to_load()
        with closing(self.loader.load(images)) as loading:
            return packed(loading, images, self.loader.preprocess)


@dataclass(frozen=True)
class Work:
    """The manifest rows of a chunk that are to be done; when they are tried again, its result rows so far."""

    images: pa.Table
    parts: list[Part]
    """Their rows by the bundle that scores them: each model is needed once a chunk, however the products are mixed."""
    before: pa.Table | None = None
    failed: NDArray[np.int64] | None = None
    """Where in the chunk the rows stand."""

    def of(self, part: Part) -> pa.Table:
        """The images of a part."""
        return self.images if len(self.parts) == 1 else self.images.take(part[1])

    def to_load(self) -> pa.Table:
        """The images that have a bundle, part after part."""
        tables = [self.of(part) for part in self.parts if part[0] is not None]
        return pa.concat_tables([self.images.slice(0, 0), *tables])

    def joined(self, tables: list[pa.Table]) -> pa.Table:
        """Result rows of the parts in the order of the images."""
        if len(tables) == 1:
            return tables[0]
        order = np.argsort(np.concatenate([rows for _, rows in self.parts]))
        return pa.concat_tables(tables).take(order)

    def merged(self, done: pa.Table) -> pa.Table:
        """All result rows of the chunk: those that were done, and the others as they were."""
        if self.before is None or self.failed is None:
            return done
        places = np.arange(self.before.num_rows)
        places[self.failed] = self.before.num_rows + np.arange(len(self.failed))
        return pa.concat_tables([self.before, done]).take(places)
