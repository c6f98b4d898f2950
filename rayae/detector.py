"""Home of the model as a whole: a network, the head that looks for defects, and what their outputs are measured by.

Its spec is that of the network and, beside it, `task`, `head` (the spec of the head, or None), `latent` (numbers of the
latent whose statistics are known, or None), `places` (the size of the statistics of features, or None), `components`
(how many principal components of the training pictures it has, or None), `textures` (how many of their textures, or
None), `nearest` (of how many training pictures it has the codes, or None), `region` (whether there is one) and
`standard` (the scale of the scores that are combined, or None).
"""

from collections.abc import Collection, Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rayae import networks
from rayae.components import Components
from rayae.errors import BundleError, ConfigError, DataError
from rayae.nearest import Nearest
from rayae.networks import head as heads
from rayae.networks import weights
from rayae.networks.sizes import unfit
from rayae.scores import (
    COMBINED,
    COMPONENT_SCORES,
    HEAD_SCORES,
    LATENT_SCORES,
    NEAREST_SCORES,
    PICTURE_SCORES,
    PLACE_SCORES,
    TEXTURE_SCORES,
    Gaussian,
    Places,
    Region,
    Standard,
    Textures,
    error_map,
    measure,
)
from rayae.tasks import TASKS, inpainted

KEYS = {"task", "head", "latent", "places", "components", "textures", "nearest", "region", "standard"}


class Seen(NamedTuple):
    """What the model makes of `[B, C, H, W]` pictures."""

    pictures: Tensor
    """Their reconstructions, likewise, float32."""
    latent: Tensor | None
    """`[B, D]` float32."""
    divergence: Tensor | None
    """`[B]`, in nats, of a variational network."""
    logits: Tensor | None
    """`[B, 1, H/2, W/2]` float32, of the head: above 0 where it rather sees a defect than none."""
    features: tuple[Tensor, ...]
    """Maps `[B, C_k, h_k, w_k]` of what network and head see at the places of the pictures."""


class Detector(nn.Module):
    """A network and all that its scores need; `build` and `load` make one from specs."""

    def __init__(self, network: nn.Module, spec: Mapping[str, Any], channels: int, height: int, width: int) -> None:
        super().__init__()
        self.task: str = spec["task"]
        self.network = network
        self.head_spec: Mapping[str, Any] | None = spec["head"]
        self.head = None if spec["head"] is None else heads.build(spec["head"])
        self.gaussian = None if spec["latent"] is None else Gaussian(spec["latent"])
        self.places = None if spec["places"] is None else Places(**spec["places"])
        size = (channels, height, width)
        self.components = None if spec["components"] is None else Components(*size, spec["components"])
        self.textures = None if spec["textures"] is None else Textures(*size, spec["textures"])
        self.nearest = None if spec["nearest"] is None else Nearest(channels, spec["nearest"])
        self.standard = None if spec["standard"] is None else Standard.from_dict(spec["standard"])
        self.region: Region | None = None
        weights = torch.zeros(height, width, dtype=torch.uint8) if spec["region"] else None
        self.register_buffer("region_weights", weights)

    def forward(self, images: Tensor) -> Seen:
        """One pass over float32 pictures in [0, 1], of which nothing outside the region is seen."""
        images = self.masked(images)
        made: networks.Reconstructed = self.network(images)
        logits, features = None, made.features
        if self.head is not None:
            logits, beside = self.head(heads.compared(images, made.pictures.detach().clamp(0, 1)))
            features += beside
        return Seen(made.pictures, made.latent, made.divergence, logits, features)

    def look(self, images: Tensor) -> Seen:
        """As in scoring: what inpaints sees each pixel only by what is around it."""
        seen: Seen = self(images)
        if self.task != "inpaint":
            return seen
        return seen._replace(pictures=inpainted(lambda hidden: self.network(hidden).pictures, self.masked(images)))

    def masked(self, images: Tensor) -> Tensor:
        """The pictures with nothing to see outside the region."""
        return images if self.region is None else self.region.masked(images)

    @property
    def where_to_look(self) -> Tensor | None:
        """The weights of the region, `[H, W]` in [0, 1]; None when all of the picture matters."""
        return None if self.region is None else self.region.weights

    def measure(self, images: Tensor, seen: Seen, names: Collection[str]) -> dict[str, Tensor]:
        """The scores of these names, `[B]` float32 each."""
        return measure(
            images,
            seen.pictures,
            head=seen.logits,
            latent=seen.latent,
            gaussian=self.gaussian,
            features=seen.features,
            places=self.places,
            components=self.components,
            textures=self.textures,
            nearest=self.nearest,
            standard=self.standard,
            region=self.region,
            names=tuple(names),
        )

    def error_map(self, images: Tensor, pictures: Tensor) -> Tensor:
        """Where pictures differ from their reconstructions, `[B, H, W]`, as much as it weighs in the region."""
        if self.region is None:
            return error_map(images, pictures)
        return error_map(*self.region.filled(images, pictures)) * self.region.weights

    def score_names(self) -> tuple[str, ...]:
        """The scores that it can measure."""
        return score_names(self.spec())

    def look_at(self, weights: Tensor) -> None:
        """Limit losses and scores to a region, `[H, W]` uint8: 0 is outside, 255 counts in full."""
        self.region_weights = weights
        self.region = Region.of(weights.float() / 255)
        self.region.outside  # noqa: B018  # read here, so that a compiled pass finds it

    def spec(self) -> dict[str, Any]:
        """That from which `load` makes one that measures the same."""
        return {
            "task": self.task,
            "head": self.head_spec,
            "latent": None if self.gaussian is None else len(self.gaussian.mean),
            "places": None if self.places is None else self.places.spec(),
            "components": None if self.components is None else len(self.components.basis),
            "textures": None if self.textures is None else len(self.textures.basis),
            "nearest": None if self.nearest is None else len(self.nearest.codes),
            "region": self.region_weights is not None,
            "standard": None if self.standard is None else self.standard.to_dict(),
        }


