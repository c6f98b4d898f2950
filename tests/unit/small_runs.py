"""A small run that tests share: real files in a directory, as scoring writes them, with scores known by hand."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayae import storage
from rayae.manifest import Chunk, Manifest, complete, plan_chunks, write_manifest
from rayae.results import PIXEL_STATISTICS, SCHEMA_VERSION, Judge, Outcome, Status, chunk_bytes, result_table, summarise
from rayae.run import MANIFEST, Run, short_hash, total
from rayae.threshold import conformal

CALIBRATION = np.linspace(0.001, 0.1, 100, dtype=np.float32)
THRESHOLD = conformal(CALIBRATION, score="mse", alpha=0.05, bundle_id="b" * 12)


def plan(folder: Path, rows: int = 10, chunk_images: int = 4, threshold: bool = True, **own: Any) -> Run:
    """The directory of a run that has not begun: `rows` images, with a label and a weight."""
    names = pa.array([f"/data/{row}.png" for row in range(rows)])
    labels = pa.array([("good", None, "scratch")[row % 3] for row in range(rows)])
    table = complete({"uri": names, "label": labels, "weight": pa.array([row / 2 for row in range(rows)])} | own)
    manifest = write_manifest(table, storage.join(str(folder), MANIFEST))
    return create(str(folder), manifest, plan_chunks(manifest.sizes(), chunk_images), threshold)


def create(uri: str, manifest: Manifest, chunks: list[Chunk], threshold: bool) -> Run:
    """The record as `rayae score` writes it."""
    firsts = [chunk.first for chunk in chunks]
    fingerprint = {
        "schema_version": SCHEMA_VERSION,
        "manifest": manifest.content_hash,
        "images": manifest.rows,
        "chunks": f"{len(firsts)} ({short_hash(firsts)})",
        "bundle": "b" * 12,
        "preprocess": "p" * 12,
        "precision": "bf16",
        "primary_score": "mse",
        "calibration": "calibration-1.parquet" if threshold else None,
        "threshold": THRESHOLD.id if threshold else None,
    }
    record = {
        "images": "/data",
        "settings": {"chunk_images": 4},
        "bundle": "/bundle",
        "rows": manifest.rows,
        "chunks": firsts,
        "fingerprint": fingerprint,
        "fingerprint_hash": short_hash(fingerprint),
        "scores": ["mse", "mae"],
        "primary_score": "mse",
        "threshold": THRESHOLD.to_dict() if threshold else None,
    }
    return Run.create(uri, record, CALIBRATION if threshold else None)


def pixel_statistics(scores: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Of pictures that are the darker, the higher they score."""
    values = (0.9 - scores, scores / 4, 0.1 - scores / 10, scores / 8)
    return dict(zip(PIXEL_STATISTICS, values, strict=True))


def scored(run: Run, chunk: Chunk) -> pa.Table:
    """The rows of a chunk: image 5 is missing, the score of the others grows with their number."""
    images = run.manifest.read(chunk.first, chunk.rows)
    ids = images["image_id"].to_numpy()
    lost = [image_id == 5 for image_id in ids]
    scores = np.where(lost, np.nan, ids / 50).astype(np.float32)
    outcome = Outcome(
        status=[Status.MISSING if gone else Status.SCORED for gone in lost],
        error=["There is no such file." if gone else None for gone in lost],
        width=[None if gone else 64 for gone in lost],
        height=[None if gone else 48 for gone in lost],
        size_bytes=[None if gone else 1000 for gone in lost],
        scores={"mse": scores, "mae": scores * 2} | pixel_statistics(scores),
    )
    has_threshold = run.record["threshold"] is not None
    judge = Judge("mse", "b" * 12, THRESHOLD if has_threshold else None, CALIBRATION if has_threshold else None)
    return result_table(images, outcome, judge)


def write_chunk(run: Run, chunk: Chunk, table: pa.Table | None = None, fingerprint: str | None = None) -> None:
    """Write a chunk file, by default with its right rows."""
    table = scored(run, chunk) if table is None else table
    summary = summarise(chunk.number, table, {"fetch": 0.5, "model": 0.25})
    data = chunk_bytes(table, summary, fingerprint or run.record["fingerprint_hash"])
    storage.write_bytes(run.chunk_uri(chunk.number), data)


def finish(run: Run) -> Run:
    """Do all chunks, and say so."""
    for chunk in run.chunks_left():
        write_chunk(run, chunk)
    run.finish(total(run.summaries()) | {"wall_seconds": 1.0, "images_per_second": 10.0})
    return run
