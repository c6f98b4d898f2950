"""Home of the door: `rayae VERB [settings.yaml] [key.sub=value ...]`, its help, and the exit codes.

Verbs and settings are imported when they are asked for: `import torch` and `import ray` cost seconds each.
"""

import contextlib
import difflib
import errno
import importlib
import os
import select
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from rayae import __version__, jsonlines, stopping
from rayae.errors import ConfigError, RayaeError
from rayae.redaction import redacted
from rayae.terminal import fail, stopped

if TYPE_CHECKING:
    from pydantic import BaseModel

INTERRUPTED, TERMINATED = 130, 143
CLOSED_PIPE = 141
STANDARD_OUTPUTS = (1, 2)
SUBMIT = "submit"
"""The one verb that takes the words of another, its own as options, and the exit code of a job elsewhere."""
IN_JSON = "log=json"
"""The word by which even what is wrong with the settings is told as JSON; in a YAML file it counts once it is read."""
ABOUT = ("run", "run_a", "run_b", "bundle", "out")
"""Settings that say in each line of JSON what it is about; `out` of these verbs is known by another name."""
OUT_IS = {"score": "run", "train": "bundle"}
PLACES = ("first", "second")
OPTIONS = {"--help": "--help", "-h": "--help", "--dry-run": "--dry-run", "--version": "--version"}

HOW_SETTINGS_ARE_GIVEN = """\
Settings come from YAML files, then from key.sub=value in their order; the last one wins. A value is
read as YAML (rule=none, max_failed_by_status={throttled: 0.01}); a setting that is text keeps it as
it stands (out=a:b), and may be a list where lists are allowed (images=[a.png, b.png]).
"""

EXIT_CODES = """\
Exit codes:
  0    done
  1    the images, the run, the storage or the cluster do not allow it: one sentence on stderr says
       why; with a traceback it is a bug of rayae
  2    what was asked cannot be done as asked: settings, verb or option
  130  stopped by Ctrl-C; what is committed stays, and the same command goes on from there
  141  the reader of the output closed it, for example `rayae evaluate RUN | head`
  143  stopped by SIGTERM, after the chunk in hand where the run is this process; else as 130
"""


@dataclass(frozen=True)
class Verb:
    """One verb: what it does, the name of its settings class, and the keys of bare first words."""

    name: str
    sentence: str
    settings: str
    first_word: str | None = None
    second_word: str | None = None

    def settings_type(self) -> "type[BaseModel]":
        found: type[BaseModel] = getattr(importlib.import_module("rayae.settings"), self.settings)
        return found

    def function(self) -> "Callable[[BaseModel], None]":
        found: Callable[[BaseModel], None] = getattr(importlib.import_module(f"rayae.verbs.{self.name}"), self.name)
        return found


VERBS = {
    verb.name: verb
    for verb in (
        Verb(
            "index",
            "List images once and write them as a manifest.",
            "IndexSettings",
            "images",
        ),
        Verb(
            "train",
            "Train an autoencoder, calibrate it, write a bundle.",
            "TrainSettings",
            "out",
        ),
        Verb(
            "defects", "Draw the synthetic defects that task=repair trains on, on your own images.", "DefectsSettings"
        ),
        Verb(
            "calibrate",
            "Choose the threshold of a bundle again, on other held-out normal images.",
            "CalibrateSettings",
            "bundle",
        ),
        Verb("plan", "Tell what scoring will take, from a sample that is scored for real.", "PlanSettings", "images"),
        Verb(
            "score",
            "Score every image with a bundle, one Parquet row an image; resumes.",
            "ScoreSettings",
            "out",
        ),
        Verb(
            "verify",
            "Check that a run is whole: every image exactly once.",
            "VerifySettings",
            "run",
        ),
        Verb("retry", "Try images of a run again whose reason to fail may have passed.", "RetrySettings", "run"),
        Verb("status", "Show how far a run is, from anywhere.", "StatusSettings", "run"),
        Verb("compact", "Write a finished run anew as few files, sorted by score.", "CompactSettings", "run"),
        Verb("flag", "Decide anew which images of a run are anomalies, by another rule.", "FlagSettings", "run"),
        Verb("decisions", "List what was decided about a run.", "DecisionsSettings", "run"),
        Verb("evaluate", "Compare a run with its labels.", "EvaluateSettings", "run"),
        Verb(
            "compare",
            "Compare two runs of the same images: who ranks, flags and errs how.",
            "CompareSettings",
            "run_a",
            "run_b",
        ),
        Verb("drift", "Tell whether the images of a run, or their scores, have moved.", "DriftSettings", "run"),
        Verb("report", "Write a run as one HTML page.", "ReportSettings", "run"),
        Verb("top", "Show the images with the highest scores of a run.", "TopSettings", "run"),
        Verb("query", "Ask a run by SQL, whatever its size.", "QuerySettings", "run", "sql"),
        Verb(
            "submit",
            "Do another verb as a job on a cluster: rayae submit VERB [...] --address URL.",
            "SubmitSettings",
        ),
        Verb("demo", "Do the whole line on real photographs of solar cells.", "DemoSettings"),
    )
}


