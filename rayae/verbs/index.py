"""`rayae index`: list the images and write the manifest."""

from rayae import storage
from rayae.errors import ConfigError
from rayae.labels import labelled_images
from rayae.manifest import is_manifest, write_manifest
from rayae.settings import IndexSettings
from rayae.terminal import say


def index(settings: IndexSettings) -> None:
    """List `images=`, with `labels=` if there are some, into the manifest `out=`."""
    if not settings.out.endswith(".parquet"):
        raise ConfigError(f"out={settings.out}: a manifest is one Parquet file; give it a name that ends in .parquet.")
    table, notes = labelled_images(settings.images, settings.labels)
    for note in notes:
        say(note)
    _refuse_other_file(settings.out)
    manifest = write_manifest(table, storage.absolute(settings.out))
    say(f"manifest: {manifest.uri} ({manifest.rows:,} images, hash {manifest.content_hash[:12]})")


def _refuse_other_file(out: str) -> None:
    """ConfigError when something else than a manifest would be replaced, such as the list that was read."""
    if storage.exists(out) and not is_manifest(out):
        raise ConfigError(f"out={out}: there is a file that is no manifest; it is not replaced. Give another name.")
