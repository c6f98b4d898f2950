"""Home of the linear autoencoder: principal component analysis, learnt."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from rayae.networks.reconstructed import Reconstructed


class LinearAutoencoder(nn.Module):
    """One linear layer down to `latent` numbers and its transpose back, around one level for each pixel.

    With squared errors its optimum is the projection onto the first principal components (Baldi and Hornik, "Neural
    networks and principal component analysis", 1989), so it is the floor for whatever is deeper. Always in float32.
    The weights are held at variance 1 and scaled where they are used: so one learning rate is right for all sizes.
    """

    def __init__(self, channels: int, height: int, width: int, latent: int) -> None:
        super().__init__()
        values = channels * height * width
        self.shape = (channels, height, width)
        self.scale = values**-0.5
        self.weight = nn.Parameter(torch.randn(latent, values))
        self.level = nn.Parameter(torch.full((values,), 0.5))

    def forward(self, images: Tensor) -> Reconstructed:
        with torch.autocast(images.device.type, enabled=False):
            latent = functional.linear(images.float().flatten(1) - self.level, self.weight) * self.scale
            pictures = (latent @ self.weight * self.scale + self.level).unflatten(1, self.shape)
        return Reconstructed(pictures if self.training else pictures.clamp(0, 1), latent)
