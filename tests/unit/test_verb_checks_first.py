"""What is wrong is told before a cluster is asked for anything.

The trap: RAY_ADDRESS names a port where nobody answers, so that whoever joins too early says so instead.
"""

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from rayae import bundle as bundles
from rayae.cli import main
from tests.conftest import SMALL_TRAINING, write_pictures
from tests.servers import free_port

JOINED = "no Ray cluster can be joined at RAY_ADDRESS="
Said = Callable[..., str]
NO_DISK = "/proc/rayae"
"""A folder that nobody can make, root included."""


@pytest.fixture(autouse=True)
def trap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", f"127.0.0.1:{free_port()}")


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What a command that is refused says, and that it is refused with this code before it has joined."""

    def said(*words: object, code: int) -> str:
        found = main([str(word) for word in words])
        error = capsys.readouterr().err
        assert (found, error.startswith("error: ")) == (code, True), error
        assert JOINED not in error
        return error

    return said


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_pictures(tmp_path_factory.mktemp("few"), 30, seed=5)


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "own"))


def with_weights(bundle: Path, data: bytes) -> None:
    """Other weights, with all hashes as they must be for them."""
    (bundle / bundles.WEIGHTS).write_bytes(data)
    record = json.loads((bundle / bundles.BUNDLE).read_text())
    record["files"] = {name: record["files"][name] for name in (bundles.TRAINING, bundles.TRAINING_IMAGES)}
    record["files"][bundles.WEIGHTS] = hashlib.sha256(data).hexdigest()
    record["bundle_id"] = bundles.bundle_id(record)
    record["calibration"] = record["threshold"] = None
    record["seal"] = bundles.seal(record)
    (bundle / bundles.BUNDLE).write_text(json.dumps(record))


@pytest.mark.parametrize("placement", ["together", "apart"])
def test_what_is_right_is_asked_of_the_cluster(
    few: Path, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], placement: str
) -> None:
    """Else the tests below would prove nothing."""
    asked = ["score", f"images={few}", f"bundle={bundle}", f"out={tmp_path}/run", f"placement={placement}"]
    assert main(asked) == 1
    assert JOINED in capsys.readouterr().err
    assert main(["train", f"images={few}", f"out={tmp_path}/bundle", "alpha=0.2", *SMALL_TRAINING]) == 1
    assert JOINED in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["workers=none"], 2, "workers"),
        (["worker=1"], 2, "did you mean 'workers'?"),
        (["max_failed_by_status.gone=0.1"], 2, "no image fails with the status 'gone'"),
        (["images=/nowhere"], 2, "images=/nowhere: there is no such file or folder"),
        (["images=s3://.."], 1, "No bucket can have the name"),
        (["bundle=/nowhere"], 2, "/nowhere is no bundle"),
        (["labels=/nowhere.csv"], 1, "cannot read /nowhere.csv"),
        (["select.newer=2030-01-01"], 1, "`select.` leaves out all of its 30 images"),
        ([f"out={NO_DISK}/run"], 1, f"cannot write {NO_DISK}/run/"),
    ],
)  # fmt: skip
def test_score_refuses_what_is_wrong_before_it_asks_for_a_gpu(
    few: Path, bundle: Path, tmp_path: Path, said: Said, words: list[str], code: int, sentence: str
) -> None:
    asked = {"images": few, "bundle": bundle, "out": tmp_path / "run"}
    assert sentence in said("score", *(f"{key}={value}" for key, value in asked.items()), *words, code=code)
    assert not (tmp_path / "run" / "run.json").exists()


def test_labels_that_are_wrong_are_told_before_a_gpu_is_asked_for(
    few: Path, bundle: Path, tmp_path: Path, said: Said
) -> None:
    labels = tmp_path / "labels.csv"
    for text, sentence in (
        ("path,lable\na,b\n", "has no column `label`"),
        ("path,label\nnone.png,good\n", "names none of the images"),
    ):
        labels.write_text(text)
        for verb, more in (("score", [f"bundle={bundle}"]), ("train", []), ("calibrate", [f"bundle={bundle}"])):
            out = [] if verb == "calibrate" else [f"out={tmp_path}/{verb}"]
            assert sentence in said(verb, f"images={few}", f"labels={labels}", *more, *out, code=1)


def damaged(bundle: Path) -> None:
    data = bytearray((bundle / bundles.WEIGHTS).read_bytes())
    data[-1] ^= 1
    (bundle / bundles.WEIGHTS).write_bytes(bytes(data))


def unreadable(bundle: Path) -> None:
    (bundle / bundles.WEIGHTS).unlink()
    (bundle / bundles.WEIGHTS).mkdir()


def of_another_network(bundle: Path) -> None:
    with_weights(bundle, b"these are no weights")


@pytest.mark.parametrize(
    ("harm", "sentence"),
    [
        (damaged, "was changed after the bundle was written"),
        (unreadable, "the bundle lacks a file that it names"),
        (of_another_network, "the weights do not fit the network"),
    ],
)  # fmt: skip
def test_weights_that_cannot_be_loaded_are_told_by_the_driver(
    few: Path, own_bundle: Path, tmp_path: Path, said: Said, harm: Callable[[Path], None], sentence: str
) -> None:
    """Scoring, calibrating, going on with a run, and retrying: none of them asks for a GPU first."""
    run = tmp_path / "run"
    broken = few / "good" / "broken.png"
    broken.write_bytes(b"no picture")
    words = [f"images={few}", f"bundle={own_bundle}", "placement=inline", "chunk_images=16"]
    assert main(["score", *words, f"out={run}"]) == 0
    broken.unlink()
    finished = (run / "_SUCCESS.json").read_bytes()
    harm(own_bundle)
    assert sentence in said("score", f"images={few}", f"bundle={own_bundle}", f"out={tmp_path}/other", code=1)
    assert sentence in said("calibrate", own_bundle, f"images={few}", code=1)
    assert sentence in said("retry", run, "status=not_an_image", "placement=together", code=1)
    assert (run / "_SUCCESS.json").read_bytes() == finished
    (run / "chunks" / "chunk-000001.parquet").unlink()
    assert sentence in said("score", run, "placement=together", code=1)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["rule=fixed"], 2, "rule=fixed needs cut="),
        (["max_failed_by_status.gone=0.1"], 2, "no image fails with the status 'gone'"),
        (["images=/nowhere"], 2, "images=/nowhere: there is no such file or folder"),
        (["alpha=0.001"], 1, "needs 999 held-out normal images"),
        ([f"out={NO_DISK}/bundle"], 1, f"cannot write {NO_DISK}/bundle/training/"),
    ],
)  # fmt: skip
def test_train_refuses_what_is_wrong_before_it_asks_for_a_gpu(
    few: Path, tmp_path: Path, said: Said, words: list[str], code: int, sentence: str
) -> None:
    asked = [f"images={few}", f"out={tmp_path}/bundle", "alpha=0.2", *SMALL_TRAINING]
    assert sentence in said("train", *asked, *words, code=code)


def test_a_training_of_another_plan_is_told_before_a_gpu_is_asked_for(few: Path, bundle: Path, said: Said) -> None:
    assert "holds a training of another plan" in said("train", f"images={few}", f"out={bundle}", "alpha=0.2", code=1)


@pytest.mark.parametrize(
    ("words", "code", "sentence"),
    [
        (["rule=fixed"], 2, "rule=fixed needs cut="),
        (["images=/nowhere"], 2, "images=/nowhere: there is no such file or folder"),
        (["alpha=0.001"], 1, "needs 999 held-out normal images"),
        (["bundle=/nowhere"], 2, "/nowhere is no bundle"),
    ],
)  # fmt: skip
def test_calibrate_refuses_what_is_wrong_before_it_asks_for_a_gpu(
    few: Path, bundle: Path, said: Said, words: list[str], code: int, sentence: str
) -> None:
    assert sentence in said("calibrate", f"images={few}", f"bundle={bundle}", *words, code=code)


def test_images_that_the_model_was_trained_on_are_told_before_a_gpu_is_asked_for(
    pictures: Path, bundle: Path, said: Said
) -> None:
    assert "were used to train the bundle" in said("calibrate", bundle, f"images={pictures}/good", code=1)


def test_retry_refuses_what_is_wrong_before_it_asks_for_a_gpu(tmp_path: Path, said: Said) -> None:
    assert "did you mean 'missing'?" in said("retry", tmp_path, "status=mising", code=2)
    assert "is no run" in said("retry", tmp_path, code=2)


def test_submit_refuses_at_the_submitter_what_settings_alone_can_say(tmp_path: Path, said: Said) -> None:
    """Before a job server is asked; whether images, bundle and storage are there, only the cluster can say."""
    address = ["--address", f"http://127.0.0.1:{free_port()}"]
    where = [f"images={tmp_path}", f"out={tmp_path}/run", f"bundle={tmp_path}"]
    for words, sentence in (
        (["score", *where, "worker=1"], "did you mean 'workers'?"),
        (["score", *where, "max_failed_by_status.gone=1"], "no image fails with the status 'gone'"),
        (["score", f"images={tmp_path}", "out=run"], "out=run of score is relative to this folder"),
        (["train", *where[:2], "rule=fixed"], "rule=fixed needs cut="),
        (["retry", f"run={tmp_path}", "status=gone"], "no image fails with the status 'gone'"),
    ):
        assert sentence in said("submit", *words, *address, code=2)
