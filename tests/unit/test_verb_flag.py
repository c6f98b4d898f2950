"""`rayae flag`, at the door: what each rule is asked, what is written and told, and what is refused."""

import json
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow as pa
import pytest

from rayae.bundle_set import BundleSet
from rayae.cli import main
from rayae.run import Run
from rayae.settings import FlagSettings, SpokenSettings
from rayae.settings.flag import FlagRule
from rayae.verbs.flag_rules import OF_RULES, RULES
from tests.conftest import write_pictures
from tests.unit.small_runs import finish, plan, scored, write_chunk
from tests.unit.test_scoring_products import bundles, finished, images, run_of

__all__ = ["bundles"]
UNKNOWN_GROUPS = "warning: how many groups the calibration images are of is not known: /bundle is no bundle:"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finish(plan(tmp_path / "run"))


def flagged(run: Run, capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, object]:
    """What the line of JSON says of the decision."""
    capsys.readouterr()
    assert main(["flag", run.uri, *words, "log=json"]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    return next(line for line in lines if "decision" in line)


def test_fdr_alone_is_the_rule(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flag", run.uri, "fdr=0.05"]) == 0
    said = capsys.readouterr()
    assert said.out.startswith("flag: 4 of 9 scored images flagged (44.4 %), mse above 0.1\nOf the 4 flagged images,")
    assert said.err.startswith(UNKNOWN_GROUPS)
    (folder,) = Path(run.uri, "decisions").iterdir()
    assert f"\ndecision {folder.name}: {folder}\n" in said.out
    table = pd.concat(map(pd.read_parquet, sorted(folder.glob("flags-*.parquet"))))
    assert table[table["is_anomaly"].fillna(False)]["image_id"].tolist() == [6, 7, 8, 9]
    record = json.loads((folder / "threshold.json").read_text())
    assert record["settings"] == {"rule": "fdr", "fdr": 0.05, "p_values": "marginal", "confidence": 0.95}


def test_when_nothing_is_found_it_says_why_and_a_decision_is_written(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flag", run.uri, "fdr=0.001"]) == 0
    said = capsys.readouterr().out
    assert said.startswith("flag: 0 of 9 scored images flagged (0 %)\nNothing can be called an anomaly at a false")
    assert "Calibrate on more images, raise fdr, or test fewer images at once." in said
    assert len(list(Path(run.uri, "decisions").glob("*/threshold.json"))) == 1


def test_what_is_asked_twice_is_decided_once(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    first = flagged(run, capsys, "rule=fixed", "cut=0.15")
    files = {path: path.stat().st_mtime_ns for path in Path(run.uri, "decisions").rglob("*")}
    assert main(["flag", run.uri, "rule=fixed", "cut=0.15"]) == 0
    assert f"decision {first['decision']}, which was there already:" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in Path(run.uri, "decisions").rglob("*")} == files


@pytest.mark.parametrize("harm", ["cut", "gone", "changed"])
def test_flags_that_were_damaged_are_written_again(run: Run, harm: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = str(flagged(run, capsys, "rule=fixed", "cut=0.05")["decision"])
    (path,) = Path(run.uri, "decisions", made).glob("flags-*.parquet")
    before = path.read_bytes()
    if harm == "gone":
        path.unlink()
    else:
        path.write_bytes(before[:50] if harm == "cut" else before[:-1] + b"X")
    assert main(["flag", run.uri, "rule=fixed", "cut=0.05"]) == 0
    said = capsys.readouterr()
    assert f"warning: the flags of the decision {made} were damaged (flags-000000.parquet " in said.err
    assert path.read_bytes() == before
    assert not Path(path.parent, f"changes-{made}.parquet").exists()


def test_a_compacted_run_is_decided_alike(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = flagged(run, capsys, "fdr=0.05")
    assert main(["compact", run.uri]) == 0
    assert flagged(run, capsys, "fdr=0.05")["decision"] == before["decision"]


def test_it_tells_what_changes_by_label_against_the_decision_before(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first = flagged(run, capsys, "rule=fixed", "cut=0.05")
    assert main(["flag", run.uri, "rule=fixed", "cut=0.17"]) == 0
    said = capsys.readouterr().out
    cells = [[cell.strip() for cell in line.split("│")[1:-1]] for line in said.splitlines() if "│" in line]
    assert cells == [["good", "0", "2"], ["scratch", "0", "1"], ["no label", "0", "2"]]
    assert f"against the decision {first['decision']}\n" in said


def test_against_says_what_it_is_compared_with_also_afterwards(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    first = flagged(run, capsys, "rule=fixed", "cut=0.05")
    second = flagged(run, capsys, "rule=fixed", "cut=0.17")
    assert main(["flag", run.uri, "rule=fixed", "cut=0.17", "against=run"]) == 0
    assert "against the run's own flags\n" in capsys.readouterr().out
    folder = Path(run.uri, "decisions", str(second["decision"]))
    assert [path.name for path in sorted(folder.glob("changes-*"))] == [
        f"changes-{first['decision']}.parquet",
        "changes-run.parquet",
    ]
    assert main(["flag", run.uri, "rule=fixed", "cut=0.17", "against=0"]) == 2
    assert capsys.readouterr().err.endswith(
        f"{run.uri} has no decision '0': its decisions are {first['decision']}, {second['decision']}.\n"
    )


def test_the_same_flags_by_another_rule_are_told_as_that(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["flag", run.uri, "rule=conformal", "alpha=0.02", "borderline=0"]) == 0
    assert capsys.readouterr().out.endswith("it flags the same images as the run's own flags\n")


def test_a_decision_on_former_scores_is_said_to_be_one(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = flagged(run, capsys, "rule=fixed", "cut=0.15")
    chunk = run.chunks[2]
    rows = scored(run, chunk)
    place = rows.column_names.index("score")
    write_chunk(run, chunk, rows.set_column(place, rows.schema.field(place), pa.array([0.15, 0.16], pa.float32())))
    assert main(["flag", run.uri, "rule=fixed", "cut=0.15"]) == 0
    told = f"warning: the decision {before['decision']} was made before the scores of some images changed; its cut is "
    assert told in capsys.readouterr().err


def test_a_run_without_calibration_scores_has_a_fixed_cut_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finish(plan(tmp_path / "bare", threshold=False))
    assert main(["flag", run.uri, "rule=fixed", "cut=0.1"]) == 0
    said = capsys.readouterr().out
    assert "there is no decision before it to compare it with, and the run was planned without a cut\n" in said
    assert main(["flag", run.uri, "fdr=0.1"]) == 1
    assert "rule=fdr needs the scores of normal calibration images" in capsys.readouterr().err
    assert main(["flag", run.uri, "rule=fixed", "cut=0.1", "against=run"]) == 2
    assert capsys.readouterr().err.endswith("was planned without a cut, so it has no flags of its own.\n")


def test_a_page_shows_the_images_nearest_to_the_cut_and_says_what_is_lacking(
    run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flag", run.uri, "rule=fixed", "cut=0.13", "borderline=4"]) == 0
    (page,) = Path(run.uri, "decisions").glob("*/borderline-4.html")
    assert capsys.readouterr().out.endswith(f"nearest to the cut: {page}\n")
    text = page.read_text()
    places = [text.index(f"/data/{number}.png") for number in (7, 8, 6, 4)]
    assert places == sorted(places)
    assert "No image can be reconstructed again, since the bundle cannot be opened" in text
    assert main(["flag", run.uri, "rule=fixed", "cut=0.13", "borderline=0"]) == 0
    assert "nearest" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "flag needs fdr=, a false discovery rate, or rule=, one of fdr, conformal,"),
        (["rule=fixed"], "rule=fixed needs cut=; `rayae flag --help` says what it is."),
        (["rule=fixed", "cut=0", "fdr=0.1"], "fdr=0.1 is only used by rule=fdr, and the rule is fixed."),
        (["fdr=0.1", "cut=0"], "cut=0.0 is only used by rule=fixed, and the rule is fdr."),
    ],
)
def test_what_a_rule_lacks_or_does_not_use_is_told(
    words: list[str], sentence: str, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["flag", run.uri, *words]) == 2
    assert capsys.readouterr().err.startswith(f"error: {sentence}")
    assert not Path(run.uri, "decisions").exists()


def test_every_rule_has_its_settings_and_every_setting_its_rules() -> None:
    assert set(RULES) == set(get_args(FlagRule))
    of_any = {"run", "rule", "confidence", "against", "borderline", *SpokenSettings.model_fields, "storage"}
    assert set(OF_RULES) == set(FlagSettings.model_fields) - of_any


def test_a_run_in_which_nothing_could_be_scored_has_no_flags(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = plan(tmp_path, rows=4)
    rows = scored(run, run.chunks[0])
    lost = {"status": pa.array(["missing"] * 4), "score": pa.nulls(4, pa.float32())}
    for name, column in lost.items():
        rows = rows.set_column(rows.column_names.index(name), name, column)
    write_chunk(run, run.chunks[0], rows)
    finish(run)
    assert main(["flag", run.uri, "rule=fixed", "cut=0.1"]) == 0
    assert capsys.readouterr().out.startswith("flag: 0 of 0 scored images flagged (none), mse above 0.1\n")
    assert main(["flag", run.uri, "fdr=0.1"]) == 1
    assert capsys.readouterr().err.endswith("error: no image has a score, so there is nothing to find.\n")


def test_an_unfinished_run_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = plan(tmp_path)
    write_chunk(run, run.chunks[0])
    assert main(["flag", run.uri, "fdr=0.1"]) == 1
    said = f"error: {run.uri} is not finished; `rayae score {run.uri}` scores the rest of it.\n"
    assert capsys.readouterr().err == said


def test_a_run_of_several_bundles_is_refused_with_what_to_do(
    bundles: BundleSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(*run_of(tmp_path / "run", bundles, images(tmp_path / "images")))
    assert main(["flag", run.uri, "fdr=0.1"]) == 2
    assert capsys.readouterr().err == (
        f"error: {run.uri} was scored with a bundle for each `product`, whose scores are not on one scale: score the "
        "images of one `product` with its bundle into an `out=` of their own, and take that run.\n"
    )


def test_top_of_several_bundles_names_the_product_and_warns(
    bundles: BundleSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(*run_of(tmp_path / "run", bundles, images(tmp_path / "images")))
    assert main(["top", run.uri, "log=json"]) == 0
    lines = [json.loads(line) for line in "".join(capsys.readouterr()).splitlines()]
    (rows,) = [line["rows"] for line in lines if "rows" in line]
    assert {row["product"] for row in rows} >= {"Bolt", "gear"}
    assert any("scores of two bundles have no common scale" in line["message"] for line in lines)


def test_the_whole_way_from_pictures_to_a_decision(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = write_pictures(tmp_path / "images", 24, seed=3, defects=6)
    (images / "good" / "part0005.png").write_bytes(b"")
    words = [f"images={images}", f"bundle={bundle}", f"out={tmp_path}/run", "labels=folder", "chunk_images=8"]
    assert main(["score", *words, "placement=inline"]) == 0
    run = Run.open(f"{tmp_path}/run")
    found = flagged(run, capsys, "rule=conformal", "alpha=0.1")
    assert (found["images"], found["scored"]) == (30, 29)
    folder = Path(run.uri, "decisions", str(found["decision"]))
    flags = pd.concat(map(pd.read_parquet, sorted(folder.glob("flags-*.parquet"))))
    results = run.results().to_pandas()
    joined = results.merge(flags, on="image_id", suffixes=("", "_of_flag"))
    assert (joined["score"] == joined["score_of_flag"]).sum() == 29
    assert int(flags["is_anomaly"].sum()) == int((results["score"] > found["cut"]).sum()) == found["flagged"]
    (page,) = folder.glob("borderline-12.html")
    assert page.read_text().count("<img ") == 3 * min(6, int(flags["is_anomaly"].sum())) + 3 * 6
    assert main(["decisions", run.uri]) == 0
    assert main(["verify", run.uri]) == 0
