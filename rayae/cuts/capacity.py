"""Home of the cut of a capacity: it flags as many images of a run as can be looked at, and no more."""

from collections.abc import Callable, Iterator

from rayae.cuts.basis import Basis
from rayae.cuts.highest import Place, highest
from rayae.errors import ConfigError, DataError
from rayae.threshold import Scores, Threshold


def capacity(basis: Basis, scores: Callable[[], Iterator[Scores]], flags: int) -> Threshold:
    """The lowest cut, of those that are a score of the run, that flags at most `flags` of its images.

    `scores()` gives the finite scores of the run in parts, the same at each of two calls. Images that tie with the
    cut are released. DataError when there are no more than `flags` scores.
    """
    if flags < 1:
        raise ConfigError(f"flags must be a number of images, 1 or more; found {flags!r}.")
    place = highest(scores, flags)
    if place is None:
        raise DataError(
            f"rule=capacity with flags={flags:,} has nothing to choose, since the run has no more scored images than "
            "that. Lower flags, or look at all of them."
        )
    figures = {"flags": flags, "flagged": place.above, "images": place.scores}
    cut = place.score
    return basis.threshold("capacity", cut, _in_words(place, flags), chosen_by_calibration=False, figures=figures)


def _in_words(place: Place, flags: int) -> str:
    asked = f"{place.above:,} of the run's {place.scores:,} scored images are above the cut, of {flags:,} asked for"
    if place.above == flags:
        return f"{asked}; nothing is said of other runs."
    return (
        f"{asked}; {place.equal:,} more have the very score of the cut, and are released since with them there would "
        f"be {place.above + place.equal:,}. Nothing is said of other runs."
    )
