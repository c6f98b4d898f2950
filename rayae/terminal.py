"""Home of what a person sees while a job runs: lines, tables, progress with the time that is left."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType

from rich.console import Console as RichConsole
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from rayae.redaction import redacted

SECONDS_BETWEEN_LINES = 10.0
BAR_WIDTH = 16
WIDTH_ELSEWHERE = 120
"""Columns of a table that goes to a file or a pipe."""


class Console(RichConsole):
    """Rich's console, but a closed pipe is told to the door, which knows the exit code for it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def say(text: str) -> None:
    """Print one line for people."""
    print(printable(text), flush=True)


def warn(text: str) -> None:
    """Print one line about something that is odd and does not stop the job."""
    print(printable(f"warning: {text}"), file=sys.stderr, flush=True)


def printable(text: str) -> str:
    """Escape control characters and what the output cannot carry, as file names are hostile input; hide secrets."""
    text = redacted(text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    safe = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in safe)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; numbers must come formatted, and all but the first column are set to the right."""
    table = Table()
    for position, column in enumerate(columns):
        table.add_column(Text(printable(column)), justify="left" if position == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(str(cell)).replace("\n", "\\n")) for cell in row))
    console = Console()
    if not console.is_terminal:
        console.width = WIDTH_ELSEWHERE
    console.print()
    console.print(Text(printable(title), style="bold"))
    console.print(table)


class Progress:
    """A bar with the rate and the time left on a terminal; elsewhere a line every ten seconds.

    Without a `total`, as nobody knows beforehand how many files there are to list, there is no time left to tell.
    """

    def __init__(self, what: str, total: int | None, unit: str = "images", already: int = 0) -> None:
        self.what, self.total, self.unit = what, total, unit
        self.done = self.counted_from = already
        self.started: float | None = None
        self.printed = time.monotonic()
        self.console = Console()
        self.bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        if self.console.is_terminal:
            text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
            self.bar = RichProgress(BarColumn(bar_width=BAR_WIDTH), text, console=self.console)
            self.bar.start()
            first = "" if self.total is None else f" of {self.total - self.done:,} {self.unit}"
            waiting = f"{self.what}: waiting for the first{first}"
            self.task = self.bar.add_task(waiting, total=self.total, completed=self.done)
        return self

    def advance(self, count: int, note: str = "") -> None:
        """Add `count` to what is done; `note` stands at the end of the line."""
        self.done += count
        if self.started is None:  # what came before the first result was starting up, and says nothing of the rate
            self.started, self.counted_from = time.monotonic(), self.done
        rate = self.rate()
        parts = [
            f"{self.what}: {self.done:,} {'' if self.total is None else f'of {self.total:,} '}{self.unit}",
            self.left(),
            f"{rate:,.0f} {self.unit}/s" if rate > 0 else "",
            note,
        ]
        line = ", ".join(filter(None, parts))
        if self.bar is not None:
            self.bar.update(self.task, completed=self.done, description=printable(line))
        elif time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES or self.done == self.total:
            self.printed = time.monotonic()
            say(line)

    def rate(self) -> float:
        """Units a second since the first came in."""
        if self.started is None or self.done == self.counted_from:
            return 0.0
        return (self.done - self.counted_from) / max(time.monotonic() - self.started, 1e-9)

    def left(self) -> str:
        """The time left at the rate so far, in words; nothing while it is not known."""
        rate = self.rate()
        if self.total is None or (rate <= 0 and self.done < self.total):
            return ""
        seconds = round((self.total - self.done) / rate) if rate > 0 else 0
        return f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02} left"

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
