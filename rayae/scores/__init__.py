"""Home of what is measured per image: errors between a picture and its reconstruction, and the picture itself.

All in float32, of pixels in [0, 1]; of the scores, higher is worse.

`mse` and `mae` are means over pixels and channels. `mse_worst1` is the mean of the worst 1 % of the squared error after
smoothing. `ssim_error` is 1 - mean SSIM, between 0 and 2, and `ssim_worst1` the mean of the worst 1 % of its map after
smoothing. `gradient_mean` is 1 - mean gradient magnitude similarity, in [0, 1], and `gradient_max` the highest of its
map after smoothing. `head_max`, `head_worst1` and `head_mean` are of the logits of the head (see `head_scores`).
`latent_distance` is that of the latent from the training latents, in standard deviations. `place_mean` and
`place_worst1` are those of the features at each of the places (see `place_scores`). `component_mse`, `component_worst1`
and `component_gradient` are `mse`, `mse_worst1` and `gradient_mean` of the image against what the principal components
can say of it. `texture_worst1` is that of the distances of textures. `nearest_distance` is that to the nearest training
picture (see `Nearest`). `combined` is the mean of the scores of a standard, standardised.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from rayae.components import Components
from rayae.errors import ConfigError
from rayae.nearest import Nearest
from rayae.score_names import (
    COMBINED,
    COMPONENT_SCORES,
    HEAD_SCORES,
    LATENT_SCORES,
    NEAREST_SCORES,
    PICTURE_SCORES,
    PLACE_SCORES,
    SCORE_NAMES,
    TEXTURE_SCORES,
)
from rayae.scores.filters import blur, grey, smooth
from rayae.scores.gaussian import Gaussian
from rayae.scores.gradient import gradient_errors
from rayae.scores.head import head_scores
from rayae.scores.pixels import describe
from rayae.scores.places import Places, place_scores
from rayae.scores.region import Region, average, peak, worst_share
from rayae.scores.standard import Standard
from rayae.scores.structure import ssim_error, structure_errors
from rayae.scores.textures import Textures, texture_scores

__all__ = [
    "COMBINED",
    "COMPONENT_SCORES",
    "HEAD_SCORES",
    "LATENT_SCORES",
    "NEAREST_SCORES",
    "PICTURE_SCORES",
    "PLACE_SCORES",
    "SCORE_NAMES",
    "TEXTURE_SCORES",
    "Gaussian",
    "Places",
    "Region",
    "Standard",
    "Textures",
    "average",
    "blur",
    "describe",
    "error_map",
    "gradient_errors",
    "measure",
    "smooth",
    "ssim_error",
    "structure_errors",
    "worst_share",
]

Measures = dict[str, Callable[[], Tensor]]


def measure(
    images: Tensor,
    reconstructions: Tensor,
    *,
    head: Tensor | None = None,
    latent: Tensor | None = None,
    gaussian: Gaussian | None = None,
    features: Sequence[Tensor] = (),
    places: Places | None = None,
    components: Components | None = None,
    textures: Textures | None = None,
    nearest: Nearest | None = None,
    standard: Standard | None = None,
    region: Region | None = None,
    names: Sequence[str] = SCORE_NAMES,
) -> dict[str, Tensor]:
    """The scores `names` of `[B, C, H, W]` float32 pictures in [0, 1]: a float32 `[B]` each.

    `head` are logits `[B, 1, h, w]`, `latent` is `[B, D]`, and `features` are maps `[B, C_k, h_k, w_k]`. What would
    need a head, a latent with its Gaussian, features with their places, components, textures, codes of training
    pictures, or a standard that is not given is left out. In a region means are weighted, and the worst are of what is
    inside; what is outside changes no score. ConfigError when a name is no score's.
    """
    refuse_unknown(names)
    wanted = {*names} | ({*standard.names} if standard is not None and COMBINED in names else set())
    scores: dict[str, Tensor] = {}
    with torch.autocast(images.device.type, enabled=False):
        if wanted & {*PICTURE_SCORES}:
            scores |= _of_pictures(images, reconstructions, region, wanted)
        scores |= _of_network(head, latent, gaussian, features, places, region, wanted)
        scores |= _without_network(images, components, textures, nearest, region, wanted)
        if standard is not None and COMBINED in names and {*standard.names} <= {*scores}:
            scores[COMBINED] = standard.combined(scores)
    return {name: scores[name] for name in names if name in scores}


def refuse_unknown(names: Sequence[str]) -> None:
    """ConfigError when one of the names is no score's."""
    unknown = [name for name in names if name not in SCORE_NAMES]
    if unknown:
        raise ConfigError(f"There is no score {unknown[0]!r}; choose from {', '.join(SCORE_NAMES)}.")


