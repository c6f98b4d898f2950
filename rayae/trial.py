"""Home of a trained detector's last step: what its scores are measured by, and which of them finds synthetic defects.

All of it comes from the pictures trained on and from held-out normal ones, never from real defects.
"""

from collections.abc import Iterator
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
from rayae.nearest import MOST_IMAGES, Nearest
from rayae.pixels import as_images
from rayae.scores import COMBINED, Gaussian, Places, Standard, Textures
from rayae.scores.places import PlaceSums, grid_of, gridded
from rayae.scores.textures import texture_maps
from rayae.statistics import NORMAL_MAD, area_under
from rayae.tasks import with_neighbours
from rayae.variety import VarietySums

TO_COMBINE = (
    "place_mean",
    "place_worst1",
    "gradient_mean",
    "component_gradient",
    "texture_worst1",
    "nearest_distance",
)
"""Three of what network and head see, and three of what needs neither: no one of them is good at all defects."""
MOST_LATENTS = 20_000
"""Training pictures, of all workers together, whose latents and features have statistics."""
MOST_FOR_COMPONENTS = 2_000
"""Training pictures, of all workers together, that principal components are those of."""
MOST_ROUNDED, MOST_OFF = 256, 0.2
"""Held-out pictures, of all workers together, by which precisions are compared; and the robust standard deviations by
which a score of 95 % of them may differ. A detector of solar cells has 0.13 at most, 0.035 in its combined score."""
ROUNDS = 3
"""Times that each held-out picture is damaged, in another way each time."""
PRECISIONS = ("float32", "bf16")
Scores = dict[str, NDArray[np.float32]]


