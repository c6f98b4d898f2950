"""Home of the run's directory: what it is a run of, which chunks are left, and what its chunk files hold."""

import contextlib
import hashlib
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayae import __version__, storage
from rayae.errors import ConfigError, RunError
from rayae.manifest import Chunk, Manifest, chunks_at
from rayae.results import ChunkSummary, chunk_name, read_about
from rayae.threshold import Threshold

RECORD = "run.json"
MANIFEST = "manifest.parquet"
CHUNKS = "chunks"
SUCCESS = "_SUCCESS.json"
IN_HAND = "in_hand.json"
CALIBRATION = "calibration.parquet"
EVALUATION = "evaluation.json"
REPORT = "report.html"
FOOTER_READERS = 16
RECORD_KINDS: dict[str, type | tuple[type, ...]] = {
    "images": (str, list),
    "settings": dict,
    "fingerprint": dict,
    "fingerprint_hash": str,
    "bundle": str,
    "rows": int,
    "chunks": list,
    "scores": list,
    "primary_score": str,
    "threshold": (dict, type(None)),
}


@dataclass(frozen=True)
class Run:
    """One scoring of one manifest with one bundle, in a directory.

    The threshold and the calibration scores stand in the run itself: a bundle that is calibrated again meanwhile does
    not change the rows of a run that was planned before.
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
        known = record if isinstance(record, dict) else {}
        lacking = [key for key, kind in RECORD_KINDS.items() if key not in known or not isinstance(known[key], kind)]
        if lacking:
            raise RunError(f"{uri} is no run of this rayae: its {RECORD} lacks {', '.join(lacking)}.")
        return cls(uri, record)

    @classmethod
    def exists(cls, uri: str) -> bool:
        """Whether the directory holds a run."""
        return storage.exists(storage.join(storage.absolute(uri), RECORD))

    @classmethod
    def create(cls, uri: str, record: Mapping[str, Any], calibration: NDArray[np.float32] | None = None) -> "Run":
        """Write the record of a new run; from then on the plan is fixed.

        RunError when chunk files without a record lie there, since nobody knows what they are rows of, and when another
        process has begun a run of another plan there meanwhile.
        """
        if storage.list_names(storage.join(uri, CHUNKS)):
            raise RunError(
                f"{uri} holds chunk files but no {RECORD}, so nobody knows what they are rows of; "
                f"remove {storage.join(uri, CHUNKS)}, or give a new `out=`."
            )
        if calibration is not None:
            buffer = io.BytesIO()
            pq.write_table(pa.table({"score": calibration}), buffer)
            storage.write_bytes(storage.join(uri, CALIBRATION), buffer.getvalue())
        storage.remove(storage.join(uri, SUCCESS))
        full = {"rayae": __version__, "created": datetime.now(UTC).isoformat(timespec="seconds"), **record}
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
        """The cut that the run was planned with."""
        found = self.record["threshold"]
        return None if found is None else Threshold.from_dict(found)

    @property
    def calibration(self) -> NDArray[np.float32] | None:
        """The primary scores, ascending, of the images that the bundle was calibrated on when the run was planned."""
        if self.fingerprint["calibration"] is None:
            return None
        data = storage.read_bytes(storage.join(self.uri, CALIBRATION))
        table = pq.ParquetFile(io.BytesIO(data), pre_buffer=False).read(use_threads=False)
        return np.asarray(table["score"].to_numpy(), dtype=np.float32)

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

    def chunks_left(self) -> list[Chunk]:
        """The plan less the files that are there."""
        present = set(storage.list_names(storage.join(self.uri, CHUNKS)))
        return [chunk for chunk in self.chunks if chunk_name(chunk.number) not in present]

    def summaries(self) -> list[ChunkSummary]:
        """What the chunk files say of themselves, read from their footers; RunError when one is not as planned."""
        with ThreadPoolExecutor(FOOTER_READERS) as pool:
            abouts = list(pool.map(_read_about, self.result_files()))
        for (uri, chunk), about in zip(self._present(), abouts, strict=True):
            self._refuse_foreign(uri, chunk, about)
        return [ChunkSummary.from_dict(about["summary"]) for about in abouts]

    def _refuse_foreign(self, uri: str, chunk: Chunk, about: Mapping[str, Any]) -> None:
        summary = about["summary"]
        planned = (self.record["fingerprint_hash"], chunk.number, chunk.rows)
        if (about["fingerprint"], summary["chunk"], summary["images"]) != planned:
            raise RunError(f"{uri} has rows of another plan or chunk; remove it and run the same command again.")

    def result_files(self) -> list[str]:
        """The chunk files that are there, in the order of the manifest."""
        return [uri for uri, _ in self._present()]

    def _present(self) -> list[tuple[str, Chunk]]:
        present = set(storage.list_names(storage.join(self.uri, CHUNKS)))
        chunks = (chunk for chunk in self.chunks if chunk_name(chunk.number) in present)
        return [(self.chunk_uri(chunk.number), chunk) for chunk in chunks]

    def strange_files(self) -> list[str]:
        """Names of what lies among the chunk files and is none of the plan's; who reads the folder reads it too."""
        planned = {chunk_name(chunk.number) for chunk in self.chunks}
        return [name for name in storage.list_names(storage.join(self.uri, CHUNKS)) if name not in planned]

    def results(self, columns: Sequence[str] | None = None) -> pa.Table:
        """All result rows that are there, in the order of the manifest; RunError when there are none."""
        tables = []
        for uri, chunk in self._present():
            table, about = read_chunk(uri, columns)
            self._refuse_foreign(uri, chunk, about)
            tables.append(table)
        if not tables:
            raise RunError(f"{self.uri} has no results yet; `rayae score {self.uri}` scores the rest of it.")
        try:
            return pa.concat_tables(tables)
        except pa.ArrowInvalid as error:
            raise RunError(
                f"the chunk files of {self.uri} differ in their columns; `rayae verify {self.uri}` says where."
            ) from error

    def success(self) -> dict[str, Any] | None:
        """What was written when the last chunk was there, or None; RunError when it is damaged."""
        uri = storage.join(self.uri, SUCCESS)
        found = storage.read_json(uri) if storage.exists(uri) else None
        if found is not None and not (isinstance(found, dict) and isinstance(found.get("statistics"), dict)):
            raise RunError(f"{uri} is damaged; remove it and run `rayae score {self.uri}`.")
        return found

    def finish(self, statistics: Mapping[str, Any]) -> None:
        """Say that every chunk is there."""
        storage.sweep(storage.join(self.uri, CHUNKS))
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
        uri = storage.join(self.uri, IN_HAND)
        noted = storage.read_json(uri) if storage.exists(uri) else None
        chunk = noted.get("chunk") if isinstance(noted, dict) else None
        return chunk if isinstance(chunk, int) else None

    def refuse_other_plan(self, fingerprint: Mapping[str, Any], in_words: Sequence[str] = ()) -> None:
        """RunError, with what differs and more `in_words` on it, when the directory holds a run of something else."""
        lines = differences(self.fingerprint, fingerprint)
        if lines:
            raise RunError(
                f"{self.uri} holds a run of another plan, so its rows would not mean the same:\n"
                + "\n".join(f"  {line}" for line in [*lines, *in_words])
                + "\nGive the new plan a new `out=`, or finish the run as it was planned "
                + f"with `rayae score {self.uri}`."
            )


