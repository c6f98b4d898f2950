"""Home of the settings of what a training minimises: network, head, loss, augmentation, optimizer."""

from typing import Annotated

from pydantic import Field, model_validator

from rayae.settings.base import Settings


class NetworkSettings(Settings):
    kind: str | None = None
    """`convolutional` (a bottleneck), `variational`, `unet`, `linear` (its optimum is PCA), or your own network as
    `module:Class`; default: `unet` for the tasks inpaint and repair, else `convolutional`."""
    base_width: Annotated[int, Field(gt=0, le=512, multiple_of=8)] = 16
    """Channels of the first layer, a multiple of 8, from which all sizes follow."""
    latent: Annotated[int, Field(gt=0, le=4096)] | None = None
    """Numbers that a network with a bottleneck squeezes a whole picture into; default: follows from `base_width`."""
    options: dict[str, int | float | str | bool] = {}
    """What your own network takes besides."""


class HeadSettings(Settings):
    enabled: bool = True
    """Whether task=repair also trains a head: a small network that sees picture and reconstruction and says where the
    synthetic defects were."""
    base_width: Annotated[int, Field(gt=0, le=512, multiple_of=8)] | None = None
    """Channels of its first layer, a multiple of 8; default: half of those of the network, 8 at least."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of its loss beside that of the reconstruction."""


class LossSettings(Settings):
    """The weights of what is minimised; the sum is taken as it is."""

    l1: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the mean absolute error."""
    l2: Annotated[float, Field(ge=0)] = 2.0
    """Weight of the mean squared error."""
    ssim: Annotated[float, Field(ge=0)] = 0.5
    """Weight of 1 - SSIM."""
    gradient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the gradient dissimilarity at several scales."""
    kl: Annotated[float, Field(ge=0)] = 0.005
    """Weight of the divergence of a variational network from the normal distribution, in nats a pixel and channel."""

    @model_validator(mode="after")
    def _compares_pictures(self) -> "LossSettings":
        if not (self.l1 or self.l2 or self.ssim or self.gradient):
            raise ValueError("l1, l2, ssim and gradient are all 0: nothing would compare pictures")
        return self


class AugmentSettings(Settings):
    """Changes that a normal picture may have anyway, at random in each epoch."""

    flip_horizontal: bool = False
    """Whether left and right may change places: only where a mirrored part is a normal part."""
    flip_vertical: bool = False
    """Whether top and bottom may change places."""
    shift: Annotated[int, Field(ge=0, le=256)] = 0
    """Largest shift along each side, in pixels of the network's input."""
    brightness: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Largest change of brightness, as a fraction of white."""
    contrast: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Largest change of contrast around the mean, as a fraction."""
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Largest standard deviation of added noise, as a fraction of white."""


class OptimizerSettings(Settings):
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 2e-3
    """Peak learning rate of AdamW; it warms up over the first twentieth and falls along a cosine to zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay of AdamW."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest gradient norm; longer gradients are cut to it."""
