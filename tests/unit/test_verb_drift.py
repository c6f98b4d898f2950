"""`rayae drift`, at the door: against the calibration and against another run, by day and by group; and refusals."""

import json
from datetime import UTC, date, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from numpy.typing import NDArray
from scipy.stats import mannwhitneyu

from rayae import bundle as bundles_of
from rayae import storage
from rayae.assignment import ALL
from rayae.bundle import Bundle
from rayae.bundle_set import BundleSet
from rayae.calibrations import to_parquet
from rayae.cli import main
from rayae.manifest import complete, plan_chunks, write_manifest
from rayae.results import PIXEL_STATISTICS, Judge, Outcome, Status, result_table
from rayae.run import MANIFEST, Run, total
from rayae.verbs.report import drifts
from tests.conftest import write_pictures
from tests.unit.small_runs import create, plan, write_chunk
from tests.unit.small_things import TRAINING_IMAGES, small_bundle
from tests.unit.test_report import Seen
from tests.unit.test_scoring_products import bundles, finished, images, run_of

__all__ = ["bundles"]
Values = dict[str, NDArray[np.float32]]
NAMES = ("score", *PIXEL_STATISTICS)


def values_of(seed: int, count: int, **moved: float) -> Values:
    """Normal values around 10, of spread 1; those that moved are shifted by so many of these."""
    random = np.random.default_rng(seed)
    return {name: (random.normal(10, 1, count) + moved.get(name, 0.0)).astype(np.float32) for name in NAMES}


def calibrated(folder: Path, values: Values, *, keeps_pixels: bool = True, defects: int = 0) -> Bundle:
    """A bundle that was calibrated on images with these values, and trained on the image /train.png of the group g."""
    count = len(values["score"])
    model = small_bundle(folder, training_images=TRAINING_IMAGES.set_column(0, "uri", pa.array(["/train.png"])))
    columns: dict[str, Any] = {
        "uri": [f"/calibration/{number}.png" for number in range(count)],
        "group": [None] * count,
    }
    columns |= {"mse": values["score"], "score": values["score"]}
    if keeps_pixels:
        columns |= {name: values[name] for name in PIXEL_STATISTICS}
    is_defect = [number < defects for number in range(count)]
    table = pa.table({**columns, "chose_score": is_defect}, schema=None)
    table = table.set_column(1, "group", pa.nulls(count, pa.string()))
    return bundles_of.calibrated(model, table, None)


def scored(folder: Path, model: Bundle, values: Values, uris: list[str] | None = None, **own: Any) -> Run:
    """A finished run of the bundle with these values."""
    count = len(values["score"])
    names = [f"/data/{folder.name}/{number}.png" for number in range(count)] if uris is None else uris
    manifest = write_manifest(complete({"uri": pa.array(names)} | own), storage.join(str(folder), MANIFEST))
    run = create(str(folder), manifest, plan_chunks(manifest.sizes(), 64), threshold=False)
    record = json.loads((folder / "run.json").read_text())
    record["bundle"] = model.uri
    record["fingerprint"] |= {"bundle": model.bundle_id, "calibration": model.record["calibration"]}
    if (known := model.calibration_table()) is not None:
        data = to_parquet({ALL: known["score"].to_numpy()})
        (folder / "calibration.parquet").write_bytes(data)
        record["calibration_sha256"] = sha256(data).hexdigest()
    (folder / "run.json").write_text(json.dumps(record))
    run = Run.open(run.uri)
    for chunk in run.chunks:
        rows = run.manifest.read(chunk.first, chunk.rows)
        places, n = rows["image_id"].to_numpy(), chunk.rows
        scores = {"mse": values["score"], "mae": values["score"], **{name: values[name] for name in PIXEL_STATISTICS}}
        sizes = {name: [64] * n for name in ("width", "height", "size_bytes")}
        outcome = Outcome([Status.SCORED] * n, [None] * n, **sizes, scores={k: v[places] for k, v in scores.items()})
        write_chunk(run, chunk, result_table(rows, outcome, Judge("mse", model.bundle_id, None, None)))
    run.finish(total(run.summaries()) | {"wall_seconds": 1.0, "images_per_second": 10.0})
    return run


def told(run: Run, out: Path, *words: str) -> dict[str, Any]:
    """The record that is written."""
    assert main(["drift", run.uri, f"out={out}", *words]) == 0
    found: dict[str, Any] = json.loads((out / "drift.json").read_text())
    return found


