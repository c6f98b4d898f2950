"""The events of a training, read back by TensorBoard itself: each epoch once, on any storage."""

import io

import numpy as np
import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import IMAGES, SCALARS, EventAccumulator

from rayae import storage
from rayae.pictures import INFERNO
from rayae.samples import Sample
from rayae.tensorboard import GAP, write_events
from rayae.tensorboard import SCALARS as TAGS

FIELDS = {
    "train_loss": 0.5,
    "validation_loss": 0.6,
    "train_error": 0.02,
    "validation_error": 0.03,
    "learning_rate": 1e-3,
    "images_per_second": 1234.5,
    "seconds": 2.0,
    "wait_seconds": 0.25,
}


def epochs(count, **changed):
    return [{"epoch": epoch, **FIELDS, "train_loss": 0.5 / epoch, **changed} for epoch in range(1, count + 1)]


def sample(name="a", channels=1, error=1.0):
    pixels = np.full((4, 6, channels), 200, np.uint8)
    error_map = np.zeros((4, 6), np.float32)
    error_map[0, 0] = error
    return Sample(name, pixels, pixels // 2, error_map)


def reader(folder):
    return EventAccumulator(str(folder), size_guidance={SCALARS: 0, IMAGES: 0}).Reload()


def curve(events, tag):
    return [(event.step, pytest.approx(event.value, rel=1e-6)) for event in events.Scalars(tag)]


def test_tensorboard_reads_every_figure_of_every_epoch(tmp_path):
    for count in (1, 2, 3):
        write_events(str(tmp_path), epochs(count))
    events = reader(tmp_path)
    assert set(events.Tags()[SCALARS]) == {*TAGS, "error/held_out_over_train"}
    assert curve(events, "loss/train") == [(1, 0.5), (2, 0.25), (3, 0.5 / 3)]
    for tag, field in TAGS.items():
        if field != "train_loss":
            assert curve(events, tag) == [(1, FIELDS[field]), (2, FIELDS[field]), (3, FIELDS[field])]
    assert curve(events, "error/held_out_over_train") == [(1, 1.5), (2, 1.5), (3, 1.5)]


def test_an_epoch_done_again_takes_the_place_of_its_like(tmp_path):
    write_events(str(tmp_path), epochs(3))
    again = epochs(2)
    again[1]["train_loss"] = 7.0
    write_events(str(tmp_path), again)
    assert curve(reader(tmp_path), "loss/train") == [(1, 0.5), (2, 7.0)]


def test_epochs_without_a_file_are_written_too(tmp_path):
    write_events(str(tmp_path), epochs(3))
    assert [step for step, _ in curve(reader(tmp_path), "loss/train")] == [1, 2, 3]


def test_a_reader_that_is_open_sees_the_next_epoch(tmp_path):
    write_events(str(tmp_path), epochs(1))
    events = reader(tmp_path)
    write_events(str(tmp_path), epochs(2))
    assert [step for step, _ in curve(events.Reload(), "loss/train")] == [1, 2]


def test_more_than_nine_epochs_stay_in_order(tmp_path):
    write_events(str(tmp_path), epochs(12))
    assert [step for step, _ in curve(reader(tmp_path), "loss/train")] == list(range(1, 13))


def test_the_times_are_apart_by_the_seconds_of_an_epoch(tmp_path):
    write_events(str(tmp_path), epochs(3))
    times = [event.wall_time for event in reader(tmp_path).Scalars("loss/train")]
    assert np.diff(times) == pytest.approx([2.0, 2.0])


def test_a_ratio_too_large_for_a_point_has_none(tmp_path):
    write_events(str(tmp_path), [*epochs(1, train_error=1e-45, validation_error=0.1), *epochs(2)[1:]])
    assert curve(reader(tmp_path), "error/held_out_over_train") == [(2, 1.5)]


def test_a_figure_that_is_not_known_has_no_point(tmp_path):
    write_events(str(tmp_path), [*epochs(1, train_error=None), epochs(2)[1]])
    events = reader(tmp_path)
    assert curve(events, "error/train") == [(2, 0.02)]
    assert curve(events, "error/held_out_over_train") == [(2, 1.5)]
    assert curve(events, "error/held_out") == [(1, 0.03), (2, 0.03)]


@pytest.mark.parametrize("channels", [1, 3])
def test_a_panel_is_picture_reconstruction_and_error(tmp_path, channels):
    write_events(str(tmp_path), epochs(1), [sample("cell", channels), sample("other", channels, error=0.0)])
    events = reader(tmp_path)
    (found,) = events.Images("reconstructions/cell")
    drawn = np.asarray(Image.open(io.BytesIO(found.encoded_image_string)))
    assert drawn.shape == (found.height, found.width, 3) == (4, 3 * 6 + 2 * GAP, 3)
    assert (drawn[:, :6] == 200).all()
    assert (drawn[:, 6 + GAP : 12 + GAP] == 100).all()
    assert bytes(drawn[0, 12 + 2 * GAP]).hex() == INFERNO[-1][1:]
    assert bytes(drawn[1, 12 + 2 * GAP]).hex() == INFERNO[0][1:]
    assert events.Images("reconstructions/other")[0].step == 1


def test_the_errors_of_an_epoch_share_one_scale_that_is_told(tmp_path):
    write_events(str(tmp_path), epochs(1), [sample("faint", error=0.5), sample("strong", error=1.0)])
    events = reader(tmp_path)
    ((step, top),) = curve(events, "reconstructions/brightest_error")
    assert step == 1
    corners = []
    for name in ("faint", "strong"):
        drawn = np.asarray(Image.open(io.BytesIO(events.Images(f"reconstructions/{name}")[0].encoded_image_string)))
        corners.append(drawn[0, 12 + 2 * GAP].sum())
    assert top == float(np.quantile([0.5, 1.0] + [0] * 46, 0.995))
    assert corners[0] < corners[1]


def test_each_epoch_keeps_its_own_pictures(tmp_path):
    write_events(str(tmp_path), epochs(1), [sample()])
    write_events(str(tmp_path), epochs(2), [sample()])
    assert [image.step for image in reader(tmp_path).Images("reconstructions/a")] == [1, 2]


def test_events_lie_on_storage_by_url_and_other_files_stay(tmp_path):
    folder = "memory://tensorboard-test/run"
    storage.write_text(storage.join(folder, "metrics.jsonl"), "{}\n")
    try:
        write_events(folder, epochs(3))
        write_events(folder, epochs(2))
        names = storage.list_names(folder)
        assert names == [*(f"events.out.tfevents.epoch-{epoch:06}" for epoch in (1, 2)), "metrics.jsonl"]
        for name in names[:2]:
            storage.write_bytes(str(tmp_path / name), storage.read_bytes(storage.join(folder, name)))
    finally:
        storage.remove(folder)
    assert curve(reader(tmp_path), "loss/train") == [(1, 0.5), (2, 0.25)]


def test_before_the_first_epoch_nothing_is_written(tmp_path):
    write_events(str(tmp_path), [])
    assert list(tmp_path.iterdir()) == []
