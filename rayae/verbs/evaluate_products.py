"""The part of `rayae evaluate` for a run with a set of bundles: each product by itself, then all side by side."""

from collections.abc import Callable

import pyarrow as pa

from rayae.assignment import GROUP, Assigned
from rayae.bundle import Bundle
from rayae.bundle_set import open_assigned
from rayae.by_product import ByProduct
from rayae.errors import DataError
from rayae.findings import Evaluation
from rayae.run import Run
from rayae.terminal import say

EvaluateOne = Callable[[Bundle, Assigned, pa.Table], Evaluation]


def evaluate_each(run: Run, results: pa.Table, confidence: float, evaluate_one: EvaluateOne) -> ByProduct:
    """Evaluate the rows of each bundle of a run, with its own cut, on images that this bundle was not made with.

    An image that another bundle was made with is as good as new to this one. DataError when no row has a bundle,
    RunError when a bundle was replaced since the run was planned.
    """
    assignment = run.assignment
    column, found = str(assignment.column), dict[str, Evaluation]()
    for value, rows in assignment.parts(results):
        own = results.take(rows)
        if value is None:
            say(f"{own.num_rows:,} images have no bundle for their `{column}` and are not evaluated")
            continue
        if column == GROUP:  # as in training: one group could not be split
            own = own.set_column(own.column_names.index(GROUP), GROUP, pa.nulls(own.num_rows, pa.string()))
        assigned = assignment.bundles[value]
        found[value] = evaluate_one(open_assigned(run.bundle_uri, assigned, run.uri), assigned, own)
    if not found:
        raise DataError(f"no image of {run.uri} has a bundle for its `{column}`, so there is nothing to evaluate.")
    return ByProduct(column, confidence, found)


def columns_of(run: Run) -> list[str]:
    """The columns of the results that say which bundle a row belongs to."""
    column = run.assignment.column
    return [] if column is None or column == GROUP else [column]
