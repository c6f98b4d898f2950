"""The training's metrics: a JSON line and a row an epoch, each once."""

import json
import threading
import time
from dataclasses import replace

import pytest

from rayae import jsonlines, storage
from rayae.epochs import Epoch
from rayae.errors import RunError, StorageError, TrainingError
from rayae.history import HEADER, METRICS, HistoryTable, read_history, shown_as_it_grows, write_history

EPOCHS = [
    Epoch(number, 0.5 / number, 0.6 / number, 0.02, 0.03, 1e-3, 1234.5, wait_seconds=0.25, seconds=2.25)
    for number in (1, 2, 3)
]


def test_what_is_written_comes_back_and_each_epoch_is_a_json_line(tmp_path):
    write_history(str(tmp_path), EPOCHS[:2])
    write_history(str(tmp_path), EPOCHS)
    assert read_history(str(tmp_path)) == EPOCHS
    lines = (tmp_path / METRICS).read_text().splitlines()
    assert [json.loads(line)["validation_loss"] for line in lines] == [0.6, 0.3, 0.6 / 3]


def test_before_the_first_epoch_there_is_none(tmp_path):
    assert read_history(str(tmp_path)) == []


def test_a_loss_that_is_no_number_is_never_written(tmp_path):
    with pytest.raises(ValueError, match="JSON"):
        write_history(str(tmp_path), [replace(EPOCHS[0], train_loss=float("nan"))])
    assert storage.list_names(str(tmp_path)) == []


def test_the_table_shows_each_epoch_once(capsys):
    table = HistoryTable(40)
    for count in (1, 1, 3, 2, 3):
        table.show(EPOCHS[:count])
    assert capsys.readouterr().out.splitlines() == [
        HEADER,
        "  1 of 40     0.50000        0.60000        1.00e-03      1,234       2.2",
        "  2 of 40     0.25000        0.30000        1.00e-03      1,234       2.2",
        "  3 of 40     0.16667        0.20000        1.00e-03      1,234       2.2",
    ]


def test_a_table_that_goes_on_says_after_which_epoch_and_shows_no_epoch_before(capsys):
    HistoryTable(40, already=EPOCHS[:2]).show(EPOCHS)
    said, header, *rows = capsys.readouterr().out.splitlines()
    assert (said, header) == ("the first 2 of 40 epochs are done; what follows comes after them", HEADER)
    assert [row.split()[:3] for row in rows] == [["3", "of", "40"]]


def test_a_change_in_the_number_of_workers_is_told_before_its_epoch(capsys):
    table, grown = HistoryTable(3), [EPOCHS[0], *(replace(epoch, workers=3) for epoch in EPOCHS[1:])]
    table.show(grown[:1])
    table.show(grown)
    said = capsys.readouterr().out.splitlines()
    assert [line[:8].strip() for line in said] == ["epoch", "1 of 3", "3 worker", "2 of 3", "3 of 3"]
    assert said[2] == "3 worker(s) from epoch 2 on, and 1 before"


def test_epochs_that_fewer_workers_do_again_are_told_again(capsys):
    """As when a machine is drained after an epoch that was told and before its checkpoint was kept."""
    two = [replace(epoch, workers=2) for epoch in EPOCHS[:2]]
    table = HistoryTable(3)
    table.show(two)
    table.show(two[:1])
    capsys.readouterr()
    table.show([two[0], *EPOCHS[1:]])
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1 worker(s) from epoch 2 on, and 2 before"
    assert [line.split()[:3] for line in said[1:]] == [["2", "of", "3"], ["3", "of", "3"]]


def test_in_json_an_epoch_is_a_line_with_its_figures_and_there_is_no_header(capsys):
    jsonlines.begin({"verb": "train"})
    try:
        HistoryTable(40).show(EPOCHS[:1])
    finally:
        jsonlines.end()
    (line,) = capsys.readouterr().out.splitlines()
    found = json.loads(line)
    assert {key: found[key] for key in ("verb", "epoch", "epochs", "train_loss", "images_per_second")} == {
        "verb": "train", "epoch": 1, "epochs": 40, "train_loss": 0.5, "images_per_second": 1234.5,
    }  # fmt: skip


def test_the_columns_stand_under_their_names(capsys):
    HistoryTable(5).show(EPOCHS[:1])
    header, row = capsys.readouterr().out.splitlines()
    assert len(header) == len(row)


def test_epochs_are_shown_while_another_process_writes_them(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rayae.history.SECONDS_BETWEEN_LOOKS", 0.01)
    write_history(str(tmp_path), EPOCHS[:1])
    with shown_as_it_grows(str(tmp_path), 3):
        write_history(str(tmp_path), EPOCHS[:2])
        time.sleep(0.1)
        assert "2 of 3" in capsys.readouterr().out
        write_history(str(tmp_path), EPOCHS)
    told = capsys.readouterr().out
    assert "3 of 3" in told
    assert "1 of 3" not in told
    assert "2 of 3" not in told


def test_an_error_inside_is_not_hidden_and_the_last_epoch_is_shown(tmp_path, capsys):
    def diverges():
        with shown_as_it_grows(str(tmp_path), 3):
            write_history(str(tmp_path), EPOCHS[:1])
            raise TrainingError("diverged")

    before = threading.active_count()
    with pytest.raises(TrainingError, match="diverged"):
        diverges()
    assert "1 of 3" in capsys.readouterr().out
    assert threading.active_count() == before


def test_a_file_that_is_damaged_meanwhile_does_not_end_the_training(tmp_path, capsys):
    with shown_as_it_grows(str(tmp_path), 3):
        (tmp_path / METRICS).write_text("{")
    assert "of 3" not in capsys.readouterr().out
    with pytest.raises(RunError, match="is damaged; remove it: the next epoch of the training writes it anew"):
        read_history(str(tmp_path))


def test_storage_that_does_not_answer_costs_a_look_and_not_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("rayae.history.SECONDS_BETWEEN_LOOKS", 0.01)
    read = storage.read_bytes
    answers = iter([False, False])

    def sometimes(uri):
        if not next(answers, True):
            raise StorageError("storage does not answer.")
        return read(uri)

    with shown_as_it_grows(str(tmp_path), 3):
        monkeypatch.setattr(storage, "read_bytes", sometimes)
        write_history(str(tmp_path), EPOCHS[:1])
        time.sleep(0.1)
        assert "1 of 3" in capsys.readouterr().out
