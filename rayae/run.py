"""Home of the run's directory: what it is a run of, which chunks are left, and what its chunk files hold."""

import contextlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayae import __version__, storage
from rayae.assignment import ALL, Assigned, Assignment
from rayae.calibrations import Calibrations, from_parquet, to_parquet
from rayae.errors import ConfigError, DataError, RunError, StorageError
from rayae.filelist import FILES, RESULTS, FileList
from rayae.manifest import Chunk, Manifest, chunks_at
from rayae.records import (
    EVALUATION_SHAPE,
    EVALUATIONS_SHAPE,
    PRODUCTS_SHAPE,
    RECORD_SHAPE,
    SUCCESS_SHAPE,
    fitting,
    read_record,
)
from rayae.result_files import about_file, read_ahead, read_chunk, read_footer, remedy_of
from rayae.results import ChunkSummary, chunk_name
from rayae.threshold import Threshold

RECORD = "run.json"
MANIFEST = "manifest.parquet"
CHUNKS = "chunks"
MAPS = "maps"
SUCCESS = "_SUCCESS.json"
IN_HAND = "in_hand.json"
CALIBRATION = "calibration.parquet"
EVALUATION = "evaluation.json"
REPORT = "report.html"
DRIFT, DRIFT_RECORD = "drift", "drift.json"
OWN = {RECORD, MANIFEST, CHUNKS, MAPS, SUCCESS, IN_HAND, CALIBRATION, EVALUATION, FILES, "lease.json", "decisions"}
"""What nothing else may be written over."""
FOOTER_READERS = 32


