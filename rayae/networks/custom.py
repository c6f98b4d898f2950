"""Home of the networks that others write: the kind `module:Class`.

The class is a subclass of `torch.nn.Module`, in a module that can be imported on every machine that trains or scores.
It is called with `channels`, `height`, `width` and `base_width` of the spec as keyword arguments, and with `options`
when the spec has them. Its `forward` takes `[B, C, H, W]` float32 pictures in [0, 1] and gives a floating-point tensor
of the same shape, or a `Reconstructed` of floating-point tensors, whose maps of features have any size. All of its
state is in its parameters and buffers. It can be trained on several GPUs when each parameter has a part in the
pictures; a picture keeps its score beside others when it normalises by nothing of the batch in eval mode.

A bundle names its network, and whoever can write to a bundle could name anything. So nothing is imported but what is
trusted by its full name: by who calls, or by the environment variable RAYAE_NETWORKS.
"""

import importlib
import os
import re
import traceback
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rayae import trust
from rayae.errors import BundleError
from rayae.networks.reconstructed import Reconstructed
from rayae.networks.sizes import unfit

NAME = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
SIZES = {"channels": 1, "height": 1, "width": 1, "base_width": 1}


class CustomNetwork(nn.Module):
    """A network that somebody else wrote, held to what a network must give. BundleError where it gives other things."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network = network
        self.name = name

    def forward(self, images: Tensor) -> Reconstructed:
        made = self.network(images)
        found = made if isinstance(made, Reconstructed) else Reconstructed(made)
        self._refuse("pictures", found.pictures, tuple(images.shape))
        if found.latent is not None:
            self._refuse("latent", found.latent, (len(images), *tuple(getattr(found.latent, "shape", ()))[1:2]))
        if found.divergence is not None:
            self._refuse("divergence", found.divergence, (len(images),))
        features = found.features if isinstance(found.features, tuple) else (found.features,)
        for one in features:
            self._refuse("features", one, (len(images), *(*tuple(getattr(one, "shape", ()))[1:4], 1, 1, 1)[:3]))
        latent, divergence = (None if value is None else value.float() for value in (found.latent, found.divergence))
        return Reconstructed(found.pictures.float(), latent, divergence, features)

    def _refuse(self, what: str, value: object, shape: tuple[int, ...]) -> None:
        if isinstance(value, Tensor) and value.is_floating_point() and tuple(value.shape) == shape:
            return
        gives = f"a {type(value).__name__}"
        if isinstance(value, Tensor):
            gives = f"{value.dtype} of the shape {list(value.shape)}"
        raise BundleError(
            f"the network {self.name} gives {gives} as its {what}; its `forward` must give a floating-point tensor "
            f"of the shape {list(shape)}."
        )


def is_name(kind: str) -> bool:
    """Whether a kind has the form `module:Class`."""
    return NAME.fullmatch(kind) is not None


def build(name: str, sizes: Mapping[str, Any], trusted: Collection[str]) -> CustomNetwork:
    """The network of this name with fresh weights, tried once on the CPU with two pictures.

    BundleError when the name is not trusted, when there is no such class, when it raises, and when it gives other
    things than it must.
    """
    if name not in {*trusted, *trust.trusted()}:
        raise BundleError(
            f"the network {name} is code beside the bundle, and nobody has said that it may be run; "
            f"when you trust it, set the environment variable {trust.VARIABLE}={name}."
        )
    wrong = unfit({key: value for key, value in sizes.items() if key != "options"}, SIZES)
    if not isinstance(sizes.get("options", {}), Mapping):
        wrong.append("options")
    if wrong:
        raise BundleError(f"the network {name} with {dict(sizes)} cannot be built: {', '.join(wrong)} cannot be used.")
    network = CustomNetwork(_constructed(name, _class_of(name), sizes), name)
    _try(network, sizes)
    return network


def _class_of(name: str) -> type[nn.Module]:
    module_name, _, class_name = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise BundleError(
            f"the network {name} cannot be imported: there is no module {error.name!r} on this machine; "
            "install it or put its folder into PYTHONPATH."
        ) from error
    except Exception as error:  # code of others, which may raise anything while it is imported
        raise BundleError(f"the network {name} cannot be imported: its module raises {_told(error)}.") from error
    found = getattr(module, class_name, None)
    if not isinstance(found, type) or not issubclass(found, nn.Module):
        what = f"has no {class_name}" if found is None else f"has a {class_name} that is no subclass of torch.nn.Module"
        raise BundleError(f"the network {name} cannot be built: the module {module_name} {what}.")
    return found


def _constructed(name: str, network: type[nn.Module], sizes: Mapping[str, Any]) -> nn.Module:
    try:
        return network(**sizes)
    except Exception as error:  # their constructor, likewise
        raise BundleError(
            f"the network {name} cannot be built: with {dict(sizes)} it raises {_told(error)}."
        ) from error


@torch.no_grad()
def _try(network: CustomNetwork, sizes: Mapping[str, Any]) -> None:
    """BundleError when the network fails on two pictures or cannot be saved. The random numbers stay as they were."""
    height, width = sizes["height"], sizes["width"]
    images = torch.linspace(0, 1, height * width).reshape(1, 1, height, width).repeat(2, sizes["channels"], 1, 1)
    network.eval()
    try:
        with torch.random.fork_rng(devices=[]):
            made = network(images)
    except BundleError:
        raise
    except Exception as error:  # their forward, likewise
        raise BundleError(f"the network {network.name} fails on {list(images.shape)}: {_told(error)}.") from error
    network.train()
    given = [*zip(made._fields[:3], made[:3], strict=True), *(("features", one) for one in made.features)]
    for what, value in given:
        if value is not None and not value.isfinite().all():
            raise BundleError(f"the network {network.name} gives values that are not finite as its {what}, untrained.")
    for key, value in network.network.state_dict().items():
        if not isinstance(value, Tensor):
            raise BundleError(
                f"the network {network.name} cannot be saved: {key!r} of its state is no tensor but a "
                f"{type(value).__name__}; keep such things in `options`."
            )


def _told(error: Exception) -> str:
    """The error in one line, with the line of the other's code that raised it, if it came that far."""
    words = " ".join(str(error).split()).removesuffix(".")[:300]
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = "" if last.filename == __file__ else f" ({os.path.basename(last.filename)}, line {last.lineno})"
    return f"{type(error).__name__}: {words}{place}"
