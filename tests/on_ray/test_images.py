import warnings

import numpy as np
import pyarrow as pa
import pytest
import ray.data
from ray.data import DataContext
from ray.exceptions import RayTaskError

from rayae.errors import ClusterError, ConfigError
from rayae.loader import Loader
from rayae.on_ray.images import decode_on_ray, pixels_of
from rayae.preprocess import Preprocess
from rayae.reader import Reader
from tests.on_ray import faulty

IMAGES = pa.table({"image_id": [0, 1], "uri": ["a.png", "b.png"]})


def faulty_loader(kind: type[Loader]) -> Loader:
    return kind(Reader(max_bytes=1000), Preprocess("grey", 32, 32), 1)


def test_an_error_of_a_worker_comes_out_as_itself() -> None:
    with pytest.raises(ConfigError, match=r"^this was asked wrongly\.$"):
        decode_on_ray(IMAGES, faulty_loader(faulty.RefusingLoader))


def test_a_bug_in_a_worker_keeps_its_traceback() -> None:
    with pytest.raises(RayTaskError, match=r"(?s)faulty\.py.*ZeroDivisionError: a bug in a task"):
        decode_on_ray(IMAGES, faulty_loader(faulty.BuggyLoader))


def test_a_picture_that_kills_its_worker_is_not_tried_for_ever() -> None:
    with pytest.raises(ClusterError, match=r"^reading the training images failed on the cluster: "):
        decode_on_ray(IMAGES, faulty_loader(faulty.DyingLoader))


def test_ray_data_is_left_as_it_was() -> None:
    context = DataContext.get_current()
    before = context.enable_progress_bars, list(warnings.filters)
    with pytest.raises(ConfigError):
        decode_on_ray(IMAGES, faulty_loader(faulty.RefusingLoader))
    assert DataContext.get_current() is context
    assert (context.enable_progress_bars, list(warnings.filters)) == before


def test_the_pixels_of_some_images_come_in_the_order_that_is_asked_for() -> None:
    rows = [{"image_id": number, "pixels": np.full((2, 3, 1), number, np.uint8)} for number in (5, 1, 9, 3, 7)]
    found = pixels_of(ray.data.from_items(rows, override_num_blocks=3), np.array([9, 5, 3]))
    assert (found.shape, found.dtype) == ((3, 2, 3, 1), np.uint8)
    assert found[:, 0, 0, 0].tolist() == [9, 5, 3]
