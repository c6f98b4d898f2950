"""The JSON files of a run: whatever a person or a broken disk has made of them, the answer is one sentence."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rayae.cli import main
from rayae.errors import RunError
from rayae.lease import Holder, holder_of
from rayae.records import Each, first_rows, misfit, moment, read_record
from rayae.run import Run
from rayae.verbs.report import drifts
from tests.conftest import write_pictures

SHAPE = {"name": str, "rows": int, "seconds": Each((int, float)), "parts": [{"rows": int}], "at": moment}
FITS: dict[str, Any] = {"name": "a", "rows": 1, "seconds": {"x": 1.5}, "parts": [{"rows": 2}], "at": "2026-01-01T00:00"}


def test_what_fits_is_read_and_more_is_allowed(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps(FITS | {"more": 1}))
    assert read_record(str(tmp_path / "a.json"), SHAPE, "mend it") == FITS | {"more": 1}
    assert read_record(str(tmp_path / "none.json"), SHAPE, "mend it") is None


@pytest.mark.parametrize(
    ("change", "wrong"),
    [
        ({"name": 3}, "name is 3"),
        ({"rows": True}, "rows is true"),
        ({"rows": 1.5}, "rows is 1.5"),
        ({"seconds": {"x": None}}, "seconds.x is null"),
        ({"seconds": []}, "seconds is [], not a mapping"),
        ({"parts": {}}, "parts is {}, not a list"),
        ({"parts": [{"rows": 2}, {}]}, "parts[1].rows is missing"),
        ({"at": "yesterday"}, 'at is "yesterday"'),
        ({"at": 5}, "at is 5"),
        ({"name": ["x" * 100]}, 'name is ["xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'),
    ],
)
def test_what_does_not_fit_is_named(change: dict[str, Any], wrong: str) -> None:
    assert misfit(FITS | change, SHAPE) == wrong


@pytest.mark.parametrize("text", ["", "{", "nothing", "\xff\xfe", "[" * 100_000])
def test_what_is_no_json_is_a_sentence_with_the_remedy(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(RunError, match=r"a\.json is damaged: it is not valid JSON \(.*\); mend it\.$"):
        read_record(str(tmp_path / "a.json"), SHAPE, "mend it")


@pytest.mark.parametrize("value", [[], [1], [0, 0], [0, 5, 3], [0, "1"], [True], 3, [0, 1.0]])
def test_first_rows_of_chunks_ascend_from_zero(value: Any) -> None:
    assert misfit(value, first_rows) is not None
    assert misfit([0, 3, 5], first_rows) is None


def every_damage(value: Any) -> list[Callable[[], Any]]:
    """Copies of a JSON value with one thing in it removed, or made something else."""
    found: list[Callable[[], Any]] = [lambda: None, list, lambda: "x", lambda: -1, dict]
    if isinstance(value, dict):
        for key, inside in value.items():
            found.append(lambda key=key: {name: item for name, item in value.items() if name != key})
            found += [lambda key=key, made=made: value | {key: made()} for made in every_damage(inside)]
    elif isinstance(value, list) and value:
        found += [lambda made=made: [made(), *value[1:]] for made in every_damage(value[0])]
    return found


@pytest.fixture(scope="module")
def run(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with everything that a run can have."""
    folder = tmp_path_factory.mktemp("records")
    images = write_pictures(folder / "images", 12, defects=3)
    words = [f"images={images}", f"bundle={bundle}", f"out={folder}/run", "labels=folder", "placement=inline"]
    assert main(["score", *words]) == 0
    assert main(["evaluate", f"{folder}/run", "resamples=100"]) == 0
    assert main(["drift", f"{folder}/run"]) == 0
    return folder / "run"


ASKED = {
    "run.json": (["verify"], ["status"], ["report", "worst=0"]),
    "_SUCCESS.json": (["verify"], ["status"], ["report", "worst=0"], ["score", "placement=inline"]),
    "evaluation.json": (["report", "gallery=0"],),
    "drift.json": (["report", "gallery=0"],),
    "files.json": (["verify"], ["status"], ["report", "worst=0"], ["compact"], ["retry"]),
    "lease.json": (["status"],),
}


def refusal(ask: Callable[[], object]) -> str | None:
    """The sentence with which something is refused, or None."""
    try:
        ask()
    except RunError as error:
        return str(error)
    return None


READ: dict[str, Callable[[str], Any]] = {
    "run.json": Run.open,
    "_SUCCESS.json": lambda uri: Run.open(uri).success(),
    "evaluation.json": lambda uri: Run.open(uri).evaluation(),
    "drift.json": lambda uri: drifts(Run.open(uri)),
    "files.json": lambda uri: Run.open(uri).file_list(),
    "lease.json": holder_of,
}


@pytest.mark.parametrize("name", ASKED)
def test_no_damage_to_a_file_of_a_run_ends_in_a_traceback(
    run: Path, tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    mine = Path(shutil.copytree(run, tmp_path / "run"))
    if name == "files.json":
        assert main(["compact", str(mine)]) == 0
    if name == "lease.json":
        (mine / name).write_bytes(Holder.here().to_bytes())
    file = next(mine.rglob(name))
    whole = json.loads(file.read_text())
    if name == "run.json":
        whole["settings"] = {}
    if name == "drift.json":
        whole["furthest"] = [{"value": "a", "images": 10, "is_like": True, "cause": "none", "shifts": whole["shifts"]}]
    fine = 0
    for damaged in every_damage(whole):
        file.write_text(json.dumps(damaged()))
        refused = refusal(lambda: READ[name](str(mine)))
        assert refused is None or re.search(r"\.json|file list", refused.splitlines()[0])
        fine += refused is None
        if refused is not None or fine % 10 != 1:  # a tenth of them is enough, as verbs take their time
            continue
        for verb, *words in ASKED[name]:
            code = main([verb, str(mine), *words])  # a traceback would come through as an exception
            said = capsys.readouterr().err
            assert code == 0 or said.startswith("error: "), said
