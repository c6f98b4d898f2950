"""`rayae compare` with a decision whose cut labelled images have chosen: they do not judge it."""

import json
from pathlib import Path

import pytest

from rayae.cli import main
from rayae.decisions import all_of
from rayae.run import Run
from tests.unit.test_verb_flag_rules import own_images, run, scored

__all__ = ["run", "scored"]


def test_images_that_chose_a_cut_judge_the_ranking_and_not_the_flags(
    run: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["rule=recall", "recall=0.8", "choose_on=0.6"], ["rule=fixed", "cut=0.001"]):
        assert main(["flag", run.uri, *words, "borderline=0"]) == 0
    a, b = all_of(run)
    asked = [f"decision_a={a.id}", f"decision_b={b.id}", f"out={tmp_path}/out", "pictures=0"]
    assert main(["compare", run.uri, run.uri, *asked]) == 0
    record = json.loads((tmp_path / "out" / "comparison.json").read_text())
    own = own_images(run)
    others = own[own["key"] >= 0.6]
    assert 0 < len(others) < len(own)
    assert (record["ranking"]["defects"], record["ranking"]["normals"]) == (
        (own["label"] == "scratch").sum(),
        (own["label"] == "good").sum(),
    )
    for name, label in (("recall", "scratch"), ("false_positive_rate", "good")):
        judging = others[others["label"] == label]
        assert sum(record[name]["flags"].values()) == len(judging)
        assert record[name]["a"]["value"] == pytest.approx((judging["score"] > a.threshold.cut).mean())
    assert record["counts"]["chose"] == len(own) - len(others)
    told = f"{record['counts']['chose']} labelled images judge the ranking but not the flags: they chose the cut of a"
    assert told in capsys.readouterr().out
