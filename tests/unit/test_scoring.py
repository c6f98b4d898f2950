"""The chunk loop without Ray: every row there, whatever happens to an image, and the budget for failures."""

import re
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
from torch import nn

from rayae import storage
from rayae.assignment import ALL
from rayae.bundle import Bundle, calibrated
from rayae.chunk_reader import ChunkReader, ScoringPlan
from rayae.errors import ConfigError, RunError, TooManyFailures
from rayae.failure_budget import FailureBudget
from rayae.follow import follow
from rayae.loader import Loader
from rayae.manifest import Chunk, write_manifest
from rayae.reader import Reader
from rayae.result_files import read_chunk
from rayae.results import Status
from rayae.run import IN_HAND, MANIFEST, short_hash
from rayae.scorer import Scorer
from rayae.scores import PICTURE_SCORES
from rayae.scoring import ChunkScorer, score_inline
from rayae.settings import RunnerSettings
from rayae.threshold import conformal
from rayae.verbs.score import fingerprint, plan_run
from tests.unit.murderous import KILLER, MURDEROUS
from tests.unit.small_things import manifest_of, pictures, save_pictures, small_bundle

CORRUPT, EMPTY = 3, 7


@pytest.fixture
def bundle(tmp_path):
    """A bundle with a threshold, from ten other pictures."""
    bundle = small_bundle(tmp_path / "bundle")
    scores = np.sort(Scorer.open(bundle).score(pictures(10, seed=1))[0]["mse"])
    names = {"uri": [str(row) for row in range(10)], "group": ["g"] * 10}
    table = pa.table({**names, "mse": scores, "score": scores, "chose_score": [False] * 10})
    cut = conformal(scores, score="mse", alpha=0.2, bundle_id=bundle.bundle_id)
    return calibrated(bundle, table, cut)


@pytest.fixture
def images(tmp_path):
    """Ten tiny pictures, one of them corrupt, one empty."""
    paths = save_pictures(tmp_path / "images", 10)
    paths[CORRUPT].write_bytes(paths[CORRUPT].read_bytes()[:-30])
    paths[EMPTY].write_bytes(b"")
    return manifest_of(paths)


def run_of(folder, bundle, images, rows_a_chunk=4):
    """A run as `rayae score` plans it, and what its workers are told."""
    manifest = write_manifest(images, str(folder / MANIFEST))
    firsts = list(range(0, manifest.rows, rows_a_chunk))
    found = fingerprint(manifest.content_hash, manifest.rows, bundle, firsts, RunnerSettings())
    run = plan_run(str(folder), bundle, firsts, found, {"images": str(folder), "settings": {}})
    return run, ScoringPlan(run.uri, bundle.uri, short_hash(found), Reader(), threads=2, micro_batch=3)


@pytest.fixture
def run_and_plan(tmp_path, bundle, images):
    return run_of(tmp_path / "run", bundle, images)


def rows_of(run):
    return run.results().to_pylist()


def test_every_image_has_its_row(run_and_plan, bundle, images):
    run, plan = run_and_plan
    summaries = list(score_inline(plan, run, run.chunks))
    rows = rows_of(run)
    assert [row["image_id"] for row in rows] == list(range(10))
    assert [row["uri"] for row in rows] == images["uri"].to_pylist()
    status = ["scored"] * 10
    status[CORRUPT], status[EMPTY] = "truncated", "empty"
    assert [row["status"] for row in rows] == status
    assert [summary.by_status for summary in summaries] == [
        {"scored": 3, "truncated": 1}, {"scored": 3, "empty": 1}, {"scored": 2},
    ]  # fmt: skip
    for row in rows:
        scored = row["status"] == "scored"
        assert (row["error"] is None) == scored
        for name in (*PICTURE_SCORES, "score", "p_value", "is_anomaly"):
            assert (row[name] is not None) == scored
        assert (row["bundle_id"], row["threshold_id"]) == (bundle.bundle_id, bundle.threshold.id)


