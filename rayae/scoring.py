"""Home of the chunk loop, without Ray: what a worker does with a chunk."""

import time
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from rayae import maps, stopping, storage
from rayae.allocator import keep_memory
from rayae.assignment import why_none
from rayae.chunk_reader import ChunkReader, ScoringPlan, Work
from rayae.decoded import are_of, unpacked
from rayae.loader import Loaded, are_far, images_of
from rayae.manifest import Chunk
from rayae.maps import Keeper, Reconstruct, Watch
from rayae.results import NOBODY, ChunkSummary, Judge, Outcome, Status, chunk_bytes, result_table, summarise
from rayae.run import Run
from rayae.scorer import Scored, Scorer, is_broken_device
from rayae.scorers import Scorers
from rayae.traffic import Traffic

MAPS_AT_ONCE = 32
"""Flagged images whose pixels wait for their maps, so that the network makes several at once."""


class ChunkScorer:
    """A worker: holds the models, and does whole chunks one after the other."""

    def __init__(self, plan: ScoringPlan) -> None:
        self.reader = ChunkReader(plan)
        self.plan, self.run = plan, self.reader.run
        bundles, calibrations = self.run.assignment.bundles, self.run.calibrations
        self.judges = {
            value: Judge(one.primary_score, one.bundle_id, one.threshold, calibrations.get(value))
            for value, one in bundles.items()
        }
        self.scorers = Scorers(plan.bundle, self.run.assignment, plan.run, plan.micro_batch)
        if len(bundles) == 1:  # a model that cannot be loaded is no fault of the first chunk
            self.scorers.of(*bundles)

    def __call__(self, chunk: Chunk) -> ChunkSummary:
        """Fetch, decode, score, flag and write one chunk; its file is there when this returns."""
        work = self.reader.work(chunk)
        images = work.to_load()
        if not (torch.cuda.is_available() or are_far(images_of(images.slice(0, 1)))):
            keep_memory()  # each thread keeps its own, and for storage that is far away there are many
        with closing(self.reader.loader.load(images)) as loading:
            return self._do(chunk, work, loading)

    def finish(self, chunk: Chunk, pictures: pa.Table) -> ChunkSummary:
        """Score, flag and write a chunk whose pictures another process has fetched and decoded, by ChunkReader."""
        work = self.reader.work(chunk)
        if not are_of(pictures, work.to_load()):  # a worker that has died since has mended some of them
            return self(chunk)
        return self._do(chunk, work, unpacked(pictures, self.reader.loader.preprocess))

    def is_broken(self, error: Exception) -> bool:
        """Whether the device is lost to this worker, so that every further chunk would fail here, too."""
        return isinstance(error, RuntimeError) and is_broken_device(error)

    def _do(self, chunk: Chunk, work: Work, loading: Iterator[Loaded]) -> ChunkSummary:
        former = None if work.before is None else self.run.summary_of(self.run.chunk_uri(chunk.number), chunk)
        if former is not None and not work.images.num_rows:
            return former
        seconds = defaultdict(float, {} if former is None else former.seconds)
        traffic = Traffic.from_dict({} if former is None else former.traffic)
        keeper = self._keeper(chunk, work)
        done = [self._do_part(work.of(part), part[0], loading, seconds, traffic, keeper) for part in work.parts]
        maps.write(self.run, chunk, keeper)
        return self._write(chunk, work.merged(work.joined(done)), seconds, traffic)

    def _keeper(self, chunk: Chunk, work: Work) -> Keeper:
        """What keeps the maps of a chunk; those of rows that are not tried again are kept already."""
        share = maps.share_of(chunk, self.run.rows, self.plan.most_maps)
        kept = maps.rows_of(self.run, chunk.number) if share and work.before is not None else []
        return Keeper(share, MAPS_AT_ONCE, {row["image_id"]: row for row in kept})

    def _do_part(
        self,
        images: pa.Table,
        value: str | None,
        loading: Iterator[Loaded],
        seconds: defaultdict[str, float],
        traffic: Traffic,
        keeper: Keeper,
    ) -> pa.Table:
        """The result rows of the images of a value; of None they are those of images without a bundle."""
        if value is None:
            outcome, judge = _without_bundle(why_none(str(self.run.assignment.column), images)), NOBODY
        else:
            judge, scorer = self.judges[value], self.scorers.of(value)
            outcome = self._score(images, scorer, loading, seconds, traffic, Watch(keeper, judge, images["image_id"]))
        return result_table(images, outcome, judge, self.run.record["scores"])

    def _write(self, chunk: Chunk, table: pa.Table, seconds: Mapping[str, float], traffic: Traffic) -> ChunkSummary:
        """Write the chunk's file; what that took is told to the driver alone, since it cannot stand in the file."""
        started = time.perf_counter()
        summary = summarise(chunk.number, table, seconds, traffic.to_dict())
        storage.write_bytes(self.run.chunk_uri(chunk.number), chunk_bytes(table, summary, self.plan.fingerprint))
        return replace(summary, seconds=summary.seconds | {"write": round(time.perf_counter() - started, 4)})

    def _score(
        self,
        images: pa.Table,
        scorer: Scorer,
        loading: Iterator[Loaded],
        seconds: defaultdict[str, float],
        traffic: Traffic,
        watch: Watch,
    ) -> Outcome:
        """Score in micro-batches while the next images come: fetched and decoded in threads, or elsewhere before."""
        rows = _Rows(len(images), scorer.score_names)
        batch: list[tuple[int, NDArray[np.uint8]]] = []
        begun = deque[_Begun]()
        for row in range(len(images)):
            started = time.perf_counter()
            loaded = next(loading)
            seconds["wait"] += time.perf_counter() - started
            seconds["fetch"] += loaded.fetch_seconds
            seconds["decode"] += loaded.decode_seconds
            traffic.add(loaded.traffic)
            rows.add(row, loaded)
            if loaded.picture.pixels is not None:
                batch.append((row, loaded.picture.pixels))
            is_last = row == len(images) - 1
            started = time.perf_counter()
            if batch and (len(batch) >= scorer.micro_batch or is_last):
                begun.append(_Begun.of(batch, scorer))
                batch.clear()
            while len(begun) > (0 if is_last else scorer.ahead):
                begun.popleft().settle(rows, watch, scorer.reconstruct)
            seconds["model"] += time.perf_counter() - started
        started = time.perf_counter()
        watch.keeper.settle(scorer.reconstruct)  # while the network that has scored these images is at hand
        seconds["model"] += time.perf_counter() - started
        return rows.outcome()


