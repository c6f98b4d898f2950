"""`rayae defects`: a picture of the synthetic defects that task=repair trains on, pasted into your own images."""

import io
from itertools import islice

import numpy as np
import torch

from rayae import storage
from rayae.defects import contact_sheet
from rayae.errors import ConfigError, DataError
from rayae.labels import labelled_images
from rayae.loader import Loader
from rayae.pixels import as_images
from rayae.preprocess import Preprocess
from rayae.reader import Reader
from rayae.settings import DefectsSettings
from rayae.terminal import say
from rayae.verbs.calibrate import normal_images
from rayae.verbs.index import selected

TRIED = 4
"""Images that are looked at for each that is wanted: some may not be readable."""


def defects(settings: DefectsSettings) -> None:
    """Draw each shape and content of defect, and the places that are to be found, on normal images of `images=`."""
    if not settings.out.endswith(".png"):
        raise ConfigError(f"out={settings.out}: the picture is a PNG; give it a name that ends in .png.")
    table, notes = labelled_images(settings.images, settings.labels, selected(settings.select))
    for note in notes:
        say(note)
    asked = settings.reader
    reader = Reader(asked.max_bytes, asked.concurrency, asked.deadline_s, asked.timeout_s)
    loader = Loader(reader, Preprocess(**settings.preprocess.model_dump()), asked.threads or 1)
    loaded = loader.load(normal_images(table).slice(0, TRIED * settings.count))
    pictures = list(islice((one.picture.pixels for one in loaded if one.picture.pixels is not None), settings.count))
    loaded.close()
    if not pictures:
        raise DataError(f"none of the first {TRIED * settings.count} normal images could be read, so none is drawn.")
    sheet = io.BytesIO()
    contact_sheet(as_images(torch.from_numpy(np.stack(pictures))), settings.seed).save(sheet, "PNG")
    storage.write_bytes(storage.absolute(settings.out), sheet.getvalue())
    say(f"defects: {settings.out} ({len(pictures)} images; beside each damaged one the places that are to be found)")
