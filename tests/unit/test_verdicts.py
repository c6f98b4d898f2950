"""What a training's figures mean: each verdict fires above its bound, not at it, and says what to do."""

import pytest

from rayae.verdicts import (
    Figures,
    Twins,
    Variety,
    collapsed,
    error_ratio,
    judge,
    leaking,
    overfit,
    under_trained,
)

GOOD = Variety(0.8, 0.75)
STEADY = [1.0, 0.5, 0.4, 0.4, 0.4]


def figures(**changed):
    parts = {
        "train_error": 0.010,
        "held_out_error": 0.011,
        "held_out_losses": STEADY,
        "planned_epochs": 5,
        "first_train_loss": 2.0,
        "variety": GOOD,
        "twins": [Twins("validation", 100, [])],
    }
    return Figures(**parts | changed)


def names(**changed):
    return [verdict.name for verdict in judge(figures(**changed))]


def test_a_training_with_nothing_wrong_is_fine_and_says_its_figures():
    (verdict,) = judge(figures())
    assert (verdict.name, verdict.figure) == ("fine", pytest.approx(1.1))
    assert verdict.sentence == (
        "Nothing speaks against this training. The error of held-out images is 1.10 times that of the training "
        "images. The reconstructions explain 75 % of the variance of the training images."
    )


def test_what_has_no_figure_is_fine_without_it():
    (verdict,) = judge(figures(train_error=0.0, variety=Variety(None, None)))
    assert (verdict.name, verdict.figure) == ("fine", None)
    assert verdict.sentence == "Nothing speaks against this training."


def test_all_that_is_wrong_is_told_in_the_order_of_mending():
    twins = [Twins("validation", 4, []), Twins("calibration", 4, [("a", "b")])]
    found = names(twins=twins, variety=Variety(0.01, 0.0), held_out_error=0.02, held_out_losses=[5, 4, 3, 2, 1])
    assert found == ["leaking", "collapsed", "overfit", "under_trained"]


@pytest.mark.parametrize(("held_out", "overfits"), [(0.8, False), (1.25, False), (1.26, True), (3.0, True)])
def test_it_overfits_above_a_ratio_of_one_and_a_quarter(held_out, overfits):
    verdict = overfit(1.0, held_out)
    assert (verdict is not None) == overfits
    assert verdict is None or verdict.figure == held_out


def test_the_words_of_overfit_say_how_far_and_what_to_do():
    assert overfit(0.01, 0.015).sentence == (
        "The error of held-out images is 1.50 times that of the training images (up to 1.25 is usual), so the network "
        "memorised some of its images: train on more images, raise `optimizer.weight_decay`, or make the network "
        "smaller (`network.base_width`, and `network.latent` where it has one)."
    )
    assert "so the network memorised its images:" in overfit(0.01, 0.02).sentence


@pytest.mark.parametrize(("train", "held_out"), [(None, 1.0), (1.0, None), (0.0, 1.0)])
def test_a_ratio_needs_both_errors(train, held_out):
    assert error_ratio(train, held_out) is None


def test_a_network_that_always_gives_the_mean_picture_has_collapsed():
    verdict = collapsed(Variety(1e-9, 0.0))
    assert (verdict.name, verdict.figure) == ("collapsed", 1e-9)
    assert verdict.sentence == (
        "The reconstructions of different training images are all alike: they have 0.0 % of the variance of "
        "the images, so their errors say nothing of the single image; lower `optimizer.learning_rate`, train longer, "
        "or make the network larger (`network.base_width`, and `network.latent` where it has one)."
    )


def test_reconstructions_that_vary_but_err_more_than_the_mean_picture_have_collapsed():
    verdict = collapsed(Variety(0.98, -1.02))
    assert (verdict.name, verdict.figure) == ("collapsed", -1.02)
    assert verdict.sentence == (
        "The reconstructions of training images are no better than their mean: their squared error is 2.02 times "
        "what it has; lower `optimizer.learning_rate`, train longer, or make the network larger (`network.base_width`, "
        "and `network.latent` where it has one)."
    )