@dataclass(frozen=True)
class _Begun:
    """A micro-batch that is being scored: its rows, its pixels, and what waits for its scores."""

    places: list[int]
    pixels: list[NDArray[np.uint8]]
    scored: Scored

    @classmethod
    def of(cls, batch: list[tuple[int, NDArray[np.uint8]]], scorer: Scorer) -> "_Begun":
        places, pixels = [row for row, _ in batch], [pixels for _, pixels in batch]
        return cls(places, pixels, scorer.begin(pixels))

    def settle(self, rows: "_Rows", watch: Watch, reconstruct: Reconstruct) -> None:
        """Wait for the scores, and hand them on."""
        scores, blamed = self.scored()
        rows.score(self.places, scores, blamed)
        watch.see(self.places, self.pixels, scores, reconstruct)


def _without_bundle(reasons: list[str]) -> Outcome:
    """What becomes of images that no bundle scores: they are not read."""
    nothing = [None] * len(reasons)
    return Outcome([Status.NO_BUNDLE] * len(reasons), reasons, nothing, nothing, nothing, {})


class _Rows:
    """The columns of a chunk while they are filled."""

    def __init__(self, count: int, score_names: Iterable[str]) -> None:
        self.loaded: list[Loaded] = []
        self.blamed: dict[int, str] = {}
        self.scores = {name: np.full(count, np.nan, dtype=np.float32) for name in score_names}

    def add(self, row: int, loaded: Loaded) -> None:
        without_pixels = replace(loaded.picture, pixels=None)
        self.loaded.append(replace(loaded, picture=without_pixels))

    def score(self, rows: list[int], scores: Mapping[str, NDArray[np.float32]], blamed: Mapping[int, str]) -> None:
        for name, values in scores.items():
            self.scores[name][rows] = values
        self.blamed.update({rows[position]: sentence for position, sentence in blamed.items()})

    def outcome(self) -> Outcome:
        pictures = [loaded.picture for loaded in self.loaded]
        return Outcome(
            status=[
                Status.MODEL_ERROR if row in self.blamed else Status(picture.status)
                for row, picture in enumerate(pictures)
            ],
            error=[self.blamed.get(row, picture.error) for row, picture in enumerate(pictures)],
            width=[picture.width for picture in pictures],
            height=[picture.height for picture in pictures],
            size_bytes=[loaded.size_bytes for loaded in self.loaded],
            scores=self.scores,
        )


def score_inline(plan: ScoringPlan, run: Run, chunks: Iterable[Chunk]) -> Iterator[ChunkSummary]:
    """Score chunks in this process. A chunk over which an earlier process died is decoded in a child process."""
    suspect = run.died_over()
    scorer = ChunkScorer(plan)
    for chunk in chunks:
        reader = scorer.reader
        reader.loader = replace(reader.loader, isolated=plan.isolated or chunk.number == suspect)
        with stopping.finished_first(), run.in_hand(chunk):
            summary = scorer(chunk)
        yield summary
