"""`rayae index`: list the images and write the manifest; or write it anew and say what became of the images.

With `update` the images are listed as they were for the manifest at `out=` (`images=`, `labels=` and `select` stand in
it, and what is given now goes before). When something differs it is replaced, and beside NAME.parquet are written:

    NAME.new.parquet    a manifest of the images that are new, or changed in size or time: `rayae score` takes it
    NAME.gone.parquet   a manifest of those that are gone, as they were

Each is written when there are such images, and removed when there are none. The next update that finds something writes
them anew, so score NAME.new.parquet before it. When nothing differs, no file is touched.
"""

import json
import shutil
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa

from rayae import objects, reach, results, storage, tables
from rayae.comparison import Mask, compare, in_words, rows_of
from rayae.errors import ConfigError
from rayae.labels import LabelledStream, stream_labelled
from rayae.listing import refuse_reserved
from rayae.manifest import Manifest, is_manifest, write_manifest
from rayae.redaction import HIDDEN, kept
from rayae.selection import Select
from rayae.settings import IndexSettings, SelectSettings, moment
from rayae.terminal import Progress, say


class Asked(Protocol):
    """The settings that say which images."""

    @property
    def images(self) -> str | list[str] | None: ...
    @property
    def labels(self) -> str | None: ...
    @property
    def select(self) -> SelectSettings: ...


def index(settings: IndexSettings) -> None:
    """List `images=`, with `labels=` if there are some, into the manifest `out=`; or update it."""
    if not settings.out.endswith(".parquet"):
        raise ConfigError(f"out={settings.out}: a manifest is one Parquet file; give it a name that ends in .parquet.")
    _refuse_other_file(settings.out)
    out = storage.absolute(settings.out)
    if settings.update:
        _update(settings, out)
        return
    if not settings.images:
        raise ConfigError("images= is required: a folder, a glob, a list or a manifest; only --update does without.")
    images = listed(settings)
    manifest = write_listed(images, out, _made_from(settings, out))
    _tell(images.notes)
    say(f"manifest: {manifest.uri} ({manifest.rows:,} images, hash {manifest.content_hash[:12]})")
    if not storage.is_local(out) and any(storage.is_local(uri) for uri in manifest.read(0, 1)["uri"].to_pylist()):
        say(f"its images are files: who reads them by {out} has to say storage.allow=file, and must find them there")


def selected(settings: SelectSettings) -> Select:
    """The settings as the listing takes them."""
    given = settings.model_dump()
    for name in ("include", "exclude"):
        patterns = given[name] or ()
        given[name] = (patterns,) if isinstance(patterns, str) else tuple(patterns)
    for name in ("newer", "older"):
        given[name] = None if given[name] is None else moment(given[name])
    return Select(**given)


def listed(asked: Asked, scores: Sequence[str] = ()) -> LabelledStream:
    """The images that are asked for, of which none is listed yet.

    DataError when a column of the user's own has the name of a result column, or of one of the scores.
    """
    stream = stream_labelled(asked.images or "", asked.labels, selected(asked.select))
    refuse_reserved(results.user_columns(stream.schema.names), "the manifest", scores)
    return stream


def write_listed(images: LabelledStream, uri: str, made_from: Mapping[str, Any] | None = None) -> Manifest:
    """List the images into a manifest; what a person should know about them stands in `notes` then."""
    with Progress("list", None) as progress:
        return write_manifest(_counted(images, progress), uri, made_from)


def _counted(tables: Iterable[pa.Table], progress: Progress) -> Iterator[pa.Table]:
    for table in tables:
        progress.advance(table.num_rows)
        yield table


def _tell(notes: Sequence[str]) -> None:
    for note in notes:
        say(note)


