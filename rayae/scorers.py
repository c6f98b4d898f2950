"""Home of the models that a worker holds: one, or those of a set that it used last."""

from collections import OrderedDict

from rayae.assignment import Assignment
from rayae.bundle_set import open_assigned
from rayae.scorer import Scorer

HELD_BYTES = 1024**3
"""Weights, and memory on the way to a GPU, that a worker holds at once: on a CPU hundreds of networks."""


class Scorers:
    """The models of the bundles that a run is planned with, loaded when they are first asked for.

    When they take more than `held_bytes`, those that were not used for longest are let go, but never the one
    that is asked for.
    """

    def __init__(
        self, uri: str, assignment: Assignment, run: str, micro_batch: int | None, held_bytes: int = HELD_BYTES
    ) -> None:
        self.uri, self.assignment, self.run = uri, assignment, run
        self.micro_batch, self.held_bytes = micro_batch, held_bytes
        self.held: OrderedDict[str, Scorer] = OrderedDict()

    def of(self, value: str) -> Scorer:
        """The model for the images of a value; RunError when its bundle is another than the run was planned with."""
        if value not in self.held:
            bundle = open_assigned(self.uri, self.assignment.bundles[value], self.run)
            self.held[value] = Scorer.open(bundle, self.micro_batch)
        self.held.move_to_end(value)
        while len(self.held) > 1 and sum(scorer.nbytes for scorer in self.held.values()) > self.held_bytes:
            self.held.popitem(last=False)
        return self.held[value]