def test_a_chunk_that_is_decoded_elsewhere_has_the_same_rows(tmp_path, bundle, images):
    together, plan = run_of(tmp_path / "together", bundle, images)
    list(score_inline(plan, together, together.chunks))
    apart, plan = run_of(tmp_path / "apart", bundle, images)
    reader, scorer = ChunkReader(plan), ChunkScorer(plan)
    for chunk in apart.chunks:
        summary = scorer.finish(chunk, reader.decode(chunk))
        assert summary.traffic == together.summary_of(together.chunk_uri(chunk.number), chunk).traffic != {}
    assert apart.results().equals(together.results())


def test_pictures_that_were_mended_meanwhile_are_not_given_to_other_rows(tmp_path, bundle, images):
    """A worker has died after it wrote the chunk: what was decoded for it is no longer what is to be done."""
    run, plan = run_of(tmp_path / "run", bundle, images)
    list(score_inline(plan, run, run.chunks))
    before, failed = run.results(), replace(plan, retried=("truncated", "empty"))
    for chunk in run.chunks[:2]:
        stale = ChunkReader(failed).decode(chunk)
        ChunkScorer(replace(plan, retried=("scored",))).finish(chunk, stale)  # other rows than those that were decoded
        assert run.results().equals(before)


def test_an_image_has_the_score_that_it_has_alone(run_and_plan, bundle):
    run, plan = run_and_plan
    list(score_inline(plan, run, run.chunks))
    scorer, pixels = Scorer.open(bundle, 1), pictures(10)
    for row in rows_of(run):
        if row["status"] == "scored":
            alone, _ = scorer.score(pixels[row["image_id"]][np.newaxis])
            assert row["score"] == row["mse"] == pytest.approx(alone["mse"][0], abs=1e-6)
            assert row["is_anomaly"] == (np.float32(row["score"]) > np.float32(bundle.threshold.cut))
            assert (row["width"], row["height"]) == (32, 32)


def test_a_chunk_is_one_file_with_its_name_and_its_summary(run_and_plan):
    run, plan = run_and_plan
    summary = ChunkScorer(plan)(run.chunks[2])
    assert storage.list_names(storage.join(run.uri, "chunks")) == ["chunk-000002.parquet"]
    table, about = read_chunk(run.chunk_uri(2))
    assert table["image_id"].to_pylist() == [8, 9]
    assert about["fingerprint"] == run.record["fingerprint_hash"]
    of_the_file = {stage: spent for stage, spent in summary.seconds.items() if stage != "write"}
    assert run.summaries() == [replace(summary, seconds=of_the_file)]
    assert set(summary.seconds) == {"wait", "fetch", "decode", "model", "write"}
    assert summary.traffic["requests"] == 0, "disks are not asked by requests"
    assert summary.traffic["bytes"] == sum(size or 0 for size in table["size_bytes"].to_pylist())


def test_a_chunk_done_twice_has_the_same_rows(run_and_plan):
    run, plan = run_and_plan
    list(score_inline(plan, run, run.chunks))
    first = run.results()
    list(score_inline(plan, run, run.chunks))
    assert run.results().equals(first)


def test_the_rows_do_not_depend_on_chunks_micro_batch_or_threads(tmp_path, bundle, images):
    ways = [(4, 3, 2), (10, 32, 1), (1, 1, 4), (7, 2, 3)]
    found = []
    for number, (rows_a_chunk, micro_batch, threads) in enumerate(ways):
        run, plan = run_of(tmp_path / f"run{number}", bundle, images, rows_a_chunk)
        list(score_inline(replace(plan, micro_batch=micro_batch, threads=threads), run, run.chunks))
        found.append(run.results())
    for other in found[1:]:
        assert other.drop_columns([*PICTURE_SCORES, "score"]).equals(found[0].drop_columns([*PICTURE_SCORES, "score"]))
        for name in PICTURE_SCORES:
            np.testing.assert_allclose(other[name].to_numpy(), found[0][name].to_numpy(), atol=1e-6, rtol=0)


def test_a_chunk_without_a_single_readable_image_is_written(tmp_path, bundle):
    run, plan = run_of(tmp_path / "run", bundle, manifest_of([tmp_path / "no", tmp_path / "nothing"]))
    list(score_inline(plan, run, run.chunks))
    assert [row["status"] for row in rows_of(run)] == ["missing", "missing"]