@dataclass(frozen=True)
class Trial:
    """What held-out normal pictures say of a detector, alone and against the same with synthetic defects."""

    auroc: dict[str, float]
    """By score, over all pairs of a picture as it is and a damaged one."""
    images: int
    """Held-out normal pictures behind the figures."""
    variance_kept: float | None
    """Of pictures trained on, by their reconstructions; see `Variety`."""
    variance_explained: float | None

    @property
    def best(self) -> str:
        """The score to compare with a cut: `combined`, else the first of its parts, else that of the highest AUROC.

        Synthetic defects are no judge between scores: on solar cells what ranked them best ranked real ones with an
        AUROC of 0.77 (mono) and 0.72 (poly), less than most others did.
        """
        usual = next((name for name in (COMBINED, *TO_COMBINE) if name in self.auroc), None)
        return usual or max(self.auroc, key=lambda name: self.auroc[name])

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
    variety = look.no_variety(train)
    some = train[: -(-MOST_LATENTS // collective.count())]
    detector.gaussian, detector.places = look.statistics(some, variety)
    detector.components = look.components(train)
    detector.textures = look.textures(train)
    detector.nearest = look.nearest(train)
    normal = look.scores(validation)
    detector.standard = standard_of(normal)
    if detector.standard is not None:
        normal |= {COMBINED: detector.standard.combined(_tensors(normal)).numpy()}
    damaged = [look.scores(validation, damaged=True) for _ in range(ROUNDS)]
    count = len(normal["mse"])
    is_damaged = np.arange(count * (1 + ROUNDS)) >= count
    areas = {
        name: round(float(area_under(np.concatenate([values, *(one[name] for one in damaged)]), is_damaged)), 4)
        for name, values in normal.items()
    }
    found = variety.found()
    return Trial(areas, count, found.kept, found.explained)


def rounded_off(detector: Detector, pictures: Pictures, *, batch: int, generator: torch.Generator) -> dict[str, float]:
    """How far bf16 takes each score from that of float32, in robust standard deviations of the latter.

    That is what 95 % of some pictures, of all workers, keep to. Scores that do not scatter have no figure.
    """
    some = pictures[: -(-MOST_ROUNDED // collective.count())]
    exact, rough = (Looking(detector.eval(), batch, precision, generator).scores(some) for precision in PRECISIONS)
    found = {}
    for name, values in exact.items():
        spread = NORMAL_MAD * float(np.median(np.abs(values - np.median(values)))) if len(values) else 0.0
        if spread > 0:
            found[name] = float(np.quantile(np.abs(rough[name] - values), 0.95)) / spread
    return found


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

    def statistics(self, pictures: Pictures, variety: VarietySums) -> tuple[Gaussian | None, Places | None]:
        """Of the latents and of the features of these pictures; None where there are none, or the same for all.

        What the network makes of the pictures is added to the sums of the variety.
        """
        latents, sums = [], None
        for images, seen in self._seen(pictures, damaged=False):
            variety.add(images, seen.pictures)
            if seen.latent is not None:
                latents.append(seen.latent)
            if seen.features:
                sums = sums or PlaceSums(seen.features, *grid_of(*pictures.shape[1:3]))
                sums.add(seen.features)
        return _gaussian_of(latents), _places_of(sums)

    def components(self, pictures: Pictures) -> Components | None:
        """Of some of these pictures of each worker; None when they are all the same."""
        share = pictures[: -(-MOST_FOR_COMPONENTS // collective.count())]
        _, height, width, channels = pictures.shape
        blank = Components(channels, height, width, 0)
        parts = []
        for pixels in in_batches(share, self.batch):
            parts.append(blank.reduced(self._masked(pixels)))
        found = blank.fitted(collective.gathered(torch.cat(parts)))
        return found if len(found.basis) else None

    @torch.no_grad()
    def textures(self, pictures: Pictures) -> Textures | None:
        """Of as many; None when they are all the same."""
        share = pictures[: -(-MOST_FOR_COMPONENTS // collective.count())]
        _, height, width, channels = pictures.shape
        parts = []
        for pixels in in_batches(share, self.batch):
            maps = texture_maps(self._masked(pixels))
            parts.append(gridded(maps, *grid_of(height, width)))
        try:
            found = Textures.fit([torch.cat(parts)], channels, height, width)
        except DataError:  # nothing varies
            return None
        return found if len(found.basis) else None

    @torch.no_grad()
    def nearest(self, pictures: Pictures) -> Nearest:
        """Of some of these pictures of each worker."""
        share = pictures[: -(-MOST_IMAGES // collective.count())]
        blank = Nearest.blank(pictures.shape[3], self._device)
        codes = [blank.coded(self._masked(pixels)) for pixels in in_batches(share, self.batch)]
        return blank.fitted(collective.gathered(torch.cat(codes)))

    @torch.inference_mode()
    def scores(self, pictures: Pictures, damaged: bool = False) -> Scores:
        """All scores that the detector can measure, of the pictures as they are or with synthetic defects."""
        names = self.detector.score_names()
        found = []
        for images, seen in self._seen(pictures, damaged):
            found.append(self.detector.measure(images, seen, names))
        none = self._device_pixels(pixels_of(pictures[:0])).flatten()  # of a worker that holds no picture
        return {name: _measured(name, _of_all_workers([none, *(one[name] for one in found)])) for name in names}

    def no_variety(self, pictures: Pictures) -> VarietySums:
        """Sums for the variety of pictures of this size, with none of them yet."""
        _, height, width, channels = pictures.shape
        return VarietySums(channels, height, width, self._device, self.detector.region)

    @torch.inference_mode()
    def _seen(self, pictures: Pictures, damaged: bool) -> Iterator[tuple[Tensor, Seen]]:
        """The pictures without what is outside the region, and what the detector makes of them."""
        batches = (self._masked(pixels) for pixels in in_batches(pictures, self.batch))
        for clean, neighbours in with_neighbours(batches):
            images = self._damaged(clean, neighbours) if damaged else clean
            with torch.autocast(images.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                seen = self.detector.look(images)
            yield images, seen

    def _damaged(self, images: Tensor, neighbours: Tensor | None) -> Tensor:
        where = self.detector.where_to_look
        return damage(images, self.generator, share=1.0, neighbours=neighbours, where=where).pictures

    def _masked(self, pictures: NDArray[np.uint8]) -> Tensor:
        return self.detector.masked(self._device_pixels(pictures))

    def _device_pixels(self, pictures: NDArray[np.uint8]) -> Tensor:
        return as_images(torch.from_numpy(pictures).to(self._device))

    @property
    def _device(self) -> torch.device:
        return next(self.detector.parameters()).device


def _gaussian_of(latents: list[Tensor]) -> Gaussian | None:
    if not latents:
        return None
    values = collective.gathered(torch.cat(latents))
    try:
        return Gaussian.fit(values.cpu().numpy()).to(values.device)
    except DataError:  # a network that has collapsed, which a verdict says
        return None


def _places_of(sums: PlaceSums | None) -> Places | None:
    if sums is None:
        return None
    try:
        return sums.fitted()
    except DataError:  # likewise
        return None


def _measured(name: str, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scores; TrainingError when some are no numbers, since ranks and medians would take them for large ones."""
    wrong = np.count_nonzero(~np.isfinite(scores))
    if wrong:
        raise TrainingError(
            f"the score {name} is no number for {wrong} of {len(scores)} held-out pictures: training diverged. "
            "Lower `optimizer.learning_rate` or try `precision=float32`, with a new `out=`."
        )
    return scores


def _tensors(scores: Scores) -> dict[str, Tensor]:
    return {name: torch.from_numpy(values) for name, values in scores.items()}


def _of_all_workers(values: list[Tensor]) -> NDArray[np.float32]:
    return collective.gathered(torch.cat(values)).cpu().numpy()
