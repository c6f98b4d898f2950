"""The part of `rayae evaluate` for a run with a set of bundles: each product by itself, then all side by side."""

from collections.abc import Callable, Iterable

import pyarrow as pa

from rayae.assignment import GROUP, Assigned
from rayae.bundle import Bundle
from rayae.bundle_set import open_assigned
from rayae.by_product import ByProduct
from rayae.errors import DataError
from rayae.findings import Evaluation
from rayae.run import Run
from rayae.terminal import say
from rayae.verbs.evaluate_rows import Gathered, Gathering

EvaluateOne = Callable[[Bundle, Assigned, Gathered], Evaluation]


def evaluate_each(run: Run, tables: Iterable[pa.Table], confidence: float, evaluate_one: EvaluateOne) -> ByProduct:
    """Evaluate the rows of each bundle of a run, with its own cut, on images that this bundle was not made with.

    An image that another bundle was made with is as good as new to this one. DataError when no row has a bundle,
    RunError when a bundle was replaced since the run was planned.
    """
    assignment, column = run.assignment, str(run.assignment.column)
    gatherings, without = dict[str, Gathering](), 0
    for table in tables:
        for value, rows in assignment.parts(table):
            if value is None:
                without += len(rows)
                continue
            if value not in gatherings:
                gatherings[value] = Gathering(open_assigned(run.bundle_uri, assignment.bundles[value], run.uri))
            gatherings[value].add(table.take(rows))
    if without:
        say(f"{without:,} images have no bundle for their `{column}` and are not evaluated")
    if not gatherings:
        raise DataError(f"no image of {run.uri} has a bundle for its `{column}`, so there is nothing to evaluate.")
    found = dict[str, Evaluation]()
    for value, gathering in sorted(gatherings.items()):
        own = gathering.gathered()
        if column == GROUP:  # as in training: one group could not be split
            own = own.without_groups()
        found[value] = evaluate_one(gathering.bundle, assignment.bundles[value], own)
    return ByProduct(column, confidence, found)