def test_an_image_on_which_the_network_fails_is_a_model_error(run_and_plan):
    run, plan = run_and_plan
    worker = ChunkScorer(plan)
    network, marked = worker.scorers.of(ALL).detector.network, pictures(10)[1].transpose(2, 0, 1)

    class FailsOnOne(nn.Module):
        def forward(self, images):
            if any(np.array_equal(image.numpy() * 255, marked) for image in images):
                raise RuntimeError("a bad picture")
            return network(images)

    worker.scorers.of(ALL).detector.network = FailsOnOne()
    summary = worker(run.chunks[0])
    assert summary.by_status == {"scored": 2, "model_error": 1, "truncated": 1}
    row = rows_of(run)[1]
    assert row["error"] == "The network failed on this picture: a bad picture."
    assert (row["score"], row["mse"], row["is_anomaly"]) == (None, None, None)
    assert (row["width"], row["height"]) == (32, 32)


def test_when_the_model_breaks_no_file_is_written_and_no_thread_stays(run_and_plan):
    run, plan = run_and_plan
    worker = ChunkScorer(plan)

    class Bug(nn.Module):
        def forward(self, made):
            raise AttributeError

    worker.scorers.of(ALL).detector.network = Bug()
    with pytest.raises(AttributeError):
        worker(run.chunks[0])
    assert storage.list_names(storage.join(run.uri, "chunks")) == []


def test_a_run_keeps_its_threshold_when_the_bundle_is_calibrated_anew(run_and_plan, bundle):
    run, plan = run_and_plan
    before = ChunkScorer(plan)
    calibrated(bundle, bundle.calibration_table().slice(0, 5), None)
    after = ChunkScorer(plan)
    assert after.judges[ALL].threshold == before.judges[ALL].threshold == run.threshold
    assert after.judges[ALL].calibration.tolist() == before.judges[ALL].calibration.tolist()


def test_a_worker_refuses_another_model_than_that_of_the_plan(run_and_plan, bundle):
    run, plan = run_and_plan
    other = {**run.record, "fingerprint": run.fingerprint | {"bundle": "another"}}
    storage.write_json(storage.join(run.uri, "run.json"), other)
    with pytest.raises(RunError) as refused:
        ChunkScorer(plan)
    assert str(refused.value) == (
        f"{bundle.uri} was replaced after {run.uri} was planned: it is {bundle.bundle_id}, the plan says another. "
        "Put the former bundle back, or score into a new `out=`."
    )


@pytest.fixture
def deadly(tmp_path, bundle, monkeypatch):
    """Ten files that are decoded by a decoder with a bug, the sixth of them in the second chunk its victim."""
    folder = tmp_path / "deadly"
    folder.mkdir()
    for number in range(10):
        (folder / str(number)).write_bytes(KILLER if number == 5 else bytes([number]))
    monkeypatch.setattr(Bundle, "preprocess", MURDEROUS)
    return run_of(tmp_path / "run", bundle, manifest_of(sorted(folder.iterdir())))


def test_the_chunk_over_which_a_process_died_is_decoded_in_isolation(deadly, monkeypatch):
    run, plan = deadly
    isolated = []
    load = Loader.load
    monkeypatch.setattr(Loader, "load", lambda loader, rows: isolated.append(loader.isolated) or load(loader, rows))
    storage.write_json(storage.join(run.uri, IN_HAND), {"chunk": 1})
    list(score_inline(plan, run, run.chunks))
    assert isolated == [False, True, False]
    assert [row["status"] for row in rows_of(run)] == [*["scored"] * 5, "decoder_crashed", *["scored"] * 4]
    assert run.died_over() is None


def test_isolation_may_be_asked_for(deadly):
    run, plan = deadly
    (summary,) = score_inline(replace(plan, isolated=True), run, run.chunks[1:2])
    assert summary.by_status == {"scored": 3, "decoder_crashed": 1}


def test_nothing_is_in_hand_when_all_is_done(run_and_plan):
    run, plan = run_and_plan
    list(score_inline(plan, run, run.chunks))
    assert run.died_over() is None
    assert run.chunks_left() == []


