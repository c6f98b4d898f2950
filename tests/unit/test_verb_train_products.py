"""`rayae train per_group=`: a bundle for each value of a column, of its images alone."""

import json
import os
import shutil
from pathlib import Path

import pytest

from rayae.bundle import Bundle
from rayae.bundle_set import INDEX, BundleSet, folder_of
from rayae.cli import main
from rayae.verbs import train as verb
from tests.unit.small_products import WORDS, products, train


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("products"), Screw=40, nut=40)


@pytest.fixture(scope="module")
def trained(csv: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "set"
    assert train(csv, out) == 0
    return out


def test_each_value_gets_a_bundle_of_its_images_alone(trained: Path) -> None:
    found = BundleSet.open(str(trained))
    assert found.column == "product"
    assert list(found.bundles) == ["Screw", "nut"]
    for value, bundle in found.bundles.items():
        assert bundle.uri == str(trained / folder_of(value))
        used = bundle.training_images()
        assert used.num_rows == 40
        assert {uri.rsplit("/", 3)[1] for uri in used["uri"].to_pylist()} == {value}


def test_a_bundle_of_the_set_is_the_bundle_that_its_images_give_by_themselves(
    trained: Path, csv: Path, tmp_path: Path
) -> None:
    lines = csv.read_text().splitlines()
    alone = csv.parent / "nut.csv"
    alone.write_text("\n".join([lines[0], *(line for line in lines if ",nut," in line)]) + "\n")
    words = [f"images={csv.parent / 'nut'}", f"labels={alone}", f"out={tmp_path / 'alone'}"]
    assert main(["train", *words, *WORDS]) == 0
    ours, its = Bundle.open(str(trained / "nut")), Bundle.open(str(tmp_path / "alone"))
    assert ours.weights() == its.weights()


def test_groups_stay_together_inside_a_product(trained: Path) -> None:
    for bundle in BundleSet.open(str(trained)).bundles.values():
        sides = bundle.training_images().to_pandas().groupby("group")["split"].nunique()
        assert len(sides) == 8
        assert (sides == 1).all()


def test_a_second_training_of_the_same_plan_trains_nothing(
    trained: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {path: path.stat().st_mtime_ns for path in trained.rglob("bundle.json")}
    assert train(csv, trained) == 0
    assert capsys.readouterr().out.count("nothing to train") == 2
    assert {path: path.stat().st_mtime_ns for path in trained.rglob("bundle.json")} == before


def test_a_table_at_the_end_tells_of_each_value(trained: Path, csv: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(csv, trained, "log=json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    (rows,) = (line["rows"] for line in lines if "rows" in line)
    assert [(row["product"], row["images"], row["best epoch"]) for row in rows] == [
        ("Screw", "40", "1 of 1"), ("nut", "40", "1 of 1"),
    ]  # fmt: skip
    for row, bundle in zip(rows, BundleSet.open(str(trained)).bundles.values(), strict=True):
        assert row["primary score"] == bundle.primary_score
        assert row["verdicts"] == ", ".join(one["name"] for one in bundle.training["verdicts"])


def test_a_value_with_too_few_images_costs_no_other_and_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = products(tmp_path / "images", bolt=1, nut=40)
    assert train(csv, tmp_path / "set") == 1
    said = capsys.readouterr().err
    assert "error: 1 of 2 values of `product` have no bundle of this training:\n  bolt: no normal image is" in said
    assert list(BundleSet.open(str(tmp_path / "set")).bundles) == ["nut"]


def test_a_training_that_fails_costs_no_other_and_is_trained_by_the_same_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    csv = products(tmp_path / "images", bolt=40, nut=40)
    damaged = sorted((tmp_path / "images" / "bolt" / "good").iterdir())[::2]
    kept = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in damaged}
    for path, (data, modified) in kept.items():
        path.write_bytes(b"x" * len(data))
        os.utime(path, ns=(modified, modified))
    assert train(csv, tmp_path / "set") == 1
    assert "  bolt: " in capsys.readouterr().err
    assert list(BundleSet.open(str(tmp_path / "set")).bundles) == ["nut"]
    for path, (data, modified) in kept.items():
        path.write_bytes(data)
        os.utime(path, ns=(modified, modified))
    assert train(csv, tmp_path / "set") == 0
    assert capsys.readouterr().out.count("nothing to train") == 1
    assert list(BundleSet.open(str(tmp_path / "set")).bundles) == ["bolt", "nut"]


def test_a_bug_in_a_training_is_no_value_without_a_bundle(
    csv: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(job: object) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(verb, "fitted", broken)
    with pytest.raises(KeyError, match="a bug"):
        train(csv, tmp_path / "set")


def test_a_set_grows_by_values_that_come_later(
    trained: Path, csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = Path(shutil.copytree(trained, tmp_path / "set"))
    more = products(tmp_path / "more", bolt=40)
    assert train(more, out) == 0
    assert list(BundleSet.open(str(out)).bundles) == ["Screw", "bolt", "nut"]
    both = tmp_path / "both.csv"
    both.write_text(
        "path,label,product,group\n"
        + "".join(f"{file.parent}/{line}\n" for file in (more, csv) for line in file.read_text().splitlines()[1:])
    )
    capsys.readouterr()
    words = [f"images=[{more.parent},{csv.parent}]", f"labels={both}", f"out={out}", "per_group=product"]
    assert main(["train", *words, *WORDS]) == 0
    assert capsys.readouterr().out.count("nothing to train") == 3


def test_images_without_a_value_are_told_and_left_out(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = csv.parent / "some.csv"
    labels.write_text("\n".join(line.replace(",Screw,", ",,") for line in csv.read_text().splitlines()) + "\n")
    assert train(labels, tmp_path / "set") == 0
    assert "40 images have no `product` and are left out of all bundles" in capsys.readouterr().err
    assert list(BundleSet.open(str(tmp_path / "set")).bundles) == ["nut"]


def test_a_bundle_for_each_group_is_split_by_neighbours(csv: Path, tmp_path: Path) -> None:
    labels = csv.parent / "groups.csv"
    lines = [line.split(",") for line in csv.read_text().splitlines()[1:]]
    labels.write_text("path,label,group\n" + "".join(f"{path},{label},{name}\n" for path, label, name, _ in lines))
    words = [f"images={csv.parent}", f"labels={labels}", f"out={tmp_path / 'set'}", "per_group=group"]
    assert main(["train", *words, *WORDS]) == 0
    found = BundleSet.open(str(tmp_path / "set"))
    assert list(found.bundles) == ["Screw", "nut"]
    for bundle in found.bundles.values():
        used = bundle.training_images()
        assert used["group"].null_count == 40
        assert set(used["split"].to_pylist()) == {"train", "validation", "calibration"}


@pytest.mark.parametrize("column", ["label", "uri", "produkt"])
def test_a_column_that_tells_no_products_is_refused(
    csv: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], column: str
) -> None:
    words = [f"images={csv.parent}", f"labels={csv}", f"out={tmp_path / 'set'}", f"per_group={column}"]
    assert main(["train", *words, *WORDS]) == 2
    assert capsys.readouterr().err == (
        f"error: a bundle for each `{column}` was asked for, and of these images their own columns are product: give "
        "`labels=` with the paths and that column, or a list that has it; `group` will do as well.\n"
    )


def test_a_set_and_a_bundle_do_not_share_a_directory(
    trained: Path, csv: Path, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["train", f"images={csv.parent}", f"out={trained}", *WORDS]) == 2
    assert "holds a set of bundles, one for each value of `product`; give a new `out=`" in capsys.readouterr().err
    assert train(csv, bundle) == 2
    assert f"out={bundle} holds one bundle for all images; give a new `out=`" in capsys.readouterr().err
    assert train(csv, trained, "per_group=group") == 2
    assert "a bundle for each value of `group` was asked for" in capsys.readouterr().err
    assert not (bundle / INDEX).exists()


def test_other_pixels_than_those_of_the_set_are_refused_before_training(
    trained: Path, csv: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(trained.rglob("*"))
    assert train(csv, trained, "preprocess.width=48") == 1
    assert "takes other pixels than `preprocess` asks for" in capsys.readouterr().err
    assert sorted(trained.rglob("*")) == before
