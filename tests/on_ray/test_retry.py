"""`rayae retry` through actors: chunks whose files are there are done again, also those that kill their worker."""

from pathlib import Path

import pytest

from rayae.cli import main
from rayae.run import Run
from tests.conftest import write_pictures
from tests.on_ray import faulty
from tests.on_ray.test_score import faulty_run


@pytest.mark.parametrize("is_deadly", [False, True])
def test_actors_mend_what_is_mended_and_the_careful_pass_does_what_kills_them(
    bundle: Path, tmp_path: Path, is_deadly: bool, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    images, out = write_pictures(tmp_path / "images", 60), str(tmp_path / "run")
    lost = sorted((images / "good").iterdir())[::7]
    assert main(["index", f"images={images}", f"out={tmp_path}/m.parquet"]) == 0
    (tmp_path / "away").mkdir()
    for path in lost:
        path.rename(tmp_path / "away" / path.name)
    words = [f"images={tmp_path}/m.parquet", f"bundle={bundle}", f"out={out}", "chunk_images=10"]
    assert main(["score", *words, "placement=inline", "max_failed_fraction=1"]) == 0
    before = Run.open(out).results()
    for path in lost:
        (tmp_path / "away" / path.name).rename(path)
    if is_deadly:
        faulty_run(images, bundle, tmp_path / "run", faulty.Mortal, monkeypatch)
    assert main(["retry", out, "status=missing", "placement=together", "workers=2"]) == 0
    after = Run.open(out).results()
    kept = [status == "scored" for status in before["status"].to_pylist()]
    assert kept.count(False) == len(lost)
    assert after.filter(kept).equals(before.filter(kept))
    assert set(after["status"].to_pylist()) == {"scored"}
    assert main(["verify", out]) == 0
    assert ("done again with care" in capfd.readouterr().err) is is_deadly
