import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import ray.data
from PIL import Image
from ray.data import DataContext
from ray.exceptions import RayTaskError

from rayae.batches import pixels_of
from rayae.duplicates import THUMBNAIL
from rayae.errors import ClusterError, ConfigError
from rayae.loader import Loader
from rayae.on_ray.images import OnStorage, decode_on_ray, look_on_ray, thumbnails_of
from rayae.preprocess import Preprocess
from rayae.reader import Reader
from tests.on_ray import faulty
from tests.unit.small_things import GREY, manifest_of, pictures, save_pictures

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


def test_thumbnails_come_in_the_order_that_is_asked_for() -> None:
    rows = [{"image_id": number, "pixels": np.full((32, 48, 1), number, np.uint8)} for number in (5, 1, 9, 3, 7)]
    found = thumbnails_of(ray.data.from_items(rows, override_num_blocks=3), np.array([9, 5, 3]))
    assert (found.shape, found.dtype) == ((3, *THUMBNAIL), np.uint8)
    assert [np.unique(one).tolist() for one in found] == [[9], [5], [3]]


@pytest.fixture
def some(tmp_path: Path) -> pa.Table:
    """150 images, of which the fourth is empty, the fifth is black, and every other one is compared."""
    paths = save_pictures(tmp_path, 150)
    paths[3].write_bytes(b"")
    Image.new("L", (32, 32)).save(paths[4])
    marks = np.arange(150) % 2 == 1
    return manifest_of(paths).append_column("is_compared", pa.array(marks))


def test_a_look_finds_what_decoding_finds_and_keeps_the_thumbnails_that_are_compared(some: pa.Table) -> None:
    loader = Loader(Reader(), GREY, 2)
    held, decoded = decode_on_ray(some, loader)
    became, thumbnails = look_on_ray(some, loader)
    by_id = [one.sort_values("image_id").to_dict("records") for one in (decoded, became)]
    assert by_id[0] == by_id[1]
    assert became["status"].value_counts().to_dict() == {"scored": 149, "empty": 1}
    ids = some["image_id"].to_numpy()
    assert became[became["is_flat"]]["image_id"].tolist() == [ids[4]]
    wanted = ids[np.setdiff1d(np.arange(1, 150, 2), [3])]
    assert sorted(thumbnails.by_id) == wanted.tolist()
    np.testing.assert_array_equal(thumbnails.of(wanted), thumbnails_of(held, wanted))


def test_a_look_tells_errors_as_decoding_does() -> None:
    images = IMAGES.append_column("is_compared", pa.array([True, True]))
    with pytest.raises(ConfigError, match=r"^this was asked wrongly\.$"):
        look_on_ray(images, faulty_loader(faulty.RefusingLoader))
    with pytest.raises(RayTaskError, match=r"(?s)faulty\.py.*ZeroDivisionError: a bug in a task"):
        look_on_ray(images, faulty_loader(faulty.BuggyLoader))
    with pytest.raises(ClusterError, match=r"^reading the training images failed on the cluster: "):
        look_on_ray(images, faulty_loader(faulty.DyingLoader))


def test_pictures_on_storage_are_those_of_the_ids(some: pa.Table) -> None:
    ids = some["image_id"].to_numpy()[[8, 2, 140]]
    streamed = OnStorage.of(some, Loader(Reader(), GREY, 2)).pictures(ids)
    np.testing.assert_array_equal(pixels_of(streamed), pictures(150)[[8, 2, 140]])
