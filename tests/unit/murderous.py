"""A decoder with a bug, in a file that a child process imports quickly."""

import os
import time
from dataclasses import dataclass

import numpy as np

from rayae.preprocess import Picture, Preprocess
from rayae.results import Status

KILLER, SLOW, BUG = b"kill", b"slow", b"bug"


@dataclass(frozen=True)
class Murderous(Preprocess):
    """Dies of marked bytes as a decoder with a bug would; makes a pixel of the first byte of all else."""

    def decode(self, data, page=0):
        if data.startswith(KILLER):
            os.abort()
        if data.startswith(BUG):
            raise ZeroDivisionError("a bug")
        if data.startswith(SLOW):
            time.sleep(0.05)
        pixels = np.full((self.height, self.width, self.channels), data[0], np.uint8)
        return Picture(pixels, Status.SCORED, None, self.width, self.height)


MURDEROUS = Murderous("grey", 32, 32)