def deltas(record: dict[str, Any]) -> dict[str, float]:
    return {one["name"]: one["delta"]["value"] for one in record["shifts"]}


def delta(run: NDArray[np.float32], reference: NDArray[np.float32]) -> float:
    pairs = len(run) * len(reference)
    return float(2 * mannwhitneyu(run.astype(np.float64), reference.astype(np.float64)).statistic / pairs - 1)


@pytest.mark.parametrize(
    ("moved", "cause", "words"),
    [
        ({}, "none", ["Neither the score nor the pictures have moved by as much as matters."]),
        (
            {"pixel_mean": -1.0},
            "camera",
            ["By mean brightness the images of the run are darker than the reference in "],
        ),
        ({"score": 1.0}, "product", ["By the score (mse) the images of the run are higher than the reference in "]),
        (
            {"score": 1.0, "pixel_sharpness": -1.0},
            "both",
            [
                "By the score (mse) the images of the run are higher than ",
                "By sharpness the images of the run are blurr",
            ],
        ),
    ],
)
def test_what_moved_against_the_calibration_is_found_and_told(
    moved: dict[str, float], cause: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, values = values_of(0, 400), values_of(1, 500, **moved)
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", reference), values)
    record = told(run, tmp_path / "out")
    assert record["cause"] == cause
    assert deltas(record) == pytest.approx({name: delta(values[name], reference[name]) for name in NAMES}, abs=1e-9)
    assert all(sentence.startswith(start) for sentence, start in zip(record["words"], words, strict=False))
    assert "\n" + "\n".join(record["words"]) + "\n" in capsys.readouterr().out


def test_the_reference_is_of_normal_images_and_so_is_what_is_held_against_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, values = values_of(0, 300), values_of(1, 100)
    model = calibrated(tmp_path / "bundle", reference, defects=100)
    labels = pa.array(["scratch"] * 30 + ["good"] * 30 + [None] * 40)
    uris = [*(f"/data/{number}.png" for number in range(98)), "/train.png", "/calibration/5.png"]
    record = told(scored(tmp_path / "run", model, values, uris, label=labels), tmp_path / "out")
    expected = {name: delta(values[name][30:98], reference[name][100:]) for name in NAMES}
    assert record["images"] == 68
    assert deltas(record) == pytest.approx(expected, abs=1e-9)
    said = "drift: 68 images of the run, without 30 labelled as defects and 2 used to make the bundle\n"
    assert said in capsys.readouterr().out


def test_a_bundle_without_pixel_statistics_tells_of_the_score_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = calibrated(tmp_path / "bundle", values_of(0, 300), keeps_pixels=False)
    record = told(scored(tmp_path / "run", model, values_of(1, 300, score=1.0)), tmp_path / "out")
    assert (list(deltas(record)), record["cause"]) == (["score"], "score")
    assert capsys.readouterr().err == (
        f"warning: {model.uri} keeps no pixel statistics of its calibration images, so the camera and the product "
        "cannot be told apart; `rayae calibrate` on the same images keeps them.\n"
    )


def test_calibrating_keeps_the_pixel_statistics_that_a_run_is_held_against(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from PIL import Image

    model = small_bundle(tmp_path / "bundle")
    for name, seed in (("calibration", 1), ("good", 2), ("dark", 2)):
        folder = write_pictures(tmp_path / name, 60, seed=seed)
        for path in folder.rglob("*.png") if name == "dark" else ():
            Image.fromarray(np.asarray(Image.open(path)) // 3).save(path)
    assert main(["calibrate", model.uri, f"images={tmp_path}/calibration", "alpha=0.1", "placement=inline"]) == 0
    for name in ("good", "dark"):
        words = [f"images={tmp_path}/{name}", f"bundle={model.uri}", f"out={tmp_path}/run-{name}", "placement=inline"]
        assert main(["score", *words]) == 0
    capsys.readouterr()
    good, dark = (told(Run.open(f"{tmp_path}/run-{name}"), tmp_path / name) for name in ("good", "dark"))
    assert good["cause"] in ("none", "unclear")
    assert deltas(dark)["pixel_mean"] == -1
    assert dark["cause"] in ("both", "camera", "camera, score unclear")
    assert capsys.readouterr().err == ""


def test_another_run_of_the_same_bundle_is_a_reference_too(tmp_path: Path) -> None:
    model = calibrated(tmp_path / "bundle", values_of(0, 100))
    before, after = values_of(1, 300), values_of(2, 200, pixel_std=1.0)
    runs = [scored(tmp_path / name, model, values) for name, values in (("before", before), ("after", after))]
    record = told(runs[1], tmp_path / "out", f"against={runs[0].uri}")
    assert (record["cause"], record["against"]) == ("camera", runs[0].uri)
    assert deltas(record) == pytest.approx({name: delta(after[name], before[name]) for name in NAMES}, abs=1e-9)


def test_the_same_images_in_both_runs_have_moved_by_nothing(tmp_path: Path) -> None:
    model, values = calibrated(tmp_path / "bundle", values_of(0, 100)), values_of(1, 300)
    uris = [f"/data/{number}.png" for number in range(300)]
    runs = [scored(tmp_path / name, model, values, uris) for name in ("before", "after")]
    record = told(runs[1], tmp_path / "out", f"against={runs[0].uri}")
    assert list(deltas(record).values()) == pytest.approx([0] * 5, abs=1e-12)
    (reason,) = {one["delta"]["reason"] for one in record["shifts"]}
    assert reason == "No interval: these images leave no spread to judge by."


DAYS = [date(2026, 11, 1) + timedelta(days=number // 50) for number in range(200)]


@pytest.mark.parametrize(
    "times",
    [
        pa.array(DAYS),
        pa.array([datetime(day.year, day.month, day.day, 23, 59) for day in DAYS]),
        pa.array(
            [datetime(day.year, day.month, day.day, 1, tzinfo=UTC) for day in DAYS],
            pa.timestamp("ms", "America/Sao_Paulo"),
        ),
    ],
    ids=["dates", "times", "times of a zone"],
)
def test_each_day_in_utc_has_its_figures(times: pa.Array, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference, values = values_of(0, 300), values_of(1, 200)
    values["pixel_mean"][100:150] -= 3
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", reference), values, taken=times)
    told(run, tmp_path / "out", "by=day")
    table = pd.read_parquet(tmp_path / "out" / "parts.parquet")
    assert table["value"].unique().tolist() == ["2026-11-01", "2026-11-02", "2026-11-03", "2026-11-04"]
    third = table[table["value"] == "2026-11-03"]
    assert third["cause"].unique().tolist() in (["camera"], ["camera, score unclear"])
    expected = {name: delta(values[name][100:150], reference[name]) for name in NAMES}
    assert dict(zip(third["quantity"], third["delta"], strict=True)) == pytest.approx(expected, abs=1e-9)
    assert "Cliff's delta by day, 4 of 4" in capsys.readouterr().out


def test_each_group_has_its_figures_and_those_with_few_images_are_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reference, values = values_of(0, 300), values_of(1, 200)
    values["score"][150:] += 3
    groups = pa.array([None] * 50 + ["a"] * 95 + ["few"] * 5 + ["b"] * 50)
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", reference), values, group=groups)
    record = told(run, tmp_path / "out", "by=group", "log=json")
    assert record["images"] == 200
    table = pd.read_parquet(tmp_path / "out" / "parts.parquet")
    assert table.drop_duplicates("value")["value"].fillna("none").tolist() == ["a", "b", "none"]
    assert table.drop_duplicates("value")["images"].tolist() == [95, 50, 50]
    moved = table[(table["value"] == "b") & (table["quantity"] == "score")]
    assert moved["delta"].tolist() == [pytest.approx(delta(values["score"][150:], reference["score"]))]
    out, err = capsys.readouterr()
    assert "1 values of `group` have fewer than 10 images and are not told of." in err
    (rows,) = [line["rows"] for line in map(json.loads, out.splitlines()) if "Cliff's delta by" in line["message"]]
    assert rows[0]["group"] == "b"


def test_a_group_is_held_against_its_own_images_where_the_other_run_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two products that differ by far, of which nothing has moved; and one that the reference lacks."""
    model = calibrated(tmp_path / "bundle", values_of(0, 100))
    values = values_of(1, 120, score=0.0)
    for column in values.values():
        column[60:] += 5
    reference = scored(tmp_path / "b", model, values, group=pa.array(["p"] * 60 + ["q"] * 60))
    now = {name: np.concatenate([column, column[:40]]) for name, column in values.items()}
    run = scored(tmp_path / "a", model, now, group=pa.array(["p"] * 60 + ["q"] * 60 + ["new"] * 40))
    record = told(run, tmp_path / "out", "by=group", f"against={reference.uri}")
    found = {part["value"]: part for part in record["furthest"]}
    assert {value: part["is_like"] for value, part in found.items()} == {"p": True, "q": True, "new": False}
    assert all(abs(one["delta"]["value"]) < 1e-9 for value in "pq" for one in found[value]["shifts"])
    assert found["new"]["shifts"][0]["delta"]["value"] < -0.3
    said = capsys.readouterr().out
    assert "against all: held against all images of the reference" in said
    table = pd.read_parquet(tmp_path / "out" / "parts.parquet")
    assert dict(zip(table["value"], table["held_against"], strict=True)) == {
        "new": "all",
        "p": "its own",
        "q": "its own",
    }


def test_a_column_of_the_users_own_will_do(tmp_path: Path) -> None:
    run = scored(
        tmp_path / "run",
        calibrated(tmp_path / "bundle", values_of(0, 100)),
        values_of(1, 60),
        camera=pa.array([7, 8, 8] * 20),
    )
    told(run, tmp_path / "out", "by=camera")
    assert pd.read_parquet(tmp_path / "out" / "parts.parquet")["value"].unique().tolist() == ["7", "8"]


def test_a_report_tells_what_was_found(tmp_path: Path) -> None:
    values = values_of(1, 200, score=1.0)
    values["score"][150:] += 3
    groups = pa.array(["a"] * 150 + ["b"] * 50)
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 300)), values, group=groups)
    assert main(["drift", run.uri]) == 0
    assert main(["drift", run.uri, "by=group"]) == 0
    (latest, first) = drifts(run)
    assert [one["settings"]["by"] for one in (latest, first)] in (["group", None], [None, "group"])
    assert main(["report", run.uri, "gallery=0"]) == 0
    seen = Seen(Path(run.uri, "report.html").read_text()).text
    assert seen.count("Against the calibration images of the bundle") == 2
    assert latest["words"][0] in seen
    place = seen.index("Cliff's delta by group")
    assert seen.index("b", place) > place
    by_group = next(one for one in (latest, first) if one["settings"]["by"] == "group")
    (b, a) = by_group["furthest"]
    assert (b["value"], b["images"], a["value"], a["images"]) == ("b", 50, "a", 150)
    for part in (a, b):
        assert f"{part['shifts'][0]['delta']['value']:+.3f}" in seen[place:]


def test_of_very_many_images_some_are_measured_whatever_the_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rayae.verbs.drift.MOST_IMAGES", 200)
    model = calibrated(tmp_path / "bundle", values_of(0, 300))
    values, uris = values_of(1, 400), [f"/data/{number}.png" for number in range(400)]
    found = []
    for name, order in (("a", np.arange(400)), ("b", np.random.default_rng(0).permutation(400))):
        moved = {key: column[order] for key, column in values.items()}
        run = scored(tmp_path / name, model, moved, [uris[place] for place in order])
        found.append(told(run, tmp_path / f"{name}-out"))
    assert found[0]["images"] == found[1]["images"] == 200
    assert found[0]["shifts"] == found[1]["shifts"]
    assert deltas(found[0]) == pytest.approx(dict.fromkeys(NAMES, 0.0), abs=0.2)
    said = capsys.readouterr().out
    assert "drift: 400 images of the run" in said
    assert "drift: of more than 200 images those are measured whose URIs have the lowest hashes\n" in said


def test_a_smaller_effect_may_matter(tmp_path: Path) -> None:
    model = calibrated(tmp_path / "bundle", values_of(0, 3000))
    run = scored(tmp_path / "run", model, values_of(1, 3000, pixel_p01=0.25))
    assert told(run, tmp_path / "out")["cause"] == "none"
    assert told(run, tmp_path / "out", "smallest_effect=0.08")["cause"] == "camera"


def test_by_default_the_figures_lie_in_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 100)), values_of(1, 100))
    assert main(["drift", run.uri]) == 0
    (folder,) = Path(run.uri, "drift").iterdir()
    assert f"drift: {folder}\n" in capsys.readouterr().out
    assert [path.name for path in folder.iterdir()] == ["drift.json"]


def test_an_unfinished_run_is_looked_at_and_said_to_be_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 100)), values_of(1, 100))
    storage.remove(run.chunk_uri(1))
    assert told(run, tmp_path / "out")["images"] == 64
    said = f"warning: {run.uri} is not finished: 64 of 100 images have a row, and what follows is of these.\n"
    assert capsys.readouterr().err == said


def test_a_bundle_that_was_calibrated_again_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = calibrated(tmp_path / "bundle", values_of(0, 100))
    run = scored(tmp_path / "run", model, values_of(1, 100))
    table = model.calibration_table()
    assert table is not None
    bundles_of.calibrated(model, table.slice(0, 50), None)
    told(run, tmp_path / "out")
    said = f"{model.uri} was calibrated again since {run.uri} was planned; the reference is its present calibration\n"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (
            ["by=day"],
            2,
            "by=day needs to know when pictures were taken, and the images of RUN have no column of times or dates: "
            "give `labels=` or a list with such a column (2026-11-24, or 2026-11-24T02:15) when they are indexed.",
        ),
        (["by=camera"], 2, "by=camera is no column of the images of RUN; take day, or group."),
        (["time=taken"], 2, "time=taken is only used by by=day."),
        (["by=day", "time=taken"], 2, "time=taken is no column of times or dates of RUN; it has none."),
        (["against=RUN"], 2, "against=RUN is the run itself; name another, or leave it out for the calibration."),
    ],
)
def test_what_cannot_be_asked_is_a_sentence(
    words: list[str], code: int, sentence: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 20)), values_of(1, 20))
    assert main(["drift", run.uri, *(word.replace("RUN", run.uri) for word in words)]) == code
    assert capsys.readouterr().err == f"error: {sentence.replace('RUN', run.uri)}\n"


def test_two_columns_of_times_need_the_name_of_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    times = {"taken": pa.array(DAYS[:20]), "packed": pa.array(DAYS[:20])}
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 20)), values_of(1, 20), **times)
    assert main(["drift", run.uri, "by=day"]) == 2
    assert capsys.readouterr().err == (
        f"error: by=day needs time=, the column to go by; {run.uri} has taken, packed.\n"
    )
    assert main(["drift", run.uri, "by=day", "time=packed"]) == 0


def test_a_run_of_another_bundle_is_no_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 20)), values_of(1, 20))
    other = plan(tmp_path / "other")
    assert main(["drift", run.uri, f"against={other.uri}"]) == 2
    theirs, own = "b" * 12, run.assignment.bundle_id
    assert capsys.readouterr().err.endswith(
        f"error: against={other.uri} has the bundle {theirs} and {run.uri} has {own}, so their scores are not on one "
        "scale; name a run of the same bundle, or see `rayae compare`.\n"
    )


def test_a_bundle_without_calibration_is_no_reference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = small_bundle(tmp_path / "bundle")
    run = scored(tmp_path / "run", model, values_of(1, 20))
    assert main(["drift", run.uri]) == 1
    assert capsys.readouterr().err == (
        f"error: {model.uri} has no calibration images to hold {run.uri} against; `rayae calibrate` it, or give "
        "against=, another run of the same bundle.\n"
    )


def test_a_run_without_normal_images_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = calibrated(tmp_path / "bundle", values_of(0, 20))
    run = scored(tmp_path / "run", model, values_of(1, 3), label=pa.array(["scratch"] * 3))
    assert main(["drift", run.uri]) == 1
    assert capsys.readouterr().err == (
        "error: no scored image is left to compare: 3 are labelled as defects, and the bundle was made with 0.\n"
    )


def test_a_score_that_is_no_number_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = values_of(1, 20)
    values["pixel_std"][3] = np.nan
    run = scored(tmp_path / "run", calibrated(tmp_path / "bundle", values_of(0, 20)), values)
    assert main(["drift", run.uri]) == 1
    assert capsys.readouterr().err == (
        "error: 1 scored images have no finite score or pixel statistic; `rayae verify` says which.\n"
    )


def test_a_run_of_several_bundles_is_refused_with_what_to_do(
    bundles: BundleSet, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(*run_of(tmp_path / "run", bundles, images(tmp_path / "images")))
    assert main(["drift", run.uri]) == 2
    assert capsys.readouterr().err == (
        f"error: {run.uri} was scored with a bundle for each `product`, whose scores are not on one scale: score the "
        "images of one `product` with its bundle into an `out=` of their own, and take that run.\n"
    )
