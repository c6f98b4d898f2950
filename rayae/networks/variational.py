"""Home of the variational autoencoder."""

import torch
from torch import Tensor, nn

from rayae.networks.convolutional import decoder, encoded, encoder
from rayae.networks.reconstructed import Reconstructed

LOG_VARIANCES = (-30.0, 20.0)
"""Where the logarithm of a variance is kept: the exponential overflows float32 above 88, and then nothing is learnt."""


class VariationalAutoencoder(nn.Module):
    """The convolutional autoencoder whose code is a normal distribution for each picture: mean and variance.

    Kingma and Welling, "Auto-encoding variational Bayes", 2014: in training mode a code is drawn by the
    reparameterisation of section 2.4; in eval mode it is the mean. The divergence from the standard normal
    distribution is that of their appendix B. `latent` is the mean in both modes.
    """

    def __init__(self, channels: int, height: int, width: int, base_width: int, latent: int) -> None:
        super().__init__()
        self.encoder = encoder(channels, height, width, base_width, 2 * latent)
        self.decoder = decoder(channels, height, width, base_width, latent)

    def forward(self, images: Tensor) -> Reconstructed:
        numbers, features = encoded(self.encoder, images)
        mean, log_variance = numbers.float().chunk(2, dim=1)
        log_variance = log_variance.clamp(*LOG_VARIANCES)
        code = mean + torch.exp(log_variance / 2) * torch.randn_like(mean) if self.training else mean
        pictures = torch.sigmoid(self.decoder(code).float())
        return Reconstructed(pictures, mean, divergence_from_standard_normal(mean, log_variance), features)


def divergence_from_standard_normal(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Kullback-Leibler divergence of independent normal distributions, `[B, D]`, from standard ones: `[B]`, in nats."""
    return (mean.square() + log_variance.exp() - 1 - log_variance).sum(1) / 2
