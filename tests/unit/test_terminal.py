"""What is printed: hostile names made harmless, tables that fit, progress with the time left."""

import io
import re
import sys

import pytest
from rich.console import Console

from rayae import terminal
from rayae.terminal import Progress, printable, say, show_table, warn


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 🙂 日本", "plain é 🙂 日本"),
        ("two\nlines", "two\nlines"),
        ("\x1b[2J\x07", "\\x1b[2J\\x07"),
        ("tab\tand\rreturn", "tab\\tand\\rreturn"),
        ("gnp.\u202eexe", "gnp.\\u202eexe"),
        ("\udcff.png", "\\udcff.png"),
        ("\x9b31m", "\\x9b31m"),
    ],
)
def test_control_characters_are_shown_not_obeyed(text: str, shown: str) -> None:
    assert printable(text) == shown


def test_what_the_output_cannot_carry_is_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1"))
    say("é 🙂")
    assert raw.getvalue() == b"\xe9 \\U0001f642\n"


def test_lines_go_to_stdout_and_warnings_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    say("hello \x1b")
    warn("odd \x1b")
    assert capsys.readouterr() == ("hello \\x1b\n", "warning: odd \\x1b\n")


def test_a_table_shows_hostile_cells_whole_and_obeys_none(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("[red]title[/red]", ["image", "[b]error"], [("[/red]\x1b[31m\nx", "0.10"), ("é🙂" + "y" * 200, 12)])
    text = capsys.readouterr().out
    assert "[red]title[/red]" in text
    assert "[b]error" in text
    assert "[/red]\\x1b[31m\\nx" in text
    assert "\x1b" not in text
    assert text.count("y") == 200
    assert max(map(len, text.splitlines())) > 100


def test_an_empty_table_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    show_table("nothing", ["a", "b"], [])
    assert "nothing" in capsys.readouterr().out


def test_progress_elsewhere_is_a_line_every_ten_seconds_and_at_the_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(terminal.time, "monotonic", lambda: now[0])
    with Progress("score", 1000, already=400) as progress:
        for seconds, count in ((1, 100), (9, 100), (1, 100), (10, 300)):
            now[0] += seconds
            progress.advance(count, "2 flagged")
    assert capsys.readouterr().out.splitlines() == [
        "score: 600 of 1,000 images, 0:00:36 left, 11 images/s, 2 flagged",
        "score: 1,000 of 1,000 images, 0:00:00 left, 25 images/s, 2 flagged",
    ]


def test_progress_on_a_terminal_is_a_bar_that_takes_no_note_for_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(terminal, "Console", lambda: Console(file=screen, force_terminal=True, width=150))
    with Progress("[x]", 10) as progress:
        progress.advance(10, "[/red] 1 failed")
    assert "10 of 10 images" in screen.getvalue()
    assert "[/red] 1 failed" in screen.getvalue()
    assert "[x]" in screen.getvalue()


def test_progress_without_a_total_tells_what_is_done_and_how_fast(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(terminal, "SECONDS_BETWEEN_LINES", 0.0)
    with terminal.Progress("list", None) as progress:
        progress.advance(1000)
        progress.advance(2000)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "list: 1,000 images"
    assert re.fullmatch(r"list: 3,000 images, [0-9,]+ images/s", second)
