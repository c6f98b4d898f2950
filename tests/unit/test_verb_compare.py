"""`rayae compare`, at the door: two runs of the same images, joined, measured and written; and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest, rankdata
from sklearn.metrics import roc_auc_score

from rayae import storage
from rayae.bundle_set import BundleSet
from rayae.cli import main
from rayae.decisions import all_of
from rayae.manifest import complete, plan_chunks, write_manifest
from rayae.results import Judge, Outcome, Status, result_table
from rayae.run import MANIFEST, Run, total
from tests.unit.small_runs import CALIBRATION, THRESHOLD, create, pixel_statistics, plan, write_chunk
from tests.unit.small_things import TRAINING_IMAGES, save_pictures, small_bundle, small_weights
from tests.unit.test_report import HOSTILE, Seen
from tests.unit.test_scoring_products import bundles, finished, images, run_of

__all__ = ["bundles"]
COUNT = 60
LABELS = [("good", "scratch", None, "crack")[number % 4] for number in range(COUNT)]
Scores = NDArray[np.float32]


def scores_of(seed: int) -> Scores:
    """Scores around the cut of 0.095; defects have the higher ones, in the run of seed 0 more so."""
    random = np.random.default_rng(seed)
    raised = np.array([label in ("scratch", "crack") for label in LABELS]) * (0.08 if seed == 0 else 0.04)
    return (random.uniform(0.02, 0.1, COUNT) + raised).astype(np.float32)


def made(
    folder: Path,
    scores: Scores,
    uris: list[str] | None = None,
    lost: tuple[int, ...] = (),
    has_cut: bool = True,
    **own: Any,
) -> Run:
    """A finished run with these scores; the images that are lost are not scored."""
    names = [f"/data/{number}.png" for number in range(len(scores))] if uris is None else uris
    table = complete({"uri": pa.array(names), "label": pa.array(LABELS[: len(names)], pa.string())} | own)
    manifest = write_manifest(table, storage.join(str(folder), MANIFEST))
    run = create(str(folder), manifest, plan_chunks(manifest.sizes(), 16), has_cut)
    for chunk in run.chunks:
        rows = run.manifest.read(chunk.first, chunk.rows)
        places = rows["image_id"].to_numpy()
        gone = [place in lost for place in places]
        outcome = Outcome(
            status=[Status.MISSING if one else Status.SCORED for one in gone],
            error=["There is no such file." if one else None for one in gone],
            **{name: [None if one else 64 for one in gone] for name in ("width", "height", "size_bytes")},
            scores={"mse": scores[places], "mae": scores[places]} | pixel_statistics(scores[places]),
        )
        judge = Judge("mse", "b" * 12, THRESHOLD if has_cut else None, CALIBRATION if has_cut else None)
        write_chunk(run, chunk, result_table(rows, outcome, judge))
    run.finish(total(run.summaries()) | {"wall_seconds": 1.0, "images_per_second": 10.0})
    return run


@pytest.fixture
def runs(tmp_path: Path) -> tuple[Run, Run]:
    return made(tmp_path / "a", scores_of(0)), made(tmp_path / "b", scores_of(1))


def compared(a: Run, b: Run, out: Path, *words: str) -> tuple[dict[str, Any], pd.DataFrame]:
    """The record, and the images on which the runs disagree."""
    assert main(["compare", a.uri, b.uri, f"out={out}", *words]) == 0
    return json.loads((out / "comparison.json").read_text()), pd.read_parquet(out / "disagreements.parquet")


IS_LABELLED = np.array([label is not None for label in LABELS])
IS_DEFECT = np.array([label in ("scratch", "crack") for label in LABELS])


def test_figures_are_those_of_other_libraries_on_the_same_rows(runs: tuple[Run, Run], tmp_path: Path) -> None:
    record, _ = compared(*runs, tmp_path / "out")
    areas = [roc_auc_score(IS_DEFECT[IS_LABELLED], scores_of(seed)[IS_LABELLED]) for seed in (0, 1)]
    ranking = record["ranking"]
    assert (ranking["a"]["value"], ranking["b"]["value"]) == pytest.approx(tuple(areas))
    assert ranking["difference"]["value"] == pytest.approx(areas[0] - areas[1])
    assert ranking["difference"]["low"] < areas[0] - areas[1] < ranking["difference"]["high"]
    a, b = (scores_of(seed) > np.float32(THRESHOLD.cut) for seed in (0, 1))
    for name, chosen in (("recall", IS_DEFECT), ("false_positive_rate", IS_LABELLED & ~IS_DEFECT)):
        only_a, only_b = int((a & ~b & chosen).sum()), int((b & ~a & chosen).sum())
        found = record[name]
        assert (found["a"]["value"], found["b"]["value"]) == pytest.approx((a[chosen].mean(), b[chosen].mean()))
        assert (found["flags"]["only_a"], found["flags"]["only_b"]) == (only_a, only_b)
        assert found["p_value"] == pytest.approx(
            binomtest(only_a, only_a + only_b, 0.5).pvalue if only_a + only_b else 1
        )
    flags = {row.pop("label"): row for row in record["flags"]}
    assert list(flags) == ["crack", "good", "scratch", None]
    assert sum(row["both"] for row in flags.values()) == (a & b).sum()


def test_images_are_ordered_by_how_far_apart_their_ranks_are(runs: tuple[Run, Run], tmp_path: Path) -> None:
    _, table = compared(*runs, tmp_path / "out", "n=25")
    top_a, top_b = (rankdata(-scores_of(seed), "max") / COUNT for seed in (0, 1))
    decades = np.log10(top_b / top_a)
    order = np.lexsort((np.arange(COUNT), -np.abs(decades)))[:25]
    assert table["image_id_a"].tolist() == order.tolist() == table["image_id_b"].tolist()
    np.testing.assert_allclose(table["decades"], decades[order])
    np.testing.assert_allclose(table["top_a"], top_a[order])
    assert table["uri"].tolist() == [f"/data/{number}.png" for number in order]
    np.testing.assert_array_equal(table["score_b"].to_numpy(), scores_of(1)[order])


def test_images_that_one_of_the_two_flags_are_written(runs: tuple[Run, Run], tmp_path: Path) -> None:
    compared(*runs, tmp_path / "out")
    table = pd.read_parquet(tmp_path / "out" / "flagged_by_one.parquet")
    a, b = (scores_of(seed) > np.float32(THRESHOLD.cut) for seed in (0, 1))
    assert table["image_id_a"].tolist() == np.flatnonzero(a != b).tolist()
    assert table["flagged_a"].tolist() == a[a != b].tolist()


def test_by_default_the_files_lie_in_the_first_run(runs: tuple[Run, Run], capsys: pytest.CaptureFixture[str]) -> None:
    a, b = runs
    assert main(["compare", a.uri, b.uri]) == 0
    (folder,) = Path(a.uri, "comparisons").iterdir()
    assert f"comparison: {folder}\n" in capsys.readouterr().out
    assert sorted(path.name for path in folder.iterdir()) == [
        "comparison.json",
        "disagreements.html",
        "disagreements.parquet",
        "flagged_by_one.parquet",
    ]
    assert main(["verify", a.uri]) == 0


def test_runs_of_other_manifests_are_joined_by_uri_and_the_rest_is_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = made(tmp_path / "a", scores_of(0), lost=(3,))
    uris = [f"/data/{number}.png" for number in range(COUNT - 1, 9, -1)] + ["/data/new.png"]
    b = made(tmp_path / "b", scores_of(1)[: len(uris)], uris, label=pa.nulls(len(uris), pa.string()))
    record, table = compared(a, b, tmp_path / "out", "n=50")
    counts = record["counts"]
    assert (counts["images"], counts["only_a"], counts["only_b"], counts["scored"]) == (50, 10, 1, 50)
    assert (table["image_id_a"] + table["image_id_b"] == COUNT - 1).all()
    said = capsys.readouterr()
    assert "warning: 10 images are in A only, and are not compared.\n" in said.err
    assert "warning: 1 images are in B only, and are not compared.\n" in said.err
    assert (record["ranking"]["defects"], record["ranking"]["normals"]) == (
        int(IS_DEFECT[10:].sum()),
        int((IS_LABELLED & ~IS_DEFECT)[10:].sum()),
    )


def test_what_only_one_could_read_is_told_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = made(tmp_path / "a", scores_of(0), lost=(3, 4)), made(tmp_path / "b", scores_of(1), lost=(4, 5, 6))
    record, table = compared(a, b, tmp_path / "out")
    assert record["counts"]["scored"] == COUNT - 4 == len(table)
    said = capsys.readouterr().err
    assert "warning: 2 images are scored in A only, and are not compared.\n" in said
    assert "warning: 1 images are scored in B only, and are not compared.\n" in said
    assert sum(row[name] for row in record["flags"] for name in ("both", "only_a", "only_b", "neither")) == COUNT - 4


def test_without_labels_there_are_flags_and_disagreements_and_no_ranking(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    without = {"label": pa.nulls(COUNT, pa.string())}
    a, b = (made(tmp_path / name, scores_of(seed), **without) for seed, name in enumerate("ab"))
    record, table = compared(a, b, tmp_path / "out")
    assert (record["recall"], record["false_positive_rate"], len(table)) == (None, None, COUNT)
    assert [row["label"] for row in record["flags"]] == [None]
    reason = "Which of the two ranks better is not known: There is no labelled defect to judge by."
    assert record["words"] == [reason]
    assert f"\n{reason}\n" in capsys.readouterr().out


def test_labels_may_be_given_afterwards(tmp_path: Path) -> None:
    without = {"label": pa.nulls(COUNT, pa.string())}
    a, b = (made(tmp_path / name, scores_of(seed), **without) for seed, name in enumerate("ab"))
    rows = [f"/data/{number}.png,{label},g{number // 2}" for number, label in enumerate(LABELS) if label is not None]
    (tmp_path / "labels.csv").write_text("\n".join(["path,label,group", *rows]))
    record, table = compared(a, b, tmp_path / "out", f"labels={tmp_path}/labels.csv")
    whole = [made(tmp_path / f"whole-{name}", scores_of(seed)) for seed, name in enumerate("ab")]
    expected, _ = compared(*whole, tmp_path / "expected")
    assert record["ranking"]["difference"]["value"] == pytest.approx(expected["ranking"]["difference"]["value"])
    assert "by groups" in record["ranking"]["difference"]["method"]
    assert (record["flags"], record["recall"]) == (expected["flags"], expected["recall"])
    assert [label or None for label in table["label"].fillna("")] == [LABELS[place] for place in table["image_id_a"]]


def test_without_a_cut_flags_are_not_compared_and_a_decision_brings_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b = made(tmp_path / "a", scores_of(0)), made(tmp_path / "b", scores_of(1), has_cut=False)
    record, _ = compared(a, b, tmp_path / "out")
    assert record["flags"] == []
    assert not (tmp_path / "out" / "flagged_by_one.parquet").exists()
    assert (
        f"{b.uri} was planned without a cut, so flags are not compared; decision_b= names one."
        in capsys.readouterr().out
    )
    assert main(["flag", b.uri, "rule=fixed", "cut=0.06", "borderline=0"]) == 0
    (decision,) = all_of(b)
    record, _ = compared(a, b, tmp_path / "again", f"decision_b={decision.id}")
    assert record["runs"]["b"]["decision"] == decision.id
    flagged = sum(row["both"] + row["only_b"] for row in record["flags"])
    assert flagged == (scores_of(1) > np.float32(0.06)).sum()


def test_groups_widen_the_interval(tmp_path: Path) -> None:
    a, b = (made(tmp_path / name, scores_of(seed)) for seed, name in enumerate("ab"))
    groups = {"group": pa.array([f"g{number // 8}" for number in range(COUNT)])}
    grouped = [made(tmp_path / f"grouped-{name}", scores_of(seed), **groups) for seed, name in enumerate("ab")]
    alone, _ = compared(a, b, tmp_path / "out")
    together, _ = compared(*grouped, tmp_path / "out-grouped")
    figures = [record["ranking"]["difference"] for record in (alone, together)]
    assert figures[0]["value"] == pytest.approx(figures[1]["value"])
    assert [figure["method"] for figure in figures] == [
        "DeLong, images counted as independent, paired",
        "DeLong by groups (Obuchowski), 8 groups; unreliable, a sample comes from 8 groups only, paired",
    ]


def test_other_labels_in_the_other_run_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    labels = {"label": pa.array(["good" if label is None else label for label in LABELS[:-1]] + ["good"])}
    compared(made(tmp_path / "a", scores_of(0)), made(tmp_path / "b", scores_of(1), **labels), tmp_path / "out")
    assert "warning: 1 images have another label in B; that of A counts.\n" in capsys.readouterr().err


def with_bundle(run: Run, folder: Path, uris: list[str], group: str | None) -> Run:
    """The run as if a bundle had scored it that was trained on these images, of this group."""
    columns = {"size_bytes": 1, "digest": "00", "group": group, "split": "train"}
    about = {name: pa.array([value] * len(uris), TRAINING_IMAGES.field(name).type) for name, value in columns.items()}
    model = small_bundle(folder, training_images=pa.table({"uri": uris, **about}).select(TRAINING_IMAGES.column_names))
    record = json.loads(Path(run.uri, "run.json").read_text())
    record["bundle"] = model.uri
    record["fingerprint"]["bundle"] = model.bundle_id
    Path(run.uri, "run.json").write_text(json.dumps(record))
    return Run.open(run.uri)


def test_images_that_a_bundle_was_made_with_do_not_judge(
    runs: tuple[Run, Run], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    used = [f"/data/{number}.png" for number in range(20)]
    b = with_bundle(runs[1], tmp_path / "bundle", used, None)
    record, table = compared(runs[0], b, tmp_path / "out")
    said = capsys.readouterr()
    assert said.err.startswith(f"warning: which images the bundle of {runs[0].uri} was made with is not known, so all ")
    assert "15 labelled images do not judge: a bundle was made with them\n" in said.out
    rest = IS_LABELLED & (np.arange(COUNT) >= 20)
    area = roc_auc_score(IS_DEFECT[rest], scores_of(0)[rest])
    assert record["ranking"]["a"]["value"] == pytest.approx(area)
    assert record["recall"]["flags"]["neither"] <= record["ranking"]["defects"] == (IS_DEFECT & rest).sum()
    assert len(table) == COUNT


@pytest.mark.parametrize(
    ("names", "judging", "told"),
    [
        (["near", "far"], 22, "23 labelled images do not judge: a bundle was made with others of their groups"),
        (
            ["near"],
            45,
            "45 labelled images judge, as a class has no others, so the figures may be too good: a bundle was made "
            "with others of their groups",
        ),
    ],
)
def test_images_of_used_groups_judge_only_where_a_class_has_no_others(
    names: list[str], judging: int, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {"group": pa.array([names[number // 30 % len(names)] for number in range(COUNT)])}
    a, b = (made(tmp_path / name, scores_of(seed), **groups) for seed, name in enumerate("ab"))
    record, _ = compared(a, with_bundle(b, tmp_path / "bundle", ["/train/1.png"], "near"), tmp_path / "out")
    assert record["ranking"]["defects"] + record["ranking"]["normals"] == judging
    assert f"\n{told}\n" in capsys.readouterr().out


def test_a_run_of_several_bundles_is_refused_with_what_to_do(
    bundles: BundleSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(*run_of(tmp_path / "run", bundles, images(tmp_path / "images")))
    assert main(["compare", run.uri, made(tmp_path / "b", scores_of(1)).uri]) == 2
    assert capsys.readouterr().err == (
        f"error: {run.uri} was scored with a bundle for each `product`, whose scores are not on one scale: score the "
        "images of one `product` with its bundle into an `out=` of their own, and take that run.\n"
    )


def test_the_page_shows_what_both_bundles_make_of_the_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, runs = tmp_path / "pictures", []
    save_pictures(folder, 12)
    for seed, name in enumerate("ab"):
        model = small_bundle(tmp_path / f"bundle-{name}", weights=small_weights(seed))
        words = [f"images={folder}", f"bundle={model.uri}", f"out={tmp_path}/{name}", "placement=inline"]
        assert main(["score", *words]) == 0
        runs.append(Run.open(f"{tmp_path}/{name}"))
    _, table = compared(runs[0], runs[1], tmp_path / "out", "pictures=4")
    seen = Seen((tmp_path / "out" / "disagreements.html").read_text())
    names = [attributes["alt"].partition(" of image ")[0] for name, attributes in seen.elements if name == "img"]
    sides = [table[table["decades"] > 0]["uri"].head(2).tolist(), table[table["decades"] < 0]["uri"].head(2).tolist()]
    each = [f"{what}, {side}" for side in "AB" for what in ("original", "reconstruction", "error map")]
    assert names == each * sum(map(len, sides))
    assert [uri for uri in (*sides[0], *sides[1]) if uri in seen.text] == [*sides[0], *sides[1]]


def test_names_from_outside_are_text_on_the_page(tmp_path: Path) -> None:
    uris = [f"/{number}/{name}" for number, name in enumerate(HOSTILE)]
    a, b = (made(tmp_path / name, scores_of(seed)[: len(uris)], uris) for seed, name in enumerate("ab"))
    compared(a, b, tmp_path / "out", "pictures=40")
    seen = Seen((tmp_path / "out" / "disagreements.html").read_text())
    assert not {name for name, _ in seen.elements} & {"script", "link", "iframe", "img"}


def test_without_their_bundles_the_page_says_so_and_with_no_pictures_there_is_none(
    runs: tuple[Run, Run], tmp_path: Path
) -> None:
    compared(*runs, tmp_path / "out", "pictures=2")
    assert (
        "No image can be reconstructed again, since the bundle cannot be opened"
        in (tmp_path / "out" / "disagreements.html").read_text()
    )
    compared(*runs, tmp_path / "none", "pictures=0")
    assert not (tmp_path / "none" / "disagreements.html").exists()


Refused = Callable[[Path], tuple[list[str], str]]


def unfinished(folder: Path) -> tuple[list[str], str]:
    run = plan(folder / "unfinished")
    return [run.uri], f"{run.uri} is not finished; `rayae score {run.uri}` scores the rest of it."


def strangers(folder: Path) -> tuple[list[str], str]:
    run = made(folder / "other", scores_of(1)[:2], ["/other/1.png", "/other/2.png"])
    told = f"{folder}/a and {run.uri} have no image in common, as no URI is in both; score the same images."
    return [run.uri], told


def itself(folder: Path) -> tuple[list[str], str]:
    told = f"run_a and run_b are both {folder}/a: name two runs, or two decisions about this one."
    return [f"{folder}/a"], told


def without_decision(folder: Path) -> tuple[list[str], str]:
    run = made(folder / "b", scores_of(1))
    return [run.uri, "decision_b=abc"], f"{run.uri} has no decision 'abc': it has no decisions yet."


def without_number(folder: Path) -> tuple[list[str], str]:
    run = made(folder / "b", np.where(np.arange(COUNT) == 7, np.nan, scores_of(1)).astype(np.float32))
    return [run.uri], f"1 scored images of {run.uri} have no finite score; `rayae verify` says which."


@pytest.mark.parametrize(
    ("other", "code"),
    [(unfinished, 1), (strangers, 1), (itself, 2), (without_decision, 2), (without_number, 1)],
    ids=lambda value: getattr(value, "__name__", str(value)),
)
def test_what_cannot_be_compared_is_a_sentence(
    other: Refused, code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    a = made(tmp_path / "a", scores_of(0))
    words, sentence = other(tmp_path)
    assert main(["compare", a.uri, *words]) == code
    assert capsys.readouterr().err.endswith(f"error: {sentence}\n")
