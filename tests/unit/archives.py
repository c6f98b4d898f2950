"""Archives for the tests: how they are listed on disk, and read by requests that are counted."""

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa

from rayae import archives
from tests.unit.pictures import every_kind

ENDINGS = {"jpeg": "jpg", "tiff": "tif"}


def pictures() -> dict[str, bytes]:
    """A name with the right ending, and the bytes, of one picture of every kind."""
    ending = {kind: "jp2" if kind.startswith("jpeg 2000") else kind.split()[0] for kind in every_kind()}
    return {
        f"{kind.replace(' ', '-')}.{ENDINGS.get(ending[kind], ending[kind])}": data
        for kind, data in every_kind().items()
    }


def listed(path: Path, passed_over: Counter[str] | None = None, **options: Any) -> pa.Table:
    """All rows of an archive, with what is true of every listing."""
    table = pa.concat_tables(archives.expand(str(path), passed_over=passed_over, **options))
    assert table.column_names[:5] == ["uri", "size_bytes", "etag", "container", "place"]
    uris = table["uri"].to_pylist()
    assert len(set(uris)) == len(uris)
    assert set(table["container"].to_pylist()) <= {str(path), None}
    assert table["etag"].null_count == 0
    return table


def names(table: pa.Table) -> list[str]:
    """What the members are called in their archive."""
    return [uri.split("!/", 1)[1] for uri in table["uri"].to_pylist()]


class Requests:
    """Reads members of an archive as the reader does; `parts` are the requests so far."""

    def __init__(self, path: Path) -> None:
        self.path, self.data = path, path.read_bytes()
        self.parts: list[tuple[int, int | None]] = []
        self.shelf = archives.Cache().of(str(path), None)

    def fetch(self, first: int, length: int | None) -> bytes:
        assert first >= 0
        self.parts.append((first, length))
        return self.data[first:] if length is None else self.data[first : first + length]

    def read(self, row: dict[str, Any]) -> bytes:
        return archives.read_member(row["place"], row["size_bytes"], self.fetch, self.shelf)

    def refusal(self, row: dict[str, Any]) -> tuple[str, str]:
        """Status and sentence of a member that cannot be read."""
        try:
            self.read(row)
        except archives.Unreadable as unreadable:
            return str(unreadable.status), unreadable.sentence
        raise AssertionError(f"{row['uri']} can be read")
