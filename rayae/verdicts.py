"""Home of the verdicts on a training: what its figures mean, in words, and what to do about it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rayae.gates import GENERALISES, MEMORISED
from rayae.statistics import percent

FINE = "fine"
"""The name of the verdict that nothing is wrong."""
LEAST_VARIANCE_KEPT = 0.05
"""A single number a picture keeps more: on 2,624 photographs of solar cells the first principal component has 71 %."""
LITTLE_EXPLAINED = 0.5
"""By convention; the reconstructions of the solar cells explain 0.8 and more after fifty epochs."""
LAST_SHARE = 5
STILL_FALLING, FELL_LATE = 0.05, 0.1
"""By convention: falls of the held-out loss over the last fifth and over the second half of the epochs that more epochs
would go on with. The learning rate ends at zero, so that the last epochs of a short training gain little, too: on 300
photographs of solar cells the last one of three brought 2 %, the second half 20 %, and sixty epochs another 35 %."""
ENOUGH_TO_JUDGE = 20
"""Epochs to train for, at least, where fewer were too few; early stopping ends what needs no more."""
PAIRS_NAMED = 3


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a training (`overfit`, `collapsed`, `under_trained`, `leaking`), or that it is `fine`."""

    name: str
    figure: float | None
    """What it stands on: a ratio of errors, or a share between 0 and 1; None where `fine` has no ratio to tell."""
    sentence: str
    """What was found and what to do."""


@dataclass(frozen=True)
class Variety:
    """How much of the variance of pictures over a side their reconstructions have; None when the pictures are alike.

    In a region both are of what is inside (see `variety`).
    """

    kept: float | None
    """Variance of the reconstructions over that of the pictures: 0 when all reconstructions are one."""
    explained: float | None
    """1 - squared error over the variance of the pictures: 0 is what the mean picture reaches, 1 is perfect."""


@dataclass(frozen=True)
class Twins:
    """Held-out pictures that have a near-duplicate among those trained on."""

    side: str
    """`validation` or `calibration`"""
    held_out: int
    """Pictures of the side that were compared."""
    pairs: Sequence[tuple[str, str]]
    """Names of a held-out picture and of one trained on, for every near-duplicate."""


@dataclass(frozen=True)
class Figures:
    """What a training is judged by; errors are means over images, of one kind, of the same weights."""

    train_error: float
    held_out_error: float
    held_out_losses: Sequence[float]
    """One an epoch."""
    planned_epochs: int
    first_train_loss: float
    """The mean over the steps of the first epoch."""
    variety: Variety
    """Of pictures trained on: held-out ones may be of one group, and then are all alike."""
    twins: Sequence[Twins]


def judge(figures: Figures) -> list[Verdict]:
    """All that is wrong with a training, in the order in which to mend it; `fine` alone when nothing is."""
    found = [
        *(leaking(twins) for twins in figures.twins),
        collapsed(figures.variety),
        overfit(figures.train_error, figures.held_out_error),
        under_trained(figures.held_out_losses, figures.planned_epochs, figures.first_train_loss),
    ]
    return [verdict for verdict in found if verdict is not None] or [_fine(figures)]


def error_ratio(train_error: float | None, held_out_error: float | None) -> float | None:
    """Held-out error over training error: 1 generalises; None without one of them, or when the latter is 0."""
    if train_error is None or held_out_error is None or train_error == 0:
        return None
    return held_out_error / train_error


def overfit(train_error: float, held_out_error: float) -> Verdict | None:
    """Whether held-out pictures are reproduced worse than `evaluate` takes for generalising: above 1.25 times."""
    ratio = error_ratio(train_error, held_out_error)
    if ratio is None or ratio <= GENERALISES:
        return None
    how_far = "memorised its images" if ratio >= MEMORISED else "memorised some of its images"
    return Verdict(
        "overfit",
        ratio,
        f"The error of held-out images is {ratio:.2f} times that of the training images (up to {GENERALISES:g} is "
        f"usual), so the network {how_far}: train on more images, raise `optimizer.weight_decay`, or make the "
        "network smaller (`network.base_width`, and `network.latent` where it has one).",
    )