@dataclass(frozen=True)
class Run:
    """One scoring of one manifest with one bundle, or with a set of them, in a directory.

    Thresholds and calibration scores stand in the run itself: a bundle that is calibrated again meanwhile does not
    change the rows of a run that was planned before.
    """

    uri: str
    record: Mapping[str, Any]

    @classmethod
    def open(cls, uri: str) -> "Run":
        """Open a run; ConfigError when there is none, RunError when its record is damaged."""
        uri = storage.absolute(uri)
        if not cls.exists(uri):
            raise ConfigError(
                f"{uri} is no run: it has no {RECORD}; `rayae score images=... bundle=... out={uri}` makes one."
            )
        record = storage.read_json(storage.join(uri, RECORD))
        lacking = [key for key in RECORD_SHAPE if not isinstance(record, dict) or key not in record]
        if lacking:
            raise RunError(f"{uri} is no run of this rayae: its {RECORD} lacks {', '.join(lacking)}.")
        remedy = "put the former file back, or score into a new `out=`"
        shape = RECORD_SHAPE if record.get("products") is None else RECORD_SHAPE | PRODUCTS_SHAPE
        return cls(uri, fitting(storage.join(uri, RECORD), record, shape, remedy))

    @classmethod
    def exists(cls, uri: str) -> bool:
        """Whether the directory holds a run."""
        return storage.exists(storage.join(storage.absolute(uri), RECORD))

    @classmethod
    def create(
        cls, uri: str, record: Mapping[str, Any], calibration: NDArray[np.float32] | Calibrations | None = None
    ) -> "Run":
        """Write the record of a new run; from then on the plan is fixed.

        RunError when chunk files without a record lie there, since nobody knows what they are rows of, and when another
        process has begun a run of another plan there meanwhile.
        """
        if storage.list_names(storage.join(uri, CHUNKS)):
            raise RunError(
                f"{uri} holds chunk files but no {RECORD}, so nobody knows what they are rows of; "
                f"remove {storage.join(uri, CHUNKS)}, or give a new `out=`."
            )
        digest = None
        if calibration is not None:
            data = to_parquet({ALL: calibration} if isinstance(calibration, np.ndarray) else calibration)
            digest = sha256(data).hexdigest()
            storage.write_bytes(storage.join(uri, CALIBRATION), data)
        storage.remove(storage.join(uri, SUCCESS))
        created = datetime.now(UTC).isoformat(timespec="seconds")
        full = {"rayae": __version__, "created": created, **record, "calibration_sha256": digest}
        if not storage.create_json(storage.join(uri, RECORD), full):
            begun = cls.open(uri)
            begun.refuse_other_plan(record["fingerprint"])
            return begun
        return cls(uri, full)

    @property
    def fingerprint(self) -> dict[str, Any]:
        found: dict[str, Any] = self.record["fingerprint"]
        return found

    @property
    def bundle_uri(self) -> str:
        return str(self.record["bundle"])

    @property
    def threshold(self) -> Threshold | None:
        """The cut that the run was planned with; None where there are several, of the bundles of a set."""
        found = self.record["threshold"]
        return None if found is None else Threshold.from_dict(found)

    @property
    def has_threshold(self) -> bool:
        """Whether anything can be flagged."""
        return self.fingerprint["threshold"] is not None

    @cached_property
    def assignment(self) -> Assignment:
        """Which bundle scores which image, as the run was planned; RunError when that was changed by hand."""
        if self.record.get("products") is not None:
            try:
                found = Assignment.from_dict(self.record["products"])
            except DataError as error:
                raise RunError(f"{self.uri}: {RECORD} was changed by hand: {error}") from error
            if list(found.scores) != self.record["scores"]:
                raise RunError(f"{self.uri}: {RECORD} was changed by hand: the scores of its bundles are others.")
            return found
        scores, primary = tuple(self.record["scores"]), str(self.record["primary_score"])
        calibration, bundle_id = self.fingerprint["calibration"], self.fingerprint["bundle"]
        return Assignment(None, {ALL: Assigned("", bundle_id, primary, scores, calibration, self.threshold)})

    @property
    def calibrations(self) -> Calibrations:
        """The primary scores, ascending, of the images that bundles were calibrated on when the run was planned.

        RunError when they are not those that were written.
        """
        if self.fingerprint["calibration"] is None:
            return {}
        uri = storage.join(self.uri, CALIBRATION)
        data = storage.read_bytes(uri)
        if sha256(data).hexdigest() != self.record["calibration_sha256"]:
            raise RunError(
                f"{uri} is damaged: its hash is another; put the former file back, or score into a new `out=`."
            )
        return from_parquet(data)

    @property
    def calibration(self) -> NDArray[np.float32] | None:
        """Those of the bundle of a run that has but one; None without any, and for a set."""
        return self.calibrations.get(ALL) if self.assignment.column is None else None

    @property
    def rows(self) -> int:
        return int(self.record["rows"])

    @property
    def chunks(self) -> list[Chunk]:
        return chunks_at(self.record["chunks"], self.rows)

    @property
    def manifest(self) -> Manifest:
        """The images of the run; RunError when the file is not that of the plan."""
        manifest = Manifest.open(storage.join(self.uri, MANIFEST))
        if (manifest.content_hash, manifest.rows) != (self.fingerprint["manifest"], self.rows):
            raise RunError(
                f"{manifest.uri} is not the manifest of the plan; the run cannot go on. Score into a new `out=`."
            )
        return manifest

    def chunk_uri(self, chunk: int) -> str:
        return storage.join(self.uri, CHUNKS, chunk_name(chunk))

    def file_list(self) -> FileList | None:
        """The files of a compacted run; None for a run of chunk files."""
        found = FileList.of(self.uri)
        if found is not None and (found.fingerprint, found.rows) != (self.record["fingerprint_hash"], self.rows):
            raise RunError(f"the file list of {self.uri} is of another plan; put the former one back.")
        return found

    def chunks_left(self) -> list[Chunk]:
        """The plan less the files that are there; nothing of a compacted run."""
        present, listed = self._files()
        done = {chunk.number for _, chunk in present}
        return [] if listed else [chunk for chunk in self.chunks if chunk.number not in done]

    def summaries(self) -> list[ChunkSummary]:
        """What the chunk files say of themselves, read from their footers; RunError when one is not as planned.

        Of a compacted run the sum of all chunks, as one; RunError when one of its files is gone.
        """
        present, listed = self._files()
        if listed is not None:
            listed.refuse_lost(self.uri)
            return [listed.summary]
        with ThreadPoolExecutor(FOOTER_READERS) as pool:
            return list(pool.map(lambda file: self.summary_of(*file), present))

    def summary_of(self, uri: str, chunk: Chunk) -> ChunkSummary:
        """What a file of results says of itself, by one request; RunError when it is not that of the chunk."""
        about = about_file(uri, read_footer(uri))
        self._refuse_foreign(uri, chunk, about)
        try:
            return ChunkSummary.from_dict(about["summary"])
        except (TypeError, KeyError, ValueError) as error:
            raise RunError(f"{uri}: its summary is damaged; {remedy_of(uri)}.") from error

    def _refuse_foreign(self, uri: str, chunk: Chunk, about: Mapping[str, Any]) -> None:
        summary = about["summary"] if isinstance(about["summary"], dict) else {}
        planned = (self.record["fingerprint_hash"], chunk.number, chunk.rows)
        if (about["fingerprint"], summary.get("chunk"), summary.get("images")) != planned:
            raise RunError(f"{uri} has rows of another plan or chunk; {remedy_of(uri)}.")

    def result_files(self) -> list[str]:
        """The files of results that are there: chunk files in the order of the manifest, or those of the file list."""
        return [uri for uri, _ in self.result_parts()]

    def result_parts(self) -> list[tuple[str, Chunk]]:
        """The same, each with its number and its rows; a file of a compacted run is told as a chunk of it."""
        return self._files()[0]

    def _files(self) -> tuple[list[tuple[str, Chunk]], FileList | None]:
        names = set(storage.list_names(storage.join(self.uri, CHUNKS)))
        listed = self.file_list()  # after the chunk files, as they are removed once there is a list
        if listed is not None:
            ends = np.cumsum([file.rows for file in listed.files]).tolist()
            chunks = [Chunk(n, e - f.rows, f.rows) for n, (f, e) in enumerate(zip(listed.files, ends, strict=True))]
            uris = [storage.join(self.uri, RESULTS, file.name) for file in listed.files]
            return list(zip(uris, chunks, strict=True)), listed
        present = [chunk for chunk in self.chunks if chunk_name(chunk.number) in names]
        return [(self.chunk_uri(chunk.number), chunk) for chunk in present], None

    def strange_files(self) -> list[str]:
        """Files among the results that are none of the run's; who reads the folder reads them too."""
        chunks = set(storage.list_names(storage.join(self.uri, CHUNKS)))
        results = set(storage.list_names(storage.join(self.uri, RESULTS)))
        listed = self.file_list()
        if listed is None:
            chunks -= {chunk_name(chunk.number) for chunk in self.chunks}
        else:
            results -= {file.name for file in listed.files}
        return [*(f"{CHUNKS}/{name}" for name in sorted(chunks)), *(f"{RESULTS}/{name}" for name in sorted(results))]

    def results(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All result rows that are there, in the order of the manifest; RunError when there are none."""
        present, listed = self._files()
        asked = columns if columns is None or listed is None else list(dict.fromkeys([*columns, "image_id"]))
        tables = []
        try:
            read = read_ahead(lambda file: read_chunk(file[0], asked), present)
            for (uri, chunk), (table, about) in zip(present, read, strict=True):
                self._refuse_foreign(uri, chunk, about)
                tables.append(table)
        except StorageError:
            if listed is None and self.file_list() is not None:  # the run was compacted meanwhile
                return self.results(columns)
            raise
        if not tables:
            raise RunError(f"{self.uri} has no results yet; `rayae score {self.uri}` scores the rest of it.")
        try:
            found = pa.concat_tables(tables)
        except pa.ArrowInvalid as error:
            raise RunError(
                f"the files of {self.uri} differ in their columns; `rayae verify {self.uri}` says where."
            ) from error
        if listed is None:
            return found
        return found.take(np.argsort(found["image_id"].to_numpy())).select(columns or found.column_names)

    def result_tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """The same rows file by file, so that few are in memory; of a compacted run in the order of the files."""
        present = self.result_parts()
        read = read_ahead(lambda file: read_chunk(file[0], columns), present)
        for (uri, chunk), (table, about) in zip(present, read, strict=True):
            self._refuse_foreign(uri, chunk, about)
            yield table

    def success(self) -> dict[str, Any] | None:
        """What was written when the last chunk was there, or None; RunError when it is damaged."""
        remedy = f"remove it and run `rayae score {self.uri}`"
        return read_record(storage.join(self.uri, SUCCESS), SUCCESS_SHAPE, remedy)

    def refuse_several_bundles(self) -> None:
        """ConfigError when the images were scored with a bundle for each value of a column."""
        column = self.assignment.column
        if column is not None:
            raise ConfigError(
                f"{self.uri} was scored with a bundle for each `{column}`, whose scores are not on one scale: score "
                f"the images of one `{column}` with its bundle into an `out=` of their own, and take that run."
            )

    def refuse_unfinished(self) -> None:
        """RunError when images have no row yet."""
        if self.success() is None or self.chunks_left():
            raise RunError(f"{self.uri} is not finished; `rayae score {self.uri}` scores the rest of it.")

    def evaluation(self, uri: str | None = None) -> dict[str, Any] | None:
        """What `evaluate` wrote about the run, or to `uri`, if it has; RunError when it is damaged."""
        remedy = f"`rayae evaluate {self.uri}` writes it anew"
        shape = EVALUATION_SHAPE if self.assignment.column is None else EVALUATIONS_SHAPE
        return read_record(uri or storage.join(self.uri, EVALUATION), shape, remedy)

    def refuse_as_out(self, out: str) -> None:
        """ConfigError for a place to write to that is the run itself, or one of its own files and directories."""
        own, asked = self.uri.rstrip("/"), storage.absolute(out).rstrip("/")
        inside = asked.removeprefix(f"{own}/")
        if asked == own or (inside != asked and inside.split("/")[0] in OWN):
            raise ConfigError(f"out={out} is a part of the run {self.uri} itself; name another place.")

    def finish(self, statistics: Mapping[str, Any]) -> None:
        """Say that every chunk is there."""
        for folder in (CHUNKS, MAPS):
            storage.sweep(storage.join(self.uri, folder))
        finished = datetime.now(UTC).isoformat(timespec="seconds")
        storage.write_json(storage.join(self.uri, SUCCESS), {"finished": finished, "statistics": statistics})

    @contextlib.contextmanager
    def in_hand(self, chunk: Chunk) -> Iterator[None]:
        """Note the chunk that this process works on, so that a process that died over it is known by its successor."""
        uri = storage.join(self.uri, IN_HAND)
        storage.write_json(uri, {"chunk": chunk.number})
        try:
            yield
        finally:  # an exception is no death; only a killed process leaves its note behind
            storage.remove(uri)

    def died_over(self) -> int | None:
        """The chunk that a process had in hand when it died, or None; a damaged note is none."""
        found = storage.read_version(storage.join(self.uri, IN_HAND))
        try:
            noted = None if found is None else json.loads(found[0])
        except ValueError:
            return None
        chunk = noted.get("chunk") if isinstance(noted, dict) else None
        return chunk if isinstance(chunk, int) else None

    def refuse_other_plan(self, fingerprint: Mapping[str, Any], in_words: Sequence[str] = ()) -> None:
        """RunError, with what differs and more `in_words` on it, when the directory holds a run of something else."""
        lines = differences(self.fingerprint, fingerprint)
        if lines:
            finish = f", or finish the run as it was planned with `rayae score {self.uri}`"
            raise RunError(
                f"{self.uri} holds a run of another plan, so its rows would not mean the same:\n"
                + "\n".join(f"  {line}" for line in [*lines, *in_words])
                + f"\nGive the new plan a new `out=`{'' if self.success() else finish}."
            )


def differences(was: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """One line for each key on which two fingerprints differ; of a hash its beginning."""
    keys = dict.fromkeys([*was, *asked])
    return [
        f"{key}: the run has {_brief(was.get(key))}, asked is {_brief(asked.get(key))}"
        for key in keys
        if was.get(key) != asked.get(key)
    ]


def _brief(value: Any) -> Any:
    return value[:12] if isinstance(value, str) and len(value) == 64 else value


def short_hash(value: Any) -> str:
    """Twelve hex digits that name a JSON value."""
    return sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def total(summaries: Iterable[ChunkSummary]) -> dict[str, Any]:
    """Sums over chunks: images, counts by status, flagged, seconds by stage."""
    by_status: Counter[str] = Counter()
    seconds: Counter[str] = Counter()
    images = flagged = 0
    for summary in summaries:
        images += summary.images
        flagged += summary.flagged
        by_status.update(summary.by_status)
        seconds.update(summary.seconds)
    rounded = {stage: round(value, 2) for stage, value in seconds.items()}
    return {"images": images, "by_status": dict(by_status), "flagged": flagged, "seconds": rounded}