def run(verb: str | None = None) -> NoReturn:
    """End this process with what `main` returns; a job script names its verb, the rest is `sys.argv`."""
    sys.exit(main([*([verb] if verb else []), *sys.argv[1:]]))


def main(argv: Sequence[str] | None = None) -> int:
    """Do what the command line says and return the exit code; a bug keeps its traceback."""
    words = list(sys.argv[1:] if argv is None else argv)
    if IN_JSON in words:
        jsonlines.begin({})
    try:
        return _main(words)
    except Exception:  # a bug of rayae
        if not jsonlines.is_begun():
            raise
        fail("this is a bug of rayae", traceback=traceback.format_exc())
        return RayaeError.exit_code
    finally:
        jsonlines.end()


def _main(words: list[str]) -> int:
    try:
        with stopping.watched():
            code = _do(words)
        if sys.stdout is not None:
            sys.stdout.flush()
        return code
    except RayaeError as error:
        fail(str(error))
        return error.exit_code
    except (KeyboardInterrupt, stopping.Terminated) as stop:
        stopped("stopped: what is committed stays, and the same command goes on from there.")
        return INTERRUPTED if isinstance(stop, KeyboardInterrupt) else TERMINATED
    except BrokenPipeError:
        if not _give_up_closed_outputs():
            raise
        return CLOSED_PIPE
    except OSError as error:
        if (
            error.errno != errno.ENOSPC or error.filename is not None
        ):  # that of storage is a sentence already, so it is the output that is full
            raise
        return _give_up_full_output()


def _do(argv: list[str]) -> int:
    """Do what the words say; the exit code, which is 0 unless it is that of a job elsewhere."""
    options = {OPTIONS[word] for word in argv if word in OPTIONS}
    words = [word for word in argv if word not in OPTIONS]
    if "--version" in options:
        print(f"rayae {__version__}")
    elif not words:
        print(help_text(), end="")
    elif words[0] not in VERBS:
        raise ConfigError(_unknown_verb(words[0]))
    elif "--help" in options:
        print(help_of(VERBS[words[0]]), end="")
    elif words[0] == SUBMIT:
        return _submit(words[1:], is_dry_run="--dry-run" in options)
    else:
        _do_verb(VERBS[words[0]], words[1:], is_dry_run="--dry-run" in options)
    return 0


def _submit(words: list[str], *, is_dry_run: bool) -> int:
    from rayae import config
    from rayae.settings import SubmitSettings
    from rayae.verbs.submit import submit

    own, rest = _own_words(words)
    settings = config.load(SubmitSettings, own)
    if not rest or rest[0] not in VERBS or rest[0] == SUBMIT:
        others = ", ".join(name for name in VERBS if name != SUBMIT)
        raise ConfigError(
            f"submit needs the verb that is to be done, as `rayae submit score ...`; the verbs are {others}."
        )
    asked = _settings_of(VERBS[rest[0]], rest[1:])
    if is_dry_run:
        print(redacted(config.dump(asked)), end="")
        return 0
    _speak(SUBMIT, asked, of=rest[0])
    return submit(settings, rest[0], asked)


def _own_words(words: list[str]) -> tuple[list[str], list[str]]:
    """The options of `submit` as its settings, and the words that are the job's; `--NAME=VALUE` is `--NAME VALUE`."""
    from rayae import config
    from rayae.settings import SubmitSettings

    known, flags = config.known_fields(SubmitSettings), config.truth_values(SubmitSettings)
    own, rest, left = list[str](), list[str](), iter(words)
    for word in left:
        name, has_value, value = word.partition("=")
        key = name.removeprefix("--").replace("-", "_")
        if not word.startswith("--") or key not in known:
            rest.append(word)
        elif has_value or key in flags:
            own.append(f"{key}={value if has_value else 'true'}")
        else:
            value = next(left, "")
            if not value or value.startswith("--"):
                raise ConfigError(f"{word} needs a value, as {word} {'URL' if key == 'address' else 'DIR'}.")
            own.append(f"{key}={value}")
    return own, rest