def collapsed(variety: Variety) -> Verdict | None:
    """Whether reconstructions of different pictures are all alike, or no better than the mean of the pictures."""
    if variety.kept is None or variety.explained is None:
        return None
    remedy = (
        "lower `optimizer.learning_rate`, train longer, or make the network larger (`network.base_width`, and "
        "`network.latent` where it has one)."
    )
    if variety.kept < LEAST_VARIANCE_KEPT:
        return Verdict(
            "collapsed",
            variety.kept,
            f"The reconstructions of different training images are all alike: they have {100 * variety.kept:.1f} % of "
            f"the variance of the images, so their errors say nothing of the single image; {remedy}",
        )
    if variety.explained <= 0:
        return Verdict(
            "collapsed",
            variety.explained,
            "The reconstructions of training images are no better than their mean: their squared error is "
            f"{1 - variety.explained:.2f} times what it has; {remedy}",
        )
    return None


def under_trained(held_out_losses: Sequence[float], planned_epochs: int, first_train_loss: float) -> Verdict | None:
    """Whether more epochs would have gone on lowering the held-out loss.

    That is when the best loss fell by more than 5 % over the last fifth of the epochs, the last one at least, or by
    more than 10 % over the second half and still a little over the last fifth. A single epoch has but the mean loss of
    its own steps to be compared with. None when the training stopped before its planned epochs, because the loss fell
    no more.
    """
    epochs = len(held_out_losses)
    if epochs < max(1, planned_epochs):
        return None
    losses = [first_train_loss, *held_out_losses] if epochs == 1 else held_out_losses
    last, half = max(1, epochs // LAST_SHARE), epochs - epochs // 2
    fell_last, fell_late = _fall(losses, last), _fall(losses, half)
    if epochs > 1 and fell_last > STILL_FALLING:
        fall, over = fell_last, _last_of(last, epochs)
    elif fell_last > 0 and fell_late > FELL_LATE:
        fall, over = fell_late, _last_of(half, epochs)
    else:
        return None
    return Verdict(
        "under_trained",
        fall,
        f"The held-out loss was still falling: by {percent(fall)} {over}; train longer, with "
        f"`epochs={max(2 * epochs, ENOUGH_TO_JUDGE)}` and a new `out=`.",
    )


def _last_of(last: int, epochs: int) -> str:
    if epochs == 1:
        return "within its only epoch"
    return f"over the last {f'{last} ' if last > 1 else ''}of {epochs} epochs"


def _fall(losses: Sequence[float], last: int) -> float:
    """The share by which the last of the losses bring the best one down."""
    before = min(losses[:-last])
    return 1 - min(losses) / before if before > 0 else 0.0


def leaking(twins: Twins) -> Verdict | None:
    """Whether pictures of a held-out side have a near-duplicate among those trained on."""
    if not twins.pairs:
        return None
    known = len({name for name, _ in twins.pairs})
    share = known / twins.held_out
    shown = ", ".join(f"{name} and {trained}" for name, trained in twins.pairs[:PAIRS_NAMED])
    more = f", and {len(twins.pairs) - PAIRS_NAMED:,} more pairs" if len(twins.pairs) > PAIRS_NAMED else ""
    return Verdict(
        "leaking",
        share,
        f"{known:,} of {twins.held_out:,} images of the side `{twins.side}` ({percent(share)}) are near-duplicates of "
        f"images that were trained on ({shown}{more}). If they show one object twice, its figures are too good: give "
        "all pictures of an object the same `group`. If objects look so alike, new ones will, too.",
    )


def _fine(figures: Figures) -> Verdict:
    ratio = error_ratio(figures.train_error, figures.held_out_error)
    return Verdict(FINE, ratio, " ".join(_fine_words(ratio, figures.variety, len(figures.held_out_losses))))


def _fine_words(ratio: float | None, variety: Variety, epochs: int) -> Iterator[str]:
    yield "Nothing speaks against this training."
    if epochs == 1:
        yield "Whether it was long enough is hard to tell after one epoch."
    if ratio is not None:
        yield f"The error of held-out images is {ratio:.2f} times that of the training images."
    if variety.explained is not None:
        yield f"The reconstructions explain {percent(variety.explained)} of the variance of the training images."
        if variety.explained < LITTLE_EXPLAINED:
            yield "That is little, unless the images are mostly noise: see whether more epochs raise it."