def test_the_driver_learns_of_every_image(run_and_plan, capsys):
    run, plan = run_and_plan
    budget = FailureBudget(0.5, {}, min_sample=1)
    found = follow(run, score_inline(plan, run, run.chunks), budget, left=10)
    assert budget.images == 10
    assert budget.by_status == {"scored": 8, "truncated": 1, "empty": 1}
    assert found.images_per_second > 0
    assert found.seconds["write"] > 0
    assert "score: 10 of 10 images" in capsys.readouterr().out


def test_the_driver_stops_at_the_chunk_that_is_too_much_and_keeps_what_was_done(run_and_plan):
    run, plan = run_and_plan
    with pytest.raises(TooManyFailures):
        follow(run, score_inline(plan, run, run.chunks), FailureBudget(0.2, {}, min_sample=1), left=10)
    assert [chunk.number for chunk in run.chunks_left()] == [1, 2]


def refusal(budget, **by_status):
    with pytest.raises(TooManyFailures) as refused:
        budget.spend(by_status)
    return str(refused.value)


def test_too_many_failures_are_told_with_what_was_seen_and_what_to_do():
    assert refusal(FailureBudget(0.1, {}, 100), scored=1800, missing=200, timeout=1) == (
        "201 of 2,001 images failed, more than max_failed_fraction=0.1 allows (200 missing, 1 timeout). "
        "Mend the cause, or raise the limit, and run the same command again. Rows that were written stay, failed "
        "ones too; a chunk file that is removed is scored again."
    )


def test_a_status_has_its_own_limit():
    budget = FailureBudget(0.5, {"throttled": 0.01, "missing": 0.3}, 100)
    assert refusal(budget, scored=80, throttled=2, missing=18) == (
        "2 of 100 images are `throttled`, more than max_failed_by_status.throttled=0.01 allows "
        "(18 missing, 2 throttled). "
        "Mend the cause, or raise the limit, and run the same command again. Rows that were written stay, failed "
        "ones too; a chunk file that is removed is scored again."
    )


def test_before_the_sample_is_large_enough_nothing_stops_the_job():
    budget = FailureBudget(0.0, {"missing": 0.0}, 100)
    budget.spend({"missing": 99})
    assert refusal(budget, scored=1).startswith("99 of 100 images failed")


@pytest.mark.parametrize(("limit", "failed", "images"), [(0.29, 29, 100), (0.07, 7, 100), (0.1, 3, 30), (1.0, 9, 9)])
def test_a_share_that_equals_the_limit_is_allowed(limit, failed, images):
    FailureBudget(limit, {"missing": limit}, 1).spend({"missing": failed, "scored": images - failed})
    assert limit == 1 or refusal(FailureBudget(limit, {}, 1), missing=failed + 1, scored=images - failed - 1)


def test_a_limit_of_zero_allows_none():
    FailureBudget(0.0, {}, 1).spend({"scored": 5})
    assert refusal(FailureBudget(0.0, {}, 1), scored=999, empty=1).startswith("1 of 1,000 images failed")


def test_failures_of_all_chunks_are_counted_together():
    budget = FailureBudget(0.1, {}, 1)
    budget.spend({"scored": 95, "missing": 5})
    budget.spend({"scored": 90, Status.MISSING: 10})
    assert refusal(budget, missing=6).startswith("21 of 206 images failed")


@pytest.mark.parametrize(
    ("name", "guess"),
    [("throtled", r"; did you mean 'throttled'\?"), ("MISSING", r"; did you mean 'missing'\?"), ("scored", r"\.")],
)
def test_a_limit_on_something_that_is_no_failure_is_refused(name, guess):
    with pytest.raises(ConfigError) as refused:
        FailureBudget(0.1, {"missing": 0.1, name: 0.1}, 1)
    assert re.fullmatch(
        rf"max_failed_by_status\.{name}: no image fails with the status '{name}'{guess} "
        r"The statuses are missing, forbidden, [a-z_, ]+\.",
        str(refused.value),
    )


def test_a_chunk_is_a_run_of_rows(run_and_plan):
    run, _ = run_and_plan
    assert run.chunks == [Chunk(0, 0, 4), Chunk(1, 4, 4), Chunk(2, 8, 2)]
