"""What holds of the door: its help, its exit codes, and that it is light."""

import json
import os
import signal
import subprocess
import sys
import types
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from rayae import __version__, errors, terminal
from rayae.cli import VERBS, main

ROOT = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
PutVerb = Callable[[Callable[[object], None]], None]
START = "from rayae.cli import run; run()"


def start(*words: str, code: str = START) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", code, *words]
    return subprocess.run(command, check=False, capture_output=True, text=True, env=ENVIRONMENT, cwd=ROOT)


@pytest.fixture
def verify_does(monkeypatch: pytest.MonkeyPatch) -> PutVerb:
    """Put a function in the place of the verb `verify`."""

    def put(function: Callable[[object], None]) -> None:
        module = types.ModuleType("rayae.verbs.verify")
        module.verify = function  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "rayae.verbs.verify", module)

    return put


def raiser(error: BaseException) -> Callable[[object], None]:
    def verify(settings: object) -> None:
        raise error

    return verify


@pytest.mark.parametrize("words", [["--help"], ["score", "--help"], ["score", "jobs/score.yaml", "--dry-run"]])
def test_help_and_dry_run_load_no_heavy_library(words: list[str]) -> None:
    code = (
        "import sys; from rayae.cli import main; code = main(sys.argv[1:]); "
        "sys.exit(code or sorted({'torch', 'ray', 'pandas', 'pyarrow'} & set(sys.modules)) or 0)"
    )
    done = start(*words, code=code)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_words_and_help_print_the_same(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    text = capsys.readouterr().out
    assert main(["--help"]) == 0
    assert capsys.readouterr().out == text
    assert all(f"\n  {verb} " in text for verb in VERBS)
    assert all(f"\n  {code:<4} " in text for code in (0, 1, 2, 130, 141, 143))
    assert max(map(len, text.splitlines())) <= 100


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"rayae {__version__}\n"


@pytest.mark.parametrize("verb", VERBS)
def test_help_of_a_verb_shows_its_settings(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([verb, "-h"]) == 0
    text = capsys.readouterr().out
    fields = VERBS[verb].settings_type().model_fields
    assert all(f"\n  {name}: " in text or f"\n  {name}." in text for name in fields)
    assert max(map(len, text.splitlines())) <= 100


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["scor"], "there is no verb 'scor'; did you mean 'score'?"),
        (
            ["jobs/score.yaml"],
            "there is no verb 'jobs/score.yaml'; the verbs are"
            " index, train, defects, calibrate, plan, score, verify, retry, status, compact, flag, decisions,"
            " evaluate, compare, drift, report, top, query, submit, demo.",
        ),
        (
            ["verify", "R", "--workers", "3"],
            "there is no option --workers; the options are --help, --dry-run and --version,"
            " and settings are given as key=value, without dashes.",
        ),
        (
            ["index", "--updat"],
            "there is no option --updat; the options are --help, --dry-run and --version, and of index --update,"
            " and settings are given as key=value, without dashes.",
        ),
        (["verify"], "the command line has 1 problem(s):\n  run: is required: The run directory."),
        (["demo", "x"], "the command line has 1 problem(s):\n  x: is neither key=value nor a .yaml file"),
        (
            ["verify", "R", "x\x1b[1m=3"],
            r"the command line has 1 problem(s):" "\n" r"  x\x1b[1m=3: is neither key=value nor a .yaml file",
        ),
    ],
)
def test_what_cannot_be_asked_is_a_sentence_and_exit_code_2(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    assert capsys.readouterr() == ("", f"error: {sentence}\n")


@pytest.mark.parametrize(
    ("words", "key"),
    [
        (["index", "IT", "out=m.parquet"], "images"),
        (["train", "IT", "images=x"], "out"),
        (["calibrate", "IT", "images=x"], "bundle"),
        (["plan", "IT", "bundle=b"], "images"),
        (["score", "IT"], "out"),
        (["verify", "IT"], "run"),
        (["retry", "IT"], "run"),
        (["status", "IT"], "run"),
        (["compact", "IT"], "run"),
        (["flag", "IT", "fdr=0.1"], "run"),
        (["decisions", "IT"], "run"),
        (["evaluate", "run=IT"], "run"),
        (["compare", "IT", "B"], "run_a"),
        (["compare", "A", "IT"], "run_b"),
        (["drift", "IT"], "run"),
        (["report", "IT"], "run"),
        (["top", "IT"], "run"),
        (["query", "IT", "select 1"], "run"),
        (["query", "run", "IT"], "sql"),
        (["demo", "out=IT"], "out"),
    ],
)
def test_a_verb_takes_its_main_thing_as_first_word(
    words: list[str], key: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--dry-run", *words]) == 0
    assert yaml.safe_load(capsys.readouterr().out)[key] == "IT"


SETTINGS = sorted({*(ROOT / "jobs").glob("*.yaml")} - {ROOT / "jobs" / "kustomization.yaml"})


@pytest.mark.parametrize("path", SETTINGS, ids=lambda path: path.name)
def test_the_example_of_each_job_is_good_settings(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([path.stem, str(path), "--dry-run"]) == 0
    shown = yaml.safe_load(capsys.readouterr().out)
    assert set(yaml.safe_load(path.read_text())) <= set(shown)


def test_each_job_is_a_door_to_the_verb_of_its_name() -> None:
    doors = {path.stem: path.read_text() for path in (ROOT / "jobs").glob("*.py")}
    assert set(doors) == set(VERBS) - {"demo", "submit"}
    for name, text in doors.items():
        assert f"\n    run({name!r})\n".replace("'", '"') in text
        assert "ray job submit" in text
    done = subprocess.run(
        [sys.executable, "jobs/score.py", "jobs/score.yaml", "workers=8", "--dry-run"],
        check=True,
        capture_output=True,
        text=True,
        env=ENVIRONMENT,
        cwd=ROOT,
    )
    assert yaml.safe_load(done.stdout)["workers"] == 8


def test_a_verb_gets_its_settings_and_ends_with_0(verify_does: PutVerb) -> None:
    given: list[Any] = []
    verify_does(given.append)
    assert main(["verify", "R"]) == 0
    assert [settings.run for settings in given] == ["R"]


@pytest.mark.parametrize(
    ("error", "code"),
    [(errors.DataError("no images in /x."), 1), (errors.ConfigError("no images in /x."), 2)],
)
def test_an_error_of_ours_is_one_sentence(
    verify_does: PutVerb, error: Exception, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    verify_does(raiser(error))
    assert main(["verify", "R"]) == code
    assert capsys.readouterr() == ("", "error: no images in /x.\n")


def test_a_stop_says_what_stays(verify_does: PutVerb, capsys: pytest.CaptureFixture[str]) -> None:
    verify_does(raiser(KeyboardInterrupt()))
    assert main(["verify", "R"]) == 130
    assert capsys.readouterr().err == ("stopped: what is committed stays, and the same command goes on from there.\n")


@pytest.mark.parametrize("error", [ZeroDivisionError("ours"), BrokenPipeError(32, "of a socket")])
def test_a_bug_keeps_its_traceback(verify_does: PutVerb, error: Exception) -> None:
    verify_does(raiser(error))
    with pytest.raises(type(error)):
        main(["verify", "R"])


def lines(text: str) -> list[dict[str, Any]]:
    """The JSON objects of an output, without their times."""
    found = [json.loads(line) for line in text.splitlines()]
    assert all(datetime.fromisoformat(one.pop("time")).tzinfo == UTC for one in found)
    return found


def test_in_json_every_line_is_an_object_with_the_verb_and_what_it_is_about(
    verify_does: PutVerb, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def verify(settings: object) -> None:
        terminal.say("12 \x1b[2J images", done=12, uri="s3://user:password@bucket/é\x07")
        terminal.warn("the key is a-secret-of-the-test")
        terminal.show_table("2 images", ("status", "images"), [("scored", 1), ("missing", 1)])
        with terminal.Progress("verify", 4) as progress:
            progress.advance(4, failed=1)

    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-the-test")
    verify_does(verify)
    assert main(["verify", "/R", "log=json"]) == 0
    out, err = capsys.readouterr()
    assert out.isascii()
    about = {"verb": "verify", "run": "/R"}
    rows = [{"status": "scored", "images": "1"}, {"status": "missing", "images": "1"}]
    progress = {"unit": "images", "done": 4, "left": 0, "per_second": None, "eta_s": 0.0, "failed": 1}
    assert lines(out) == [
        {"level": "info", "message": r"12 \x1b[2J images", **about, "done": 12, "uri": r"s3://***@bucket/é\x07"},
        {"level": "info", "message": "2 images", **about, "rows": rows},
        {"level": "info", "message": "verify: 4 of 4 images, 0:00:00 left", **about, **progress},
    ]
    assert lines(err) == [{"level": "warning", "message": "the key is ***", **about}]


@pytest.mark.parametrize(
    ("error", "code", "level", "message"),
    [
        (errors.DataError("no images in /x."), 1, "error", "no images in /x."),
        (
            KeyboardInterrupt(),
            130,
            "warning",
            "stopped: what is committed stays, and the same command goes on from there.",
        ),
    ],
)
def test_in_json_the_end_of_a_job_is_an_object(
    verify_does: PutVerb, capsys: pytest.CaptureFixture[str], error: BaseException, code: int, level: str, message: str
) -> None:
    verify_does(raiser(error))
    assert main(["verify", "/R", "log=json"]) == code
    assert lines(capsys.readouterr().err) == [{"level": level, "message": message, "verb": "verify", "run": "/R"}]


def test_in_json_a_bug_is_one_line_with_its_traceback(verify_does: PutVerb, capsys: pytest.CaptureFixture[str]) -> None:
    verify_does(raiser(ZeroDivisionError("ours")))
    assert main(["verify", "/R", "log=json"]) == 1
    (found,) = lines(capsys.readouterr().err)
    assert (found["level"], found["message"]) == ("error", "this is a bug of rayae")
    assert found["traceback"].endswith("ZeroDivisionError: ours\n")


def test_wrong_settings_are_told_as_json_too_and_the_next_command_speaks_to_people(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["verify", "log=json"]) == 2
    (found,) = lines(capsys.readouterr().err)
    assert found["message"] == "the command line has 1 problem(s):\n  run: is required: The run directory."
    assert main(["verify"]) == 2
    assert capsys.readouterr().err.startswith("error: the command line has 1 problem(s):")


@pytest.mark.parametrize("words", [["score", "--help"], ["score", "jobs/score.yaml", "--dry-run"]])
def test_help_and_dry_run_are_for_people_in_json_too(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    text = capsys.readouterr().out
    assert main([*words, "log=json"]) == 0
    assert capsys.readouterr().out.replace("log: json", "log: text") == text


def test_a_closed_pipe_ends_quietly() -> None:
    command = [sys.executable, "-c", START, "train", "--help"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = subprocess.run(command, check=False, stdout=write_end, stderr=subprocess.PIPE, env=ENVIRONMENT)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")


def test_ctrl_c_ends_with_130() -> None:
    code = (
        "import sys, time, types; module = sys.modules['rayae.verbs.verify'] = types.ModuleType('verify')\n"
        "def verify(settings):\n    print('at work', flush=True)\n    time.sleep(60)\n"
        f"module.verify = verify; {START}"
    )
    command = [sys.executable, "-c", code, "verify", "R"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as job:
        assert job.stdout is not None
        assert job.stdout.readline() == b"at work\n"
        job.send_signal(signal.SIGINT)
        assert job.wait(10) == 130


def test_a_truth_value_may_be_given_as_an_option(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["index", "--update", "images=a", "out=m.parquet", "--dry-run"]) == 0
    assert "update: true\n" in capsys.readouterr().out


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("words", [["--help"], ["score", "--help"]])
def test_an_output_on_a_full_disk_is_a_sentence(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, "-m", "rayae", *words], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (done.returncode, done.stderr) == (
        1, "error: what is printed cannot be written: no space left on its device.\n",
    )  # fmt: skip
