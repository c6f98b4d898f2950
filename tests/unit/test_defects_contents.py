"""What defects are filled with, on single pictures and against other solvers."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter
from scipy.sparse import diags, identity, kron
from scipy.sparse.linalg import spsolve

from rayae.defects import CONTENTS, contents, poisson, smooth
from rayae.dice import Dice
from tests.unit.textures import textures

BATCH = textures(6, 1, 64, 64)
WHICH = torch.tensor([1, 4, 5])
SQUARE = torch.zeros(3, 64, 64)
SQUARE[:, 20:36, 30:44] = 1


def dice(seed: int = 0) -> Dice:
    return Dice(torch.Generator().manual_seed(seed), torch.device("cpu"))


def laplacian(height: int, width: int):
    down, across = (diags([1.0, -2.0, 1.0], [-1, 0, 1], shape=(size, size)) for size in (height, width))
    return (kron(down, identity(width)) + kron(identity(height), across)).tocsc()


@pytest.mark.parametrize("size", [(5, 5), (14, 30), (30, 9)])
def test_the_sines_solve_poissons_equation(size):
    right = np.random.default_rng(0).normal(size=size)
    expected = spsolve(laplacian(*size), right.ravel()).reshape(size)
    found = poisson.solution(torch.from_numpy(right).float())
    assert found.numpy() == pytest.approx(expected, abs=1e-4 * np.abs(expected).max())


def test_a_blend_has_the_gradients_of_the_other_inside_and_its_own_outside():
    difference = torch.rand(1, 1, 20, 24, generator=torch.Generator().manual_seed(0))
    inside = torch.zeros(1, 1, 20, 24, dtype=torch.bool)
    inside[:, :, 6:13, 5:15] = True
    divergence = np.zeros((20, 24))
    values, mask = difference[0, 0].double().numpy(), inside[0, 0].numpy()
    for row, column in np.argwhere(mask):
        for next_row, next_column in ((row + 1, column), (row, column + 1)):
            if mask[next_row, next_column]:
                step = values[next_row, next_column] - values[row, column]
                divergence[row, column] += step
                divergence[next_row, next_column] -= step
    found = contents._gradients_gained(difference, inside)[0, 0]
    assert found.numpy() == pytest.approx(divergence[1:-1, 1:-1], abs=1e-5)


def test_a_blend_changes_nothing_outside_its_window():
    changes = contents.blend(BATCH, WHICH, SQUARE, dice())
    assert changes.abs().amax((1, 2, 3)).min() > 0
    outside = torch.ones(64, 64, dtype=torch.bool)
    outside[12:44, 21:53] = False
    assert not changes[:, :, outside].any()


def test_a_blend_of_a_mask_outside_the_picture_changes_nothing():
    assert not contents.blend(BATCH, WHICH, torch.zeros(3, 64, 64), dice()).any()


@pytest.mark.parametrize("content", [name for name in CONTENTS if name != "blend"])
def test_a_change_is_exactly_0_where_the_mask_is(content):
    changes = CONTENTS[content](BATCH, WHICH, SQUARE, dice())
    assert changes.shape == (3, 1, 64, 64)
    assert not changes[SQUARE[:, None] == 0].any()
    assert changes[SQUARE[:, None] == 1].abs().mean() > 0.005


def test_pastes_come_from_other_pictures():
    grey = torch.arange(4.0).view(4, 1, 1, 1).expand(4, 1, 32, 32) / 4
    for seed in range(30):
        changes = contents.paste(grey, torch.tensor([3]), torch.ones(1, 32, 32), dice(seed))
        assert grey[3, 0, 0, 0] + changes.max() <= 0.5 * 1.3 + 0.1 + 1e-6


def test_a_moved_part_is_the_picture_itself_some_pixels_away():
    batch = torch.rand(1, 1, 40, 40, generator=torch.Generator().manual_seed(0))
    after = batch + contents.moved(batch, torch.tensor([0]), torch.ones(1, 40, 40), dice())
    shifts = [(down, right) for down in range(40) for right in range(40)]
    found = [shift for shift in shifts if torch.allclose(batch.roll(shift, (2, 3)), after, atol=1e-6)]
    assert len(found) == 1
    assert all(1 <= min(steps, 40 - steps) <= 8 for steps in found[0])


@pytest.mark.parametrize("sigma", [0.8, 2.0, 4.5])
def test_blurring_is_that_of_scipy_away_from_the_border(sigma):
    pictures = torch.rand(2, 3, 60, 70, generator=torch.Generator().manual_seed(0))
    expected = gaussian_filter(pictures.double().numpy(), (0, 0, sigma, sigma), truncate=5)
    found = smooth.blurred(pictures, torch.full((2,), sigma)).numpy()
    assert found[:, :, 24:-24, 24:-24] == pytest.approx(expected[:, :, 24:-24, 24:-24], abs=1e-4)


def test_blurring_keeps_a_flat_picture_up_to_its_border():
    flat = torch.full((1, 1, 33, 50), 0.7)
    assert smooth.blurred(flat, torch.tensor([3.0])).numpy() == pytest.approx(0.7, abs=1e-5)


def test_noise_has_mean_0_and_a_variance_of_about_1():
    field = smooth.noise(300, 1, 64, 64, (8, 16, 32, 64), dice())
    assert field.mean().item() == pytest.approx(0, abs=0.05)
    assert 0.6 < field.var().item() < 1.1


def test_noise_of_few_cells_is_smoother_than_noise_of_many():
    rough = [smooth.noise(20, 1, 64, 64, (cells,), dice()).diff(dim=3).abs().mean() for cells in (4, 8, 16, 32, 64)]
    assert rough == sorted(rough)
    assert rough[-1] > 8 * rough[0]


def test_each_field_of_noise_has_a_grain_of_its_own():
    rough = smooth.noise(60, 1, 64, 64, (4, 8, 16, 32, 64), dice()).diff(dim=3).abs().mean((1, 2, 3))
    assert rough.max() > 5 * rough.min()


def test_dice_keep_their_ranges_and_their_means():
    uniform = dice().uniform(20000, low=2.0, high=5.0)
    logs = dice().log_uniform(20000, low=0.01, high=1.0)
    assert 2 <= uniform.min() < uniform.max() < 5
    assert uniform.mean().item() == pytest.approx(3.5, abs=0.03)
    assert logs.median().item() == pytest.approx(0.1, rel=0.05)
    assert sorted(dice().below(4, 1000).unique().tolist()) == [0, 1, 2, 3]
    assert sorted(dice().sign(1000).unique().tolist()) == [-1, 1]
    assert dice().chance(0.2, 20000).float().mean().item() == pytest.approx(0.2, abs=0.015)
    assert dice().normal(20000).std().item() == pytest.approx(1, abs=0.02)
