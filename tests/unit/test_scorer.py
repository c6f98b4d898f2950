"""The model at work: shapes, blame for single images, memory that runs out."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from rayae import detector
from rayae.errors import BundleError
from rayae.micro_batch import default_micro_batch, is_out_of_memory
from rayae.networks import weights
from rayae.results import PIXEL_STATISTICS
from rayae.scorer import Scorer, refuse_unloadable
from rayae.scores import COMBINED, PICTURE_SCORES, SCORE_NAMES
from rayae.trial import try_out
from tests.unit.small_things import DETECTOR, NETWORK, detector_around, pictures, small_bundle

MARK = 255
IS_INSIDE = np.arange(32 * 32).reshape(32, 32) < 16 * 32
NOT_FINITE = "The network gave a score that is not a finite number for this picture."


def scorer_of(network, micro_batch=8, names=(*PICTURE_SCORES, *PIXEL_STATISTICS)):
    return Scorer(detector_around(network), names, torch.device("cpu"), "float32", micro_batch)


def whole_bundle(folder, task="repair"):
    """A bundle of a detector with random weights, a head, statistics and a region, the upper half."""
    torch.manual_seed(0)
    head = {"channels": 1, "base_width": 8}
    model = detector.build(NETWORK, DETECTOR | {"task": task, "head": head, "region": True})
    model.look_at(torch.from_numpy(np.uint8(255 * IS_INSIDE)))
    generator = torch.Generator().manual_seed(0)
    try_out(model, pictures(20, 1), pictures(10, 2), batch=8, precision="float32", generator=generator)
    names = model.score_names()
    assert names == SCORE_NAMES
    return small_bundle(folder, weights=weights.save(model), detector=model.spec(), scores=names)


def marked(count, *rows):
    """Grey pictures, those of `rows` with a corner of 255."""
    pixels = np.full((count, 32, 32, 1), 100, np.uint8)
    pixels[list(rows), 0, 0] = MARK
    return pixels


def is_marked(images):
    return images[:, 0, 0, 0] == 1


class Same(nn.Module):
    """Gives the pictures that it takes, and keeps count of them."""

    def __init__(self):
        super().__init__()
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        return images


class FailsOnMarked(Same):
    def forward(self, images):
        super().forward(images)
        if is_marked(images).any():
            raise RuntimeError("the weather is bad.\nand more of it")
        return images + 0.1


class NanOnMarked(Same):
    def forward(self, images):
        return torch.where(is_marked(images)[:, None, None, None], torch.nan, super().forward(images))


class HoldsOnly(Same):
    """Runs out of memory above so many pictures, as a GPU does."""

    def __init__(self, most, error=torch.OutOfMemoryError):
        super().__init__()
        self.most, self.error = most, error

    def forward(self, images):
        if len(super().forward(images)) > self.most:
            raise self.error("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return images


def test_an_error_known_by_hand():
    class Brighter(nn.Module):
        def forward(self, images):
            return images + 0.25

    scores, blamed = scorer_of(Brighter()).score(marked(3))
    assert blamed == {}
    np.testing.assert_allclose(scores["mse"], 0.0625, rtol=1e-5)
    np.testing.assert_allclose(scores["mae"], 0.25, rtol=1e-5)
    np.testing.assert_allclose(scores["mse_worst1"], 0.0625, rtol=1e-5)


def test_scores_are_of_pixels_between_zero_and_one_and_are_not_clamped():
    class Far(nn.Module):
        def forward(self, images):
            assert images.min() == 0
            assert images.max() == 1
            return torch.full_like(images, 4.0)

    pixels = np.zeros((1, 32, 32, 1), np.uint8)
    pixels[0, 0, 0] = 255
    assert scorer_of(Far()).score(pixels)[0]["mse"][0] == pytest.approx((1023 * 16 + 9) / 1024)


@pytest.mark.parametrize("rows", [(0,), (9,), (4, 5), (0, 7, 8, 19), tuple(range(20))], ids=str)
def test_a_picture_on_which_the_network_fails_is_blamed_and_no_other(rows):
    scores, blamed = scorer_of(FailsOnMarked()).score(marked(20, *rows))
    assert blamed == dict.fromkeys(rows, "The network failed on this picture: the weather is bad.")
    for values in scores.values():
        assert np.isnan(values).nonzero()[0].tolist() == list(rows)


def test_a_batch_is_split_and_not_done_one_by_one():
    network = FailsOnMarked()
    scorer_of(network, micro_batch=64).score(marked(64, 40))
    assert len(network.batches) == 13  # 64, then twice each of 32, 16, 8, 4, 2, 1


def test_blame_does_not_shrink_the_micro_batch():
    scorer = scorer_of(FailsOnMarked())
    scorer.score(marked(16, 3))
    assert scorer.micro_batch == 8


def test_pictures_that_become_nan_are_blamed_and_keep_no_score():
    scores, blamed = scorer_of(NanOnMarked()).score(marked(12, 2, 11))
    assert blamed == {2: NOT_FINITE, 11: NOT_FINITE}
    assert all(np.isnan(values).nonzero()[0].tolist() == [2, 11] for values in scores.values())


def test_a_picture_with_one_score_that_is_infinite_keeps_none():
    class Huge(nn.Module):
        def forward(self, images):
            return torch.where(is_marked(images)[:, None, None, None], 1e30, images)  # its mae is finite

    scores, blamed = scorer_of(Huge()).score(marked(3, 1))
    assert blamed == {1: NOT_FINITE}
    assert np.isnan(scores["mae"]).tolist() == [False, True, False]


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, RuntimeError])
def test_memory_that_runs_out_halves_the_micro_batch_for_good(error):
    network = HoldsOnly(3, error)
    scorer = scorer_of(network, micro_batch=16)
    scores, blamed = scorer.score(marked(20))
    assert blamed == {}
    assert scorer.micro_batch == 2
    assert network.batches == [16, 8, 4, *[2] * 10]
    assert all((scores[name] == 0).all() for name in PICTURE_SCORES)
    network.batches.clear()
    scorer.score(marked(5))
    assert network.batches == [2, 2, 2]  # the last of them is filled up


def test_a_single_picture_that_does_not_fit_is_blamed():
    scorer = scorer_of(HoldsOnly(0))
    _, blamed = scorer.score(marked(3))
    words = "The network failed on this picture: CUDA out of memory. Tried to allocate 2.00 GiB."
    assert blamed == dict.fromkeys(range(3), words)
    assert scorer.micro_batch == 1


def test_memory_of_the_cpu_that_runs_out_is_known():
    with pytest.raises(RuntimeError) as refused:
        torch.empty(2**55)
    assert is_out_of_memory(refused.value)


def test_a_lost_device_is_raised_and_no_picture_is_blamed():
    class Lost(nn.Module):
        def forward(self, images):
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

    with pytest.raises(RuntimeError, match="illegal memory access"):
        scorer_of(Lost()).score(marked(2))


def test_a_bug_is_not_blamed_on_pictures():
    class Bug(nn.Module):
        def forward(self, images):
            raise AttributeError("no such thing")

    with pytest.raises(AttributeError):
        scorer_of(Bug()).score(marked(2))


def test_an_error_without_words_is_named():
    class Silent(nn.Module):
        def forward(self, images):
            raise NotImplementedError

    _, blamed = scorer_of(Silent()).score(marked(1))
    assert blamed == {0: "The network failed on this picture: NotImplementedError."}


@pytest.mark.parametrize("channels", [1, 3])
def test_no_pictures_give_no_scores(channels):
    scores, blamed = scorer_of(Same()).score(np.empty((0, 32, 32, channels), np.uint8))
    assert blamed == {}
    assert all(values.shape == (0,) and values.dtype == np.float32 for values in scores.values())
    made, maps = scorer_of(Same()).reconstruct(np.empty((0, 32, 48, channels), np.uint8))
    assert (made.shape, made.dtype) == ((0, 32, 48, channels), np.uint8)
    assert (maps.shape, maps.dtype) == ((0, 32, 48), np.float32)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_perfect_network_reconstructs_the_same_pixels(channels):
    pixels = pictures(7, channels=channels)
    made, maps = scorer_of(Same(), micro_batch=3).reconstruct(pixels)
    np.testing.assert_array_equal(made, pixels)
    assert maps.shape == (7, 32, 32)
    assert not maps.any()


def test_reconstructed_pixels_do_not_wrap_around():
    class Beyond(nn.Module):
        def forward(self, images):
            return images * 4 - 1

    made, _ = scorer_of(Beyond()).reconstruct(np.uint8([[[[0], [255]] * 16] * 32]))
    assert set(made.ravel()) == {0, 255}


def test_pixels_that_cannot_be_written_to_are_taken_without_a_warning():
    pixels = pictures(2)
    pixels.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for given in (pixels[:, ::-1], pixels):
            scores, blamed = scorer_of(Same()).score(given)
            assert not blamed
            assert scores["mse"].tolist() == [0.0, 0.0]


def test_scores_do_not_depend_on_the_micro_batch(tmp_path):
    bundle, pixels = small_bundle(tmp_path / "bundle"), pictures(23)
    whole, _ = Scorer.open(bundle, 32).score(pixels)
    for micro_batch in (1, 2, 7):
        parts, _ = Scorer.open(bundle, micro_batch).score(pixels)
        assert list(parts) == [*PICTURE_SCORES, *PIXEL_STATISTICS]
        for name, values in parts.items():
            np.testing.assert_allclose(values, whole[name], atol=1e-6, rtol=0)


@pytest.mark.parametrize("task", ["inpaint", "repair"])
def test_all_scores_of_a_whole_detector_do_not_depend_on_the_micro_batch(tmp_path, task):
    bundle, pixels = whole_bundle(tmp_path / "bundle", task), pictures(9)
    whole, blamed = Scorer.open(bundle, 9).score(pixels)
    assert blamed == {}
    for micro_batch in (1, 4):
        parts, _ = Scorer.open(bundle, micro_batch).score(pixels)
        assert list(parts) == [*bundle.scores, *PIXEL_STATISTICS]
        for name, values in parts.items():
            slack = 1e-4 if name == COMBINED else 1e-5  # what is divided by the small spread of random weights
            np.testing.assert_allclose(values, whole[name], atol=slack, rtol=slack)


def test_what_lies_outside_the_region_is_no_error_of_a_picture(tmp_path):
    bundle, pixels = whole_bundle(tmp_path / "bundle"), pictures(3)
    scorer = Scorer.open(bundle)
    assert scorer.detector.region is not None
    made, maps = scorer.reconstruct(pixels)
    assert not maps[:, ~IS_INSIDE].any()
    assert (maps[:, IS_INSIDE] > 0).all()
    assert made.shape == pixels.shape


def test_the_scores_of_the_bundle_are_measured_and_then_its_pixels(tmp_path):
    bundle = small_bundle(tmp_path / "bundle", scores=("mae", "mse"))
    scores, _ = Scorer.open(bundle).score(pictures(2))
    assert list(scores) == ["mae", "mse", "pixel_mean", "pixel_std", "pixel_p01", "pixel_sharpness"]


def test_what_needs_no_model_is_that_of_the_pixels_and_not_of_the_reconstruction():
    class Nothing(nn.Module):
        def forward(self, images):
            return images * 0

    pixels = pictures(9, channels=3)
    pixels.flags.writeable = False
    found, _ = scorer_of(Nothing(), micro_batch=4).score(pixels)
    np.testing.assert_allclose(found["pixel_mean"], pixels.mean((1, 2, 3)) / 255, rtol=1e-6)
    np.testing.assert_allclose(found["pixel_std"], pixels.std((1, 2, 3)) / 255, rtol=1e-5)
    first_percentile = np.percentile(pixels.reshape(9, -1), 1, axis=1, method="inverted_cdf")
    np.testing.assert_array_equal(found["pixel_p01"], np.float32(first_percentile) / np.float32(255))


def test_what_needs_no_model_is_of_the_whole_picture_whatever_the_region(tmp_path):
    pixels = pictures(3)
    found, _ = Scorer.open(whole_bundle(tmp_path)).score(pixels)
    np.testing.assert_allclose(found["pixel_mean"], pixels.mean((1, 2, 3)) / 255, rtol=1e-6)
    assert (np.abs(found["pixel_mean"] - pixels[:, IS_INSIDE].mean((1, 2)) / 255) > 1e-3).all()


def test_bf16_is_near_float32(tmp_path):
    exact, _ = Scorer.open(small_bundle(tmp_path / "a")).score(pictures(4))
    rough, _ = Scorer.open(small_bundle(tmp_path / "b", precision="bf16")).score(pictures(4))
    for name in PICTURE_SCORES:
        np.testing.assert_allclose(rough[name], exact[name], rtol=0.05)
    for name in PIXEL_STATISTICS:
        np.testing.assert_array_equal(rough[name], exact[name])
    assert not np.array_equal(rough["mse"], exact["mse"])


@pytest.mark.parametrize(("key", "value"), [("channels", 3), ("height", 64), ("width", 48)])
def test_a_network_for_other_pictures_than_the_preprocess_gives_is_refused(tmp_path, key, value):
    bundle = small_bundle(tmp_path / "bundle", network=NETWORK | {key: value})
    given = {"channels": 1, "height": 32, "width": 32}
    words = f"{bundle.uri}: the network takes {given | {key: value}}, and the preprocess of the bundle gives {given}."
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        Scorer.open(bundle)


def test_a_score_that_this_version_cannot_measure_is_refused(tmp_path):
    bundle = small_bundle(tmp_path / "bundle", scores=("mse", "lpips"))
    words = f"{bundle.uri} has the score 'lpips'; its detector can measure {', '.join(PICTURE_SCORES)}."
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        Scorer.open(bundle)


def test_a_network_that_is_larger_than_the_memory_is_a_sentence(tmp_path):
    bundle = small_bundle(tmp_path / "bundle", network=NETWORK | {"base_width": 8 * 10**6})
    with pytest.raises(BundleError, match=r"^\S+: the network cannot be built: .*\.$"):
        refuse_unloadable(bundle)


@pytest.mark.parametrize(
    "changed", [{"task": "paint"}, {"author": "me"}, {"latent": 5}, {"standard": {"names": ["mse"]}}], ids=str
)
def test_a_detector_that_cannot_be_built_is_refused_before_a_device_is_asked_for(tmp_path, changed):
    bundle = small_bundle(tmp_path / "bundle", detector=DETECTOR | changed)
    for refuse in (refuse_unloadable, Scorer.open):
        with pytest.raises(BundleError, match=rf"^{re.escape(bundle.uri)}: the (detector|weights) .*\.$"):
            refuse(bundle)


@pytest.mark.parametrize(
    ("device", "side", "images"),
    [("cpu", 32, 32), ("cpu", 256, 32), ("cpu", 512, 8), ("cpu", 4096, 1), ("cuda", 256, 256), ("cuda", 1024, 16)],
)
def test_fewer_large_pictures_go_through_the_network_at_once(device, side, images):
    assert default_micro_batch(torch.device(device), side * side) == images
