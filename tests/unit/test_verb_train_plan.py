"""What settings of a training come to: every combination plans, or is refused in a sentence."""

import re
import textwrap

import pytest

from rayae import detector, networks
from rayae.augmentation import Augmentation
from rayae.errors import ConfigError
from rayae.losses import Weights
from rayae.networks import KINDS
from rayae.preprocess import Preprocess
from rayae.scores import COMBINED, HEAD_SCORES, SCORE_NAMES
from rayae.settings import HeadSettings, NetworkSettings, TrainSettings
from rayae.tasks import TASKS
from rayae.verbs.train_plan import KIND_OF_TASK, refuse_primary, training_plan

PREPROCESS = Preprocess("rgb", 48, 64)
CUSTOM = "own_networks:Narrow"
UNET_COPY = (
    "task=copy with network.kind=unet learns nothing: its skips give back any picture unchanged. Use another kind, or "
    "another task."
)


def settings(**asked):
    return TrainSettings(images="images", out="bundle", **asked)


def planned(**asked):
    return training_plan(settings(**asked), PREPROCESS)


def refusal(**asked):
    with pytest.raises(ConfigError) as refused:
        planned(**asked)
    return str(refused.value)


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module with a network of one's own."""
    (tmp_path / "own_networks.py").write_text(
        textwrap.dedent(
            """
            from torch import nn

            class Narrow(nn.Module):
                def __init__(self, channels, height, width, base_width, options=None):
                    super().__init__()
                    self.options = options
                    self.layer = nn.Conv2d(channels, channels, 1)

                def forward(self, images):
                    return self.layer(images)
            """
        )
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("RAYAE_NETWORKS", "")


@pytest.mark.parametrize("kind", [None, *KINDS, CUSTOM])
@pytest.mark.parametrize("task", TASKS)
def test_every_task_and_kind_can_be_built_or_is_refused(own, task, kind):
    asked = {"task": task, "network": NetworkSettings(kind=kind)}
    if (task, kind) == ("copy", "unet"):
        assert refusal(**asked) == UNET_COPY
        return
    plan = planned(**asked)
    assert plan.network == {
        "kind": kind or KIND_OF_TASK[task], "channels": 3, "height": 48, "width": 64, "base_width": 16,
    }  # fmt: skip
    model = detector.build(plan.network, plan.detector)
    assert model.task == plan.task == task
    assert (model.head is not None) == (task == "repair")


def test_the_default_is_to_repair_with_a_u_net_and_a_head():
    plan = planned()
    assert (plan.task, plan.network["kind"]) == ("repair", "unet")
    assert plan.detector == {
        "task": "repair", "head": {"channels": 3, "base_width": 8}, "latent": None, "places": None,
        "components": None, "textures": None, "nearest": None,
        "region": False, "standard": None,
    }  # fmt: skip


@pytest.mark.parametrize(("asked", "width"), [(None, 16), (24, 24)])
def test_a_head_is_half_as_wide_as_the_network_unless_it_is_said(asked, width):
    plan = planned(network=NetworkSettings(base_width=32), head=HeadSettings(base_width=asked, weight=0.25))
    assert plan.detector["head"] == {"channels": 3, "base_width": width}
    assert plan.head_weight == 0.25


def test_a_head_may_be_left_out():
    assert planned(head=HeadSettings(enabled=False)).detector["head"] is None


@pytest.mark.parametrize("kind", ["convolutional", "variational", "linear"])
def test_a_bottleneck_has_its_latent(kind):
    network = NetworkSettings(kind=kind, latent=7)
    assert planned(task="copy", network=network).network["latent"] == 7


@pytest.mark.parametrize(
    ("kind", "given", "name"),
    [("unet", {"latent": 7}, "latent"), (CUSTOM, {"latent": 7}, "latent")]
    + [(kind, {"options": {"depth": 3}}, "options") for kind in KINDS],
)
def test_what_a_kind_has_not_is_refused(own, kind, given, name):
    told = refusal(task="repair", network=NetworkSettings(kind=kind, **given))
    assert told == f"network.{name} was set, and a network of the kind {kind!r} has none; leave it out."


def test_a_network_of_one_s_own_takes_options_and_is_trusted_by_whoever_names_it(own):
    plan = planned(task="copy", network=NetworkSettings(kind=CUSTOM, options={"depth": 3, "gated": True}))
    assert plan.network["options"] == {"depth": 3, "gated": True}
    assert networks.build(plan.network).network.options == {"depth": 3, "gated": True}


@pytest.mark.parametrize("kind", ["resnet", "U-Net", "module.Class", "a:b:c", ""])
def test_a_kind_that_nobody_knows_is_refused(kind):
    assert refusal(network=NetworkSettings(kind=kind)) == (
        f"network.kind={kind} was asked for; take one of {', '.join(KINDS)}, or your own as `module:Class`."
    )


def test_all_that_decides_the_weights_is_in_the_plan():
    asked = settings(
        epochs=7, batch_size=6, accumulation=3, patience=4, seed=5, precision="bf16", region="mask.png",
        loss={"l1": 0.5, "l2": 0.0, "ssim": 0.25, "gradient": 0.125, "kl": 1.0},
        augment={"flip_horizontal": True, "shift": 3, "brightness": 0.1, "contrast": 0.2, "noise": 0.3},
        optimizer={"learning_rate": 0.1, "weight_decay": 0.2, "gradient_clip": 0.3},
    )  # fmt: skip
    plan = training_plan(asked, PREPROCESS)
    assert (plan.epochs, plan.batch_size, plan.accumulation, plan.patience, plan.seed) == (7, 6, 3, 4, 5)
    assert (plan.precision, plan.detector["region"]) == ("bf16", True)
    assert plan.loss == Weights(l1=0.5, l2=0.0, ssim=0.25, gradient=0.125, kl=1.0)
    assert plan.augmentation == Augmentation(True, False, 3, 0.1, 0.2, 0.3)
    assert (plan.learning_rate, plan.weight_decay, plan.gradient_clip) == (0.1, 0.2, 0.3)


@pytest.mark.parametrize("score", ["auto", *SCORE_NAMES])
@pytest.mark.parametrize(
    "asked", [{"task": "copy"}, {"task": "repair"}, {"head": HeadSettings(enabled=False)}], ids=str
)
def test_a_primary_score_that_there_will_be_is_taken_and_another_refused(asked, score):
    given = settings(primary_score=score, **asked)
    if score in HEAD_SCORES and asked != {"task": "repair"}:
        with pytest.raises(ConfigError, match=rf"^primary_score={score} was asked for, and a detector with task="):
            refuse_primary(given)
    else:
        refuse_primary(given)


def test_an_unknown_primary_score_is_refused_with_those_that_there_are():
    words = (
        "primary_score=lpips was asked for, and a detector with task=copy has the scores mse, mae, mse_worst1, "
        "ssim_error, ssim_worst1, gradient_mean, gradient_max, latent_distance, place_mean, place_worst1, "
        f"component_mse, component_worst1, component_gradient, texture_worst1, nearest_distance, {COMBINED}; take "
        "one of these, or `auto`."
    )
    with pytest.raises(ConfigError, match=f"^{re.escape(words)}$"):
        refuse_primary(settings(task="copy", primary_score="lpips"))


def test_the_kinds_that_the_settings_describe_are_those_that_there_are():
    described = NetworkSettings.model_fields["kind"].description.split("default:")[0]
    assert {word for word in re.findall(r"`([^`]+)`", described) if ":" not in word} == set(KINDS)


def test_the_tasks_that_the_settings_describe_are_those_that_there_are():
    described = TrainSettings.model_fields["task"].description
    assert re.findall(r"`([^`]+)`", described) == list(TASKS) == list(KIND_OF_TASK)
