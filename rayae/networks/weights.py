"""Home of the weights: out of a network and into one, as safetensors and never as a pickle, and onto a device."""

from collections.abc import Collection, Mapping
from typing import Any

import safetensors.torch
import torch
from torch import nn

from rayae.errors import BundleError
from rayae.networks import build


def load(spec: Mapping[str, Any], weights: bytes, trusted: Collection[str] = ()) -> nn.Module:
    """A network with the weights of a safetensors file; BundleError when they are not for this spec."""
    network = build(spec, trusted)
    fill(network, weights, f"the network {dict(spec)}")
    return network


def fill(network: nn.Module, weights: bytes, name: str) -> None:
    """Put the weights of a safetensors file into a network; BundleError, which gives its name, when they do not fit."""
    try:
        network.load_state_dict(safetensors.torch.load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split()).removesuffix(".")[:300]
        raise BundleError(f"the weights do not fit {name}: {reason}.") from error


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on the device, its weights laid out channels last, as its pictures are."""
    network = network.to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def save(network: nn.Module) -> bytes:
    """The weights as a safetensors file. A weight that is used in two places is in it twice."""
    state = {name: _alone(value) for name, value in network.state_dict().items()}
    return safetensors.torch.save(state)


def _alone(value: torch.Tensor) -> torch.Tensor:
    """A copy on the CPU that shares no memory with another, which safetensors would refuse."""
    return value.detach().cpu().clone(memory_format=torch.contiguous_format)
