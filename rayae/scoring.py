"""Home of the chunk loop, without Ray: what a worker does with a chunk, and what the driver does with its summary."""

import difflib
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae import maps, stopping, storage
from rayae.assignment import Part, why_none
from rayae.bundle_set import open_assigned
from rayae.decoded import are_of, packed, unpacked
from rayae.errors import ConfigError, RunError, TooManyFailures
from rayae.loader import Loaded, Loader
from rayae.manifest import Chunk
from rayae.maps import Keeper, Reconstruct, Watch
from rayae.reader import Reader
from rayae.result_files import read_chunk
from rayae.results import NOBODY, ChunkSummary, Judge, Outcome, Status, chunk_bytes, result_table, summarise
from rayae.run import Run, total
from rayae.scorer import Scored, Scorer
from rayae.scorers import Scorers
from rayae.stages import shares_in_words
from rayae.terminal import Progress
from rayae.traffic import Traffic

MAPS_AT_ONCE = 32
"""Flagged images whose pixels wait for their maps, so that the network makes several at once."""


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
        with closing(self.reader.loader.load(work.to_load())) as loading:
            return self._do(chunk, work, loading)

    def finish(self, chunk: Chunk, pictures: pa.Table) -> ChunkSummary:
        """Score, flag and write a chunk whose pictures another process has fetched and decoded, by ChunkReader."""
        work = self.reader.work(chunk)
        if not are_of(pictures, work.to_load()):  # a worker that has died since has mended some of them
            return self(chunk)
        return self._do(chunk, work, unpacked(pictures, self.reader.loader.preprocess))

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


@dataclass
class FailureBudget:
    """How many images may fail before the job stops: overall, and by status where a limit is given.

    ConfigError for a limit on something that is no status of a failed image.
    """

    max_failed_fraction: float
    max_failed_by_status: Mapping[str, float]
    min_sample: int
    images: int = 0
    by_status: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        known = [str(status) for status in Status if status != Status.SCORED]
        for name in self.max_failed_by_status:
            if name not in known:
                near = difflib.get_close_matches(name.lower(), known, n=1)
                guess = f"; did you mean {near[0]!r}?" if near else "."
                raise ConfigError(
                    f"max_failed_by_status.{name}: no image fails with the status {name!r}{guess} "
                    f"The statuses are {', '.join(known)}."
                )

    def spend(self, by_status: Mapping[str, int]) -> None:
        """Count the images of a chunk; TooManyFailures, with what was seen, when a limit is passed."""
        self.by_status.update(by_status)
        self.images += sum(by_status.values())
        if self.images < self.min_sample:
            return
        failed = self.images - self.by_status[Status.SCORED]
        self._check("max_failed_fraction", "failed", failed, self.max_failed_fraction)
        for status, limit in self.max_failed_by_status.items():
            self._check(f"max_failed_by_status.{status}", f"are `{status}`", self.by_status[status], limit)

    def _check(self, setting: str, became: str, failed: int, limit: float) -> None:
        if not failed or failed / self.images <= limit:
            return
        seen = ", ".join(f"{count:,} {status}" for status, count in self.by_status.most_common() if status != "scored")
        raise TooManyFailures(
            f"{failed:,} of {self.images:,} images {became}, more than {setting}={limit:g} allows ({seen}). "
            "Mend the cause, or raise the limit, and run the same command again. Rows that were written stay, failed "
            f"ones too; a chunk file that is removed is scored again.{why_forbidden(self.by_status)}"
        )


def why_forbidden(by_status: Mapping[str, int]) -> str:
    """The sentence that says where to look when images may not be read; empty when all may."""
    forbidden = by_status.get(Status.FORBIDDEN, 0)
    asks = "the column `error` says by whom; S3 asks for s3:GetObject on them"
    return f" {forbidden:,} are forbidden: {asks}." if forbidden else ""


@dataclass(frozen=True)
class Pass:
    """What one driver has done of a run."""

    wall_seconds: float
    images_per_second: float
    seconds: Mapping[str, float]
    """Of its workers, by stage."""


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


def follow(
    run: Run, summaries: Iterable[ChunkSummary], budget: FailureBudget, left: int, what: str = "score"
) -> "Pass":
    """Consume the summaries of a run as they come: progress, failure budget; returns what it took."""
    before = total(run.summaries())
    started, done, flagged = time.monotonic(), 0, before["flagged"]
    failed = before["images"] - before["by_status"].get(Status.SCORED, 0)
    seconds = Counter[str]()
    with Progress(what, run.rows, already=run.rows - left) as progress:
        for summary in summaries:
            done, flagged, failed = done + summary.images, flagged + summary.flagged, failed + summary.failed
            budget.spend(summary.by_status)
            seconds.update(summary.seconds)
            flags = f"{flagged:,} flagged" if run.has_threshold else ""
            note = ", ".join(filter(None, [flags, f"{failed:,} failed", shares_in_words(seconds)]))
            stages = {stage: round(value, 2) for stage, value in seconds.items()}
            progress.advance(summary.images, note, flagged=flagged, failed=failed, stage_seconds=stages)
    wall = time.monotonic() - started
    return Pass(round(wall, 2), round(done / max(wall, 1e-9), 1), dict(seconds))
