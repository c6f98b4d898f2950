"""The quality benchmark from words to table, with principal components as the detector, on eight small sheets."""

import re

import numpy as np
import pytest
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from benchmarks.quality import __main__ as benchmark
from benchmarks.quality import data
from benchmarks.quality.budget import Budget
from benchmarks.quality.cells import CellFile, Plan, fill, joined
from benchmarks.quality.data import PictureSet, texture
from benchmarks.quality.detectors import FLOORS, fit_pca
from benchmarks.quality.folds import split
from benchmarks.quality.table import TITLES, rank, title
from benchmarks.quality.trained import DETECTORS
from rayae.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def pictures():
    whole = texture("metal", sheets=8)
    return PictureSet("metal", whole.pixels[:, ::4, ::4], whole.is_defect, whole.groups, np.arange(96))


@pytest.fixture
def small(pictures, monkeypatch):
    """The sets of the runner, each of them the small one."""
    monkeypatch.setattr(benchmark, "load", lambda name: pictures)
    return pictures


@pytest.fixture
def counted(monkeypatch):
    """A detector called `counted`, and the folds that it was trained on."""
    trained = []

    def fit(train, calibration, seed, minutes):
        trained.append((len(train), len(calibration), seed, minutes))
        return lambda pixels: {"bright": pixels.mean((1, 2, 3)) + seed}

    monkeypatch.setitem(DETECTORS, "counted/none", fit)
    return trained


def plan(pictures, fold=0, detector="reconstruction/pca"):
    return Plan(pictures.name, pictures.digest, "group", fold, detector, 0, 0.0)


def test_principal_components_score_as_those_of_scikit_learn(pictures):
    side = split(pictures.is_defect, pictures.groups, "group", 0)[1][0]
    train, test = (pictures.pixels[rows] for rows in (side.train, side.test))
    reference = PCA(16, svd_solver="full").fit(train.reshape(len(train), -1) / 255.0)
    flat = test.reshape(len(test), -1) / 255.0
    back = np.clip(reference.inverse_transform(reference.transform(flat)), 0, 1)
    found = fit_pca(train, train[:0], 0, 0.0)(test)
    np.testing.assert_allclose(found["mse k=16"], ((flat - back) ** 2).mean(1), rtol=1e-3)
    assert len(found) == 28  # seven scores by four numbers of components


def test_a_run_that_was_ended_goes_on_where_it_was(small, counted, tmp_path):
    out = tmp_path / "new" / "cells.jsonl"
    words = [f"out={out}", "sets=metal", "splits=group", "tasks=counted", "minutes=0.5", "seeds=0,1"]
    benchmark.run(words)
    assert len(counted) == 8
    assert {(seed, minutes) for _, _, seed, minutes in counted} == {(0, 0.5), (1, 0.5)}
    lines = out.read_bytes().splitlines(keepends=True)
    out.write_bytes(b"".join(lines[:-2]) + lines[-2][:40])
    benchmark.run(words)
    assert len(counted) == 10
    again = out.read_bytes().splitlines(keepends=True)
    assert [re.sub(rb'_minutes": [0-9.]+', b"", line) for line in again] == [
        re.sub(rb'_minutes": [0-9.]+', b"", line) for line in lines
    ]
    benchmark.run(words)
    assert len(counted) == 10


def test_cells_of_other_pictures_are_not_mixed_with_those_of_these(small, counted, tmp_path, monkeypatch):
    words = [f"out={tmp_path / 'cells.jsonl'}", "sets=metal", "splits=group", "tasks=counted"]
    benchmark.run(words)
    other = PictureSet("metal", 255 - small.pixels, small.is_defect, small.groups, None)
    monkeypatch.setattr(benchmark, "load", lambda name: other)
    benchmark.run(words)
    assert len(counted) == 8


def test_scores_survive_the_file(pictures, tmp_path):
    sides = split(pictures.is_defect, pictures.groups, "group", 0)[1]
    made = [fill(plan(pictures, fold), pictures, side, fit_pca) for fold, side in enumerate(sides)]
    file = CellFile(str(tmp_path / "cells.jsonl"))
    for cell in made:
        file.append(cell)
    assert [*file.read().values()] == made
    whole = joined(made, sides, len(pictures.pixels))
    direct = fit_pca(pictures.pixels[sides[2].train], pictures.pixels[:0], 0, 0.0)(pictures.pixels[sides[2].test])
    np.testing.assert_allclose(whole["mse k=8"][sides[2].test], direct["mse k=8"], rtol=1e-6)
    assert joined(made[:3], sides, len(pictures.pixels)) is None


