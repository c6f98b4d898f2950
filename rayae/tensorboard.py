"""Home of what TensorBoard shows of a training: an event file an epoch, on any storage.

A file an epoch, and not one that grows: storage takes files whole, a training that goes on puts its epochs in the place
of their like, and a TensorBoard that is open reads on in the next file, while it would hold on to the old version of a
file that is replaced.
"""

import io
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.proto.summary_pb2 import Summary
from tensorboardX.record_writer import RecordWriter

from rayae import storage
from rayae.pictures import brightest, coloured
from rayae.samples import Sample
from rayae.verdicts import error_ratio

EVENTS = "tensorboard"
"""The folder of the event files in that of a training."""
PREFIX = "events.out.tfevents.epoch-"
"""TensorBoard takes any file for its own that has `tfevents` in its name, and reads them in the order of names."""
FILE_VERSION = "brain.Event:2"
SCALARS = {
    "loss/train": "train_loss",
    "loss/held_out": "validation_loss",
    "error/train": "train_error",
    "error/held_out": "validation_error",
    "optimizer/learning_rate": "learning_rate",
    "speed/images_per_second": "images_per_second",
    "speed/seconds": "seconds",
    "speed/seconds_waiting_for_data": "wait_seconds",
}
"""The figure of an epoch under each tag."""
RATIO = "error/held_out_over_train"
SCALE = "reconstructions/brightest_error"
LARGEST = float(np.finfo(np.float32).max)
"""A point on a curve is a float32; a ratio over next to nothing may be larger, and has none."""
GAP = 2
"""White pixels between the three parts of a panel."""


def write_events(folder: str, history: Sequence[Mapping[str, Any]], samples: Sequence[Sample] = ()) -> None:
    """Write the last epoch, with these samples, and every epoch before it whose file is not in the folder.

    `history` holds all epochs so far as `metrics.jsonl` does: their fields by name; a figure that is None has no point
    on its curve. The time of an epoch is the time of writing less the seconds of the epochs after it. Files of epochs
    that are not in the history are removed: the training went on from a checkpoint before them.
    """
    names = [f"{PREFIX}{record['epoch']:06}" for record in history]
    there = {name for name in storage.list_names(folder) if name.startswith(PREFIX)}
    for name in sorted(there.difference(names)):
        storage.remove(storage.join(folder, name))
    ended = time.time()
    for record, name in reversed(list(zip(history, names, strict=True))):
        is_last = name == names[-1]
        if is_last or name not in there:
            events = _events(record, samples if is_last else (), ended)
            storage.write_bytes(storage.join(folder, name), _file(events))
        ended -= record["seconds"]


def panel(sample: Sample, top: float) -> NDArray[np.uint8]:
    """Picture, reconstruction and error map side by side, [H, 3 W + gaps, 3]; the brightest colour is error `top`."""
    gap = np.full((len(sample.pixels), GAP, 3), 255, np.uint8)
    parts = (_rgb(sample.pixels), gap, _rgb(sample.reconstruction), gap, coloured(sample.error_map, top))
    return np.concatenate(parts, axis=1)


def _events(record: Mapping[str, Any], samples: Sequence[Sample], ended: float) -> Iterator[Event]:
    yield Event(wall_time=ended, file_version=FILE_VERSION)
    values = [*_scalars(record), *_images(samples)]
    yield Event(wall_time=ended, step=record["epoch"], summary=Summary(value=values))


def _scalars(record: Mapping[str, Any]) -> Iterator[Summary.Value]:
    figures = {tag: record[name] for tag, name in SCALARS.items()}
    figures[RATIO] = error_ratio(record["train_error"], record["validation_error"])
    for tag, figure in figures.items():
        if figure is not None and abs(figure) <= LARGEST:
            yield Summary.Value(tag=tag, simple_value=figure)


def _images(samples: Sequence[Sample]) -> Iterator[Summary.Value]:
    """The panels, all error maps on one scale, and what that scale is."""
    if not samples:
        return
    top = brightest([sample.error_map for sample in samples])
    yield Summary.Value(tag=SCALE, simple_value=top)
    for sample in samples:
        drawn = panel(sample, top)
        height, width, channels = drawn.shape
        buffer = io.BytesIO()
        Pillow.fromarray(drawn).save(buffer, "PNG")
        image = Summary.Image(height=height, width=width, colorspace=channels, encoded_image_string=buffer.getvalue())
        yield Summary.Value(tag=f"reconstructions/{sample.name}", image=image)


def _file(events: Iterator[Event]) -> bytes:
    """An event file; tensorboardX frames its records, with their checksums, on a disk only."""
    with tempfile.TemporaryDirectory(prefix="rayae-") as folder:
        path = Path(folder) / "events"
        writer = RecordWriter(str(path))
        for event in events:
            writer.write(event.SerializeToString())
        writer.close()
        return path.read_bytes()


def _rgb(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3))
