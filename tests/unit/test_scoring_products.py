"""Scoring with a set of bundles: each row by the bundle of its value, and none is lost."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import storage
from rayae.bundle import Choice, calibrated
from rayae.bundle_set import BundleSet, assignment_of, folder_of, write_index
from rayae.chunk_reader import ChunkReader, ScoringPlan
from rayae.errors import RunError
from rayae.manifest import write_manifest
from rayae.reader import Reader
from rayae.run import MANIFEST, RECORD, Run, short_hash, total
from rayae.scorer import Scorer
from rayae.scorers import Scorers
from rayae.scores import PICTURE_SCORES
from rayae.scoring import ChunkScorer, score_inline
from rayae.settings import RunnerSettings
from rayae.threshold import conformal, p_values
from rayae.verbs.score import fingerprint, plan_run
from rayae.verification import problems
from tests.unit.small_things import manifest_of, pictures, save_pictures, small_bundle, small_weights

FEW = PICTURE_SCORES[:2]
PRODUCTS = ["nut", "Bolt", "nut", None, "gear", "Bolt", "nut", "gear", "nail", "nut"]
CORRUPT = 5


@pytest.fixture
def bundles(tmp_path):
    """Three bundles: `nut` and `Bolt` with cuts of their own, `gear` without one and with fewer scores."""
    folder = tmp_path / "set"
    for seed, value in enumerate(("nut", "Bolt", "gear")):
        primary = "mae" if value == "Bolt" else "mse"
        names = FEW if value == "gear" else PICTURE_SCORES
        parts = {"weights": small_weights(seed), "scores": names, "choice": Choice(primary, "as asked", {})}
        bundle = small_bundle(folder / folder_of(value), **parts)
        if value != "gear":
            scores = np.sort(Scorer.open(bundle).score(pictures(10, seed=7))[0][primary])
            about = {"uri": [str(row) for row in range(10)], "group": ["g"] * 10, "chose_score": [False] * 10}
            cut = conformal(scores, score=primary, alpha=0.2, bundle_id=bundle.bundle_id)
            bundle = calibrated(bundle, pa.table({**about, "score": scores}), cut)
        write_index(str(folder), "product", [(value, bundle)])
    return BundleSet.open(str(folder))


def images(folder, products=PRODUCTS):
    """Pictures with their products, one of them corrupt."""
    paths = save_pictures(folder, len(products))
    paths[CORRUPT].write_bytes(paths[CORRUPT].read_bytes()[:-30])
    return manifest_of(paths).append_column("product", pa.array(products, pa.string()))


def run_of(folder, bundles, listed, rows_a_chunk=6):
    manifest = write_manifest(listed, str(folder / MANIFEST))
    firsts = list(range(0, manifest.rows, rows_a_chunk))
    found = fingerprint(manifest.content_hash, manifest.rows, bundles, firsts, RunnerSettings())
    run = plan_run(str(folder), bundles, firsts, found, {"images": str(folder), "settings": {}})
    return run, ScoringPlan(run.uri, bundles.uri, short_hash(found), Reader(), threads=2, micro_batch=3)


def finished(run, plan):
    list(score_inline(plan, run, run.chunks))
    run.finish(total(run.summaries()) | {"wall_seconds": 1.0, "images_per_second": 10.0})
    return run


@pytest.fixture
def run(tmp_path, bundles):
    return finished(*run_of(tmp_path / "run", bundles, images(tmp_path / "images")))


def test_each_row_has_the_scores_and_the_decision_of_the_bundle_of_its_value(run, bundles):
    pixels = pictures(len(PRODUCTS))
    rows = run.results().to_pylist()
    assert [row["product"] for row in rows] == PRODUCTS
    for row in rows:
        if row["status"] != "scored":
            continue
        bundle = bundles.bundles[row["product"]]
        alone, _ = Scorer.open(bundle, 3).score(pixels[[row["image_id"]]])
        assert row["bundle_id"] == bundle.bundle_id
        for name in PICTURE_SCORES:
            assert row[name] == (alone[name][0] if name in bundle.scores else None)
        assert row["score"] == alone[bundle.primary_score][0]
        if bundle.threshold is None:
            assert (row["p_value"], row["is_anomaly"], row["threshold_id"]) == (None, None, None)
        else:
            assert row["p_value"] == p_values(alone[bundle.primary_score], bundle.calibration)[0]
            assert row["is_anomaly"] == bool(np.float32(row["score"]) > np.float32(bundle.threshold.cut))
            assert row["threshold_id"] == bundle.threshold.id


def test_a_row_without_a_bundle_keeps_its_place_with_a_status_and_a_reason(run):
    rows = run.results().to_pylist()
    status = ["scored"] * 10
    status[CORRUPT], status[3], status[8] = "truncated", "no_bundle", "no_bundle"
    assert [row["status"] for row in rows] == status
    assert rows[3]["error"] == "The image has no `product`, by which its bundle is chosen."
    assert rows[8]["error"] == "There was no bundle for the `product` 'nail' when the run was planned."
    for row in (rows[3], rows[8]):
        assert all(row[name] is None for name in ("score", "is_anomaly", "p_value", "bundle_id", "threshold_id", "mse"))
    assert total(run.summaries())["by_status"] == {"scored": 7, "truncated": 1, "no_bundle": 2}


def test_a_row_that_fails_names_the_bundle_that_it_would_have_had(run, bundles):
    assert run.results().to_pylist()[CORRUPT]["bundle_id"] == bundles.bundles["Bolt"].bundle_id


def test_a_run_with_a_set_is_whole(run):
    assert problems(run) == []
    assert problems(Run.open(run.uri)) == []


@pytest.mark.parametrize(
    ("column", "row", "value", "sentence"),
    [
        ("bundle_id", 0, "0" * 12, "1 row(s) name another bundle or threshold, the first is the image 0."),
        ("is_anomaly", 4, True, "1 row(s) are flagged otherwise than their score and the threshold say"),
        ("p_value", 4, 0.5, "1 row(s) have no p-value though scored, or one though not"),
        (PICTURE_SCORES[-1], 4, 0.5, "1 row(s) have a score that their bundle does not measure"),
        ("status", 3, "missing", "1 row(s) have a bundle and say that they have none, or the reverse"),
        ("score", 1, 0.5, "1 row(s) have a score that is not their mae, the first is the image 1."),
    ],
)
def test_a_row_that_is_not_as_its_own_bundle_says_is_found(run, column, row, value, sentence):
    uri = run.chunk_uri(0)
    table = pq.read_table(io.BytesIO(storage.read_bytes(uri)))
    place = table.column_names.index(column)
    values = table[column].to_pylist()
    values[row] = value
    buffer = io.BytesIO()
    pq.write_table(table.set_column(place, table.schema.field(column), pa.array(values, table[column].type)), buffer)
    storage.write_bytes(uri, buffer.getvalue())
    assert any(sentence in problem for problem in problems(run))


def test_products_mixed_or_in_order_have_the_same_scores(tmp_path, bundles, run):
    listed = images(tmp_path / "again")
    order = np.argsort(np.array([product or "" for product in PRODUCTS]), kind="stable")
    other = finished(*run_of(tmp_path / "other", bundles, listed.take(order), rows_a_chunk=3))
    scores = dict(zip(other.results()["uri"].to_pylist(), other.results()["score"].to_pylist(), strict=True))
    names = [uri.replace("/again/", "/images/") for uri in scores]
    assert dict(zip(names, scores.values(), strict=True)) == dict(
        zip(run.results()["uri"].to_pylist(), run.results()["score"].to_pylist(), strict=True)
    )


def test_a_chunk_that_is_decoded_elsewhere_has_the_same_rows(tmp_path, bundles, run):
    apart, plan = run_of(tmp_path / "apart", bundles, run.manifest.read())
    reader, scorer = ChunkReader(plan), ChunkScorer(plan)
    for chunk in apart.chunks:
        scorer.finish(chunk, reader.decode(chunk))
    assert apart.results().equals(run.results())


def test_a_chunk_of_which_no_image_has_a_bundle_is_written(tmp_path, bundles):
    listed = images(tmp_path / "images", ["nail"] * 8)
    done = finished(*run_of(tmp_path / "run", bundles, listed))
    assert done.results()["status"].to_pylist() == ["no_bundle"] * 8
    assert problems(done) == []


def test_failed_images_are_tried_again_with_their_bundles(tmp_path, bundles, run):
    plan = ScoringPlan(run.uri, bundles.uri, run.record["fingerprint_hash"], Reader(), 2, 3)
    before = run.results()
    path = before["uri"].to_pylist()[CORRUPT]
    save_pictures(tmp_path / "mended", len(PRODUCTS))
    storage.write_bytes(path, (tmp_path / "mended" / f"{CORRUPT:03d}.png").read_bytes())
    list(score_inline(replace(plan, retried=("truncated",)), run, run.chunks))
    after = run.results().to_pylist()[CORRUPT]
    assert after["status"] == "scored"
    assert after["bundle_id"] == bundles.bundles["Bolt"].bundle_id
    assert run.results().slice(0, CORRUPT).equals(before.slice(0, CORRUPT))


def test_a_run_keeps_its_cuts_when_a_bundle_of_the_set_is_calibrated_anew(tmp_path, bundles):
    run, plan = run_of(tmp_path / "run", bundles, images(tmp_path / "images"))
    cut = bundles.bundles["nut"].threshold
    calibrated(bundles.bundles["nut"], None, None)
    done = finished(run, plan)
    rows = done.results().to_pylist()
    assert rows[0]["threshold_id"] == cut.id
    assert problems(done) == []


def test_a_worker_refuses_a_set_whose_bundle_was_replaced(tmp_path, bundles):
    run, plan = run_of(tmp_path / "run", bundles, images(tmp_path / "images"))
    (tmp_path / "set" / "nut").rename(tmp_path / "former")
    small_bundle(tmp_path / "set" / "nut", weights=small_weights(9))
    with pytest.raises(RunError, match="nut was replaced after"):
        list(score_inline(plan, run, run.chunks))


def test_models_that_were_not_used_for_longest_are_let_go(bundles):
    one = sum(tensor.nbytes for tensor in Scorer.open(bundles.bundles["nut"]).detector.state_dict().values())
    held = Scorers(bundles.uri, assignment_of(bundles), "RUN", 3, held_bytes=2 * one)
    nut, bolt = held.of("nut"), held.of("Bolt")
    assert held.of("nut") is nut
    held.of("gear")
    assert held.of("nut") is nut
    assert held.of("Bolt") is not bolt


def test_a_model_larger_than_what_is_held_is_held_alone(bundles):
    held = Scorers(bundles.uri, assignment_of(bundles), "RUN", 3, held_bytes=1)
    nut = held.of("nut")
    assert held.of("nut") is nut
    held.of("Bolt")
    assert list(held.held) == ["Bolt"]


def test_the_plan_of_a_run_says_which_bundle_scores_which_value(run, bundles):
    assert Run.open(run.uri).assignment == assignment_of(bundles)
    assert run.record["primary_score"] == "score"
    assert run.record["scores"] == list(PICTURE_SCORES)
    assert set(run.calibrations) == {"nut", "Bolt"}
    for value, scores in run.calibrations.items():
        assert scores.tolist() == bundles.bundles[value].calibration.tolist()


def test_a_record_without_a_part_of_a_bundle_is_refused(run):
    path = storage.join(run.uri, RECORD)
    record = storage.read_json(path)
    del record["products"]["bundles"]["nut"]["scores"]
    storage.write_json(path, record)
    with pytest.raises(RunError, match=r"products\.bundles\.nut\.scores is missing"):
        Run.open(run.uri)
