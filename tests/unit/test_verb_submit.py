"""What `rayae submit` makes of its words, and how it writes the log of a job; the rest is tested on a job server."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rayae import jsonlines
from rayae.cli import main
from rayae.config import load
from rayae.on_ray.jobs import _Log
from rayae.settings import ScoreSettings, TrainSettings
from rayae.verbs.submit import Shown, name_of, words_of


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (ScoreSettings, ["out=/run", "images=[/a b.png, '/c,d.png', '/😀\"\\.png']", "bundle=s3://m/ü", "workers=3"]),
        (ScoreSettings, ["out=/r", "max_failed_by_status={throttled: 0.01}", "reader.deadline_s=2.5", "labels=folder"]),
        (TrainSettings, ["images=/x", "out=/b", "preprocess.float_range=[0,1]", "select.include=[*.png]", "rule=none"]),
        (ScoreSettings, ["out=/run", "micro_batch=null", "storage.anonymous=true"]),
    ],
)
def test_settings_become_words_that_mean_the_same(kind: Any, words: list[str]) -> None:
    asked = load(kind, words)
    assert load(kind, words_of(asked.model_dump(mode="json", exclude_unset=True))) == asked


def test_a_job_is_named_by_what_it_is_about() -> None:
    assert name_of("score", {"out": "/a", "workers": 1}) == name_of("score", {"out": "/a", "workers": 2})
    names = [name_of("score", {"out": "/a"}), name_of("score", {"out": "/b"}), name_of("verify", {"run": "/a"})]
    assert len(set(names)) == 3
    assert all(len(name) < 40 for name in names)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ([], "submit needs the verb that is to be done, as `rayae submit score ...`; the verbs are index, train,"),
        (["submit", "score"], "submit needs the verb that is to be done"),
        (
            ["score", "out=run"],
            "out=run of score is relative to this folder, and the job runs in another; give the whole",
        ),
        (["score", "out=/run", "images=[/a, b]"], "images=b of score is relative to this folder"),
        (["score", "out=/run", "--nothing"], "there is no option --nothing; the options are --help, --dry-run and"),
        (["score", "outt=/run"], "outt: unknown key; did you mean 'out'?"),
        (["score", "out=/run", "storage.ca_file=my.pem"], "storage.ca_file=my.pem of score is relative to this folder"),
        (["score", "out=/run", "--working-dir"], "--working-dir needs a value, as --working-dir DIR."),
        (["score", "out=/run", "--detach=maybe"], "detach: Input should be a valid boolean"),
    ],
)
def test_what_cannot_be_submitted_is_told_before_anybody_is_asked(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["submit", *words, "--address", "http://127.0.0.1:1"]) == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "127.0.0.1:1"])
def test_an_address_where_no_job_server_is_is_a_sentence(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["submit", "score", "out=/run", f"--address={address}"]) == 1
    assert capsys.readouterr().err.startswith("error: no job server answers at http://127.0.0.1:1 (")


class Breaking:
    """A job server that sends the log from its beginning each time, and breaks off after so many pieces."""

    def __init__(self, pieces: list[str], *breaks: int) -> None:
        self.pieces, self.breaks = pieces, list(breaks)

    async def tail_job_logs(self, submission_id: str) -> AsyncIterator[str]:
        for piece in self.pieces[: self.breaks.pop(0)]:
            yield piece
        raise ConnectionError


def test_a_log_is_written_once_however_often_the_connection_breaks() -> None:
    written: list[str] = []
    log, server = _Log(written.append), Breaking(["one\n", "two\n", "three\n"], 1, 2, 2, 0)
    for _ in range(4):
        with pytest.raises(ConnectionError):
            asyncio.run(log.tail(server, "job"))  # type: ignore[arg-type]
    log.rest("one\ntwo\nthree\nfour\n")
    assert "".join(written) == "one\ntwo\nthree\nfour\n"
    assert len(written) == 3


def test_a_log_is_shown_as_it_comes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = Shown()
    for piece in ("on", "e\ntwo \x1b", "[2J\n", "end"):
        shown.write(piece)
    shown.end()
    assert capsys.readouterr().out == "one\ntwo \\x1b[2J\nend"


def test_in_json_what_ray_says_beside_a_job_becomes_an_object_and_the_rest_stays(
    capsys: pytest.CaptureFixture[str],
) -> None:
    jsonlines.begin({"verb": "submit"})
    try:
        shown = Shown()
        for piece in ('{"message": "o', 'ne", "verb": "score"}\n', "2026 INFO ray \x1b[1m\n42\n\n", "cut"):
            shown.write(piece)
        shown.end()
    finally:
        jsonlines.end()
    first, *others = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert first == {"message": "one", "verb": "score"}
    assert [(one["message"], one["source"]) for one in others] == [
        (r"2026 INFO ray \x1b[1m", "ray"), ("42", "ray"), ("cut", "ray"),
    ]  # fmt: skip