def _do_verb(verb: Verb, words: list[str], *, is_dry_run: bool) -> None:
    from rayae import config  # here, as pydantic costs a quarter of a second that `rayae --help` need not pay

    settings = _settings_of(verb, words)
    if is_dry_run:
        print(redacted(config.dump(settings)), end="")
    else:
        _speak(verb.name, settings)
        _reach_storage(settings)
        verb.function()(settings)


def _speak(verb: str, settings: "BaseModel", of: str | None = None) -> None:
    """Print from now on as `log=` says, each line of JSON with the verb and what it (or the verb `of` a job) is on."""
    if getattr(settings, "log", None) != "json":
        jsonlines.end()
        return
    from rayae import storage

    given = {key: getattr(settings, key, None) for key in ABOUT}
    about = {OUT_IS.get(of or verb, key) if key == "out" else key: value for key, value in given.items() if value}
    jsonlines.begin({"verb": verb, **{key: storage.absolute(value) for key, value in about.items()}})


def _settings_of(verb: Verb, words: list[str]) -> "BaseModel":
    """The settings that words ask of a verb; ConfigError for options that it does not have."""
    from rayae import config

    flags = {f"--{key.replace('_', '-')}": key for key in config.truth_values(verb.settings_type())}
    for word in words:
        if word.startswith("-") and "=" not in word and word not in flags:
            own = f", and of {verb.name} {' and '.join(flags)}" if flags else ""
            raise ConfigError(
                f"there is no option {word}; the options are --help, --dry-run and --version{own}, "
                "and settings are given as key=value, without dashes."
            )
    words = [f"{flags[word]}=true" if word in flags else word for word in words]
    return config.load(verb.settings_type(), words, first_word=verb.first_word, second_word=verb.second_word)


def _reach_storage(settings: "BaseModel") -> None:
    asked = getattr(settings, "storage", None)
    if asked is not None:
        from rayae.access import Access

        Access(**asked.model_dump()).apply()


def help_text() -> str:
    """What `rayae --help` prints."""
    verbs = "\n".join(f"  {verb.name:<10} {verb.sentence}" for verb in VERBS.values())
    return f"""\
rayae: train an image autoencoder on many GPUs, score millions of images, flag the anomalies.

  rayae VERB [settings.yaml] [key.sub=value ...] [--dry-run]
  rayae VERB --help       the settings of a verb, with their sentences and defaults
  rayae --version

Verbs:
{verbs}

{HOW_SETTINGS_ARE_GIVEN}
--dry-run prints the settings in full, as YAML that can be given back, and does nothing else.

{EXIT_CODES}"""


def help_of(verb: Verb) -> str:
    """What `rayae VERB --help` prints."""
    from rayae import config  # here, as pydantic costs a quarter of a second that `rayae --help` need not pay

    named = [word for word in (verb.first_word, verb.second_word) if word]
    first = "".join(f" [{word.upper()}]" for word in named)
    note = "".join(f"A bare {place} word is the same as {word}=.\n" for place, word in zip(PLACES, named, strict=False))
    if verb.name == SUBMIT:
        first = " VERB [--address URL] [--detach]"
        note = "Settings are those of VERB. The ones below are given with dashes: --stop-on-interrupt.\n"
    return f"""\
rayae {verb.name}{first} [settings.yaml] [key.sub=value ...] [--dry-run]

{verb.sentence}

{HOW_SETTINGS_ARE_GIVEN}{note}
Settings:
{config.describe(verb.settings_type())}

Exit codes: as in `rayae --help`.
"""


def _unknown_verb(word: str) -> str:
    near = difflib.get_close_matches(word, VERBS, n=1)
    if near:
        return f"there is no verb {word!r}; did you mean {near[0]!r}?"
    return f"there is no verb {word!r}; the verbs are {', '.join(VERBS)}."


def _give_up_full_output() -> int:
    """Say on stderr that stdout is full, and send what is still to be written to nowhere."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), STANDARD_OUTPUTS[0])
    with contextlib.suppress(OSError):  # stderr may be on the same disk
        fail("what is printed cannot be written: no space left on its device.")
    return RayaeError.exit_code


def _give_up_closed_outputs() -> bool:
    """Whether the reader of stdout or stderr is gone; such a stream is sent to nowhere, for a quiet exit."""
    poll = select.poll()
    for descriptor in STANDARD_OUTPUTS:
        poll.register(descriptor, 0)
    closed = [descriptor for descriptor, events in poll.poll(0) if events & (select.POLLERR | select.POLLHUP)]
    for descriptor in closed:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return bool(closed)
