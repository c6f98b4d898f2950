"""WRITE: home of the result columns, their names, types and order, and of the chunk file that holds them."""

import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayae.threshold import Threshold, flag, p_values

SCHEMA_VERSION = 3
METADATA_KEY = b"rayae"
WORST_KEPT = 8
SCORE_EDGES: NDArray[np.float64] = np.geomspace(1e-8, 1e2, 201)
"""Edges of the score histogram of a chunk: 20 bins a decade; below and above them is one bin each."""

FROM_MANIFEST = ("image_id", "uri", "label", "group")
ONLY_IN_MANIFEST = ("size_bytes", "etag", "container", "place", "split")
"""What a manifest says for the reader and for training; of it only the bytes come to the results, as `size_bytes`."""
OUTCOME = ("status", "error", "width", "height", "size_bytes")
PIXEL_STATISTICS = ("pixel_mean", "pixel_std", "pixel_p01", "pixel_sharpness")
"""Of the whole picture at the size that the network takes, in [0, 1]: never thresholded, but floors of a score."""
DECISION = ("score", "p_value", "is_anomaly", "bundle_id", "threshold_id")


class Status(StrEnum):
    """What became of an image; all but `scored` come with a sentence in `error`."""

    SCORED = "scored"
    MISSING = "missing"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    EMPTY = "empty"
    NOT_AN_IMAGE = "not_an_image"
    TRUNCATED = "truncated"
    UNSUPPORTED = "unsupported"
    TOO_SMALL = "too_small"
    TOO_LARGE = "too_large"
    CHANGED = "changed"
    DECODER_CRASHED = "decoder_crashed"
    MODEL_ERROR = "model_error"
    NO_BUNDLE = "no_bundle"


@dataclass(frozen=True)
class Outcome:
    """What became of the images of a chunk: columns of one length, in manifest order."""

    status: Sequence[Status]
    error: Sequence[str | None]
    width: Sequence[int | None]
    height: Sequence[int | None]
    size_bytes: Sequence[int | None]
    scores: Mapping[str, NDArray[np.float32]]
    """The scores and the pixel statistics, one value an image; where the status is not `scored` they become null."""


@dataclass(frozen=True)
class Judge:
    """What turns the scores of a bundle into decisions."""

    primary_score: str
    bundle_id: str | None
    threshold: Threshold | None
    calibration: NDArray[np.float32] | None


NOBODY = Judge("", None, None, None)
"""Judges the images that no bundle scores."""


@dataclass(frozen=True)
class ChunkSummary:
    """What the driver learns of a chunk; it also stands in the metadata of the chunk's file."""

    chunk: int
    images: int
    by_status: dict[str, int]
    flagged: int
    seconds: dict[str, float]
    histogram: list[int]
    worst: list[tuple[int, float]]
    """`image_id` and score of the chunk's highest scores, highest first."""
    traffic: dict[str, int] = field(default_factory=dict, compare=False)
    """The counts of `Traffic`; files of former versions have none. Summaries of the same rows are equal whatever it
    took to read them."""

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> "ChunkSummary":
        return cls.from_dict(json.loads(text))

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "ChunkSummary":
        worst = [(int(image_id), float(score)) for image_id, score in value["worst"]]
        return cls(**{**value, "worst": worst})

    @property
    def failed(self) -> int:
        return self.images - self.by_status.get(Status.SCORED, 0)


def result_table(
    images: pa.Table, outcome: Outcome, judge: Judge, score_names: Sequence[str] | None = None
) -> pa.Table:
    """Join manifest rows with what became of them: one result row an image, in the order of the contract.

    `score_names` are the scores that have a column, by default those of the outcome; what it lacks is null.
    """
    unscored = np.array([status != Status.SCORED for status in outcome.status], dtype=bool)
    nothing = np.full(len(unscored), np.nan, dtype=np.float32)
    primary = outcome.scores.get(judge.primary_score, nothing)
    if score_names is None:
        score_names = [name for name in outcome.scores if name not in PIXEL_STATISTICS]
    columns_of_scores = {
        name: pa.array(outcome.scores.get(name, nothing), pa.float32(), mask=unscored | (name not in outcome.scores))
        for name in (*score_names, *PIXEL_STATISTICS)
    }
    columns: dict[str, Any] = {
        "image_id": images["image_id"],
        "uri": images["uri"],
        "label": images["label"],
        "group": images["group"],
        **{name: images[name] for name in user_columns(images.column_names)},
        "status": pa.array([str(status) for status in outcome.status], pa.string()),
        "error": pa.array(outcome.error, pa.string()),
        "width": pa.array(outcome.width, pa.int32()),
        "height": pa.array(outcome.height, pa.int32()),
        "size_bytes": pa.array(outcome.size_bytes, pa.int64()),
        **columns_of_scores,
        "score": pa.array(primary, pa.float32(), mask=unscored),
        **_decisions(primary, unscored, judge),
    }
    return pa.table(columns, schema=result_schema(images.schema, score_names))