def score_names(spec: Mapping[str, Any]) -> tuple[str, ...]:
    """The scores that a detector of this spec can measure."""
    head = HEAD_SCORES if spec["head"] is not None else ()
    latent = LATENT_SCORES if spec["latent"] is not None else ()
    places = PLACE_SCORES if spec["places"] is not None else ()
    components = COMPONENT_SCORES if spec["components"] is not None else ()
    textures = TEXTURE_SCORES if spec["textures"] is not None else ()
    nearest = NEAREST_SCORES if spec["nearest"] is not None else ()
    combined = (COMBINED,) if spec["standard"] is not None else ()
    return (*PICTURE_SCORES, *head, *latent, *places, *components, *textures, *nearest, *combined)


def build(network: Mapping[str, Any], spec: Mapping[str, Any], trusted: Collection[str] = ()) -> Detector:
    """A detector with fresh weights; BundleError when this rayae cannot build it."""
    problem = _problem_of_keys(spec)
    if problem is not None:
        raise BundleError(f"the detector cannot be built: {problem}.")
    built = networks.build(network, trusted)
    try:
        problem = _problem(network, spec)
        if problem is None:
            return Detector(built, spec, *(network[name] for name in ("channels", "height", "width")))
    except (DataError, RuntimeError) as error:  # a standard that is none; no memory for a latent of this size
        problem = " ".join(str(error).split()).removesuffix(".")
    raise BundleError(f"the detector cannot be built: {problem}.")


def _problem_of_keys(spec: Mapping[str, Any]) -> str | None:
    """What keeps a spec from being looked into: the first key that it lacks or has beside its own, or no known task."""
    missing, unknown = sorted(KEYS - {*spec}), sorted({*spec} - KEYS)
    if missing:
        return f"its {missing[0]} is missing"
    if unknown:
        return f"this rayae knows no {unknown[0]!r} of a detector"
    if spec["task"] not in [*TASKS]:  # not a set's `in`, which fails on a list
        return f"its task is {spec['task']!r}, and not one of {', '.join(TASKS)}"
    return None


def _problem(network: Mapping[str, Any], spec: Mapping[str, Any]) -> str | None:
    """What is wrong with a spec that has the right keys and a task."""
    wrong = [name for name in ("head", "places", "standard") if not isinstance(spec[name], Mapping | None)]
    if not isinstance(spec["region"], bool):
        wrong.append("region")
    counts = {name: spec[name] for name in ("latent", "components", "textures", "nearest") if spec[name] is not None}
    wrong += unfit(counts, dict.fromkeys(counts, 1))
    if isinstance(spec["places"], Mapping):
        sizes = dict.fromkeys(("features", "rows", "columns"), 1)
        wrong += [f"places.{name}" for name in unfit(spec["places"], sizes)]
    if wrong:
        return f"this rayae does not take its {', '.join(wrong)}"
    if spec["head"] is not None and spec["head"].get("channels") != network["channels"]:
        return f"its head is for {spec['head'].get('channels')} channel(s), its network for {network['channels']}"
    combined = () if spec["standard"] is None else Standard.from_dict(spec["standard"]).names
    unknown = [name for name in combined if name not in score_names(spec)]
    return f"its standard combines {unknown[0]}, which it cannot measure" if unknown else None


def load(network: Mapping[str, Any], spec: Mapping[str, Any], state: bytes, trusted: Collection[str] = ()) -> Detector:
    """A detector with the weights of a safetensors file; BundleError when they are not for these specs."""
    detector = build(network, spec, trusted)
    weights.fill(detector, state, f"the network {dict(network)}")
    return _looking(detector)


def on_device(detector: Detector, device: torch.device) -> Detector:
    """The detector on the device, its weights laid out channels last, as its pictures are."""
    weights.on_device(detector, device)
    return _looking(detector)


def _looking(detector: Detector) -> Detector:
    """The same, with the region that its weights hold."""
    if detector.region_weights is not None:
        try:
            detector.look_at(detector.region_weights)
        except ConfigError as error:
            raise BundleError(f"the region of the detector cannot be used: {error}") from error
    return detector
