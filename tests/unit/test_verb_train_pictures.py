"""Where the pictures of a training are: kept in memory or streamed, by arithmetic that is told; what is compared."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rayae import memory
from rayae.bundle import Bundle
from rayae.cli import main
from rayae.errors import ClusterError
from rayae.verbs import train_pictures
from rayae.verbs.train_pictures import Material, ToRead, sample
from tests.conftest import SMALL_TRAINING, write_pictures
from tests.unit.small_things import manifest_of

SMALL_MACHINE = "MemAvailable: 300 kB\n"


def train(images: Path, out: Path, *words: str) -> int:
    given = ["train", f"images={images}", f"out={out}", "placement=inline", "epochs=2", "rule=none"]
    return main([*given, *SMALL_TRAINING, *words])


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 pictures, of which one is empty, and one on the side `calibration` is one of those trained on again."""
    folder = write_pictures(tmp_path_factory.mktemp("images"), 40)
    (folder / "good" / "part0007.png").write_bytes(b"")
    shutil.copy(folder / "good" / "part0010.png", folder / "good" / "part0039.png")
    return folder


@pytest.fixture(scope="module")
def kept(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("kept") / "bundle"
    assert train(images, out, "pictures=memory", "max_failed_fraction=0.2") == 0
    return out


@pytest.fixture
def small_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "meminfo").write_text(SMALL_MACHINE)
    monkeypatch.setattr(memory, "MEMINFO", tmp_path / "meminfo")


def record_of(bundle: Path) -> dict[str, object]:
    """All that the bundle says of its making but for what was asked and what is measured by the clock."""
    training = dict(Bundle.open(str(bundle)).training)
    training.pop("settings")
    clock = ("images_per_second", "wait_seconds", "seconds")
    training["history"] = [{k: v for k, v in one.items() if k not in clock} for one in training["history"]]
    return training


def test_streamed_it_is_the_same_bundle_to_the_last_bit(images: Path, kept: Path, tmp_path: Path) -> None:
    assert train(images, tmp_path / "bundle", "pictures=stream", "max_failed_fraction=0.2") == 0
    assert Bundle.open(str(tmp_path / "bundle")).bundle_id == Bundle.open(str(kept)).bundle_id
    assert record_of(tmp_path / "bundle") == record_of(kept)
    one, other = (Bundle.open(str(path)).training_images() for path in (tmp_path / "bundle", kept))
    assert one == other