def differences(was: Mapping[str, Any], asked: Mapping[str, Any]) -> list[str]:
    """One line for each key on which two fingerprints differ."""
    keys = dict.fromkeys([*was, *asked])
    return [
        f"{key}: the run has {was.get(key)}, asked is {asked.get(key)}"
        for key in keys
        if was.get(key) != asked.get(key)
    ]


def short_hash(value: Any) -> str:
    """Twelve hex digits that name a JSON value."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def read_chunk(uri: str, columns: Sequence[str] | None = None) -> tuple[pa.Table, dict[str, Any]]:
    """The rows of a chunk file and what it says of itself; RunError when it is damaged or something else."""
    with _chunk_file(uri) as (parquet, about):
        table = parquet.read(columns=None if columns is None else list(columns), use_threads=False)
        return table.replace_schema_metadata(None), about


def _read_about(uri: str) -> dict[str, Any]:
    with _chunk_file(uri) as (_, about):
        return about


@contextlib.contextmanager
def _chunk_file(uri: str) -> Iterator[tuple[pq.ParquetFile, dict[str, Any]]]:
    with storage.open_read(uri) as file:
        try:
            parquet = pq.ParquetFile(file, page_checksum_verification=True, pre_buffer=False)  # as in `manifest`
            about = read_about(parquet.metadata.metadata)
            if about is None:
                raise RunError(f"{uri} is no chunk file of rayae; remove it and run the same command again.")
            yield parquet, about
        except (pa.ArrowException, OSError) as error:
            reason = " ".join(str(error).split())
            raise RunError(f"{uri} cannot be read ({reason}); remove it and run the same command again.") from error


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
