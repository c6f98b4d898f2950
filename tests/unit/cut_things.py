"""Small bases and labelled scores that the tests of rules share."""

import numpy as np

from rayae.cuts.basis import Basis
from rayae.cuts.labelled import Labelled, keys_of


def basis(calibration, groups=None, confidence=0.95):
    return Basis("mse", "b0", np.sort(np.asarray(calibration, np.float32)), groups, confidence)


def labelled(defects, normals=(), names=None):
    scores = np.concatenate([np.asarray(defects, np.float32), np.asarray(normals, np.float32)])
    names = [str(number) for number in range(len(scores))] if names is None else names
    return Labelled(scores, np.arange(len(scores)) < len(defects), keys_of(names))