def test_a_training_goes_on_whichever_way_it_began(
    images: Path, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bundle" / "training").mkdir(parents=True)
    shutil.copy(kept / "training" / "plan.json", tmp_path / "bundle" / "training" / "plan.json")
    assert train(images, tmp_path / "bundle", "pictures=stream", "max_failed_fraction=0.2") == 0
    assert "going on with the training in" in capsys.readouterr().out


def test_what_fits_is_kept_and_the_arithmetic_told(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(images, tmp_path / "bundle", "max_failed_fraction=0.2") == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("reading ")]
    assert line.startswith("reading 32 images x 32 x 32 x 1 bytes = 0 MB, of ")
    assert line.endswith(" free for pictures in this process: kept in memory")


@pytest.mark.usefixtures("small_machine")
def test_what_does_not_fit_is_streamed(images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(images, tmp_path / "bundle", "max_failed_fraction=0.2") == 0
    assert (
        capsys.readouterr().out.count(
            "reading 32 images x 32 x 32 x 1 bytes = 0 MB, of 0 MB free for pictures in this process: streamed, "
            "decoded anew in each epoch\n"
        )
        == 1
    )


@pytest.mark.usefixtures("small_machine")
def test_what_was_to_be_kept_and_does_not_fit_is_refused_with_the_sum(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(images, tmp_path / "bundle", "pictures=memory") == 1
    assert capsys.readouterr().err == (
        "error: pictures=memory was asked for, and they do not fit: 32 images x 32 x 32 x 1 bytes = 0 MB, of 0 MB free "
        "for pictures in this process. Leave it out, so that they are streamed, or train on fewer or smaller images "
        "(`preprocess.height=`, `preprocess.width=`).\n"
    )


def test_an_image_lost_on_the_way_is_named(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    mine, of = Path(shutil.copytree(images, tmp_path / "mine")), train_pictures.usable

    def lose_all(*arguments: object) -> object:
        found = of(*arguments)  # type: ignore[arg-type]
        shutil.rmtree(mine / "good", ignore_errors=True)
        return found

    monkeypatch.setattr("rayae.verbs.train_fit.usable", lose_all)
    assert train(mine, tmp_path / "bundle", "pictures=stream", "max_failed_fraction=0.2") == 1
    (said,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    assert f"error: {mine}/good/part" in said
    assert " could be read when training began, and now it is missing: " in said


def test_flat_pictures_are_counted_with_an_example_and_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_pictures(tmp_path / "images", 30)
    for number in (4, 21):
        Image.new("L", (48, 48)).save(folder / "good" / f"part{number:04}.png")
    assert train(folder, tmp_path / "bundle") == 0
    assert [line for line in capsys.readouterr().err.splitlines() if "flat" in line] == [
        f"warning: 2 of 30 images are flat, all of one brightness and colour, as when a camera is covered; "
        f"{folder}/good/part0004.png is one. The training takes them for normal: unless they are, leave them out of "
        "`images=`, or label them as defects."
    ]
    assert Bundle.open(str(tmp_path / "bundle")).training_images().num_rows == 30


def test_without_a_flat_picture_nothing_is_said_of_them(
    images: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(images, tmp_path / "bundle", "max_failed_fraction=0.2") == 0
    assert "flat" not in capsys.readouterr().err


def material(count: int, held_out: int) -> Material:
    images = manifest_of([f"{number}.png" for number in range(count)])
    sides = np.array(
        ["train"] * (count - 2 * held_out) + ["validation"] * held_out + ["calibration"] * held_out, object
    )
    return Material(images, sides, images.slice(0, 0))


def test_of_large_sides_a_random_sample_is_compared_and_that_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_pictures, "MOST_COMPARED", 20)
    read = ToRead.of(material(100, 25), seed=0)
    compared = read.images["is_compared"].to_numpy()
    assert (read.train, read.validation, read.kept, read.images.num_rows) == (50, 25, 75, 95)
    assert [int(part.sum()) for part in np.split(compared, [50, 75])] == [20, 20, 20]
    assert capsys.readouterr().out.splitlines() == [
        f"near-duplicates are looked for among 20 of the {count} on side {side}"
        for count, side in ((50, "train"), (25, "validation"), (25, "calibration"))
    ]
    assert ToRead.of(material(100, 25), seed=0).images == read.images
    assert ToRead.of(material(100, 25), seed=1).images != read.images


def test_of_small_sides_every_picture_is_compared(capsys: pytest.CaptureFixture[str]) -> None:
    read = ToRead.of(material(40, 10), seed=0)
    assert read.images["is_compared"].to_pylist() == [True] * 40
    assert read.images["uri"].to_pylist() == [f"{number}.png" for number in range(40)]
    assert capsys.readouterr().out == ""


def test_a_sample_has_no_favourites() -> None:
    hits = np.mean([sample(100_000, seed)[:1000].mean() for seed in range(20)])
    assert hits == pytest.approx(0.2, abs=0.02)


@pytest.mark.parametrize("pictures", ["memory", "stream"])
def test_near_duplicates_are_found_either_way(images: Path, kept: Path, tmp_path: Path, pictures: str) -> None:
    out = kept if pictures == "memory" else tmp_path / "bundle"
    if pictures == "stream":
        assert train(images, out, "pictures=stream", "max_failed_fraction=0.2") == 0
    (leaking,) = [one for one in Bundle.open(str(out)).training["verdicts"] if one["name"] == "leaking"]
    assert f"{images}/good/part0039.png and {images}/good/part0010.png" in leaking["sentence"]
    assert leaking["sentence"].startswith("1 of 8 images of the side `calibration` ")


def test_a_look_for_near_duplicates_that_fails_does_so_before_anything_is_trained(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ClusterError("the pictures are lost.")

    monkeypatch.setattr("rayae.verbs.train_fit.twins", fail)
    assert train(images, tmp_path / "bundle", "max_failed_fraction=0.2") == 1
    assert not list(tmp_path.rglob("checkpoint.pt"))
