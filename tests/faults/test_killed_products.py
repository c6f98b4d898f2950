"""A training of several products is killed; the same command trains what is left of it, and no more."""

import json
import signal
from pathlib import Path

import pytest

from rayae.bundle_set import BundleSet
from tests.conftest import SMALL_TRAINING
from tests.faults.processes import ends_well, start, wait_for
from tests.unit.small_products import products

EPOCHS = 12
PRODUCTS = {"bolt": 40, "gear": 40, "nut": 40}


@pytest.fixture(scope="module")
def csv(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return products(tmp_path_factory.mktemp("products"), **PRODUCTS)


def words(csv: Path, out: Path) -> list[str]:
    given = [f"images={csv.parent}", f"labels={csv}", f"out={out}", "per_group=product", "placement=inline"]
    return ["train", *given, f"epochs={EPOCHS}", f"patience={EPOCHS}", "rule=none", *SMALL_TRAINING]


def epochs(out: Path, product: str) -> list[int]:
    metrics = out / product / "training" / "metrics.jsonl"
    return [json.loads(line)["epoch"] for line in metrics.read_text().splitlines()] if metrics.exists() else []


def ids(out: Path) -> dict[str, str]:
    return {value: bundle.bundle_id for value, bundle in BundleSet.open(str(out)).bundles.items()}


def test_a_killed_training_of_products_goes_on_in_the_midst_of_one(csv: Path, tmp_path: Path) -> None:
    out, whole, log = tmp_path / "set", tmp_path / "whole", tmp_path / "log"
    process = start(*words(csv, out), log=log)
    wait_for(lambda: len(epochs(out, "gear")) >= 2 or process.poll() is not None, "two epochs of the second product")
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, log.read_text()
    assert list(ids(out)) == ["bolt"], "what was finished can be used"
    first, done = (out / "bolt" / "bundle.json").stat().st_mtime_ns, len(epochs(out, "gear"))
    before = (out / "gear" / "training" / "metrics.jsonl").read_text().splitlines()[: done - 1]
    ends_well(start(*words(csv, out), log=log), log)
    said = log.read_text()
    assert said.count("nothing to train") == 1
    assert said.count("going on with the training") == 1
    assert (out / "bolt" / "bundle.json").stat().st_mtime_ns == first
    after = (out / "gear" / "training" / "metrics.jsonl").read_text().splitlines()
    assert after[: done - 1] == before
    assert epochs(out, "gear") == list(range(1, EPOCHS + 1))
    ends_well(start(*words(csv, whole), log=log), log)
    assert ids(out) == ids(whole)
