"""What differs between two manifests, in rows and in words."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rayae import comparison
from rayae.comparison import changes, compare, rows_of
from rayae.manifest import Manifest, complete, write_manifest


def images(count: int, **columns: Any) -> pa.Table:
    return complete({"uri": pa.array([f"/data/{row:06}.png" for row in range(count)]), **columns})


def told(folder: Path, was: pa.Table, asked: pa.Table) -> list[str]:
    return changes(*written(folder, was, asked))


def written(folder: Path, was: pa.Table, asked: pa.Table) -> tuple[Manifest, Manifest]:
    return write_manifest(was, str(folder / "was.parquet")), write_manifest(asked, str(folder / "asked.parquet"))


def test_equal_listings_have_no_changes(tmp_path: Path) -> None:
    table = images(3, size_bytes=pa.array([1, None, 3]), x=pa.array([1.0, float("nan"), None]))
    assert told(tmp_path, table, table) == []
    assert told(tmp_path, images(0), images(0)) == []


def test_changes_are_told_in_words(tmp_path: Path) -> None:
    was = images(
        5, size_bytes=pa.array([1, 2, None, 4, 5]), label=pa.array(["a", None, None, "d", None]), x=pa.array(range(5))
    )
    now = was.slice(1).set_column(2, "size_bytes", pa.array([2, 3, 40, 5]))
    now = now.set_column(now.column_names.index("label"), "label", pa.array(["b", None, "d", None]))
    now = now.rename_columns({"x": "y"})
    now = pa.concat_tables([now, now.slice(0, 1).set_column(1, "uri", pa.array(["/data/new.png"]))])
    assert told(tmp_path, was, now) == [
        "1 image(s) new, the first is /data/new.png",
        "1 image(s) gone, the first is /data/000000.png",
        "2 image(s) changed in size or time, the first is /data/000002.png",
        "1 image(s) labelled otherwise, the first is /data/000001.png",
        "columns of your own that are new: y",
        "columns of your own that are gone: x",
    ]


def test_another_order_is_a_change(tmp_path: Path) -> None:
    table = images(3)
    assert told(tmp_path, table, table.take([1, 0, 2])) == ["the images stand in another order"]
    assert told(tmp_path, table, table.filter(pa.array([False, True, False]))) == [
        "2 image(s) gone, the first is /data/000000.png"
    ]


def test_wholly_other_listings_are_new_and_gone(tmp_path: Path) -> None:
    other = images(2).set_column(1, "uri", pa.array(["/x", "/y"]))
    assert told(tmp_path, images(3), other) == [
        "2 image(s) new, the first is /x",
        "3 image(s) gone, the first is /data/000000.png",
    ]


ROWS = st.dictionaries(st.integers(0, 60), st.tuples(st.integers(0, 2), st.sampled_from([None, "a"])), max_size=40)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(ROWS, ROWS, st.integers(1, 50), st.randoms())
def test_every_image_is_new_gone_changed_or_the_same_in_however_many_parts_they_are_compared(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    before: dict[int, tuple[int, str | None]],
    after: dict[int, tuple[int, str | None]],
    part_rows: int,
    random: Any,
) -> None:
    tables = []
    for rows in (before, after):
        keys = random.sample(sorted(rows), len(rows))
        sizes, labels = [rows[key][0] for key in keys], [rows[key][1] for key in keys]
        names = pa.array([str(key) for key in keys], pa.string())
        tables.append(complete({"uri": names, "size_bytes": sizes, "label": pa.array(labels, pa.string())}))
    was, asked = written(tmp_path, *tables)
    monkeypatch.setattr(comparison, "PART_ROWS", part_rows)
    found = compare(was, asked)
    both = before.keys() & after.keys()
    for manifest, mask, expected in (
        (asked, found.new, after.keys() - before.keys()),
        (was, found.gone, before.keys() - after.keys()),
        (asked, found.changed, {key for key in both if before[key][0] != after[key][0]}),
        (asked, found.relabelled, {key for key in both if before[key][1] != after[key][1]}),
    ):
        named = [uri for table in rows_of(manifest, mask) for uri in table["uri"].to_pylist()]
        assert sorted(named) == sorted(map(str, expected))
    order = [[uri for uri in table["uri"].to_pylist() if int(uri) in both] for table in tables]
    assert found.is_reordered == (order[0] != order[1])


def test_a_column_row_is_the_users_own(tmp_path: Path) -> None:
    was, now = (
        write_manifest(complete({"uri": ["/a.png", "/b.png"], "row": rows}), str(tmp_path / f"{rows[0]}.parquet"))
        for rows in ([1, 2], [3, 2])
    )
    assert changes(was, now) == ["1 image(s) labelled otherwise, the first is /a.png"]
