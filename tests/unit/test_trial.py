"""The last step of a training: what scores are measured by, and which of them finds synthetic defects."""

from dataclasses import asdict

import numpy as np
import pytest
import torch
from sklearn.covariance import LedoitWolf
from sklearn.metrics import roc_auc_score
from torch import nn

from rayae import detector, trial
from rayae.defects import damage
from rayae.detector import Detector
from rayae.errors import TrainingError
from rayae.networks import weights
from rayae.networks.custom import CustomNetwork
from rayae.networks.reconstructed import Reconstructed
from rayae.pixels import as_images
from rayae.results import PIXEL_STATISTICS
from rayae.score_names import SCORE_NAMES
from rayae.scorer import Scorer
from rayae.scores import COMBINED, NEAREST_SCORES, PICTURE_SCORES, Gaussian, Standard
from rayae.tasks import with_neighbours
from rayae.trial import ROUNDS, TO_COMBINE, Trial, rounded_off, standard_of, try_out
from tests.unit.small_things import DETECTOR, NETWORK, SIDE, pictures

TRAIN, HELD_OUT = pictures(40), pictures(16, seed=1)
REPAIR = DETECTOR | {"task": "repair", "head": {"channels": 1, "base_width": 8}}


def around(network, spec=DETECTOR):
    return Detector(CustomNetwork(network, "tests:Network"), spec, 1, SIDE, SIDE)


def tried(model, train=TRAIN, held_out=HELD_OUT, batch=8, seed=0):
    return try_out(
        model, train, held_out, batch=batch, precision="float32", generator=torch.Generator().manual_seed(seed)
    )


@pytest.fixture(scope="module")
def whole():
    """A detector with a head and random weights, and its trial."""
    torch.manual_seed(0)
    model = detector.build(NETWORK, REPAIR)
    return model, tried(model)


class Given(nn.Module):
    """What a function makes of pictures; and a weight, since a network has some."""

    def __init__(self, make):
        super().__init__()
        self.make, self.weight = make, nn.Parameter(torch.zeros(1))

    def forward(self, images):
        return self.make(images)