def _update(settings: IndexSettings, out: str) -> None:
    if not storage.exists(out):
        raise ConfigError(f"out={settings.out}: there is no manifest to update; without --update one is written.")
    last = Manifest.open(out)
    asked = _asked_again(settings, last)
    new_uri, gone_uri = (f"{out.removesuffix('.parquet')}.{what}.parquet" for what in ("new", "gone"))
    for uri in (new_uri, gone_uri):
        if storage.exists(uri) and not is_manifest(uri):
            raise ConfigError(f"{uri} would be replaced, and is no manifest; move it, or give `out=` another name.")
    with tempfile.TemporaryDirectory(prefix="rayae-") as folder:
        images = listed(asked)
        now = write_listed(images, storage.join(folder, "now.parquet"), _made_from(asked, out))
        _tell(images.notes)
        if now.content_hash == last.content_hash:
            say(f"nothing differs: {out} stays as it is ({last.rows:,} images, hash {last.content_hash[:12]})")
            return
        found = compare(last, now)
        if found.gone.any() and _made_from(asked, out) != last.made_from:
            say("other images or another selection than before: what they leave out counts as gone")
        _tell(in_words(last, now, found))
        wanted = found.new | found.changed
        _write(rows_of(now, wanted), wanted, new_uri, "new and changed")
        _write(rows_of(last, found.gone), found.gone, gone_uri, "gone")
        with open(now.uri, "rb") as file, storage.open_write(out) as place:
            shutil.copyfileobj(file, place)
    say(f"manifest: {out} ({now.rows:,} images, hash {now.content_hash[:12]})")


def _asked_again(settings: IndexSettings, last: Manifest) -> IndexSettings:
    """What the manifest was made from, with what is given now before it."""
    was = dict(last.made_from or {})
    if settings.images is None and not was.get("images"):
        raise ConfigError(f"{last.uri} does not say what it was made from; give images= and, if it had some, labels=.")
    given = settings.model_dump(include=settings.model_fields_set & {"images", "labels"})
    asked = {**was, **{key: value for key, value in given.items() if value is not None}}
    asked["select"] = {**(was.get("select") or {}), **settings.select.model_dump(exclude_unset=True)}
    _refuse_to_follow(last.uri, {key: value for key, value in was.items() if key not in given})
    if HIDDEN in json.dumps(asked):
        raise ConfigError(f"{last.uri} was made from a URI with a secret, which it does not keep; give images= again.")
    return IndexSettings.model_validate({**asked, "out": settings.out})


def _refuse_to_follow(uri: str, was: Mapping[str, Any]) -> None:
    """ConfigError when a manifest that lies elsewhere says that files of this machine are to be listed.

    Who can write to it must not learn by that what is here.
    """
    images, labels = was.get("images") or [], was.get("labels")
    words = [*([images] if isinstance(images, str) else images), *([labels] if labels not in (None, "folder") else [])]
    for word in map(str, words):
        kind = tables.need_of(word, uri)
        if kind is not None and reach.refusal_of(kind) is not None:
            raise ConfigError(
                f"{uri} says that it was made from {word}, and what lies elsewhere opens nothing of this machine: give "
                f"images= (and labels=, if it had some) again, or storage.allow={kind}."
            )


def _made_from(settings: IndexSettings, out: str) -> Mapping[str, Any] | None:
    """What to write into the manifest, so that it can be made again: absolute, and without secrets."""
    items = [settings.images] if isinstance(settings.images, str) else list(settings.images or [])
    uris = [item if objects.is_object_store(item) else storage.absolute(item) for item in items]
    if uris == [out]:  # it was made from what it was made from before
        return Manifest.open(out).made_from
    images = uris[0] if isinstance(settings.images, str) else uris
    labels = settings.labels if settings.labels in (None, "folder") else storage.absolute(settings.labels)
    made_from = {"images": images, "labels": labels, "select": settings.select.model_dump(exclude_defaults=True)}
    found: dict[str, Any] = kept(made_from)
    return found


def _write(rows: Iterator[pa.Table], wanted: Mask, uri: str, what: str) -> None:
    """Write the rows that are wanted as a manifest; without any, none of an update before must lie there."""
    if not wanted.any():
        storage.remove(uri)
        return
    written = write_manifest(rows, uri)
    say(f"{what}: {written.uri} ({written.rows:,} images)")


def _refuse_other_file(out: str) -> None:
    """ConfigError when something else than a manifest would be replaced, such as the list that was read."""
    if storage.exists(out) and not is_manifest(out):
        raise ConfigError(f"out={out}: there is a file that is no manifest; it is not replaced. Give another name.")
