"""Home of files that DuckDB opens by a number: they lie elsewhere, and no character of a key is read as a pattern."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import IO, Any

from fsspec import AbstractFileSystem

from rayae import storage
from rayae.errors import StorageError
from rayae.result_files import open_results

SCHEME = "rayae"
LONG_AGO = datetime.fromtimestamp(0, UTC)
"""When every file was written, as far as DuckDB is told: files of a run are never changed in their place."""


class NumberedFiles(AbstractFileSystem):  # type: ignore[misc]  # fsspec has no types
    """A file system of fsspec with the files that were added to it and no others, for reading."""

    protocol = SCHEME
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self.files: list[tuple[str, int]] = []
        """URI and size in bytes of each."""

    def add(self, uris: Sequence[str]) -> list[str]:
        """Add files; the names by which they are opened. StorageError when one of them is not there."""
        folders = {storage.parent(uri): dict[str, int]() for uri in uris}
        for folder, sizes in folders.items():
            sizes |= {entry.name: entry.size_bytes for entry in storage.list_files(folder)}
        first = len(self.files)
        for uri in uris:
            size_bytes = folders[storage.parent(uri)].get(uri.rpartition("/")[2])
            if size_bytes is None:
                raise StorageError(f"cannot read {uri}: there is no such bucket or object.")
            self.files.append((uri, size_bytes))
        return [f"{SCHEME}://{number}.parquet" for number in range(first, len(self.files))]

    def glob(self, path: str, maxdepth: int | None = None, **options: Any) -> list[str]:
        """The name itself, as it holds no pattern; nothing for a name that was never given."""
        number = self._number(path)
        return [] if number is None else [path]

    def info(self, path: str, **options: Any) -> dict[str, Any]:
        """Its size; FileNotFoundError for a name that was never given."""
        return {"name": path, "size": self._file(path)[1], "type": "file"}

    def modified(self, path: str) -> datetime:
        return LONG_AGO

    def open(self, path: str, mode: str = "rb", **options: Any) -> IO[bytes]:
        """The file, for reading; PermissionError for other modes."""
        if mode != "rb":
            raise PermissionError(f"{path} is only for reading")
        return open_results(self._file(path)[0])

    def _file(self, path: str) -> tuple[str, int]:
        number = self._number(path)
        if number is None:
            raise FileNotFoundError(path)
        return self.files[number]

    def _number(self, path: str) -> int | None:
        text = path.removeprefix(f"{SCHEME}://").strip("/").removesuffix(".parquet")
        return int(text) if text.isdecimal() and int(text) < len(self.files) else None
