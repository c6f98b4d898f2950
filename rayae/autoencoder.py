"""Home of the networks: a convolutional autoencoder with a dense bottleneck."""

from collections.abc import Mapping
from typing import Any

import safetensors.torch
import torch
from torch import Tensor, nn

from rayae.errors import BundleError

KIND = "convolutional"
SIZES = ("channels", "height", "width", "base_width", "latent")
HALVINGS = 4
CHANNELS_A_GROUP = 8


class ConvolutionalAutoencoder(nn.Module):
    """Four strided convolutions and a linear layer down to `latent` numbers for a whole picture, and the way back.

    Takes and gives `[B, C, H, W]` float in [0, 1]; H and W are multiples of 16, `base_width` of 8. The bottleneck is
    dense, since one that keeps a place for every region lets defects through.
    """

    def __init__(self, channels: int, height: int, width: int, base_width: int, latent: int) -> None:
        super().__init__()
        widths = [base_width * 2**level for level in range(HALVINGS)]
        self.grid = (widths[-1], height // 2**HALVINGS, width // 2**HALVINGS)
        flat = self.grid[0] * self.grid[1] * self.grid[2]
        down = [_halved(inside, outside) for inside, outside in zip([channels, *widths], widths, strict=False)]
        self.encoder = nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, latent))
        up = [_doubled(inside, outside) for inside, outside in zip(widths[:0:-1], widths[-2::-1], strict=True)]
        self.decoder = nn.Sequential(
            nn.Linear(latent, flat),
            nn.SiLU(),
            nn.Unflatten(1, self.grid),
            *up,
            nn.Conv2d(base_width, channels * 4, 3, padding=1),
            nn.PixelShuffle(2),
        )

    def forward(self, images: Tensor) -> Tensor:
        return torch.sigmoid(self.decoder(self.encoder(images - 0.5)).float())


def _halved(inside: int, outside: int) -> nn.Module:
    convolution = nn.Conv2d(inside, outside, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(outside // CHANNELS_A_GROUP, outside), nn.SiLU())


def _doubled(inside: int, outside: int) -> nn.Module:
    convolution = nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1, bias=False)
    return nn.Sequential(convolution, nn.GroupNorm(outside // CHANNELS_A_GROUP, outside), nn.SiLU())


def build(spec: Mapping[str, Any]) -> ConvolutionalAutoencoder:
    """A network with fresh weights, from its spec in a bundle; BundleError when this version cannot build it."""
    if spec.get("kind") != KIND:
        raise BundleError(f"the network kind {spec.get('kind')!r} is unknown to this rayae; it knows {KIND!r}.")
    steps = {"height": 2**HALVINGS, "width": 2**HALVINGS, "base_width": CHANNELS_A_GROUP}
    wrong = [key for key in SIZES if not _is_size(spec.get(key), steps.get(key, 1))]
    wrong += sorted({*spec} - {"kind", *SIZES})
    if wrong:
        raise BundleError(f"the network {dict(spec)} cannot be built: this rayae does not take its {', '.join(wrong)}.")
    return ConvolutionalAutoencoder(**{key: spec[key] for key in SIZES})


def _is_size(value: object, step: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0 and value % step == 0


def load(spec: Mapping[str, Any], weights: bytes) -> ConvolutionalAutoencoder:
    """A network with the weights of a safetensors file; BundleError when they are not for this spec."""
    network = build(spec)
    try:
        network.load_state_dict(safetensors.torch.load(weights))
    except (RuntimeError, safetensors.SafetensorError) as error:
        reason = " ".join(str(error).split()).removesuffix(".")[:300]
        raise BundleError(f"the weights do not fit the network {dict(spec)}: {reason}.") from error
    return network


def on_device(network: nn.Module, device: torch.device) -> nn.Module:
    """The network on the device, its weights laid out channels last, as its pictures are."""
    network = network.to(device)
    return network.to(memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def save(network: nn.Module) -> bytes:
    """The weights as a safetensors file."""
    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    return safetensors.torch.save(state)
