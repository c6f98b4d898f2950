"""Home of what makes scores comparable: where each lies on normal images, and how it scatters there."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from math import isfinite
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from rayae.errors import DataError
from rayae.score_names import COMPONENT_SCORES, PICTURE_SCORES, SINGLE_SCORES, TEXTURE_SCORES
from rayae.statistics import NORMAL_MAD


@dataclass(frozen=True)
class Standard:
    """The scale of some scores, one value a score in each field; DataError when they cannot be that."""

    names: tuple[str, ...]
    """The scores that are combined."""
    centre: tuple[float, ...]
    """Their medians on held-out normal images; of the logarithms where `is_log`."""
    spread: tuple[float, ...]
    """Their median absolute deviations times 1.4826, likewise: as large as the standard deviation if they are normal.

    Median and deviation from it, since among the images that are held to be normal some are not: their scores would
    raise a standard deviation, and with it mute just the score that finds them.
    """
    is_log: tuple[bool, ...]
    """Whether a score is compared by its logarithm: the errors of pictures, whose scatter grows with their level."""

    def __post_init__(self) -> None:
        problem = _problem(self)
        if problem is not None:
            raise DataError(f"These scores cannot be combined: {problem}; choose other scores, or more normal images.")

    @classmethod
    def fit(cls, scores: Mapping[str, NDArray[np.floating]], names: Sequence[str]) -> "Standard":
        """The scale of these scores, from their values on held-out normal images, `[N]` each, all finite."""
        is_log = tuple(name in (*PICTURE_SCORES, *COMPONENT_SCORES, *TEXTURE_SCORES) for name in names)
        centres, spreads = [], []
        for name, log in zip(names, is_log, strict=True):
            values = np.asarray(scores[name], dtype=np.float64)
            values = np.log(np.maximum(values, np.finfo(np.float32).tiny)) if log else values
            centre = np.median(values) if len(values) else np.nan
            centres.append(float(centre))
            spreads.append(float(NORMAL_MAD * np.median(np.abs(values - centre))) if len(values) else np.nan)
        return cls(tuple(names), tuple(centres), tuple(spreads), is_log)

    def combined(self, scores: Mapping[str, Tensor]) -> Tensor:
        """The mean over the scores of ln(1 + e^z), `[B]`, where z = (s - centre) / spread.

        That is z where it is high and 0 where it is low: a score that is lower than on normal images says little, and
        must not hide what another one finds.

        Where `is_log`, s is the logarithm of the score, or of the smallest normal float32 if that is higher.
        """
        standardised = [
            _standardised(scores[name], centre, spread, is_log)
            for name, centre, spread, is_log in zip(self.names, self.centre, self.spread, self.is_log, strict=True)
        ]
        return torch.stack(standardised).mean(0)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, which gives all numbers back exactly."""
        return {name: list(values) for name, values in asdict(self).items()}

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Standard":
        """What `to_dict` gave; DataError when it is something else."""
        wanted = {field.name for field in fields(cls)}
        if {*value} != wanted or not all(isinstance(part, list) for part in value.values()):
            raise DataError(f"A standard of scores has the lists {', '.join(sorted(wanted))}; calibrate again.")
        return cls(**{name: tuple(part) for name, part in value.items()})


def _standardised(score: Tensor, centre: float, spread: float, is_log: bool) -> Tensor:
    if is_log:
        score = score.clamp(min=torch.finfo(torch.float32).tiny).log()
    return functional.softplus((score - centre) / spread)


def _problem(standard: Standard) -> str | None:
    names, centre, spread, is_log = standard.names, standard.centre, standard.spread, standard.is_log
    if not names or any(name not in SINGLE_SCORES or names.count(name) > 1 for name in names):
        return f"{list(names)} are not some of {', '.join(SINGLE_SCORES)}, each once"
    if not len(names) == len(centre) == len(spread) == len(is_log):
        return "there is not one centre, spread and is_log a score"
    for name, middle, scatter, log in zip(names, centre, spread, is_log, strict=True):
        numbers = all(isinstance(number, float) and isfinite(number) for number in (middle, scatter))
        if not numbers or not isinstance(log, bool):
            return f"{name} has no finite median and spread on the normal images"
        if scatter <= 0:
            return f"{name} is the same on more than half of the normal images"
    return None
