"""The page of failure rules says nothing that no test holds."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "FAILURES.md").read_text(encoding="utf-8")
RULES = re.findall(r"^- (.+(?:\n  .+)*)$", PAGE, re.MULTILINE)
TESTS = {
    name
    for path in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^\s*def (test_\w+)\(", path.read_text(encoding="utf-8"), re.MULTILINE)
}


def name_of(sentence: str) -> str:
    """The name of the test that holds a sentence."""
    words = re.sub(r"[^a-z0-9]+", " ", sentence.lower().replace("'", "")).split()
    return "_".join(["test", *words])


@pytest.mark.parametrize("sentence", RULES)
def test_every_failure_rule_is_the_name_of_a_test(sentence: str) -> None:
    assert name_of(sentence) in TESTS, f"no test has the name of {sentence!r}"


def test_every_failure_rule_is_one_sentence_and_said_once() -> None:
    assert len(RULES) > 100
    assert len({name_of(rule) for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert re.fullmatch(r"[A-Z].+[^.]\.", rule), rule
    assert PAGE.count("\n- ") == len(RULES)
