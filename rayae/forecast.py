"""Home of the forecast: what scoring a whole list will take, from what a sample of it took."""

import math
from dataclasses import dataclass

from rayae.stages import Bottleneck

IMPORTS_S = 2.5
"""Seconds until a process has imported what it scores with, as in benchmarks/speed/start.txt."""
RAY_START_S = 10.0
"""Seconds until Ray's workers have their model and after the last chunk until all is down; likewise, on two cores."""


@dataclass(frozen=True)
class Sampled:
    """What a sample took, in one process, without its start."""

    images: int
    wall_s: float
    cpu_s: float
    """Of all threads."""
    requests: int
    read_bytes: int
    failed: int
    start_s: float
    """Seconds until the model was there."""
    bottleneck: Bottleneck | None

    def seconds_an_image(self, cpus: float | None) -> float:
        """Seconds of one worker an image: as long as the sample took, or as its CPU seconds take on so many CPUs.

        None is a process that has the machine to itself.
        """
        wall = self.wall_s / self.images
        return wall if cpus is None else max(wall, self.cpu_s / self.images / cpus)


@dataclass(frozen=True)
class Whole:
    """What is to be done."""

    images: int
    size_bytes: int | None
    """Of all images; None where the list does not say."""
    chunks: int


@dataclass(frozen=True)
class Forecast:
    """What the whole takes on so many workers."""

    workers: int
    hours: float
    images_per_second: float
    """Without the start."""
    machines: float | None
    """What the workers cost."""
    requests: float | None
    """What the requests cost."""


def forecast(
    sampled: Sampled,
    whole: Whole,
    workers: int,
    cpus: float | None,
    price_per_hour: float | None = None,
    price_per_1000_requests: float | None = None,
) -> Forecast:
    """What scoring the whole takes on so many workers that are as those of the sample, each with so many CPUs.

    A run is done when its last chunk is: chunks are dealt one by one, so the slowest worker has as many as any.
    """
    seconds = sampled.seconds_an_image(cpus)
    rounds = math.ceil(whole.chunks / workers)
    working = seconds * max(whole.images / workers, rounds * whole.images / max(whole.chunks, 1))
    start = sampled.start_s + (IMPORTS_S if cpus is None else RAY_START_S)
    hours = (start + working) / 3600
    asked = requests_of(sampled, whole)
    return Forecast(
        workers,
        hours,
        workers / seconds,
        None if price_per_hour is None else price_per_hour * hours * workers,
        None if price_per_1000_requests is None else price_per_1000_requests * asked / 1000,
    )


def requests_of(sampled: Sampled, whole: Whole) -> int:
    """GET requests for all images, at the rate of the sample: tries again are in it."""
    return round(sampled.requests / sampled.images * whole.images)


def bytes_of(sampled: Sampled, whole: Whole) -> int:
    """Bytes of all images, as listed or at the mean of the sample."""
    if whole.size_bytes is not None:
        return whole.size_bytes
    return round(sampled.read_bytes / sampled.images * whole.images)
