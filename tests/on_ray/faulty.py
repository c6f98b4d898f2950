"""Scoring actors and loaders with something wrong with them, in a file that Ray's workers can import."""

import os
from dataclasses import dataclass
from pathlib import Path

from rayae.errors import ConfigError
from rayae.loader import Loader
from rayae.on_ray.score import ScoringActor

KILLERS = (0, 4)


class Mortal(ScoringActor):
    """Dies of two chunks unless they are decoded in isolation."""

    def score(self, chunk, row):
        if chunk.number in KILLERS and not self.plan.isolated:
            os._exit(1)
        return super().score(chunk, row)


class Doomed(ScoringActor):
    """Dies of two chunks whatever is done."""

    def score(self, chunk, row):
        if chunk.number in KILLERS:
            os._exit(1)
        return super().score(chunk, row)


class Buggy(ScoringActor):
    def score(self, chunk, row):
        raise ZeroDivisionError("a bug in an actor")


class Refusing(ScoringActor):
    def score(self, chunk, row):
        raise ConfigError("this was asked wrongly.")


class LosesItsDevice(ScoringActor):
    """Once, as a GPU does: from then on every chunk of this process would fail."""

    def score(self, chunk, row):
        summary = super().score(chunk, row)
        lost = Path(self.plan.run) / "device_was_lost"
        if self.__dict__.get("is_lost") or not lost.exists():
            self.is_lost = True
            lost.touch()
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return summary


@dataclass(frozen=True)
class RefusingLoader(Loader):
    def load(self, images):
        raise ConfigError("this was asked wrongly.")


@dataclass(frozen=True)
class BuggyLoader(Loader):
    def load(self, images):
        raise ZeroDivisionError("a bug in a task")


@dataclass(frozen=True)
class DyingLoader(Loader):
    def load(self, images):
        os._exit(1)
