"""The JSON files of a run with a set of bundles: whatever was made of them, the answer is one sentence."""

import json
import shutil
from pathlib import Path

import pyarrow as pa
import pytest

from rayae.cli import main
from rayae.run import Run
from tests.unit.test_records import every_damage, refusal
from tests.unit.test_scoring_products import bundles, finished, images, run_of

__all__ = ["bundles"]
DONE = {
    "run.json": (["verify"], ["status"], ["evaluate", "resamples=100"], ["report", "worst=0"], ["score"]),
    "evaluation.json": (["report", "worst=0"],),
}
QUICK = {"run.json": (["verify"],), "evaluation.json": ()}
"""What is done each time; the others take so long that some of them must do."""


@pytest.mark.parametrize("name", DONE)
def test_no_damage_to_what_a_run_says_of_its_bundles_ends_in_a_traceback(bundles, name, tmp_path, capsys):
    listed = images(tmp_path / "images")
    labels = pa.array([("good", "scratch")[row % 2] for row in range(listed.num_rows)])
    run = finished(*run_of(tmp_path / "run", bundles, listed.set_column(6, "label", labels)))
    assert main(["evaluate", run.uri, "resamples=100"]) == 0
    mine = Path(shutil.copytree(run.uri, tmp_path / "mine"))
    whole = json.loads((mine / name).read_text())
    part = "products"
    if name == "evaluation.json":
        whole[part] = {"nut": whole[part]["nut"]}  # the others have the same shape
    changed = [lambda made=made: whole | {part: made()} for made in every_damage(whole[part])]
    if name == "run.json":
        changed.append(lambda: whole | {part: whole[part] | {"column": "line"}})
        changed.append(lambda: whole | {part: {**whole[part], "bundles": whole[part]["bundles"] | {"gear": {}}}})
    fine = 0
    for damaged in changed:
        (mine / name).write_text(json.dumps(damaged()))
        opened = refusal(lambda: Run.open(str(mine)).evaluation())
        fine += opened is None
        if opened is not None:
            continue
        for verb, *words in DONE[name] if fine % 30 == 1 else QUICK[name]:
            code = main([verb, str(mine), *words])  # a traceback would come through as an exception
            said = capsys.readouterr().err
            assert code == 0 or said.startswith(("error: ", "warning: ")), said
