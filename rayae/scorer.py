"""SCORE: home of the model at work: pixels in, one float32 a score and image out."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rayae import detector as detectors
from rayae.bundle import Bundle
from rayae.detector import Detector, Seen
from rayae.errors import BundleError
from rayae.lanes import Lanes, Take
from rayae.micro_batch import default_micro_batch, fastest_micro_batch, is_out_of_memory, timed
from rayae.pixels import as_images
from rayae.results import PIXEL_STATISTICS
from rayae.scores import describe

LANE_TRIES = 3
Found = tuple[dict[str, NDArray[np.float32]], dict[int, str]]
"""What is measured, `[N]` by name, and the images to blame."""
Scored = Callable[[], Found]


@dataclass
class Scorer:
    """A detector on its device. The micro-batch is halved when memory runs out, and stays so."""

    detector: Detector
    score_names: tuple[str, ...]
    """What is measured of each image: the scores of the bundle, then the statistics of its pixels."""
    device: torch.device
    precision: str
    micro_batch: int
    lanes: Lanes | None = field(default=None, repr=False)
    """The way to a GPU for micro-batches of one shape, once there was one."""
    tries: int = field(default=LANE_TRIES, repr=False)
    """How many times more they are laid, after micro-batches that have failed."""

    @classmethod
    def open(cls, bundle: Bundle, micro_batch: int | None = None) -> "Scorer":
        """The model of a bundle, on a GPU when this process sees one; BundleError when its parts do not fit."""
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        detector = detectors.on_device(_loaded(bundle), device)
        default = default_micro_batch(device, bundle.preprocess.height * bundle.preprocess.width)
        names = (*bundle.scores, *PIXEL_STATISTICS)
        scorer = cls(detector.eval(), names, device, bundle.precision, micro_batch or default)
        if micro_batch is None and device.type == "cuda":
            scorer._find_micro_batch((bundle.preprocess.height, bundle.preprocess.width, bundle.preprocess.channels))
        return scorer

    @property
    def ahead(self) -> int:
        """Micro-batches that may be begun before the first of them is taken: on a GPU, two are under way at a time."""
        return 1 if self.device.type == "cuda" and self.tries else 0

    @property
    def nbytes(self) -> int:
        """Bytes of the weights, and of the way to the GPU."""
        weights: int = sum(tensor.nbytes for tensor in self.detector.state_dict().values())
        return weights + (0 if self.lanes is None else self.lanes.nbytes)

    def begin(self, pixels: Sequence[NDArray[np.uint8]]) -> Scored:
        """Begin to score a micro-batch of `[H, W, C]` uint8 pixels; what is given back waits, and is as of `score`.

        On a CPU that is done at once. A micro-batch that fails on a GPU is scored again as `score` does, which finds
        out what is to blame.
        """
        if not self.ahead or len(pixels) > self.micro_batch:  # which may have been halved meanwhile
            found = self.score(np.stack(pixels))
            return lambda: found
        try:
            take = self._way(pixels[0].shape).begin(pixels)
        except RuntimeError as error:
            return self._once_more(pixels, error)
        return lambda: self._taken(take, pixels)

    def _way(self, shape: tuple[int, ...]) -> Lanes:
        if self.lanes is None:
            self.lanes = Lanes(self._compute, (self.micro_batch, *shape), self.device)
        return self.lanes

    def _taken(self, take: Take, pixels: Sequence[NDArray[np.uint8]]) -> Found:
        try:
            scores = dict(zip(self.score_names, take(), strict=True))
        except RuntimeError as error:
            return self._once_more(pixels, error)()
        return scores, _blame_not_finite(scores, {})

    def _once_more(self, pixels: Sequence[NDArray[np.uint8]], error: RuntimeError) -> Scored:
        """What `score` gives of a micro-batch that has failed; the lanes are given up, as memory may be short."""
        if is_broken_device(error):
            raise error
        self.lanes, self.tries = None, max(0, self.tries - 1)
        found = self.score(np.stack(pixels))
        return lambda: found

    @torch.inference_mode()
    def _compute(self, pixels: Tensor) -> Tensor:
        """What is measured of pixels on the device, `[S, B]`, in the order of `score_names`."""
        images = as_images(pixels)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16", cache_enabled=False):
            made = self.detector.look(images)
        measured = self._measure_and_describe(pixels, images, made)
        return torch.stack([measured[name].float() for name in self.score_names])

    def _find_micro_batch(self, shape: tuple[int, ...]) -> None:
        """Take the micro-batch that a short probe finds to be fast."""

        def work(size: int) -> Tensor:
            return self._compute(torch.zeros((size, *shape), dtype=torch.uint8, device=self.device))

        self.micro_batch = fastest_micro_batch(self.micro_batch, timed(work, self.device))
        torch.cuda.empty_cache()

    def score(self, pixels: NDArray[np.uint8]) -> Found:
        """Score `[N, H, W, C]` uint8 pixels: what is measured by name, `[N]` float32 each, and the images to blame.

        A batch that raises is split until single images are to blame; they are NaN and have their sentence under
        their position. So are images for which the network gives something that is not a finite number. Raises only
        what is no image's fault: an error after which the device is of no more use.
        """
        scores = {name: np.full(len(pixels), np.nan, dtype=np.float32) for name in self.score_names}
        blamed: dict[int, str] = {}
        left = [(0, len(pixels))] if len(pixels) else []
        while left:
            first, end = left.pop()
            last = min(first + self.micro_batch, end)
            if last < end:
                left.append((last, end))
            try:
                measured = self._forward(pixels[first:last], self._measure_and_describe, self.micro_batch)
            except RuntimeError as error:  # what torch raises for everything, running out of memory included
                if is_broken_device(error):
                    raise
                if is_out_of_memory(error) and self.micro_batch > 1:
                    self.micro_batch //= 2
                    left.append((first, last))
                    continue
                if last - first == 1:
                    blamed[first] = f"The network failed on this picture: {_first_line(error)}."
                    continue
                middle = (first + last) // 2
                left += [(middle, last), (first, middle)]
            else:
                for name in self.score_names:
                    scores[name][first:last] = measured[name]
        return scores, blamed | _blame_not_finite(scores, blamed)

    def reconstruct(self, pixels: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """What the network makes of `[N, H, W, C]` uint8 pixels, likewise, and the error maps `[N, H, W]`.

        Batches are not filled up, since few pictures are asked for, to be looked at: it does not matter that other
        kernels make them than those that score. Raises what torch raises, but for memory that smaller micro-batches do
        without.
        """
        made, maps = np.empty_like(pixels), np.empty(pixels.shape[:3], dtype=np.float32)
        first = 0
        while first < len(pixels):
            batch = slice(first, first + self.micro_batch)
            try:
                found = self._forward(pixels[batch], self._look_and_map, 0)
            except RuntimeError as error:
                if not is_out_of_memory(error) or self.micro_batch == 1:
                    raise
                self.micro_batch //= 2
                continue
            made[batch] = np.rint(found["again"].transpose(0, 2, 3, 1).clip(0, 1) * 255)
            maps[batch] = found["map"]
            first = batch.stop
        return made, maps

    def _look_and_map(self, _: Tensor, images: Tensor, seen: Seen) -> dict[str, Tensor]:
        return {"again": seen.pictures, "map": self.detector.error_map(images, seen.pictures)}

    @torch.inference_mode()
    def _forward(
        self, pixels: NDArray[np.uint8], use: Callable[[Tensor, Tensor, Seen], dict[str, Tensor]], at_once: int
    ) -> dict[str, NDArray[np.float32]]:
        seen = torch.from_numpy(_filled(pixels, at_once)).to(self.device)
        images = as_images(seen)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            made = self.detector.look(images)
        found = use(seen, images, made)
        return {name: value[: len(pixels)].cpu().numpy() for name, value in found.items()}

    def _measure_and_describe(self, pixels: Tensor, images: Tensor, seen: Seen) -> dict[str, Tensor]:
        measured = self.detector.measure(images, seen, self.score_names[: -len(PIXEL_STATISTICS)])
        return measured | describe(pixels)


def _filled(pixels: NDArray[np.uint8], at_once: int) -> NDArray[np.uint8]:
    """The batch filled up with black to the size that all batches have, `at_once`.

    Libraries choose their kernels by the size: bf16 on a CPU gave the same picture scores that differed by 4e-6
    in batches of 1, 3 and 32. So a picture scores the same beside many others as when it is tried again alone.
    """
    if len(pixels) >= at_once and pixels.flags.writeable:
        return pixels
    filled = np.zeros((max(at_once, len(pixels)), *pixels.shape[1:]), dtype=np.uint8)
    filled[: len(pixels)] = pixels
    return filled


def is_broken_device(error: RuntimeError) -> bool:
    """Whether CUDA is lost to this process, as after an illegal access: from then on every image would be to blame."""
    words = str(error)
    return "CUDA error" in words and "CUBLAS" not in words and not is_out_of_memory(error)


def refuse_unloadable(bundle: Bundle) -> None:
    """BundleError when the model of a bundle cannot be loaded: told here, before a GPU is asked for."""
    _loaded(bundle)


def _loaded(bundle: Bundle) -> Detector:
    network, preprocess = bundle.network, bundle.preprocess
    wanted = {key: network.get(key) for key in ("channels", "height", "width")}
    given = {key: getattr(preprocess, key) for key in wanted}
    if wanted != given:
        raise BundleError(f"{bundle.uri}: the network takes {wanted}, and the preprocess of the bundle gives {given}.")
    try:
        detector = detectors.load(network, bundle.detector, bundle.weights())
    except BundleError as error:
        raise BundleError(f"{bundle.uri}: {error}") from error
    except RuntimeError as error:  # as where its sizes ask for more memory than there is
        raise BundleError(f"{bundle.uri}: the network cannot be built: {_first_line(error)}.") from error
    known = detector.score_names()
    unknown = [name for name in bundle.scores if name not in known]
    if unknown:
        raise BundleError(f"{bundle.uri} has the score {unknown[0]!r}; its detector can measure {', '.join(known)}.")
    return detector


def _blame_not_finite(scores: dict[str, NDArray[np.float32]], blamed: dict[int, str]) -> dict[int, str]:
    """The images without blame that have a score that is not finite; none of their scores is kept."""
    finite = np.isfinite(np.stack(list(scores.values()))).all(0)
    found = [int(row) for row in np.flatnonzero(~finite) if row not in blamed]
    for values in scores.values():
        values[found] = np.nan
    return dict.fromkeys(found, "The network gave a score that is not a finite number for this picture.")


def _first_line(error: Exception) -> str:
    line = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
    return line[:200].rstrip(" .")
