"""How many workers a training may have: a number, or the fewest and the most."""

import pytest

from rayae.config import dump, load
from rayae.errors import ConfigError
from rayae.settings import TrainSettings


def asked(*words):
    return load(TrainSettings, ["images=x", "out=y", *words])


@pytest.mark.parametrize(
    ("words", "fewest", "most"),
    [
        ([], None, None),
        (["workers=3"], 3, None),
        (["workers=[2,8]"], 2, 8),
        (["workers=[2, 8]"], 2, 8),
        (["workers=[2,2]"], 2, 2),
    ],
)
def test_a_number_or_a_range_is_taken_and_scoring_sees_a_number(words, fewest, most):
    settings = asked(*words)
    assert (settings.fewest_workers, settings.most_workers) == (fewest, most)
    assert settings.for_scoring().workers == fewest


def test_a_dry_run_prints_a_range_that_can_be_given_back(tmp_path):
    (tmp_path / "train.yaml").write_text(dump(asked("workers=[2,8]")))
    assert load(TrainSettings, [str(tmp_path / "train.yaml")]) == asked("workers=[2,8]")


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("workers=[8,2]", "workers=[8,2]: the first is the fewest, and 8 is above 2"),
        *(
            (
                f"workers={given}",
                f"workers: Input should be integer, above 0 or a list of 2, each integer, above 0, {no}",
            )
            for given, no in (("0", "not '0'"), ("-1", "not '-1'"), ("[0,2]", "not ['0', '2']"), ("[1]", "not ['1']"))
        ),
    ],
)
def test_what_is_no_number_of_workers_is_refused(word, problem):
    with pytest.raises(ConfigError) as refused:
        asked(word)
    assert str(refused.value) == f"the command line has 1 problem(s):\n  {problem}"