def test_the_bounds_of_collapse_are_no_collapse():
    assert collapsed(Variety(0.05, 0.001)) is None
    assert collapsed(Variety(0.0499, 0.001)).name == "collapsed"
    assert collapsed(Variety(0.9, 0.0)).name == "collapsed"


def test_pictures_that_are_all_alike_give_no_verdict_on_variety():
    assert collapsed(Variety(None, None)) is None


def test_a_loss_that_still_falls_at_the_last_epoch_is_under_trained():
    losses = [1 / epoch for epoch in range(1, 21)]
    verdict = under_trained(losses, 20, 2.0)
    assert (verdict.name, verdict.figure) == ("under_trained", pytest.approx(1 - 16 / 20))
    assert verdict.sentence == (
        "The held-out loss was still falling: by 20 % over the last 4 of 20 epochs; train longer, with `epochs=40` "
        "and a new `out=`."
    )


@pytest.mark.parametrize(("last", "under"), [(0.96, False), (0.94, True), (1.5, False)])
def test_under_trained_is_a_fall_of_more_than_five_percent_over_the_last_fifth(last, under):
    losses = [3.0, 1.0, 1.0, 1.0, last]
    assert (under_trained(losses, 5, 4.0) is not None) == under


def test_a_short_training_whose_last_epoch_gained_little_is_under_trained_by_its_second_half():
    """What 300 photographs of solar cells gave with `epochs=3`: the learning rate ends at zero."""
    verdict = under_trained([0.852, 0.696, 0.680], 3, 1.494)
    assert verdict.figure == pytest.approx(1 - 0.680 / 0.852)
    assert verdict.sentence == (
        "The held-out loss was still falling: by 20.2 % over the last 2 of 3 epochs; train longer, with `epochs=20` "
        "and a new `out=`."
    )


@pytest.mark.parametrize(("late", "last", "under"), [(0.92, 0.91, False), (0.9, 0.89, True), (0.8, 0.8, False)])
def test_under_trained_is_a_fall_of_more_than_ten_percent_over_the_second_half_that_is_not_over(late, last, under):
    losses = [2.0, 1.0, 1.0, 1.0, 1.0, late, late, late, last, last]
    assert (under_trained(losses, 10, 2.0) is not None) == under


@pytest.mark.parametrize("losses", [[1.0, 0.5, 0.1], [1.0, 0.6], [1.0], []])
def test_a_training_that_stopped_early_is_not_under_trained(losses):
    assert under_trained(losses, 40, 2.0) is None


def test_of_a_single_last_epoch_no_number_is_told():
    assert "by 50 % over the last of 2 epochs; train" in under_trained([1.0, 0.5], 2, 3.0).sentence


def test_a_single_epoch_is_judged_by_how_far_it_came_below_the_mean_of_its_steps():
    verdict = under_trained([0.6], 1, 1.0)
    assert verdict.figure == pytest.approx(0.4)
    assert verdict.sentence == (
        "The held-out loss was still falling: by 40 % within its only epoch; train longer, with `epochs=20` and a new "
        "`out=`."
    )
    assert under_trained([0.95], 1, 1.0) is None
    assert under_trained([1.2], 1, 1.0) is None


def test_a_loss_of_nothing_does_not_fall():
    assert under_trained([0.0, 0.0], 2, 0.0) is None
    assert under_trained([0.0], 1, 0.0) is None


def test_leaking_counts_pictures_and_names_the_first_pairs():
    pairs = [("v1", "t1"), ("v1", "t2"), ("v2", "t3"), ("v3", "t3")]
    verdict = leaking(Twins("calibration", 200, pairs))
    assert (verdict.name, verdict.figure) == ("leaking", 3 / 200)
    assert verdict.sentence == (
        "3 of 200 images of the side `calibration` (1.5 %) are near-duplicates of images that were trained on "
        "(v1 and t1, v1 and t2, v2 and t3, and 1 more pairs). If they show one object twice, its figures are too good: "
        "give all pictures of an object the same `group`. If objects look so alike, new ones will, too."
    )


def test_without_a_pair_nothing_leaks():
    assert leaking(Twins("validation", 200, [])) is None