def means_of_quarters(images):
    return nn.functional.avg_pool2d(images, SIDE // 2).flatten(1)


def test_all_that_the_detector_can_measure_is_tried(whole):
    model, found = whole
    assert set(found.auroc) == set(SCORE_NAMES) == set(model.score_names())
    assert found.images == len(HELD_OUT)
    assert all(0 <= area <= 1 for area in found.auroc.values())


def test_the_standard_combines_one_score_of_each_family(whole):
    assert whole[0].standard.names == TO_COMBINE


def test_the_gaussian_is_that_of_the_latents_of_the_pictures_trained_on():
    model = around(Given(lambda images: Reconstructed(images * 0.9, means_of_quarters(images))))
    tried(model)
    latents = means_of_quarters(as_images(torch.from_numpy(TRAIN))).double().numpy()
    reference = LedoitWolf().fit(latents)
    np.testing.assert_allclose(model.gaussian.mean, latents.mean(0), rtol=1e-5)
    held_out = means_of_quarters(as_images(torch.from_numpy(HELD_OUT)))
    np.testing.assert_allclose(model.gaussian(held_out), reference.mahalanobis(held_out.double()) ** 0.5, rtol=1e-3)


def test_the_codes_are_those_of_the_pictures_trained_on():
    model = around(Given(lambda images: images * 0.9))
    tried(model)
    assert model.spec()["nearest"] == len(model.nearest.codes) == len(TRAIN)
    for pixels, is_known in ((TRAIN, True), (HELD_OUT, False)):
        images = as_images(torch.from_numpy(pixels))
        distances = model.measure(images, model.look(images), NEAREST_SCORES)["nearest_distance"]
        assert ((distances == 0) == is_known).all()


def test_no_more_codes_are_kept_than_the_limit(monkeypatch):
    monkeypatch.setattr(trial, "MOST_IMAGES", 30)
    model = around(Given(lambda images: images * 0.9))
    tried(model)
    first = as_images(torch.from_numpy(TRAIN[:30]))
    assert torch.equal(model.nearest.codes, model.nearest.coded(first))


def test_the_standard_is_that_of_the_held_out_pictures(whole):
    model, _ = whole
    images = as_images(torch.from_numpy(HELD_OUT))
    with torch.inference_mode():
        scores = model.measure(images, model.look(images), model.standard.names)
    wanted = Standard.fit({name: values.numpy() for name, values in scores.items()}, model.standard.names)
    np.testing.assert_allclose(model.standard.centre, wanted.centre, rtol=1e-4)
    np.testing.assert_allclose(model.standard.spread, wanted.spread, rtol=1e-3)


def scores(**changed):
    random = np.random.default_rng(0)
    names = (*TO_COMBINE, "mse")
    return {name: np.float32(random.uniform(1, 2, 20)) for name in names} | changed


def test_a_score_that_is_constant_is_left_out_of_the_standard():
    for name in trial.TO_COMBINE:
        rest = tuple(other for other in trial.TO_COMBINE if other != name)
        constant = np.full(20, 0.5, np.float32)
        mostly = np.where(np.arange(20) < 12, constant, np.float32(0.7))
        assert standard_of(scores(**{name: constant})).names == rest
        assert standard_of(scores(**{name: mostly})).names == rest


def test_a_score_that_is_not_measured_is_left_out_of_the_standard():
    found = scores()
    del found[TO_COMBINE[1]]
    assert standard_of(found) == Standard.fit(found, (TO_COMBINE[0], *TO_COMBINE[2:]))


def test_one_score_alone_is_not_combined():
    constant = dict.fromkeys(TO_COMBINE[1:], np.ones(20, np.float32))
    assert standard_of(scores(**constant)) is None
    assert standard_of({"mse": scores()["mse"]}) is None
    assert standard_of({name: values[:0] for name, values in scores().items()}) is None


@pytest.mark.parametrize("latent", [None, lambda images: torch.ones(len(images), 3)], ids=["none", "always the same"])
def test_without_a_latent_that_varies_there_is_no_distance(latent):
    model = around(Given(lambda images: Reconstructed(images * 0.9, latent and latent(images))))
    found = tried(model)
    assert model.gaussian is None
    assert "latent_distance" not in found.auroc
    assert set(found.auroc) == set(model.score_names())


def test_of_pictures_that_are_all_the_same_there_are_no_components():
    alike = np.repeat(HELD_OUT[:1], 16, axis=0)
    model = around(Given(lambda images: images * 0.9))
    assert set(tried(model, alike, alike).auroc) == {*PICTURE_SCORES, *NEAREST_SCORES}
    assert (model.components, model.standard) == (None, None)


@pytest.mark.parametrize("batch", [8, 1])
def test_an_auroc_is_that_of_the_pictures_as_they_are_against_the_same_with_defects(batch):
    model = around(Given(lambda images: torch.full_like(images, 0.5)))
    found = tried(model, batch=batch, seed=5)
    generator, clean = torch.Generator().manual_seed(5), as_images(torch.from_numpy(HELD_OUT))
    damaged = [
        damage(some, generator, share=1.0, neighbours=neighbours).pictures
        for _ in range(ROUNDS)
        for some, neighbours in with_neighbours(clean.split(batch))
    ]  # in the batches of the trial
    each = [(0.5 - some).double().square().mean((1, 2, 3)).numpy() for some in (clean, *damaged)]
    truth = np.repeat([0, 1], [len(HELD_OUT), ROUNDS * len(HELD_OUT)])
    assert found.auroc["mse"] == pytest.approx(roc_auc_score(truth, np.concatenate(each)), abs=1e-3)


def test_in_a_region_the_defects_are_inside_of_pictures_of_which_nothing_else_is_seen():
    model = around(Given(lambda images: torch.full_like(images, 0.5)), DETECTOR | {"region": True})
    region = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    region[8:20, 12:28] = 255
    model.look_at(region)
    found = tried(model, seed=5)
    generator = torch.Generator().manual_seed(5)
    clean, weights = model.masked(as_images(torch.from_numpy(HELD_OUT))), region / 255
    damaged = [
        damage(some, generator, share=1.0, where=weights).pictures for _ in range(ROUNDS) for some in clean.split(8)
    ]
    inside = (slice(None), slice(None), slice(8, 20), slice(12, 28))
    each = [(0.5 - some[inside]).double().square().mean((1, 2, 3)).numpy() for some in (clean, *damaged)]
    truth = np.repeat([0, 1], [len(HELD_OUT), ROUNDS * len(HELD_OUT)])
    assert found.auroc["mse"] == pytest.approx(roc_auc_score(truth, np.concatenate(each)), abs=1e-3)


def test_a_network_that_repairs_finds_defects_and_one_that_copies_does_not():
    base = torch.from_numpy(HELD_OUT[:1].astype(np.float32)).permute(0, 3, 1, 2) / 255
    alike = np.repeat(HELD_OUT[:1], 16, axis=0)
    noisy = np.uint8(np.clip(alike + np.random.default_rng(0).normal(0, 1, alike.shape), 0, 255))
    repairs = tried(around(Given(base.expand_as)), noisy, noisy)
    copies = tried(around(Given(lambda images: images + 0)), noisy, noisy)
    assert repairs.auroc["mse_worst1"] > 0.95
    assert {area for name, area in copies.auroc.items() if name in PICTURE_SCORES} == {0.5}


def test_what_the_reconstructions_keep_of_the_variance_is_told():
    half = tried(around(Given(lambda images: 0.25 + images / 2)))
    given = TRAIN.reshape(len(TRAIN), -1) / 255
    assert half.variance_kept == pytest.approx(0.25, rel=1e-4)
    error = np.square(given - (0.25 + given / 2)).mean(0).sum()
    assert half.variance_explained == pytest.approx(1 - error / given.var(0).sum(), rel=1e-4)


def test_in_a_region_it_is_the_variance_inside_that_counts():
    """Of a network that copies what is inside, and gives noise around it."""
    region = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    region[8:24, 8:24] = 255
    noise = torch.rand(1, 1, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    network = Given(lambda images: torch.where(region > 0, images, noise * 5))
    model = around(network, DETECTOR | {"region": True})
    model.look_at(region)
    found = tried(model)
    assert found.variance_kept == pytest.approx(1)
    assert found.variance_explained == pytest.approx(1)


def test_the_trial_does_not_depend_on_the_batch_but_for_its_defects():
    torch.manual_seed(0)
    first, second = (detector.build(NETWORK, DETECTOR) for _ in range(2))
    second.load_state_dict(first.state_dict())
    whole, parts = tried(first, batch=16), tried(second, batch=5)
    assert (whole.images, parts.images) == (16, 16)
    np.testing.assert_allclose(second.gaussian.mean, first.gaussian.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(second.standard.centre, first.standard.centre, rtol=1e-3)
    assert parts.variance_explained == pytest.approx(whole.variance_explained, abs=1e-4)


def test_the_same_seed_gives_the_same_trial(whole):
    model, found = whole
    assert tried(model) == found
    assert tried(model, seed=1).auroc != found.auroc


def test_a_score_that_is_no_number_ends_the_training_instead_of_being_ranked():
    model = around(Given(lambda images: torch.where(images.mean((1, 2, 3), keepdim=True) > 0.5, torch.inf, images)))
    bright = int((HELD_OUT.mean((1, 2, 3)) > 127.5).sum())
    assert 0 < bright < len(HELD_OUT)
    sentence = (
        rf"^the score mse is no number for {bright} of 16 held-out pictures: training diverged\. Lower "
        r"`optimizer\.learning_rate` or try `precision=float32`, with a new `out=`\.$"
    )
    with pytest.raises(TrainingError, match=sentence):
        tried(model)


def test_it_is_kept_in_json_values(whole):
    assert Trial(**asdict(whole[1])) == whole[1]
    assert all(type(area) is float for area in whole[1].auroc.values())


def test_the_best_is_the_combined_score_or_the_first_of_its_parts_or_the_one_that_finds_most():
    assert Trial({"mse": 0.7, "head_max": 0.9, COMBINED: 0.8}, 5, None, None).best == COMBINED
    assert Trial({"mse": 0.7, "place_mean": 0.6, "gradient_mean": 0.9}, 5, None, None).best == "place_mean"
    assert Trial({"mse": 0.7, "head_max": 0.9}, 5, None, None).best == "head_max"
    assert Trial({"mse": 0.9, "mae": 0.9}, 5, None, None).best == "mse"


def test_it_says_what_a_score_reached():
    found = Trial({"mse": 0.7, "head_max": 0.91234, COMBINED: 0.8}, 1234, None, None)
    assert found.reason("head_max") == (
        "which ranks synthetic defects above 1,234 held-out normal images with an AUROC of 0.912"
    )


def test_a_detector_that_was_tried_measures_after_it_was_saved_what_it_measured_before(whole):
    model, images = whole[0], as_images(torch.from_numpy(HELD_OUT))
    again = detector.load(NETWORK, model.spec(), weights.save(model)).eval()
    with torch.inference_mode():
        before, after = (one.measure(images, one.look(images), one.score_names()) for one in (model, again))
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert isinstance(again.gaussian, Gaussian)


def test_bf16_that_moves_scores_is_measured_in_their_own_spread():
    dim = torch.full((1, 1, 1, 1), 0.3)
    model = around(Given(lambda images: nn.functional.conv2d(images, dim).float()))
    tried(model)
    exact, rough = (
        Scorer(model, ("mse", *PIXEL_STATISTICS), torch.device("cpu"), precision, 8).score(HELD_OUT)[0]["mse"]
        for precision in ("float32", "bf16")
    )
    expected = np.quantile(np.abs(exact - rough), 0.95) / (1.4826 * np.median(np.abs(exact - np.median(exact))))
    off = rounded_off(model, HELD_OUT, batch=8, generator=torch.Generator().manual_seed(0))
    assert off["mse"] == pytest.approx(expected, rel=1e-3)
    assert off["mse"] > 1e-4
    assert off["texture_worst1"] == 0
