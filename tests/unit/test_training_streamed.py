"""The epoch loop over streamed pictures: the same to the last bit as over pictures in memory."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch

from rayae.batches import Streamed
from rayae.errors import PictureLost
from rayae.loader import Loader
from rayae.reader import NEVER, Reader
from rayae.training import fit
from tests.unit.small_things import DETECTOR, GREY, manifest_of, save_pictures
from tests.unit.test_training import HELD_OUT, PLAN, TRAIN, UNET, losses

PLANS = {
    "copy": PLAN,
    "repair": replace(
        PLAN,
        epochs=2,
        network=UNET,
        batch_size=7,
        detector=DETECTOR | {"task": "repair", "head": {"channels": 1, "base_width": 8}},
    ),
}


@pytest.fixture
def sides(tmp_path):
    """The pictures of TRAIN and HELD_OUT, streamed."""
    rows = (
        manifest_of(save_pictures(tmp_path / "train", 24)),
        manifest_of(save_pictures(tmp_path / "held", 6, seed=1)),
    )
    return [Streamed(one, Loader(Reader(), GREY, threads=2)) for one in rows]


def train(a_plan, train, held_out, **more):
    return fit(a_plan, train, held_out, device=torch.device("cpu"), **more)


@pytest.mark.parametrize("task", PLANS)
def test_streamed_pictures_teach_the_same_to_the_last_bit(sides, task):
    held, streamed = train(PLANS[task], TRAIN, HELD_OUT), train(PLANS[task], *sides)
    assert losses(streamed) == losses(held)
    assert streamed.best == held.best
    assert streamed.outcome == held.outcome


def test_samples_and_checkpoints_are_the_same(sides):
    seen = []
    for pictures_of_sides in ((TRAIN, HELD_OUT), sides):
        kept = []
        train(
            replace(PLAN, epochs=1),
            *pictures_of_sides,
            after_epoch=lambda told, kept=kept: kept.append((told.make_checkpoint(), told.make_samples())),
        )
        seen.append(kept[0])
    (checkpoint, samples), (streamed, others) = seen
    for one, other in zip(samples, others, strict=True):
        np.testing.assert_array_equal(one.pixels, other.pixels)
        np.testing.assert_array_equal(one.error_map, other.error_map)
    again = train(PLAN, *sides, checkpoint=checkpoint)
    assert again.outcome == train(PLAN, TRAIN, HELD_OUT, checkpoint=streamed).outcome


class SlowReader(Reader):
    def read(self, image, stop=NEVER):
        time.sleep(0.02)
        return super().read(image, stop)


def test_the_wait_for_pictures_is_told(sides):
    slow = [replace(side, loader=Loader(SlowReader(), GREY, threads=1)) for side in sides]
    (epoch,) = train(replace(PLAN, epochs=1), *slow).history
    assert 0.02 * PLAN.batch_size <= epoch.wait_seconds + 0.01 <= epoch.seconds + 0.02  # rounded; at least the first


def test_a_picture_that_disappears_between_epochs_ends_the_training_with_its_name(sides, tmp_path):
    lost = tmp_path / "train" / "007.png"

    def lose(told):
        if len(told.history) == 2:
            lost.unlink()

    with pytest.raises(PictureLost, match=rf"^{lost} could be read when training began, and now it is missing: "):
        train(PLAN, *sides, after_epoch=lose)
