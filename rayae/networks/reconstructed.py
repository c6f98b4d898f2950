"""Home of what a network gives for a batch of pictures."""

from typing import NamedTuple

from torch import Tensor


class Reconstructed(NamedTuple):
    """What `forward` makes of `images`, `[B, C, H, W]` float32 in [0, 1]. All but the features is float32."""

    pictures: Tensor
    """The reconstructions, `[B, C, H, W]`. In eval mode those of the networks here lie in [0, 1]."""
    latent: Tensor | None = None
    """What the network holds of each picture, `[B, D]`; None where it holds no such vector."""
    divergence: Tensor | None = None
    """Kullback-Leibler divergence of the code of each picture from the prior, `[B]`, in nats; None without a prior."""
    features: tuple[Tensor, ...] = ()
    """What it sees at the places of each picture, maps `[B, C_k, h_k, w_k]` of any float: none, or some."""
