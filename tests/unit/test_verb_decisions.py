"""`rayae decisions`: what was decided about a run, the cut that it was planned with first."""

import json
from pathlib import Path

import pytest

from rayae.cli import main
from rayae.run import Run
from tests.unit.small_runs import THRESHOLD, finish, plan


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finish(plan(tmp_path / "run"))


def listed(run: Run, capsys: pytest.CaptureFixture[str]) -> list[dict[str, str]]:
    capsys.readouterr()
    assert main(["decisions", run.uri, "log=json"]) == 0
    rows: list[dict[str, str]] = json.loads(capsys.readouterr().out.splitlines()[0])["rows"]
    return rows


def test_each_has_its_rule_its_cut_and_its_rates_in_the_order_in_which_they_were_made(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["fdr=0.05", "p_values=dkw"], ["fdr=0.0001"], ["rule=fixed", "cut=0.05"]):
        assert main(["flag", run.uri, *words]) == 0
    rows = listed(run, capsys)
    names = {path.parent.name for path in Path(run.uri, "decisions").glob("*/threshold.json")}
    assert {row.pop("decision") for row in rows[1:]} == names
    assert all(row.pop("made (UTC)").startswith("20") for row in rows)
    columns = ("rule", "cut", "flagged", "share", "expected FPR", "upper FPR")
    assert [tuple(row[name] for name in columns) for row in rows] == [
        ("rule=conformal alpha=0.05", "0.096", "4", "44.4 %", "4.95 %", "8.92 %"),
        ("rule=fdr fdr=0.05 p_values=dkw", "none", "0", "0 %", "0 %", "0 %"),
        ("rule=fdr fdr=0.0001 p_values=marginal", "none", "0", "0 %", "0 %", "0 %"),
        ("rule=fixed cut=0.05", "0.05", "6", "66.7 %", "50 %", "58.6 %"),
    ]


def test_the_guarantee_of_each_follows(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flag", run.uri, "rule=fixed", "cut=0.05"]) == 0
    capsys.readouterr()
    assert main(["decisions", run.uri]) == 0
    said = capsys.readouterr().out
    (name,) = [path.name for path in Path(run.uri, "decisions").iterdir()]
    assert f"1 decision(s) about {run.uri}\n" in said
    assert f"\nrun: {THRESHOLD.guarantee}\n{name}: The cut was set by hand: 50 of 100 normal" in said


def test_what_a_killed_flag_has_left_is_not_listed(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flag", run.uri, "rule=fixed", "cut=0.05"]) == 0
    next(Path(run.uri, "decisions").glob("*/threshold.json")).unlink()
    assert [row["decision"] for row in listed(run, capsys)] == ["run"]


def test_a_run_without_a_cut_and_without_decisions_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = finish(plan(tmp_path / "bare", threshold=False))
    assert main(["decisions", run.uri]) == 0
    said = f"nothing was decided about {run.uri}: it was planned without a cut; `rayae flag` chooses one.\n"
    assert capsys.readouterr().out == said


def test_one_whose_record_is_damaged_is_told_and_the_others_are_listed(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["fdr=0.05"], ["rule=fixed", "cut=0.05"]):
        assert main(["flag", run.uri, *words, "borderline=0"]) == 0
    first = next(
        path for path in Path(run.uri, "decisions").iterdir() if "fdr" in (path / "threshold.json").read_text()
    )
    (first / "threshold.json").write_text("{")
    assert [row["rule"] for row in listed(run, capsys)] == ["rule=conformal alpha=0.05", "rule=fixed cut=0.05"]
    assert main(["decisions", run.uri]) == 0
    assert f"a decision is left out: {first}/threshold.json is damaged" in capsys.readouterr().err
