"""The part of `rayae score` that tells, before a run is planned, which of its images no bundle of the set scores."""

from collections import Counter

import pyarrow.compute as pc

from rayae.assignment import Assignment, values_of
from rayae.errors import TooManyFailures
from rayae.failure_budget import FailureBudget
from rayae.manifest import Manifest
from rayae.results import Status
from rayae.terminal import say, warn

NAMED = 5


def tell_unassigned(manifest: Manifest, assignment: Assignment, budget: FailureBudget) -> None:
    """Say how many images there are for each bundle, and warn of those that have none.

    TooManyFailures, before a model or an image is read, when those are more than the failure budget allows.
    """
    counts = counted(manifest, str(assignment.column))
    with_bundle = {value: counts[value] for value in assignment.bundles}
    without = Counter({value: count for value, count in counts.items() if value not in assignment.bundles})
    say(f"{len(+Counter(with_bundle)):,} of {len(with_bundle):,} bundles of the set have images")
    if not without:
        return
    named = ", ".join(
        f"{'none' if value is None else repr(value)} {count:,}" for value, count in without.most_common(NAMED)
    )
    more = f" and {len(without) - NAMED:,} other values" if len(without) > NAMED else ""
    warn(
        f"{without.total():,} of {counts.total():,} images have a `{assignment.column}` without a bundle "
        f"({named}{more}): they will be `{Status.NO_BUNDLE}`"
    )
    try:
        budget.spend({Status.NO_BUNDLE: without.total(), Status.SCORED: sum(with_bundle.values())})
    except TooManyFailures as error:
        raise TooManyFailures(
            f"{without.total():,} of {counts.total():,} images have no bundle ({named}{more}), more than the limit for "
            f"images that fail allows: train bundles for them (`rayae train per_group={assignment.column}`), leave "
            "them out of the images, or raise max_failed_fraction (or max_failed_by_status.no_bundle)."
        ) from error


def counted(manifest: Manifest, column: str) -> Counter[str | None]:
    """The images of each value of a column of a manifest."""
    counts = Counter[str | None]()
    for table in manifest.columns([column]):
        for pair in pc.value_counts(values_of(table, column)).to_pylist():
            counts[pair["values"]] += pair["counts"]
    return counts
