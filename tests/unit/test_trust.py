"""Which code a bundle may name: what somebody has trusted by its full name, and nothing else."""

import os

import pytest

from rayae.trust import VARIABLE, in_use, trust, trusted


@pytest.mark.parametrize(
    ("text", "names"),
    [("", []), ("a:B", ["a:B"]), ("a:B,c.d:E", ["a:B", "c.d:E"]), (" a:B , ,c:D,a:B", ["a:B", "c:D"])],
)
def test_the_environment_names_what_is_trusted(text, names, monkeypatch):
    monkeypatch.setenv(VARIABLE, text)
    assert trusted() == set(names)
    assert in_use() == {VARIABLE: text}


def test_without_the_variable_nothing_is_trusted_and_nothing_sent_to_workers(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)
    assert trusted() == frozenset()
    assert in_use() == {}


def test_what_is_trusted_is_added_to_the_rest_and_told_to_processes_that_are_started(monkeypatch):
    monkeypatch.setenv(VARIABLE, "b:B")
    for _ in range(2):
        trust("a:A")
    assert os.environ[VARIABLE] == "a:A,b:B"
    assert trusted() == {"a:A", "b:B"}
