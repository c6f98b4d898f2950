"""LIST: home of what `images=` means: folders, globs, lists, manifests and archives, as one stream in a fixed order.

What is named first comes first; a folder gives its images in the order of their paths, object storage in that of its
keys, a list and an archive in their own. Nothing is held but a few tables of 65,536 rows; of several things named at
once also eight bytes an image, which tell whether one is named twice.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from rayae import manifest, results, storage
from rayae.errors import ConfigError, DataError
from rayae.expansion import expanded
from rayae.selection import NOT_SELECTED, Select
from rayae.sources import Source, is_glob, sources_of

EVERYTHING = Select()
INSIDE = "!/"
"""What stands between the URI of an archive and the name of a member."""
LOOKED_AT_ONCE = 16
"""Words of `images=` that are looked up in storage at once."""


@dataclass
class Stream:
    """The images that `images=` names: tables of one schema, that of a manifest without `image_id`."""

    items: list[str]
    """What `images=` is, for people."""
    sources: list[Source]
    select: Select
    schema: pa.Schema
    passed_over: Counter[str] = field(default_factory=Counter)
    """Files and members of archives that are no pictures, by their ending; known at the end."""
    archives: int = 0
    """Archives, and TIFFs with pages, that images came from; known at the end."""
    members: int = 0
    """Images that came from them; known at the end."""

    def __iter__(self) -> Iterator[pa.Table]:
        """List it all. DataError, after the last table, when nothing was found or an image is named twice."""
        self.passed_over.clear()
        self.archives = self.members = 0
        names = _Names(is_needed=len(self.sources) > 1 or not all(source.is_distinct for source in self.sources))
        rows, last, lookalikes = 0, None, _Lookalikes()
        for table in self._tables(self.passed_over):
            names.add(table["uri"])
            lookalikes.add(table)
            rows += table.num_rows
            containers = table["container"].drop_null()
            if len(containers):
                self.members += len(containers)
                self.archives += len(pc.unique(containers)) - (containers[0] == last)
                last = containers[-1]
            yield table
        if not rows:
            raise DataError(self._nothing_found())
        lookalikes.refuse()
        repeated = names.repeated()
        if len(repeated):
            self._refuse_repeated(repeated)

    def _tables(self, passed_over: Counter[str]) -> Iterator[pa.Table]:
        for source in self.sources:
            for table in source.read(passed_over):
                is_own = "modified" in source.schema.names  # else it is the time of the file, which only `select` needs
                for taken in expanded(table, source.prefix, self.select, passed_over):
                    if taken.num_rows:
                        known = (
                            taken if is_own or "modified" not in taken.column_names else taken.drop_columns("modified")
                        )
                        yield _conformed(known, self.schema)

    def _refuse_repeated(self, hashes: NDArray[np.int64]) -> None:
        """DataError when names of one hash are one name: they are listed again, and looked at."""
        counts: Counter[str] = Counter()
        for table in self._tables(Counter()):
            uris = table["uri"].filter(pa.array(np.isin(_hashes(table["uri"]), hashes)))
            counts.update(uris.to_pylist())
        twice = [uri for uri, count in counts.items() if count > 1]
        if twice:
            raise DataError(
                f"images names {len(twice)} image(s) more than once, the first is {twice[0]}; "
                "name each once (folders that lie in one another overlap)."
            )

    def _nothing_found(self) -> str:
        others = ", ".join(f"{count} {what}" for what, count in self.passed_over.most_common(5))
        found = f"only other files ({others})" if others else "nothing"
        asked = ", ".join(self.items[:3])
        left_out = self.passed_over[NOT_SELECTED]
        if left_out:
            return f"images={asked}: `select.` leaves out all of its {left_out:,} images; widen it."
        return (
            f"images={asked} holds no images: found {found}; a folder gives files ending in .jpg, .png, .tif and so on."
        )


class _Lookalikes:
    """Archives, and folders that are called as members of one would be: `x.tar` beside a folder `x.tar!`."""

    def __init__(self) -> None:
        self.archives: set[str] = set()
        self.folders: set[str] = set()

    def add(self, table: pa.Table) -> None:
        containers = table["container"]
        self.archives.update(pc.unique(containers.drop_null()).to_pylist())
        loose = table["uri"].filter(containers.is_null())
        odd = loose.filter(pc.match_substring(loose, INSIDE))
        for uri in odd.to_pylist():
            parts = uri.split(INSIDE)
            self.folders.update(INSIDE.join(parts[:end]) for end in range(1, len(parts)))

    def refuse(self) -> None:
        """DataError when two images would have one name."""
        both = sorted(self.archives & self.folders)
        if both:
            raise DataError(
                f"images names the archive {both[0]} and a folder {both[0]}!: what is in them would have the same "
                "names; rename the folder."
            )


class _Names:
    """Eight bytes for every name, to find names that come again."""

    def __init__(self, *, is_needed: bool) -> None:
        self.is_needed = is_needed
        self.hashes: list[NDArray[np.int64]] = []

    def add(self, uris: pa.ChunkedArray) -> None:
        if self.is_needed:
            self.hashes.append(_hashes(uris))

    def repeated(self) -> NDArray[np.int64]:
        """The hashes that came more than once."""
        if not self.hashes:
            return np.zeros(0, np.int64)
        together = np.concatenate(self.hashes)
        self.hashes.clear()
        together.sort()
        return np.unique(together[1:][together[1:] == together[:-1]])


def _hashes(uris: pa.ChunkedArray) -> NDArray[np.int64]:
    return np.fromiter(map(hash, uris.to_pylist()), np.int64, len(uris))


def stream_images(images: str | Sequence[str], asked: Select = EVERYTHING) -> Stream:
    """The images that `images=` names, of which none is listed before the first is taken.

    ConfigError when something named is not there, or `select` asks for what a list does not say; DataError when a
    folder or list cannot be read, or lists do not fit together.
    """
    items = [images] if isinstance(images, str) else list(images)
    with ThreadPoolExecutor(LOOKED_AT_ONCE) as pool:
        found = pool.map(lambda item: sources_of(item, asked, one_of_many=not isinstance(images, str)), items)
        sources = [source for some in found for source in some]
    for source in sources:
        _refuse_unknown(source, asked)
    return Stream(items, sources, asked, _common_schema(sources))


def _refuse_unknown(source: Source, asked: Select) -> None:
    """ConfigError when the choice hangs on something that is not known of these images."""
    unknown = {"times": asked.needs_times and not source.has_times, "sizes": asked.needs_sizes and not source.has_sizes}
    settings = {"times": "select.newer= and select.older=", "sizes": "select.min_bytes= and select.max_bytes="}
    for what in (what for what, is_unknown in unknown.items() if is_unknown):
        raise ConfigError(
            f"{settings[what]} need the {what} of the images, and {source.asked} does not say them; "
            "choose among files in folders, or leave these settings out."
        )


def _common_schema(sources: Sequence[Source]) -> pa.Schema:
    """The columns of a manifest but `image_id`, and the user's own ones of all sources."""
    standard = [column for column in manifest.COLUMNS if column.name != "image_id"]
    own = [
        pa.schema([column for column in source.schema if column.name not in manifest.COLUMNS.names])
        for source in sources
    ]
    try:
        together = pa.unify_schemas([pa.schema([]), *own], promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise DataError(f"the lists of images= do not fit together: a column has several types ({error}).") from error
    refuse_reserved([*manifest.COLUMNS.names, *together.names], "images")
    return pa.schema([*standard, *together]).remove_metadata()


def _conformed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """The table with the columns of the schema; those that it lacks are null."""
    known = set(table.column_names)
    columns = [
        table[column.name].cast(column.type) if column.name in known else pa.nulls(table.num_rows, column.type)
        for column in schema
    ]
    return pa.table(columns, schema=schema)


def list_images(images: str | Sequence[str], asked: Select = EVERYTHING) -> tuple[pa.Table, Counter[str]]:
    """The table of the images that `images=` names, and the endings of what is no picture; raises as a stream does."""
    stream = stream_images(images, asked)
    table = pa.concat_tables(stream)
    return manifest.complete({name: table[name] for name in table.column_names}), stream.passed_over


def roots(images: str | Sequence[str]) -> list[str]:
    """The folders that relative paths of labels may be relative to: those named, or those that hold what is named."""
    found = []
    for item in [images] if isinstance(images, str) else images:
        uri = storage.absolute(item)
        while is_glob(uri):
            uri = storage.parent(uri)
        found += [uri, storage.parent(uri)]
    return list(dict.fromkeys(found))


def refuse_reserved(names: Sequence[str], what: str, score_names: Sequence[str] = ()) -> None:
    """DataError when one of the user's own columns has the name of a result column, in whatever letters."""
    reserved, allowed = results.reserved_columns(score_names), set(manifest.COLUMNS.names)
    for name in names:
        if name.lower() in allowed - {name}:
            raise DataError(f"{what}: the column {name!r} is written {name.lower()!r}; or give it another name.")
        if name.lower() in reserved - allowed:
            raise DataError(f"{what}: the column {name!r} has the name of a result column; give it another name.")
