"""Result rows: the columns of the contract, nulls where nobody looked, and the chunk file around them."""

import io
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae.manifest import complete
from rayae.results import (
    METADATA_KEY,
    PIXEL_STATISTICS,
    SCHEMA_VERSION,
    SCORE_EDGES,
    ChunkSummary,
    Judge,
    Outcome,
    Status,
    chunk_bytes,
    chunk_name,
    read_about,
    reserved_columns,
    result_schema,
    result_table,
    summarise,
    user_columns,
)
from rayae.threshold import Threshold, fixed
from rayae.traffic import Traffic

NAN = float("nan")


def cut_at(cut: float) -> Threshold:
    return fixed(cut, score="mse", bundle_id="b" * 12, calibration=None)


def images(count: int, **own: Any) -> pa.Table:
    return complete({"uri": pa.array([f"/{row}.png" for row in range(count)]), **own})


def outcome(mse: Sequence[float], status: Sequence[Status] | None = None) -> Outcome:
    status = status or [Status.SCORED] * len(mse)
    scored = [one == Status.SCORED for one in status]
    return Outcome(
        status=status,
        error=[None if one else "It is broken." for one in scored],
        width=[640 if one else None for one in scored],
        height=[480 if one else None for one in scored],
        size_bytes=[1000] * len(mse),
        scores={
            "mse": np.array(mse, np.float32),
            "mae": np.array(mse, np.float32) * 2,
            **{name: np.array(mse, np.float32) / 4 for name in PIXEL_STATISTICS},
        },
    )


def judge(cut: float | None = 0.004, calibration: Sequence[float] | None = (0.001, 0.002, 0.003)) -> Judge:
    threshold = None if cut is None else cut_at(cut)
    return Judge("mse", "b" * 12, threshold, None if calibration is None else np.array(calibration, np.float32))


