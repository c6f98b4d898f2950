"""The samples: held-out pictures, what the network makes of them, and where it differs."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from torch import nn

from rayae import detector
from rayae.samples import samples_of
from tests.unit.small_things import DETECTOR, SIDE, detector_around, pictures


class Brighter(nn.Module):
    """Adds 0.4 to the left half, which takes some pixels beyond white."""

    def __init__(self):
        super().__init__()
        self.added = nn.Parameter(torch.tensor(0.4))

    def forward(self, images):
        return images + self.added * (torch.arange(images.shape[3]) < SIDE // 2)


@pytest.mark.parametrize("channels", [1, 3])
def test_each_is_the_picture_its_reconstruction_and_their_smoothed_squared_difference(channels):
    given = pictures(3, channels=channels)
    found = samples_of(detector_around(Brighter()), given, "float32")
    assert [sample.name for sample in found] == ["held_out_1", "held_out_2", "held_out_3"]
    for sample, pixels in zip(found, given, strict=True):
        np.testing.assert_array_equal(sample.pixels, pixels)
        made = pixels / 255
        made[:, : SIDE // 2] = np.minimum(made[:, : SIDE // 2] + 0.4, 1)
        assert sample.reconstruction.dtype == np.uint8
        np.testing.assert_allclose(sample.reconstruction, made * 255, atol=0.51)
        squared = ((made - pixels / 255) ** 2).mean(2)
        wanted = gaussian_filter(squared, 2.0, mode="mirror", radius=6)
        np.testing.assert_allclose(sample.error_map, wanted, atol=1e-5)


def test_a_perfect_network_has_no_error_and_leaves_the_pictures_as_they_are():
    class Same(Brighter):
        def forward(self, images):
            return images + 0 * self.added

    for sample in samples_of(detector_around(Same()), pictures(2), "float32"):
        np.testing.assert_array_equal(sample.reconstruction, sample.pixels)
        assert not sample.error_map.any()


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_they_show_what_scoring_looks_at_also_when_it_inpaints(precision):
    torch.manual_seed(0)
    unet = {"kind": "unet", "channels": 1, "height": SIDE, "width": SIDE, "base_width": 8}
    model = detector.build(unet, DETECTOR | {"task": "inpaint"}).eval()
    given = pictures(2)
    images = torch.from_numpy(given).permute(0, 3, 1, 2) / 255
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        looked, whole = model.look(images).pictures, model(images).pictures
    found = np.stack([sample.reconstruction for sample in samples_of(model, given, precision)])
    wanted = looked.permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(found - wanted).max() < 1.6
    assert not torch.allclose(looked, whole, atol=0.05)


def test_outside_the_region_there_is_no_error_to_show():
    model = detector_around(Brighter())
    region = torch.zeros(SIDE, SIDE, dtype=torch.uint8)
    region[:20, 8:24] = 255
    whole = samples_of(model, pictures(2), "float32")
    model.look_at(region)
    for sample, before in zip(samples_of(model, pictures(2), "float32"), whole, strict=True):
        assert not sample.error_map[region.numpy() == 0].any()
        np.testing.assert_allclose(sample.error_map[2:14, 14:18], before.error_map[2:14, 14:18], rtol=1e-5)
        assert sample.error_map[2:14, 14:18].any()


def test_no_picture_gives_no_sample():
    assert samples_of(detector_around(Brighter()), pictures(2)[:0], "float32") == []
