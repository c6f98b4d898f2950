"""The walk through local folders: its order, and that nothing comes twice or is lost."""

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayae import folders

SUFFIXES = frozenset({".png"})
NAME = st.text(st.sampled_from("aB.-/é漢 0!~"), min_size=1, max_size=8)


def found(folder: Path) -> list[str]:
    tables = folders.files_below(str(folder), SUFFIXES, Counter())
    return [uri for table in tables for uri in table["uri"].to_pylist()]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(names=st.sets(NAME, max_size=25))
def test_files_come_in_the_order_of_their_whole_paths(
    tmp_path_factory: pytest.TempPathFactory, names: set[str]
) -> None:
    top = tmp_path_factory.mktemp("walk")
    made = set()
    for name in names:
        parts = [part.strip(".") or "x" for part in name.split("/") if part]
        path = top.joinpath(*parts[:-1], "x" + "".join(parts[-1:]) + ".png")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        except (FileExistsError, NotADirectoryError):
            continue
        made.add(str(path))
    assert found(top) == sorted(made)


def test_many_files_come_in_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "TABLE_ROWS", 10)
    for number in range(25):
        (tmp_path / f"{number:02}.png").touch()
    tables = list(folders.files_below(str(tmp_path), SUFFIXES, Counter()))
    assert [table.num_rows for table in tables] == [10, 10, 5]
    assert tables[0].schema.names == ["uri", "size_bytes", "etag", "modified"]
    assert tables[0]["modified"][0].as_py().timestamp() == pytest.approx((tmp_path / "00.png").stat().st_mtime)
