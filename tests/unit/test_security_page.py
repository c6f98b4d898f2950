"""The page on security claims nothing without naming its test, or saying that there is none."""

import re

import pytest

from tests.unit.test_failures_page import ROOT, TESTS

PAGE = (ROOT / "cluster" / "SECURITY.md").read_text(encoding="utf-8")
ROWS = [
    line for line in PAGE.splitlines() if line.startswith("| ") and not re.match(r"\| (who or what|claim) \|", line)
]
NAMED = sorted(set(re.findall(r"`(test_\w+)`", PAGE)))


@pytest.mark.parametrize("name", NAMED)
def test_every_test_that_the_security_page_names_is_there(name: str) -> None:
    assert name in TESTS


def test_every_claim_of_the_security_page_names_its_test_or_says_that_it_has_none() -> None:
    assert len(ROWS) > 50
    for row in ROWS:
        held_by = row.rstrip(" |").rpartition("|")[2]
        assert re.search(r"`test_\w+`|untested|nothing to hold", held_by), row


def test_every_word_of_the_setting_is_on_the_security_page() -> None:
    from rayae import reach

    for word in (reach.FILE, reach.OTHER, reach.LOOPBACK, reach.LINK_LOCAL):
        assert f"| `{word}` |" in PAGE
