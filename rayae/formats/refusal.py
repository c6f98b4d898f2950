"""Home of why some bytes get no pixels, and of what the errors of the decoders mean."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image

from rayae.results import Status

UNKNOWN_VARIETY = r"unsupported (?!marker)|not supported|unknown pixel mode|conversion not|unable to determine J2K"


class Refused(Exception):
    """These bytes get no pixels, for this reason; it never leaves `Preprocess.decode`."""

    def __init__(self, status: Status, sentence: str) -> None:
        super().__init__(sentence)
        self.status, self.sentence = status, sentence


@contextmanager
def judged(kind: str) -> Iterator[None]:
    """Turn what a decoder library raises into a refusal."""
    try:
        yield
    except Refused:
        raise
    # What they raise on hostile bytes is open-ended (OSError, SyntaxError, ValueError, EOFError, IndexError,
    # KeyError, TypeError, AttributeError, OverflowError, MemoryError, struct.error, zlib.error), and a row in
    # is a row out. Nothing is hidden: its text stands in the sentence, and the failure budget counts the row.
    except Exception as error:
        raise _verdict(kind, error) from error


def _verdict(kind: str, error: Exception) -> Refused:
    text = " ".join(str(error).split()).rstrip(".: ")
    if " " not in text:  # a KeyError stands for a number that is in none of Pillow's tables, such as a compression
        text = f"unsupported {text}" if isinstance(error.__cause__, KeyError) else f"{type(error).__name__} {text}"
    if isinstance(error, Image.DecompressionBombError | MemoryError) or "MAX_TEXT" in text:
        return Refused(Status.TOO_LARGE, f"The {kind} unpacks to more than is allowed: {text}.")
    if re.search(UNKNOWN_VARIETY, text, re.IGNORECASE):
        return Refused(Status.UNSUPPORTED, f"The {kind} is of a variety that is not decoded: {text}.")
    return damaged(kind, text)


def damaged(kind: str, what: str) -> Refused:
    return Refused(Status.TRUNCATED, f"The {kind} is cut or damaged: {what}.")