def _decisions(scores: NDArray[np.float32], unscored: NDArray[np.bool_], judge: Judge) -> dict[str, pa.Array]:
    count, nothing = len(scores), np.ones(len(scores), dtype=bool)
    threshold, calibration = judge.threshold, judge.calibration
    flags = np.zeros(count, bool) if threshold is None else flag(scores, threshold)
    p = np.ones(count) if calibration is None else p_values(scores, calibration)
    return {
        "p_value": pa.array(p, pa.float64(), mask=nothing if calibration is None else unscored),
        "is_anomaly": pa.array(flags, pa.bool_(), mask=nothing if threshold is None else unscored),
        "bundle_id": pa.array([judge.bundle_id] * count, pa.string()),
        "threshold_id": pa.array([None if threshold is None else threshold.id] * count, pa.string()),
    }


def user_columns(manifest_columns: Sequence[str]) -> list[str]:
    """The columns of a manifest that are the user's own, carried to the results as they are."""
    known = {*FROM_MANIFEST, *ONLY_IN_MANIFEST}
    return [name for name in manifest_columns if name not in known]


def result_schema(manifest: pa.Schema, score_names: Sequence[str]) -> pa.Schema:
    """Names, types and order of the columns of a result table over a manifest."""
    own = [*FROM_MANIFEST, *user_columns(manifest.names)]
    return pa.schema(
        [
            *((name, manifest.field(name).type) for name in own),
            *zip(OUTCOME, (pa.string(), pa.string(), pa.int32(), pa.int32(), pa.int64()), strict=True),
            *((name, pa.float32()) for name in (*score_names, *PIXEL_STATISTICS)),
            *zip(DECISION, (pa.float32(), pa.float64(), pa.bool_(), pa.string(), pa.string()), strict=True),
        ]
    )


def reserved_columns(score_names: Sequence[str]) -> set[str]:
    """Names that a user's own column cannot have."""
    return {*FROM_MANIFEST, *OUTCOME, *PIXEL_STATISTICS, *DECISION, *score_names, *ONLY_IN_MANIFEST}


def summarise(
    chunk: int, table: pa.Table, seconds: Mapping[str, float], traffic: Mapping[str, int] | None = None
) -> ChunkSummary:
    """Count what a chunk's rows say."""
    scores = table["score"].to_numpy(zero_copy_only=False)
    scored = np.flatnonzero(~np.isnan(scores))
    worst = scored[np.argsort(-scores[scored], kind="stable")[:WORST_KEPT]]
    ids = table["image_id"].to_numpy()
    bins = np.searchsorted(SCORE_EDGES, scores[scored], side="right")
    return ChunkSummary(
        chunk=chunk,
        images=table.num_rows,
        by_status=dict(Counter(table["status"].to_pylist())),
        flagged=int(pc.sum(table["is_anomaly"], min_count=0).as_py()),
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
        histogram=np.bincount(bins, minlength=len(SCORE_EDGES) + 1).tolist(),
        worst=[(int(ids[row]), float(scores[row])) for row in worst],
        traffic=dict(traffic or {}),
    )


def chunk_name(chunk: int) -> str:
    """The name of a chunk's file: fixed, so that a chunk done twice is written once."""
    return f"chunk-{chunk:06d}.parquet"


def chunk_bytes(table: pa.Table, summary: ChunkSummary, fingerprint: str) -> bytes:
    """A chunk's result rows as a Parquet file, with its summary and the run's fingerprint in the metadata."""
    about = {"schema_version": SCHEMA_VERSION, "fingerprint": fingerprint, "summary": json.loads(summary.to_json())}
    metadata = {**(table.schema.metadata or {}), METADATA_KEY: json.dumps(about).encode()}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(metadata), buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def read_about(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any] | None:
    """What `chunk_bytes` put into a file's metadata, or None when it is not a chunk file."""
    try:
        about = json.loads(metadata[METADATA_KEY]) if metadata and METADATA_KEY in metadata else None
    except ValueError:
        return None
    return about if isinstance(about, dict) and about.keys() >= {"fingerprint", "summary"} else None
