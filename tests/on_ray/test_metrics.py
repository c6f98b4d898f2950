"""What is told of a chunk that is tried again is what was done of it now."""

from rayae.manifest import Chunk
from rayae.on_ray.metrics import COUNTERS, TAGS, TRAFFIC, Job
from rayae.results import ChunkSummary
from rayae.traffic import Traffic


def summary(by_status: dict[str, int], flagged: int, model: float, traffic: Traffic) -> ChunkSummary:
    images = sum(by_status.values())
    return ChunkSummary(3, images, by_status, flagged, {"model": model}, [], [], traffic.to_dict())


def test_of_a_chunk_that_is_tried_again_only_the_images_that_were_tried_count() -> None:
    former = summary({"scored": 5, "missing": 2, "throttled": 3}, 1, 1.5, Traffic(20, 10, 9, 500))
    now = summary({"scored": 7, "missing": 2, "throttled": 1}, 2, 2.0, Traffic(26, 13, 10, 900))
    job = Job("/run", 1, ("throttled",), {3: former})
    assert job.images(Chunk(3, 30, 10)) == 3
    done = job.done(now)
    assert (done.images, done.by_status, done.flagged) == (3, {"scored": 2, "throttled": 1}, 1)
    assert done.seconds == {"model": 0.5}
    assert done.traffic == Traffic(6, 3, 1, 400).to_dict()


def test_a_chunk_that_is_done_for_the_first_time_counts_whole() -> None:
    found = summary({"scored": 5}, 1, 1.5, Traffic(5, 0, 0, 500))
    job = Job("/run", 1)
    assert job.images(Chunk(3, 30, 10)) == 10
    assert job.done(found) == found


def test_all_that_is_counted_has_a_metric() -> None:
    assert set(TRAFFIC) == set(Traffic().to_dict())
    assert set(TRAFFIC.values()) | set(TAGS) <= set(COUNTERS)
