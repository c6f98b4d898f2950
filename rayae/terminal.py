"""Home of what a person sees while a job runs: lines, tables, progress with the time that is left."""

import sys
import time
from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console as RichConsole
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as RichProgress
from rich.table import Column, Table
from rich.text import Text

from rayae import jsonlines
from rayae.pace import Pace, in_words
from rayae.redaction import redacted

SECONDS_BETWEEN_LINES = 10.0
BAR_WIDTH = 16
WIDTH_ELSEWHERE = 120
"""Columns of a table that goes to a file or a pipe."""


class Console(RichConsole):
    """Rich's console, but a closed pipe is told to the door, which knows the exit code for it."""

    def on_broken_pipe(self) -> None:
        raise BrokenPipeError


def say(text: str, **fields: Any) -> None:
    """Print one line for people, or with `log=json` as JSON with its fields."""
    _tell("info", text, text, sys.stdout, fields)


def warn(text: str, **fields: Any) -> None:
    """Print one line about something that is odd and does not stop the job."""
    _tell("warning", text, f"warning: {text}", sys.stderr, fields)


def fail(text: str, **fields: Any) -> None:
    """Print the line that says why the job ends."""
    _tell("error", text, f"error: {text}", sys.stderr, fields)


def stopped(text: str) -> None:
    """Print the line that says that somebody has stopped the job."""
    _tell("warning", text, text, sys.stderr, {})


def _tell(level: str, message: str, for_people: str, stream: TextIO, fields: dict[str, Any]) -> None:
    is_json = jsonlines.is_begun()
    print(
        jsonlines.line(level, message, fields, printable) if is_json else printable(for_people), file=stream, flush=True
    )


def printable(text: str) -> str:
    """Escape control characters and what the output cannot carry, as file names are hostile input; hide secrets."""
    text = redacted(text)
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    safe = text.encode(encoding, "backslashreplace").decode(encoding)
    return "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in safe)


def show_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]], **fields: Any) -> None:
    """Print a table; numbers must come formatted, and all but the first column are set to the right.

    With `log=json` it is one line, whose `rows` are mappings by column, with the cells as people see them.
    """
    if jsonlines.is_begun():
        cells = [dict(zip(columns, map(str, row), strict=True)) for row in rows]
        say(title, **{"rows": cells, **fields})
        return
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
    """A bar with the rate and the time left on a terminal; elsewhere, and with `log=json`, a line every ten seconds.

    Without a `total`, as nobody knows beforehand how many files there are to list, there is no time left to tell.
    """

    def __init__(self, what: str, total: int | None, unit: str = "images", already: int = 0) -> None:
        self.what, self.unit, self.pace = what, unit, Pace(total, already)
        self.printed = time.monotonic()
        self.console = Console()
        self.bar: RichProgress | None = None

    def __enter__(self) -> "Progress":
        if self.console.is_terminal and not jsonlines.is_begun():
            total, done = self.pace.total, self.pace.done
            text = TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True))
            self.bar = RichProgress(BarColumn(bar_width=BAR_WIDTH), text, console=self.console)
            self.bar.start()
            first = "" if total is None else f" of {total - done:,} {self.unit}"
            waiting = f"{self.what}: waiting for the first{first}"
            self.task = self.bar.add_task(waiting, total=total, completed=done)
        return self

    def advance(self, count: int, note: str = "", **fields: Any) -> None:
        """Add `count` to what is done; `note` stands at the end of the line, `fields` in that of `log=json`."""
        self.pace.advance(count)
        if self.bar is not None:
            self.bar.update(self.task, completed=self.pace.done, description=printable(self.line(note)))
        elif time.monotonic() - self.printed >= SECONDS_BETWEEN_LINES or self.pace.done == self.pace.total:
            self.printed = time.monotonic()
            say(self.line(note), **{**self.figures(), **fields})

    def line(self, note: str = "") -> str:
        """What is done, the time left and the rate, in words."""
        total, rate, left = self.pace.total, self.pace.rate(), self.pace.seconds_left()
        parts = [
            f"{self.what}: {self.pace.done:,} {'' if total is None else f'of {total:,} '}{self.unit}",
            "" if left is None else f"{in_words(left)} left",
            f"{rate:,.0f} {self.unit}/s" if rate > 0 else "",
            note,
        ]
        return ", ".join(filter(None, parts))

    def figures(self) -> dict[str, Any]:
        """The same as fields; what is not known is null."""
        total, done, rate, left = self.pace.total, self.pace.done, self.pace.rate(), self.pace.seconds_left()
        return {
            "unit": self.unit,
            "done": done,
            "left": None if total is None else total - done,
            "per_second": round(rate, 3) if rate > 0 else None,
            "eta_s": None if left is None else round(left, 1),
        }

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.bar is not None:
            self.bar.stop()
