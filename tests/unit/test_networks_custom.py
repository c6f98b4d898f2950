"""Networks that others wrote: imported only when trusted, tried before they are used, refused in whole sentences."""

import re
import sys
import textwrap

import pytest
import torch
from torch import nn

from rayae.errors import BundleError
from rayae.networks import Reconstructed, build, weights
from rayae.networks.custom import CustomNetwork
from rayae.trust import VARIABLE

SIZES = {"channels": 3, "height": 32, "width": 20, "base_width": 4}

GOOD = """
    import torch
    from torch import nn
    from rayae.networks import Reconstructed

    class Plain(nn.Module):
        def __init__(self, *, channels, height, width, base_width):
            super().__init__()
            self.layer = nn.Conv2d(channels, channels, 1)
        def forward(self, images):
            return self.layer(images)

    class Whole(nn.Module):
        def __init__(self, channels, height, width, base_width, options):
            super().__init__()
            self.depth = options["depth"]
            self.layer = nn.Linear(channels * height * width, base_width)
            self.drop = nn.Dropout(0.5)
            self.back = nn.Linear(base_width, channels * height * width)
        def forward(self, images):
            latent = self.layer(images.flatten(1))
            return Reconstructed(self.back(self.drop(latent)).reshape_as(images), latent, latent.square().sum(1))

    class Tied(nn.Module):
        def __init__(self, channels, **sizes):
            super().__init__()
            self.first = nn.Conv2d(channels, channels, 1)
            self.second = nn.Conv2d(channels, channels, 1)
            self.second.weight = self.first.weight
            self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        def forward(self, images):
            return self.second(self.first(images))

    class Noisy(Plain):
        def forward(self, images):
            return images + torch.rand_like(images)
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Writes a module that can be imported, and forgets it after the test."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delenv(VARIABLE, raising=False)
    names = []

    def write(code, name="their_networks"):
        names.append(name)
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(code))

    yield write
    for name in names:
        sys.modules.pop(name, None)


def spec(class_name, module_name="their_networks", **more):
    return {"kind": f"{module_name}:{class_name}", **SIZES, **more}


def made(class_name, **more):
    wanted = spec(class_name, **more)
    return build(wanted, {wanted["kind"]})


def refusal(class_name, **more):
    with pytest.raises(BundleError) as refused:
        made(class_name, **more)
    return str(refused.value)


def told(class_name, forward="return images", init="", state=""):
    """The code of one network."""
    return f"""
    import torch
    from torch import nn
    from rayae.networks import Reconstructed

    class {class_name}(nn.Module):
        def __init__(self, **sizes):
            super().__init__()
            {init or "pass"}
        def forward(self, images):
            {forward}
        {state}
    """


def test_tensors_and_reconstructions_are_both_taken(module):
    module(GOOD)
    images = torch.rand(5, 3, 32, 20)
    plain, whole = made("Plain"), made("Whole", options={"depth": 3})
    assert whole.network.depth == 3
    assert [value if value is None else tuple(value.shape) for value in plain(images)[:3]] == [
        (5, 3, 32, 20),
        None,
        None,
    ]
    assert [tuple(value.shape) for value in whole(images)[:3]] == [(5, 3, 32, 20), (5, 4), (5,)]
    with torch.autocast("cpu", torch.bfloat16):
        assert {value.dtype for value in whole(images)[:3]} == {torch.float32}


def test_a_network_is_ready_to_be_trained_and_the_random_numbers_are_as_they_were(module):
    module(GOOD)
    torch.manual_seed(5)
    nn.Conv2d(3, 3, 1)
    wanted = torch.rand(3)
    torch.manual_seed(5)
    network = made("Noisy")
    assert torch.equal(torch.rand(3), wanted)
    assert all(part.training for part in network.modules())


@pytest.mark.parametrize(("class_name", "more"), [("Plain", {}), ("Whole", {"options": {"depth": 1}}), ("Tied", {})])
def test_its_weights_come_back_exactly(module, class_name, more):
    module(GOOD)
    network, images = made(class_name, **more).eval(), torch.rand(2, 3, 32, 20)
    wanted = spec(class_name, **more)
    loaded = weights.load(wanted, weights.save(network), {wanted["kind"]}).eval()
    assert torch.equal(loaded(images).pictures, network(images).pictures)


@pytest.mark.parametrize("trusted", [(), {"their_networks"}, {"their_networks:Other"}, {"other:Plain"}, {"*"}], ids=str)
@pytest.mark.parametrize("variable", [None, "", "their_networks", "other:Plain,their_networks:Plai", "*", "1"])
def test_code_that_is_not_trusted_is_not_imported(module, tmp_path, monkeypatch, trusted, variable):
    module(GOOD + f"\n    open({str(tmp_path / 'was_run')!r}, 'w').close()\n")
    if variable is not None:
        monkeypatch.setenv(VARIABLE, variable)
    words = (
        "the network their_networks:Plain is code beside the bundle, and nobody has said that it may be run; "
        "when you trust it, set the environment variable RAYAE_NETWORKS=their_networks:Plain."
    )
    with pytest.raises(BundleError, match=f"^{re.escape(words)}$"):
        build(spec("Plain"), trusted)
    assert not (tmp_path / "was_run").exists()
    assert "their_networks" not in sys.modules
    build(spec("Plain"), {"their_networks:Plain"})
    assert (tmp_path / "was_run").exists()


def test_a_module_that_is_there_already_is_no_more_trusted():
    with pytest.raises(BundleError, match=r"set the environment variable RAYAE_NETWORKS=subprocess:Popen\.$"):
        build(spec("Popen", "subprocess"))


def test_the_environment_names_what_may_be_imported(module, monkeypatch):
    module(GOOD)
    monkeypatch.setenv(VARIABLE, "other:Net,their_networks:Plain")
    assert isinstance(build(spec("Plain")), CustomNetwork)


def test_a_module_that_is_not_there_is_named():
    assert refusal("Net", module_name="no_such_place.inside") == (
        "the network no_such_place.inside:Net cannot be imported: there is no module 'no_such_place' on this machine; "
        "install it or put its folder into PYTHONPATH."
    )


def test_a_module_that_needs_another_names_that(module):
    module("import no_such_library")
    assert "there is no module 'no_such_library' on this machine" in refusal("Net")


@pytest.mark.parametrize(
    ("code", "words"),
    [("1 / 0", "ZeroDivisionError: division by zero"), ("raise ValueError('not\\n  today.')", "ValueError: not today")],
)
def test_a_module_that_raises_is_told_with_its_line(module, code, words):
    module(f"import os\n{code}")
    assert refusal("Net") == (
        f"the network their_networks:Net cannot be imported: its module raises {words} (their_networks.py, line 2)."
    )


@pytest.mark.parametrize(
    ("class_name", "words"),
    [("Absent", "has no Absent"), ("torch", "has a torch that is no subclass of torch.nn.Module"),
     ("Reconstructed", "has a Reconstructed that is no subclass of torch.nn.Module")],
)  # fmt: skip
def test_what_is_no_network_is_refused(module, class_name, words):
    module(GOOD)
    assert refusal(class_name) == (
        f"the network their_networks:{class_name} cannot be built: the module their_networks {words}."
    )


def test_what_is_no_network_is_not_called():
    assert "that is no subclass of torch.nn.Module" in refusal("Popen", module_name="subprocess")


def test_a_constructor_that_raises_is_told(module):
    module(told("Net", init="raise ValueError('only squares')"))
    assert refusal("Net") == (
        f"the network their_networks:Net cannot be built: with {SIZES} it raises ValueError: only squares "
        "(their_networks.py, line 9)."
    )


def test_options_that_a_constructor_does_not_take_are_told(module):
    module(GOOD)
    assert refusal("Plain", options={}).endswith("unexpected keyword argument 'options'.")
    assert refusal("Whole").endswith("missing 1 required positional argument: 'options'.")


@pytest.mark.parametrize(
    ("forward", "gives", "what", "shape"),
    [
        ("return images[:, :1]", "torch.float32 of the shape [2, 1, 32, 20]", "pictures", [2, 3, 32, 20]),
        ("return images[:1]", "torch.float32 of the shape [1, 3, 32, 20]", "pictures", [2, 3, 32, 20]),
        ("return images.long()", "torch.int64 of the shape [2, 3, 32, 20]", "pictures", [2, 3, 32, 20]),
        ("return images, None", "a tuple", "pictures", [2, 3, 32, 20]),
        ("pass", "a NoneType", "pictures", [2, 3, 32, 20]),
        ("return Reconstructed(images, images)", "torch.float32 of the shape [2, 3, 32, 20]", "latent", [2, 3]),
        ("return Reconstructed(images, images[0, 0])", "torch.float32 of the shape [32, 20]", "latent", [2, 20]),
        ("return Reconstructed(images, 3)", "a int", "latent", [2]),
        ("return Reconstructed(images, None, images.mean())", "torch.float32 of the shape []", "divergence", [2]),
        (
            "return Reconstructed(images, features=(images[:1],))",
            "torch.float32 of the shape [1, 3, 32, 20]",
            "features",
            [2, 3, 32, 20],
        ),
        (
            "return Reconstructed(images, features=images[:, 0])",
            "torch.float32 of the shape [2, 32, 20]",
            "features",
            [2, 32, 20, 1],
        ),
        ("return Reconstructed(images, features=None)", "a NoneType", "features", [2, 1, 1, 1]),
    ],
)
def test_what_is_no_reconstruction_is_refused(module, forward, gives, what, shape):
    module(told("Net", forward))
    assert refusal("Net") == (
        f"the network their_networks:Net gives {gives} as its {what}; its `forward` must give a floating-point tensor "
        f"of the shape {shape}."
    )


@pytest.mark.parametrize(
    ("given", "what"),
    [("images / 0", "pictures"), ("Reconstructed(images, images[:, :, 0, 0].log())", "latent"),
     ("Reconstructed(images, None, images.mean((1, 2, 3)) / 0)", "divergence"),
     ("Reconstructed(images, features=(images / 0,))", "features")],
)  # fmt: skip
def test_what_is_not_finite_without_training_is_refused(module, given, what):
    module(told("Net", f"return {given}"))
    assert refusal("Net") == (
        f"the network their_networks:Net gives values that are not finite as its {what}, untrained."
    )


def test_a_network_that_fails_on_pictures_is_told(module):
    module(told("Net", "raise RuntimeError('cannot see')"))
    assert refusal("Net") == (
        "the network their_networks:Net fails on [2, 3, 32, 20]: RuntimeError: cannot see (their_networks.py, line 11)."
    )


def test_state_that_no_safetensors_file_can_hold_is_refused(module):
    module(told("Net", state="def get_extra_state(self): return {'step': 1}"))
    assert refusal("Net") == (
        "the network their_networks:Net cannot be saved: '_extra_state' of its state is no tensor but a dict; "
        "keep such things in `options`."
    )


def test_what_changes_its_mind_after_it_was_tried_is_refused_at_work(module):
    module(told("Net", "return images if len(images) == 2 else images[:, :1]"))
    network = made("Net")
    with pytest.raises(BundleError, match=r"gives torch\.float32 of the shape \[3, 1, 32, 20\] as its pictures"):
        network(torch.rand(3, 3, 32, 20))


@pytest.mark.parametrize(("key", "value"), [("channels", 0), ("height", "32"), ("base_width", True),
                                            ("options", [1]), ("options", None), ("latent", 4)])  # fmt: skip
def test_sizes_that_cannot_be_used_are_refused(module, key, value):
    module(GOOD)
    wrong = SIZES | {key: value}
    assert refusal("Plain", **{key: value}) == (
        f"the network their_networks:Plain with {wrong} cannot be built: {key} cannot be used."
    )


def test_reconstructed_has_nothing_beside_pictures_unless_it_is_given():
    assert Reconstructed(torch.zeros(1))[1:] == (None, None, ())
