import pytest

from rayae.stages import bottleneck, shares_in_words


@pytest.mark.parametrize(
    ("seconds", "stage", "share", "setting"),
    [
        ({"wait": 1, "model": 8, "write": 1, "fetch": 9, "decode": 9}, "model", 0.8, "`workers=`"),
        ({"wait": 6, "model": 3, "write": 1, "fetch": 9, "decode": 2}, "fetch", 0.6, "`reader.concurrency=`"),
        ({"wait": 6, "model": 3, "write": 1, "fetch": 1, "decode": 2}, "decode", 0.6, "`resources.cpus_per_worker=`"),
        ({"wait": 1, "model": 1, "write": 2}, "write", 0.5, "`chunk_images=`"),
    ],
)
def test_what_takes_most_of_the_workers_time_is_the_bottleneck(
    seconds: dict[str, float], stage: str, share: float, setting: str
) -> None:
    found = bottleneck(seconds)
    assert found is not None
    assert (found.stage, found.share) == (stage, pytest.approx(share))
    assert setting in found.in_words("together")


def test_without_ray_the_settings_of_this_process_move_it() -> None:
    found = bottleneck({"wait": 6, "model": 3, "write": 1, "fetch": 1, "decode": 2})
    assert found is not None
    assert "`reader.threads=`" in found.in_words("inline")


def test_where_no_time_went_there_is_no_bottleneck() -> None:
    assert bottleneck({}) is None
    assert bottleneck({"wait": 0.0, "model": 0.0}) is None
    assert shares_in_words({}) == ""


def test_shares_are_of_what_workers_do_in_turn() -> None:
    assert shares_in_words({"wait": 1, "model": 3, "decode": 70}) == "wait 25 %, model 75 %, write 0 %"
