"""What the settings of a training come to: the specs of network and detector, and all that decides the weights."""

from typing import Any

from rayae import detector, networks
from rayae.augmentation import Augmentation
from rayae.errors import BundleError, ConfigError
from rayae.losses import Weights
from rayae.networks.head import spec_beside
from rayae.preprocess import Preprocess
from rayae.scores import HEAD_SCORES, SCORE_NAMES
from rayae.settings import TrainSettings
from rayae.training import TrainingPlan
from rayae.trust import trust

KIND_OF_TASK = {"copy": "convolutional", "denoise": "convolutional", "inpaint": "unet", "repair": "unet"}


def training_plan(settings: TrainSettings, preprocess: Preprocess) -> TrainingPlan:
    """The values of the settings that decide the weights; ConfigError when they do not go together."""
    network = _network_spec(settings, preprocess)
    head = settings.head
    head_spec = spec_beside(network) | ({} if head.base_width is None else {"base_width": head.base_width})
    spec = {
        "task": settings.task,
        "head": head_spec if head.enabled and settings.task == "repair" else None,
        "latent": None,
        "places": None,
        "components": None,
        "textures": None,
        "nearest": None,
        "region": settings.region is not None,
        "standard": None,
    }
    return TrainingPlan(
        network=network,
        detector=spec,
        epochs=settings.epochs,
        batch_size=settings.batch_size,
        accumulation=settings.accumulation,
        patience=settings.patience,
        seed=settings.seed,
        precision=settings.precision,
        loss=Weights(**settings.loss.model_dump()),
        head_weight=head.weight,
        augmentation=Augmentation(**settings.augment.model_dump()),
        **settings.optimizer.model_dump(),
    )


def _network_spec(settings: TrainSettings, preprocess: Preprocess) -> dict[str, Any]:
    asked = settings.network
    kind = KIND_OF_TASK[settings.task] if asked.kind is None else asked.kind
    if not networks.is_known(kind):
        known = ", ".join(networks.KINDS)
        raise ConfigError(f"network.kind={kind} was asked for; take one of {known}, or your own as `module:Class`.")
    if networks.is_custom(kind):
        trust(kind)  # who types the name of a network means that it is run
    if kind == "unet" and settings.task == "copy":
        raise ConfigError(
            "task=copy with network.kind=unet learns nothing: its skips give back any picture unchanged. Use another "
            "kind, or another task."
        )
    spec = {
        "kind": kind,
        "channels": preprocess.channels,
        "height": preprocess.height,
        "width": preprocess.width,
        "base_width": asked.base_width,
    }
    given = {"latent": asked.latent, "options": asked.options or None}
    for name, value in given.items():
        if value is None:
            continue
        if not networks.takes(kind, name):
            raise ConfigError(f"network.{name} was set, and a network of the kind {kind!r} has none; leave it out.")
        spec[name] = value
    return spec


def refuse_network(plan: TrainingPlan) -> None:
    """ConfigError, before anything is read, when the network that is asked for cannot be built."""
    try:
        detector.build(plan.network, plan.detector)
    except BundleError as error:
        raise ConfigError(str(error)) from error


def refuse_primary(settings: TrainSettings) -> None:
    """ConfigError, before training, when the primary score that is asked for is none that the detector will have."""
    asked, has_head = settings.primary_score, settings.head.enabled and settings.task == "repair"
    known = [name for name in SCORE_NAMES if has_head or name not in HEAD_SCORES]
    if asked != "auto" and asked not in known:
        raise ConfigError(
            f"primary_score={asked} was asked for, and a detector with task={settings.task} has the scores "
            f"{', '.join(known)}; take one of these, or `auto`."
        )
