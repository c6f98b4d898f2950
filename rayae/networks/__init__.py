"""Home of the networks: a spec in a bundle becomes a network, `[B, C, H, W]` pictures become `Reconstructed`.

A spec has `kind`, `channels`, `height`, `width` and `base_width`, the dial from which all else follows. Kinds with a
bottleneck for whole pictures take `latent`, the numbers in it; it is `base_width` where nobody says. A custom kind,
`module:Class`, takes `options`. Height and width of the kinds here are multiples of 16.
"""

from collections.abc import Collection, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple, TypeGuard

from torch import nn

from rayae.errors import BundleError
from rayae.networks import custom
from rayae.networks.blocks import CHANNELS_A_GROUP
from rayae.networks.convolutional import HALVINGS, ConvolutionalAutoencoder
from rayae.networks.linear import LinearAutoencoder
from rayae.networks.reconstructed import Reconstructed
from rayae.networks.sizes import unfit
from rayae.networks.unet import UNet
from rayae.networks.variational import VariationalAutoencoder

__all__ = ["KINDS", "Kind", "Reconstructed", "build", "is_custom", "is_known", "takes"]

STEPS = {"channels": 1, "height": 2**HALVINGS, "width": 2**HALVINGS, "base_width": CHANNELS_A_GROUP}


class Kind(NamedTuple):
    """A network and what its constructor takes of a spec."""

    network: type[nn.Module]
    takes: tuple[str, ...]


KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "convolutional": Kind(ConvolutionalAutoencoder, ("channels", "height", "width", "base_width", "latent")),
        "variational": Kind(VariationalAutoencoder, ("channels", "height", "width", "base_width", "latent")),
        "unet": Kind(UNet, ("channels", "base_width")),
        "linear": Kind(LinearAutoencoder, ("channels", "height", "width", "latent")),
    }
)


def build(spec: Mapping[str, Any], trusted: Collection[str] = ()) -> nn.Module:
    """A network with fresh weights, from its spec in a bundle; BundleError when this rayae cannot build it.

    A custom kind is imported only when it is in `trusted` or in the environment variable RAYAE_NETWORKS.
    """
    kind = spec.get("kind")
    if not is_known(kind):
        known = ", ".join(map(repr, KINDS))
        raise BundleError(
            f"the network kind {kind!r} is unknown to this rayae; it knows {known} and networks of your own, "
            "'module:Class'."
        )
    sizes = {key: value for key, value in spec.items() if key != "kind"}
    if kind not in KINDS:
        return custom.build(kind, sizes, trusted)
    takes = KINDS[kind].takes
    wrong = unfit(sizes, STEPS | dict.fromkeys({"latent"} & {*takes} & {*sizes}, 1))
    if wrong:
        raise BundleError(f"the network {dict(spec)} cannot be built: this rayae does not take its {', '.join(wrong)}.")
    sizes = {"latent": sizes["base_width"]} | sizes
    return KINDS[kind].network(**{key: sizes[key] for key in takes})


def is_custom(kind: str) -> bool:
    """Whether it has the form of the name of a network that others wrote."""
    return custom.is_name(kind)


def takes(kind: str, name: str) -> bool:
    """Whether networks of this kind take a value of this name, `latent` or `options`, in their spec."""
    return name in KINDS[kind].takes if kind in KINDS else name == "options"


def is_known(kind: object) -> TypeGuard[str]:
    """Whether it is one of the kinds here or has the form of the name of a custom one."""
    return isinstance(kind, str) and (kind in KINDS or custom.is_name(kind))