def error_map(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Smoothed squared error, `[B, H, W]`: where a picture differs from its reconstruction."""
    return smooth(grey((images - reconstructions).square()))[:, 0]


def _of_pictures(images: Tensor, reconstructions: Tensor, region: Region | None, wanted: set[str]) -> dict[str, Tensor]:
    if region is not None:
        images, reconstructions = region.filled(images, reconstructions)
    scores: dict[str, Tensor] = {}
    if wanted & {"mse", "mae", "mse_worst1"}:
        scores |= _measured(_of_pixels(images - reconstructions, region), wanted)
    if wanted & {"ssim_error", "ssim_worst1"}:
        inner = None if region is None else region.inner
        scores |= _measured(_of_structure(structure_errors(images, reconstructions), inner), wanted)
    if wanted & {"gradient_mean", "gradient_max"}:
        scores |= _measured(_of_gradients(gradient_errors(images, reconstructions), region), wanted)
    return scores


def _of_network(
    head: Tensor | None,
    latent: Tensor | None,
    gaussian: Gaussian | None,
    features: Sequence[Tensor],
    places: Places | None,
    region: Region | None,
    wanted: set[str],
) -> dict[str, Tensor]:
    """What network and head say beside reconstructions."""
    scores: dict[str, Tensor] = {}
    if head is not None and wanted & {*HEAD_SCORES}:
        scores |= head_scores(head, region)
    if latent is not None and gaussian is not None and wanted & {*LATENT_SCORES}:
        scores["latent_distance"] = gaussian(latent)
    if places is not None and features and wanted & {*PLACE_SCORES}:
        scores |= place_scores(places(features), region)
    return scores


def _without_network(
    images: Tensor,
    components: Components | None,
    textures: Textures | None,
    nearest: Nearest | None,
    region: Region | None,
    wanted: set[str],
) -> dict[str, Tensor]:
    """What images alone say beside those that were trained on."""
    scores: dict[str, Tensor] = {}
    seen = images if region is None else region.masked(images)
    if components is not None and wanted & {*COMPONENT_SCORES}:
        scores |= _of_components(seen, components, region, wanted)
    if textures is not None and wanted & {*TEXTURE_SCORES}:
        scores |= texture_scores(textures(seen), region)
    if nearest is not None and wanted & {*NEAREST_SCORES}:
        scores["nearest_distance"] = nearest(seen)
    return scores


def _of_components(
    images: Tensor, components: Components, region: Region | None, wanted: set[str]
) -> dict[str, Tensor]:
    small, said = components(images)
    inside = None if region is None else region.resized(*small.shape[-2:])
    pixels = _of_pixels(small - said, inside)
    measures = {
        "component_mse": pixels["mse"],
        "component_worst1": pixels["mse_worst1"],
        "component_gradient": lambda: average(gradient_errors(small, said), inside),
    }
    return _measured(measures, wanted)


def _measured(measures: Measures, wanted: set[str]) -> dict[str, Tensor]:
    return {name: measured() for name, measured in measures.items() if name in wanted}


def _of_pixels(difference: Tensor, region: Region | None) -> Measures:
    squared = difference.square()
    return {
        "mse": lambda: average(squared, region),
        "mae": lambda: average(difference.abs(), region),
        "mse_worst1": lambda: worst_share(smooth(grey(squared)), region),
    }


def _of_structure(errors: Tensor, region: Region | None) -> Measures:
    return {
        "ssim_error": lambda: average(errors, region),
        "ssim_worst1": lambda: worst_share(smooth(grey(errors)), region),
    }


def _of_gradients(errors: Tensor, region: Region | None) -> Measures:
    return {
        "gradient_mean": lambda: average(errors, region),
        "gradient_max": lambda: peak(smooth(errors), region),
    }