def test_a_damaged_line_is_told_with_its_number(tmp_path):
    path = tmp_path / "cells.jsonl"
    path.write_text('{"plan": {}}\n')
    with pytest.raises(DataError, match=r"^line 1 of .*cells\.jsonl is no finished cell: .*; delete that line\.$"):
        CellFile(str(path)).read()


def test_a_detector_that_gives_no_finite_number_is_refused(pictures):
    side = split(pictures.is_defect, pictures.groups, "group", 0)[1][0]
    count = len(side.test)
    with pytest.raises(DataError, match=rf"^counted was asked for {count} finite scores x of metal, and gave 0 in"):
        fill(
            plan(pictures, detector="counted"), pictures, side, lambda *_: lambda pixels: {"x": np.full(count, np.nan)}
        )


def test_the_table_holds_the_floors_and_every_score_of_a_detector(pictures):
    sides = split(pictures.is_defect, pictures.groups, "group", 0)[1]
    filled = [
        fill(plan(pictures, fold, name), pictures, side, FLOORS[name])
        for name in FLOORS
        for fold, side in enumerate(sides)
    ]
    rows = [dict(zip(TITLES[:3], row[:3], strict=True)) for row in rank(pictures, "group", filled, 0)]
    scores = [(row["detector"], row["score"]) for row in rows]
    assert [detector for detector, _ in scores] == [
        "statistics/none",
        "nearest/none",
        "textures/pca",
        "reconstruction/pca",
    ]
    assert scores[0][1].endswith(" *")
    assert scores[-1][1].endswith(" *")
    numbers, _ = split(pictures.is_defect, pictures.groups, "group", 0)
    columns = joined(filled[-4:], sides, len(pictures.pixels)).values()
    best = max(
        np.mean([roc_auc_score(pictures.is_defect[numbers == fold], one[numbers == fold]) for fold in range(4)])
        for one in columns
    )
    assert rows[-1]["AUROC"] == f"{best:.3f}"


def test_a_detector_of_which_a_fold_is_missing_has_no_row(pictures):
    side = split(pictures.is_defect, pictures.groups, "group", 0)[1][0]
    assert rank(pictures, "group", [fill(plan(pictures), pictures, side, fit_pca)], 0) == []


def test_what_ranks_upside_down_is_shown_the_other_way_up_among_the_statistics(pictures):
    sides = split(pictures.is_defect, pictures.groups, "group", 0)[1]
    named = PictureSet("metal", pictures.pixels, pictures.is_defect, pictures.groups, 9 - 5 * pictures.is_defect)
    fit = FLOORS["statistics/none"]
    rows = rank(
        named, "group", [fill(plan(named, f, "statistics/none"), named, side, fit) for f, side in enumerate(sides)], 0
    )
    assert rows[0][1:3] == ["low size_bytes *", "1.000"]


def test_the_title_says_how_many_groups_the_intervals_stand_on(pictures):
    assert title(pictures, "group") == (
        "metal, by group: 72 normal, 24 defects; normal of 8 groups, defects of 8; * in hindsight"
    )


def test_a_set_whose_files_are_not_here_is_left_out_with_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(data, "FASHION", tmp_path / "none")
    benchmark.run(["sets=bag", f"out={tmp_path / 'cells.jsonl'}"])
    assert "bag is left out: there is no" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["task=x"], r"^there is no setting task; there are sets, splits, tasks, minutes, seeds, out\.$"),
        (
            ["tasks=x"],
            r"^there is no detector x; there are statistics/none, nearest/none, textures/pca, reconstruction/pca.*\.$",
        ),
        (["splits=x"], r"^there is no split x; there are group, random\.$"),
    ],
)
def test_what_is_asked_wrongly_is_told(small, tmp_path, words, sentence):
    with pytest.raises(ConfigError, match=sentence):
        benchmark.run([*words, f"out={tmp_path / 'cells.jsonl'}"])


def test_pictures_without_groups_are_split_at_random_only(pictures):
    alone = PictureSet("bag", pictures.pixels, pictures.is_defect, None, None)
    assert benchmark.splits_of(alone, "group,random") == ["random"]
    assert benchmark.splits_of(pictures, "group,random") == ["group", "random"]


def test_a_budget_is_spent_by_the_cpu_and_not_by_the_clock(monkeypatch):
    budget = Budget(2.0, cpu_began=10.0, wall_began=100.0)
    monkeypatch.setattr("benchmarks.quality.budget.time.process_time", lambda: 70.0)
    monkeypatch.setattr("benchmarks.quality.budget.time.monotonic", lambda: 700.0)
    assert (budget.cpu_minutes, budget.wall_minutes, budget.share) == (1.0, 10.0, 0.5)
    assert Budget(0.5, 10.0, 100.0).share == 1.0
    assert Budget(0.0).share == 1.0
