"""Home of a trained detector's last step: what its scores are measured by, and which of them finds synthetic defects.

All of it comes from the pictures trained on and from held-out normal ones, never from real defects.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayae import collective
from rayae.batches import Pictures, in_batches, pixels_of
from rayae.components import Components
from rayae.defects import damage
from rayae.detector import Detector, Seen
from rayae.errors import DataError, TrainingError
from rayae.pixels import as_images
from rayae.scores import COMBINED, Gaussian, Standard
from rayae.statistics import area_under
from rayae.verdicts import variety_of

TO_COMBINE = ("gradient_mean", "head_worst1", "latent_distance", "component_worst1")
"""One of each family, so that none of them speaks twice."""
MOST_LATENTS = 20_000
"""Training pictures whose latents the Gaussian is fitted to, of each worker: more would not change it."""
MOST_FOR_COMPONENTS = 2_000
"""Training pictures, of all workers together, that the principal components are those of."""
MOST_RECONSTRUCTED = 2**25
"""Values, pixels times channels, of the pictures whose variety is measured: 2,048 of 128 x 128 in grey."""
ROUNDS = 3
"""Times that each held-out picture is damaged, in another way each time."""
Scores = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Trial:
    """What held-out normal pictures say of a detector, alone and against the same with synthetic defects."""

    auroc: dict[str, float]
    """By score, over all pairs of a picture as it is and a damaged one."""
    images: int
    """Held-out normal pictures behind the figures."""
    variance_kept: float | None
    """Of the held-out pictures, by their reconstructions; see `Variety`."""
    variance_explained: float | None

    @property
    def best(self) -> str:
        """The score to compare with a cut: `combined` where there is one, else the one with the highest AUROC.

        Synthetic defects are no judge between scores: on solar cells what ranked them best ranked real ones with an
        AUROC of 0.77 (mono) and 0.72 (poly), less than most others did.
        """
        return COMBINED if COMBINED in self.auroc else max(self.auroc, key=lambda name: self.auroc[name])

    def reason(self, score: str) -> str:
        """What the trial says of a score, in words."""
        return (
            f"which ranks synthetic defects above {self.images:,} held-out normal images with an AUROC of "
            f"{self.auroc[score]:.3f}"
        )


def try_out(
    detector: Detector,
    train: Pictures,
    validation: Pictures,
    *,
    batch: int,
    precision: str,
    generator: torch.Generator,
) -> Trial:
    """Give the detector its Gaussian and its standard, then try its scores. All workers come to the same."""
    look = Looking(detector.eval(), batch, precision, generator)
    detector.gaussian = look.gaussian(train[:MOST_LATENTS])
    detector.components = look.components(train)
    detector.standard = standard_of(look.scores(validation))
    normal = look.scores(validation)
    damaged = [look.scores(validation, damaged=True) for _ in range(ROUNDS)]
    count = len(normal["mse"])
    is_damaged = np.arange(count * (1 + ROUNDS)) >= count
    areas = {
        name: round(float(area_under(np.concatenate([values, *(one[name] for one in damaged)]), is_damaged)), 4)
        for name, values in normal.items()
    }
    most = max(1, MOST_RECONSTRUCTED // math.prod(validation.shape[1:]) // collective.count()) if len(validation) else 0
    variety = variety_of(*look.reconstructions(validation[:most]))
    return Trial(areas, count, variety.kept, variety.explained)


def standard_of(normal: Scores) -> Standard | None:
    """The scale of the scores to combine that can be; None when fewer than two of them scatter on normal pictures."""
    names = []
    for name in TO_COMBINE:
        try:
            Standard.fit(normal, [name])
        except (DataError, KeyError):  # the same on most normal pictures, or not measured by this detector
            continue
        names.append(name)
    return Standard.fit(normal, names) if len(names) > 1 else None


@dataclass(frozen=True)
class Looking:
    """A detector at work on the pictures of this worker, in batches; what it gives is of all workers."""

    detector: Detector
    batch: int
    precision: str
    generator: torch.Generator

    def gaussian(self, pictures: Pictures) -> Gaussian | None:
        """Of the latents of these pictures; None for a network without latents, or with the same one for all."""
        found = [seen.latent for _, seen in self._seen(pictures, damaged=False) if seen.latent is not None]
        if not found:
            return None
        latents = collective.gathered(torch.cat(found))
        try:
            return Gaussian.fit(latents.cpu().numpy()).to(latents.device)
        except DataError:  # a network that has collapsed, which a verdict says
            return None

    def components(self, pictures: Pictures) -> Components | None:
        """Of some of these pictures of each worker; None when they are all the same."""
        share = pictures[: -(-MOST_FOR_COMPONENTS // collective.count())]
        _, height, width, channels = pictures.shape
        region, blank = self.detector.region, Components(channels, height, width, 0)
        parts = []
        for pixels in in_batches(share, self.batch):
            images = self._device_pixels(pixels)
            parts.append(blank.reduced(images if region is None else region.filled(images, images)[0]))
        found = blank.fitted(collective.gathered(torch.cat(parts)))
        return found if len(found.basis) else None

    @torch.inference_mode()
    def scores(self, pictures: Pictures, damaged: bool = False) -> Scores:
        """All scores that the detector can measure, of the pictures as they are or with synthetic defects."""
        names = self.detector.score_names()
        found = [self.detector.measure(images, seen, names) for images, seen in self._seen(pictures, damaged)]
        none = self._device_pixels(pixels_of(pictures[:0])).flatten()  # of a worker that holds no picture
        return {name: _measured(name, _of_all_workers([none, *(one[name] for one in found)])) for name in names}

    @torch.inference_mode()
    def reconstructions(self, pictures: Pictures) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """The pictures, `[N, C, H, W]` in [0, 1], and what is made of them."""
        none = self._device_pixels(pixels_of(pictures[:0]))
        images, made = [none], [none]
        for some, seen in self._seen(pictures, damaged=False):
            images.append(some)
            made.append(seen.pictures)
        return _of_all_workers(images), _of_all_workers(made)

    @torch.inference_mode()
    def _seen(self, pictures: Pictures, damaged: bool) -> Iterator[tuple[Tensor, Seen]]:
        for pixels in in_batches(pictures, self.batch):
            images = self._device_pixels(pixels)
            if damaged:
                images = damage(images, self.generator, share=1.0).pictures
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                seen = self.detector.look(images)
            yield images, seen

    def _device_pixels(self, pixels: NDArray[np.uint8]) -> Tensor:
        return as_images(torch.from_numpy(pixels).to(next(self.detector.parameters()).device))


def _measured(name: str, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores; TrainingError when some are no numbers, since ranks and medians would take them for large ones."""
    wrong = np.count_nonzero(~np.isfinite(scores))
    if wrong:
        raise TrainingError(
            f"the score {name} is no number for {wrong} of {len(scores)} held-out pictures: training diverged. "
            "Lower `optimizer.learning_rate` or try `precision=float32`, with a new `out=`."
        )
    return scores


def _of_all_workers(values: list[Tensor]) -> NDArray[np.float32]:
    return collective.gathered(torch.cat(values)).cpu().numpy()
