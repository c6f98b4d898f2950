"""Decisions: one for the same scores, cuts and settings; none before its record is there; no score is touched."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from rayae import decisions, storage
from rayae.assignment import ALL
from rayae.cli import main
from rayae.compaction import compact
from rayae.decisions import Counts, Ruling
from rayae.errors import ConfigError, RunError
from rayae.flags import Cut
from rayae.run import Run
from rayae.threshold import fixed
from tests.unit.small_runs import CALIBRATION, finish, plan
from tests.unit.test_records import every_damage, refusal


def cut_at(value):
    return fixed(value, score="mse", bundle_id="b" * 12, calibration=CALIBRATION)


def ruling(value=0.1, **changed):
    parts = {"run": "r", "scores": "s", "settings": {"rule": "fixed", "cut": value}, "thresholds": {ALL: cut_at(value)}}
    return Ruling(**parts | changed)


def cuts_of(made):
    return {value: Cut(threshold, CALIBRATION) for value, threshold in made.thresholds.items()}


def decide(run, made, labels=None):
    return decisions.commit(run, made, decisions.write_flags(run, made.id, cuts_of(made), lambda: None), labels)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return finish(plan(tmp_path))


def test_its_id_tells_the_run_the_scores_the_settings_and_the_cuts():
    others = [
        ruling(run="x"),
        ruling(scores="x"),
        ruling(settings={"rule": "fixed", "cut": 0.1, "confidence": 0.9}),
        ruling(thresholds={ALL: cut_at(0.2)}),
        ruling(thresholds={ALL: cut_at(0.1), "a": cut_at(0.2)}),
    ]
    assert len({ruling().id, *(other.id for other in others)}) == 6
    assert ruling().id == ruling().id


def test_what_was_committed_is_found_again_as_it_was(run: Run):
    made = ruling(thresholds={ALL: cut_at(0.1), "a": cut_at(0.2)})
    decision = decide(run, made, {"choose_on": 0.5})
    assert decisions.find(run, made.id) == decision
    assert decision.counts == Counts(10, 9, 4, None)
    assert decision.threshold == cut_at(0.1)


def test_images_between_the_two_cuts_are_counted_apart(run: Run):
    made = ruling(thresholds={ALL: replace(cut_at(0.1), review_cut=0.0625)})
    assert decide(run, made).counts == Counts(10, 9, 4, 1)  # image 4, of 0.08; image 5 has no score


def test_the_flags_are_a_row_an_image_in_the_order_of_the_files(run: Run, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decisions, "FILE_ROWS", 3)
    decision = decide(run, ruling())
    tables = list(decisions.read_flags(run, decision.id))
    assert [table.num_rows for table in tables] == [3, 3, 3, 1]
    whole = pa.concat_tables(tables)
    assert whole["image_id"].to_pylist() == list(range(10))
    assert whole["is_anomaly"].to_pylist() == [False] * 5 + [None] + [True] * 4


def test_the_results_stay_as_they_are_byte_for_byte(run: Run):
    before = {uri: storage.read_bytes(uri) for uri in run.result_files()}
    decide(run, ruling())
    assert {uri: storage.read_bytes(uri) for uri in run.result_files()} == before


def test_the_flags_are_the_same_whatever_the_order_of_the_rows(run: Run):
    first = pa.concat_tables(decisions.read_flags(run, decide(run, ruling()).id))
    compact(run, 1024**2, lambda: None)
    second = pa.concat_tables(decisions.read_flags(run, decide(run, ruling()).id))
    assert second["image_id"].to_pylist() != first["image_id"].to_pylist()
    assert second.sort_by("image_id").to_pylist() == first.to_pylist()


def test_one_that_was_killed_half_way_is_none_and_what_it_left_is_no_part_of_the_next(
    run: Run, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(decisions, "FILE_ROWS", 3)
    made, calls = ruling(), []

    def killed_at_the_third_file():
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        decisions.write_flags(run, made.id, cuts_of(made), killed_at_the_third_file)
    assert len(decisions.flag_files(run, made.id)) == 2
    storage.write_bytes(decisions.place(run, made.id, "flags-000099.parquet"), b"of another order of files")
    assert decisions.find(run, made.id) is None
    assert decisions.all_of(run) == []
    decide(run, made)
    assert sum(table.num_rows for table in decisions.read_flags(run, made.id)) == 10


def test_they_are_listed_in_the_order_in_which_they_were_made(run: Run):
    made = [decide(run, ruling(value)) for value in (0.1, 0.05, 0.07)]
    assert decisions.all_of(run) == made


def test_one_that_is_not_there_is_refused_with_those_that_are(run: Run):
    with pytest.raises(ConfigError, match=r"^.* has no decision 'abc': it has no decisions yet\.$"):
        decisions.named(run, "abc")
    decision = decide(run, ruling())
    with pytest.raises(ConfigError, match=rf"^.* has no decision 'abc': its decisions are {decision.id}\.$"):
        decisions.named(run, "abc")
    assert decisions.named(run, decision.id) == decision


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda record: record["threshold"].update(cut=0.25), "it is of the decision"),
        (lambda record: record["threshold"].update(cut="low"), "its cuts are none"),
        (lambda record: record.pop("counts"), "counts is missing"),
    ],
)
def test_a_record_that_was_changed_by_hand_is_told(run: Run, change, told: str):
    decision = decide(run, ruling())
    path = Path(decisions.place(run, decision.id, "threshold.json"))
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))
    with pytest.raises(RunError, match=rf"changed by hand: .*{told}.*decide again\.$"):
        decisions.find(run, decision.id)


def test_the_columns_are_those_that_readers_rely_on(run: Run):
    schema = pq.read_schema(decisions.place(run, decide(run, ruling()).id, "flags-000000.parquet"))
    assert dict(zip(schema.names, map(str, schema.types), strict=True)) == {
        "image_id": "int64",
        "score": "float",
        "p_value": "double",
        "is_anomaly": "bool",
    }
    assert np.dtype(schema.field("score").type.to_pandas_dtype()) == np.float32


def test_no_damage_to_a_record_ends_in_a_traceback(run: Run):
    decision = decide(run, ruling())
    path = Path(decisions.place(run, decision.id, "threshold.json"))
    for damaged in every_damage(json.loads(path.read_text())):
        path.write_text(json.dumps(damaged()))
        if refusal(lambda: decisions.find(run, decision.id)) is None:
            assert main(["decisions", run.uri]) == 0
