"""Home of the training's metrics: an epoch a JSON line in a file, a row on the terminal."""

import contextlib
import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from rayae import jsonlines, storage
from rayae.epochs import Epoch
from rayae.errors import RunError, StorageError
from rayae.terminal import say

METRICS = "metrics.jsonl"
SECONDS_BETWEEN_LOOKS = 0.5
HEADER = "epoch      train loss  held-out loss   learning rate   images/s   seconds"


def write_history(folder: str, history: Sequence[Epoch]) -> None:
    """Write the epochs so far, whole or not at all, so that a resumed training has each epoch once."""
    lines = [json.dumps(asdict(epoch), allow_nan=False) for epoch in history]
    storage.write_text(storage.join(folder, METRICS), "\n".join(lines) + "\n")


def read_history(folder: str) -> list[Epoch]:
    """The epochs so far; none when the file is not there yet. RunError when it is damaged."""
    uri = storage.join(folder, METRICS)
    lines = storage.read_bytes(uri).splitlines() if storage.exists(uri) else []
    try:
        return [Epoch(**json.loads(line)) for line in lines]
    except (ValueError, TypeError) as error:
        raise RunError(f"{uri} is damaged; remove it: the next epoch of the training writes it anew.") from error


class HistoryTable:
    """The table of epochs on the terminal, row by row as they come, after those that were done `already`."""

    def __init__(self, epochs: int, already: Sequence[Epoch] = ()) -> None:
        self.epochs, self.shown = epochs, list(already)
        if already:
            done = len(already)
            say(f"the first {done} of {epochs} epochs are done; what follows comes after them", done=done)
        if not jsonlines.is_begun():
            say(HEADER)

    def show(self, history: Sequence[Epoch]) -> None:
        """Print the epochs that are not on the terminal yet, and once more those that were done again."""
        pairs = zip(self.shown, history, strict=False)
        same = next((place for place, (shown, told) in enumerate(pairs) if shown != told), len(self.shown))
        for told in history[same:]:
            self._tell_workers(told)
            say(
                f"{told.epoch:>3} of {self.epochs:<3} {told.train_loss:>10.5f} {told.validation_loss:>14.5f} "
                f"{told.learning_rate:>15.2e} {told.images_per_second:>10,.0f} {told.seconds:>9.1f}",
                epochs=self.epochs,
                **asdict(told),
            )
            self.shown[told.epoch - 1 :] = [told]

    def _tell_workers(self, told: Epoch) -> None:
        """Say so when other workers make this epoch than made the one in the row above."""
        before = self.shown[-1].workers if self.shown else told.workers
        if before != told.workers:
            say(f"{told.workers} worker(s) from epoch {told.epoch} on, and {before} before")


@contextlib.contextmanager
def shown_as_it_grows(folder: str, epochs: int) -> Iterator[None]:
    """While this lasts, print the epochs that workers elsewhere write into the folder.

    Storage that does not answer, and a damaged file, are looked at again the next time: what is shown must not decide
    how training ends.
    """
    table = HistoryTable(epochs, already=read_history(folder))
    over = threading.Event()

    def look() -> None:
        with contextlib.suppress(StorageError, RunError):
            table.show(read_history(folder))

    def keep_looking() -> None:
        while not over.wait(SECONDS_BETWEEN_LOOKS):
            look()

    looking = threading.Thread(target=keep_looking, daemon=True)
    looking.start()
    try:
        yield
    finally:
        over.set()
        looking.join()
        look()
