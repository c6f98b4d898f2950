"""Maps of flagged images, by the worker that scores: in the same pass, the same whatever happens, changing no row."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from rayae.bundle import calibrated
from rayae.chunk_reader import ChunkReader
from rayae.cli import main
from rayae.errors import RunError
from rayae.maps import stored
from rayae.run import Run
from rayae.scorer import Scorer
from rayae.scoring import ChunkScorer, score_inline
from rayae.threshold import fixed
from tests.unit.small_things import pictures, small_bundle
from tests.unit.test_scoring import images, run_of

__all__ = ["images"]


@pytest.fixture
def bundle(tmp_path):
    """A bundle whose cut is amid the scores of the ten pictures, and near none of them."""
    made = small_bundle(tmp_path / "bundle")
    scores = np.sort(Scorer.open(made).score(pictures(10))[0]["mse"])
    names = {"uri": [str(row) for row in range(10)], "group": ["g"] * 10}
    table = pa.table({**names, "mse": scores, "score": scores, "chose_score": [False] * 10})
    cut = float((scores[4] + scores[5]) / 2)
    return calibrated(made, table, fixed(cut, score="mse", bundle_id=made.bundle_id, calibration=scores))


@pytest.fixture
def keeping(tmp_path, bundle, images):
    """A run that flags about half of its images, and keeps the maps of all of these."""
    run, plan = run_of(tmp_path / "run", bundle, images)
    return run, replace(plan, most_maps=10)


def flagged(run):
    rows = run.results().to_pylist()
    return [row["image_id"] for row in rows if row["is_anomaly"]]


def files(run, folder="maps"):
    return {path.name: path.read_bytes() for path in Path(run.uri, folder).iterdir()}


def test_every_flagged_image_has_its_maps_and_no_other(keeping, bundle):
    run, plan = keeping
    list(score_inline(plan, run, run.chunks))
    found = dict(stored(run, range(10)))
    assert sorted(found) == flagged(run)
    assert 0 < len(found) < 10
    scorer, pixels = Scorer.open(bundle), pictures(10)
    for image_id, one in found.items():
        made, errors = scorer.reconstruct(pixels[image_id : image_id + 1])
        assert (one.original == pixels[image_id]).all()
        assert np.abs(one.reconstruction.astype(int) - made[0]).max() <= 1
        assert one.error_map == pytest.approx(errors[0], abs=float(errors.max()) / 500)


def test_maps_change_no_row_and_are_no_part_of_the_plan(tmp_path, keeping, bundle, images):
    run, plan = keeping
    list(score_inline(plan, run, run.chunks))
    without, other = run_of(tmp_path / "without", bundle, images)
    list(score_inline(other, without, without.chunks))
    assert run.results().equals(without.results())
    assert run.fingerprint == without.fingerprint
    assert not Path(without.uri, "maps").exists()


def test_a_chunk_done_twice_or_decoded_elsewhere_has_the_same_maps(keeping):
    run, plan = keeping
    list(score_inline(plan, run, run.chunks))
    before = files(run)
    for chunk in run.chunks:
        ChunkScorer(plan)(chunk)
        ChunkScorer(plan).finish(chunk, ChunkReader(plan).decode(chunk))
    assert files(run) == before


def test_the_maps_of_a_chunk_are_there_when_its_rows_are(keeping, monkeypatch):
    run, plan = keeping
    chunk = run.chunks[0]
    monkeypatch.setattr(ChunkScorer, "_write", lambda *_: (_ for _ in ()).throw(RunError("killed")))
    with pytest.raises(RunError, match="killed"):
        ChunkScorer(plan)(chunk)
    assert [one.number for one in run.chunks_left()] == [0, 1, 2]
    left = files(run)
    monkeypatch.undo()
    ChunkScorer(plan)(chunk)
    assert files(run) == left


def test_each_chunk_keeps_no_more_than_its_share(tmp_path, bundle, images):
    run, plan = run_of(tmp_path / "run", bundle, images)
    list(score_inline(replace(plan, most_maps=3), run, run.chunks))
    found = dict(stored(run, range(10)))
    assert 0 < len(found) <= 3
    assert set(found) < set(flagged(run))


def test_when_memory_runs_out_maps_are_made_in_smaller_batches(bundle):
    scorer = Scorer.open(bundle, 4)
    pixels = pictures(9)
    expected = scorer.reconstruct(pixels)
    look = scorer.detector.look
    scorer.detector.look = lambda seen: look(seen) if len(seen) < 3 else full()
    made, errors = scorer.reconstruct(pixels)
    assert scorer.micro_batch == 2
    assert np.abs(made.astype(int) - expected[0]).max() <= 1
    assert errors == pytest.approx(expected[1], rel=1e-3, abs=1e-6)


def full():
    raise RuntimeError("CUDA out of memory")


def scored(tmp_path, bundle, images, *words):
    paths = Path(images["uri"][0].as_py()).parent
    asked = ["placement=inline", "max_failed_fraction=1", "chunk_images=4", *words]
    assert main(["score", f"images={paths}", f"bundle={bundle.uri}", f"out={tmp_path}/scored", *asked]) == 0
    return Run.open(f"{tmp_path}/scored")


def test_the_report_shows_the_maps_of_images_that_are_gone(tmp_path, bundle, images):
    run = scored(tmp_path, bundle, images, "maps=flagged")
    for uri in images["uri"].to_pylist():
        Path(uri).unlink()
    assert main(["report", run.uri, "worst=0"]) == 0
    page = Path(run.uri, "report.html").read_text()
    assert page.count("data:image/png;base64,") == 3 * len(flagged(run)) > 0
    assert "could not be read again" not in page


def test_images_without_maps_are_read_again(tmp_path, bundle, images):
    run = scored(tmp_path, bundle, images, "maps=flagged", "max_maps=3")
    assert 0 < len(dict(stored(run, range(10)))) < len(flagged(run))
    assert main(["report", run.uri, "worst=0"]) == 0
    assert Path(run.uri, "report.html").read_text().count("data:image/png;base64,") == 3 * len(flagged(run))


def test_an_image_that_is_tried_again_joins_the_maps_of_its_chunk(tmp_path, bundle, images):
    paths = [Path(uri) for uri in images["uri"].to_pylist()]
    whole = scored(tmp_path, bundle, images, "maps=flagged")
    expected = {image_id: one.original for image_id, one in stored(whole, range(10))}
    away = flagged(whole)[0]
    data = paths[away].read_bytes()
    again, plan = run_of(tmp_path / "again", bundle, images)
    plan = replace(plan, most_maps=10)
    paths[away].unlink()
    list(score_inline(plan, again, again.chunks))
    assert away not in dict(stored(again, range(10)))
    paths[away].write_bytes(data)
    list(score_inline(replace(plan, retried=("missing",)), again, again.chunks))
    found = dict(stored(again, range(10)))
    assert sorted(found) == sorted(expected)
    assert all((found[image_id].original == original).all() for image_id, original in expected.items())


def test_maps_are_refused_where_nothing_can_be_flagged(tmp_path, images, capsys):
    small_bundle(tmp_path / "bare")
    words = [f"images={Path(images['uri'][0].as_py()).parent}", f"bundle={tmp_path}/bare", f"out={tmp_path}/run"]
    assert main(["score", *words, "placement=inline", "maps=flagged"]) == 2
    assert capsys.readouterr().err == (
        f"error: maps=flagged: {tmp_path}/bare has no threshold, so no image would be flagged; `rayae calibrate` "
        "chooses one for a bundle, or leave maps=none.\n"
    )
    assert not (tmp_path / "run").exists()