CONTRACT = pa.schema(
    [
        ("image_id", pa.int64()),
        ("uri", pa.string()),
        ("label", pa.string()),
        ("group", pa.string()),
        ("weight", pa.float64()),
        ("status", pa.string()),
        ("error", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("size_bytes", pa.int64()),
        ("mse", pa.float32()),
        ("mae", pa.float32()),
        ("pixel_mean", pa.float32()),
        ("pixel_std", pa.float32()),
        ("pixel_p01", pa.float32()),
        ("pixel_sharpness", pa.float32()),
        ("score", pa.float32()),
        ("p_value", pa.float64()),
        ("is_anomaly", pa.bool_()),
        ("bundle_id", pa.string()),
        ("threshold_id", pa.string()),
    ]
)


def test_a_result_has_the_columns_of_the_contract_in_their_order() -> None:
    manifest = images(2, weight=pa.array([1.5, None]))
    assert result_table(manifest, outcome([1, 2]), judge()).schema == CONTRACT
    assert result_table(manifest, outcome([1, 2]), judge(None, None)).schema == CONTRACT
    assert result_schema(manifest.schema, ["mse", "mae"]) == CONTRACT
    nobody = [Status.MISSING] * 2
    assert result_table(manifest, outcome([NAN, NAN], nobody), judge(None, None)).schema == CONTRACT


def test_what_was_measured_in_another_order_stands_in_the_order_of_the_contract() -> None:
    measured = outcome([1, 2])
    turned = replace(measured, scores=dict(sorted(measured.scores.items(), key=lambda item: item[0] != "pixel_std")))
    assert next(iter(turned.scores)) == "pixel_std"
    assert result_table(images(2, weight=pa.array([1.5, None])), turned, judge()).schema == CONTRACT


def test_the_golden_example_flags_the_third_and_the_fifth() -> None:
    table = result_table(images(5), outcome([0.002, 0.0015, 0.005, 0.0008, 0.007]), judge())
    assert table["is_anomaly"].to_pylist() == [False, False, True, False, True]
    assert table["p_value"].to_pylist() == [0.75, 0.75, 0.25, 1.0, 0.25]
    assert table["score"] == table["mse"]


def test_a_score_at_the_cut_is_not_flagged_and_the_next_float32_is() -> None:
    cut = np.float32(0.1)
    scores = [cut, np.nextafter(cut, np.float32(1)), np.nextafter(cut, np.float32(0))]
    table = result_table(images(3), outcome([float(score) for score in scores]), judge(float(cut)))
    assert table["is_anomaly"].to_pylist() == [False, True, False]


@pytest.mark.parametrize("value", [NAN, 0.0, 9.9, float("inf")])
@pytest.mark.parametrize("status", [status for status in Status if status != Status.SCORED])
def test_an_image_that_was_not_scored_keeps_its_row_with_nulls_and_never_nan(status: Status, value: float) -> None:
    table = result_table(images(2, weight=pa.array([1, 2])), outcome([0.005, value], [Status.SCORED, status]), judge())
    row = table.to_pylist()[1]
    assert (row["image_id"], row["uri"], row["weight"], row["status"]) == (1, "/1.png", 2, status.value)
    assert row["error"] == "It is broken."
    assert row["size_bytes"] == 1000
    for name in ("mse", "mae", *PIXEL_STATISTICS, "score", "p_value", "is_anomaly", "width", "height"):
        assert table[name].null_count == 1
        assert row[name] is None
    assert row["bundle_id"] == "b" * 12


def test_without_a_threshold_no_row_is_flagged_or_cleared_and_without_calibration_none_has_a_p_value() -> None:
    table = result_table(images(2), outcome([1, 2]), judge(None, None))
    for name in ("is_anomaly", "threshold_id", "p_value"):
        assert table[name].to_pylist() == [None, None]
    assert table["score"].to_pylist() == [1, 2]


def test_labels_groups_and_own_columns_are_carried_from_any_part_of_a_manifest() -> None:
    whole = images(6, group=pa.array([f"00{row}" for row in range(6)]), line=pa.array([None, *range(1, 6)]))
    pieces = pa.concat_tables([whole.slice(0, 3), whole.slice(3)]).slice(2, 3)
    table = result_table(pieces, outcome([1, 2, 3]), judge())
    assert table["image_id"].to_pylist() == [2, 3, 4]
    assert table["group"].to_pylist() == ["002", "003", "004"]
    assert table["line"].to_pylist() == [2, 3, 4]
    assert table["size_bytes"].to_pylist() == [1000] * 3


def test_the_columns_that_are_ours_are_neither_carried_nor_free() -> None:
    assert user_columns(["image_id", "uri", "size_bytes", "etag", "split", "label", "group", "x", "y"]) == ["x", "y"]
    assert {"uri", "etag", "split", "error", "score", "is_anomaly", "mse"} <= reserved_columns(["mse"])
    assert "mse" not in reserved_columns([])
    assert {"pixel_mean", "pixel_std", "pixel_p01", "pixel_sharpness"} <= reserved_columns([])


def test_the_statuses_are_the_closed_list() -> None:
    assert [status.value for status in Status] == (
        "scored missing forbidden throttled timeout empty not_an_image truncated unsupported too_small too_large "
        "changed decoder_crashed model_error no_bundle"
    ).split()


def test_a_summary_adds_up() -> None:
    status = [Status.SCORED, Status.MISSING, Status.SCORED, Status.SCORED, Status.MISSING, Status.EMPTY]
    table = result_table(images(6), outcome([0.005, NAN, 0.001, 1e9, NAN, NAN], status), judge())
    summary = summarise(7, table, {"fetch": 0.123456})
    assert summary.chunk == 7
    assert summary.images == 6
    assert summary.by_status == {"scored": 3, "missing": 2, "empty": 1}
    assert summary.failed == 3
    assert summary.flagged == 2
    assert summary.seconds == {"fetch": 0.1235}
    assert sum(summary.histogram) == 3
    assert len(summary.histogram) == len(SCORE_EDGES) + 1
    assert summary.histogram[-1] == 1
    assert summary.worst == [(3, 1e9), (0, float(np.float32(0.005))), (2, float(np.float32(0.001)))]


def test_of_many_equal_scores_the_first_eight_images_are_the_worst() -> None:
    table = result_table(images(20), outcome([0.5] * 20), judge())
    assert [image_id for image_id, _ in summarise(0, table, {}).worst] == list(range(8))


def test_a_chunk_of_nothing_but_failures_has_a_summary() -> None:
    table = result_table(images(2), outcome([NAN, NAN], [Status.EMPTY] * 2), judge(None, None))
    summary = summarise(0, table, {})
    assert (summary.flagged, summary.worst, sum(summary.histogram), summary.failed) == (0, [], 0, 2)


def test_a_summary_keeps_what_was_read_and_is_equal_whatever_that_was() -> None:
    table = result_table(images(2), outcome([1, 2]), judge())
    summary = summarise(5, table, {}, Traffic(requests=7, throttled=2, bytes=99).to_dict())
    assert ChunkSummary.from_json(summary.to_json()).traffic == {
        "requests": 7, "retries": 0, "throttled": 2, "bytes": 99,
    }  # fmt: skip
    assert summary == summarise(5, table, {})
    of_a_former_version = {key: value for key, value in asdict(summary).items() if key != "traffic"}
    assert ChunkSummary.from_dict(of_a_former_version).traffic == {}


def test_a_chunk_file_gives_back_its_rows_its_summary_and_the_fingerprint() -> None:
    table = result_table(images(3, weight=pa.array([1.5, None, 2])), outcome([0.1, 0.2, 0.3]), judge())
    summary = summarise(5, table, {"model": 1.0})
    data = chunk_bytes(table, summary, "f" * 12)
    back = pq.read_table(io.BytesIO(data), page_checksum_verification=True)
    about = read_about(back.schema.metadata)
    assert about is not None
    assert about["schema_version"] == SCHEMA_VERSION == 3
    assert about["fingerprint"] == "f" * 12
    assert ChunkSummary.from_dict(about["summary"]) == summary
    assert ChunkSummary.from_json(summary.to_json()) == summary
    assert back.replace_schema_metadata(None) == table
    assert pq.ParquetFile(io.BytesIO(data)).read(["uri"]).to_pydict() == {"uri": ["/0.png", "/1.png", "/2.png"]}


def test_the_same_rows_make_the_same_bytes() -> None:
    tables = [result_table(images(3), outcome([0.1, 0.2, 0.3]), judge()) for _ in range(2)]
    files = [chunk_bytes(table, summarise(5, table, {}), "f") for table in tables]
    assert files[0] == files[1]


@pytest.mark.parametrize("metadata", [None, {}, {b"pandas": b"{}"}, {METADATA_KEY: b"{"}, {METADATA_KEY: b"[]"}])
def test_other_metadata_is_that_of_no_chunk_file(metadata: dict[bytes, bytes] | None) -> None:
    assert read_about(metadata) is None
    assert read_about({METADATA_KEY: json.dumps({"summary": {}}).encode()}) is None


def test_a_chunk_has_one_name() -> None:
    assert [chunk_name(number) for number in (0, 123, 1_234_567)] == [
        "chunk-000000.parquet",
        "chunk-000123.parquet",
        "chunk-1234567.parquet",
    ]
