"""Home of the convolutional autoencoder with a dense bottleneck, and of its two halves."""

import torch
from torch import Tensor, nn

from rayae.networks.blocks import normalised
from rayae.networks.reconstructed import Reconstructed

HALVINGS = 4


class ConvolutionalAutoencoder(nn.Module):
    """Four strided convolutions and a linear layer down to `latent` numbers for a whole picture, and the way back.

    Height and width are multiples of 16, `base_width` of 8. The bottleneck is dense, since one that keeps a place for
    every region lets defects through.
    """

    def __init__(self, channels: int, height: int, width: int, base_width: int, latent: int) -> None:
        super().__init__()
        self.encoder = encoder(channels, height, width, base_width, latent)
        self.decoder = decoder(channels, height, width, base_width, latent)

    def forward(self, images: Tensor) -> Reconstructed:
        latent, features = encoded(self.encoder, images)
        return Reconstructed(torch.sigmoid(self.decoder(latent).float()), latent.float(), features=features)


def encoder(channels: int, height: int, width: int, base_width: int, numbers: int) -> nn.Sequential:
    """From `[B, C, H, W]` to `[B, numbers]`."""
    widths = _widths(base_width)
    down = [_halved(inside, outside) for inside, outside in zip([channels, *widths], widths, strict=False)]
    flat = widths[-1] * (height // 2**HALVINGS) * (width // 2**HALVINGS)
    return nn.Sequential(*down, nn.Flatten(), nn.Linear(flat, numbers))


def encoded(encoder: nn.Sequential, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The numbers of an `encoder`, `[B, numbers]`, and its features at a quarter and an eighth of the size."""
    made = [images - 0.5]
    for layer in encoder:
        made.append(layer(made[-1]))
    return made[-1], tuple(made[2:4])


def decoder(channels: int, height: int, width: int, base_width: int, numbers: int) -> nn.Sequential:
    """From `[B, numbers]` to the logits of `[B, C, H, W]`."""
    widths = _widths(base_width)
    grid = (widths[-1], height // 2**HALVINGS, width // 2**HALVINGS)
    up = [_doubled(inside, outside) for inside, outside in zip(widths[:0:-1], widths[-2::-1], strict=True)]
    return nn.Sequential(
        nn.Linear(numbers, grid[0] * grid[1] * grid[2]),
        nn.SiLU(),
        nn.Unflatten(1, grid),
        *up,
        nn.Conv2d(base_width, channels * 4, 3, padding=1),
        nn.PixelShuffle(2),
    )


def _widths(base_width: int) -> list[int]:
    return [base_width * 2**level for level in range(HALVINGS)]


def _halved(inside: int, outside: int) -> nn.Module:
    return normalised(nn.Conv2d(inside, outside, 4, stride=2, padding=1, bias=False))


def _doubled(inside: int, outside: int) -> nn.Module:
    return normalised(nn.ConvTranspose2d(inside, outside, 4, stride=2, padding=1, bias=False))
