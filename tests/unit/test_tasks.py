"""What a network is shown, and that a pixel is predicted from others alone."""

import numpy as np
import pytest
import torch
from torch.nn import functional

from rayae.errors import ConfigError
from rayae.tasks import CELLS, disjoint_masks, hidden_under, inpainted, posed, with_neighbours
from tests.unit.textures import textures

PICTURES = textures(24, 1, 64, 64)
KERNEL = torch.rand(1, 1, 5, 5, generator=torch.Generator().manual_seed(0)) / 12


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def network(pictures: torch.Tensor) -> torch.Tensor:
    """A network whose every pixel depends on its neighbours and on itself."""
    return functional.conv2d(pictures, KERNEL, padding=2).sin()


@pytest.mark.parametrize("task", ["copy", "denoise", "inpaint", "repair"])
@pytest.mark.parametrize("size", [(1, 3, 32, 45), (6, 1, 64, 40)])
def test_every_task_keeps_shape_and_range_and_follows_its_seed(task, size):
    pictures = textures(*size)
    first, second = (posed(task, pictures, generator(2)) for _ in range(2))
    assert first.seen.shape == pictures.shape
    assert 0 <= first.seen.min() <= first.seen.max() <= 1
    assert torch.equal(first.seen, second.seen)
    assert first.places is None or first.places.shape == (size[0], 1, *size[2:])


def test_copy_shows_the_picture_itself():
    assert posed("copy", PICTURES, generator()).seen is PICTURES
    assert posed("copy", PICTURES, generator()).places is None


def test_the_noise_to_be_removed_is_gaussian_of_2_to_20_percent():
    flat = torch.full((400, 1, 64, 64), 0.5)
    seen = posed("denoise", flat, generator()).seen
    inner = np.ma.masked_array(seen.numpy(), (seen == 0) | (seen == 1))
    sigma = inner.reshape(400, -1).std(1).data
    assert 0.018 < sigma.min() < 0.025
    assert 0.17 < sigma.max() < 0.21
    assert np.median(sigma) == pytest.approx((0.02 * 0.2) ** 0.5, rel=0.15)


def test_some_pixels_are_black_or_white_in_all_channels_but_at_most_one_in_a_hundred():
    seen = posed("denoise", torch.full((200, 3, 64, 64), 0.5), generator()).seen
    calm = seen.std((1, 2, 3)) < 0.07
    white, black = ((seen[calm] == value).all(1).float().mean((1, 2)) for value in (1, 0))
    assert 0.0005 < white.mean() < 0.005
    assert 0.0005 < black.mean() < 0.005
    assert (white + black).max() < 0.015


def test_cells_are_hidden_by_the_mean_of_what_is_left():
    task = posed("inpaint", PICTURES, generator())
    for picture, seen, places in zip(PICTURES, task.seen, task.places.bool(), strict=True):
        mean = picture[~places].double().mean().item()
        assert seen[places].numpy() == pytest.approx(mean, abs=1e-5)
        assert torch.equal(seen[~places], picture[~places])


def test_about_half_of_the_cells_are_hidden_in_cells_of_three_sizes():
    places = posed("inpaint", torch.rand(300, 1, 64, 64, generator=generator()), generator()).places[:, 0]
    assert 0.35 < places.mean() < 0.5
    assert places.mean((1, 2)).min() > 0.15
    assert places.mean((1, 2)).max() < 0.75
    sides = []
    for mask in places:
        edges = [(mask.diff(dim=axis) != 0).any(1 - axis).nonzero()[:, 0] + 1 for axis in (0, 1)]
        sides.append(int(np.gcd.reduce(torch.cat(edges).numpy())))
    assert set(sides) == {2, 4, 8}
    assert min(sides.count(side) for side in (2, 4, 8)) > 70


def test_a_repair_says_where_the_defects_are():
    task = posed("repair", PICTURES, generator())
    changed = (task.seen - PICTURES).abs()
    assert changed[task.places == 1].mean() > 0.05
    assert changed[task.places == 0].mean() < 0.003


def beside(*sizes):
    """Batches of these sizes, whose pictures are 0, 1, 2, ..., and what was beside each."""
    batches = torch.arange(float(sum(sizes))).view(-1, 1, 1, 1).split(sizes)
    found = list(with_neighbours(batches))
    assert torch.equal(torch.cat([batch for batch, _ in found]), torch.cat(batches))
    return [None if neighbour is None else neighbour.flatten().tolist() for _, neighbour in found]


def test_a_picture_of_its_own_has_one_of_the_batch_beside_it_for_a_neighbour():
    assert beside(1, 1, 1) == [[1], [0], [1]]
    assert beside(1, 3, 1) == [[1], None, [1]]
    assert beside(4, 4, 1) == [None, None, [4]]


def test_where_there_is_no_other_picture_there_is_no_neighbour():
    assert beside(1) == [None]
    assert beside(2) == [None]
    assert list(with_neighbours([])) == []


def test_what_is_repaired_in_a_picture_of_its_own_comes_from_its_neighbour():
    flat, textured = torch.full((1, 1, 64, 64), 0.5), PICTURES[:1]
    alone, beside_it = (
        [posed("repair", flat, generator(seed), neighbours).seen for seed in range(40)]
        for neighbours in (None, textured)
    )
    assert sum(not torch.equal(*both) for both in zip(alone, beside_it, strict=True)) > 5


def test_an_unknown_task_is_refused():
    with pytest.raises(
        ConfigError, match=r"^the task 'paint' was asked; take one of copy, denoise, inpaint, repair\.$"
    ):
        posed("paint", PICTURES, generator())


@pytest.mark.parametrize("size", [(32, 32), (64, 96), (100, 45)])
@pytest.mark.parametrize("cells", CELLS)
@pytest.mark.parametrize("count", [2, 3, 4])
def test_disjoint_masks_hide_every_pixel_once_and_about_as_many_each(size, cells, count):
    masks = disjoint_masks(*size, cells, count, 0)
    assert masks.shape == (count, 1, *size)
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert torch.equal(masks.sum(0), torch.ones(1, *size))
    assert masks.mean((1, 2, 3)).numpy() == pytest.approx(1 / count, abs=0.08)


def test_masks_follow_their_seed():
    first, second, other = (disjoint_masks(64, 64, 8, 3, seed) for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)


@pytest.mark.parametrize("count", [1, 65])
def test_a_number_of_masks_that_hides_all_or_nothing_is_refused(count):
    sentence = rf"^{count} masks were asked over 64 cells; take at least 2, and no more than cells\.$"
    with pytest.raises(ConfigError, match=sentence):
        disjoint_masks(64, 64, 8, count, 0)


@pytest.mark.parametrize("count", [2, 4])
def test_the_prediction_of_a_pixel_does_not_depend_on_that_pixel(count):
    picture = PICTURES[:1]
    before = inpainted(network, picture, count)
    for row, column in ((0, 0), (13, 40), (63, 63), (31, 32)):
        changed = picture.clone()
        changed[0, 0, row, column] = 1 - changed[0, 0, row, column].round()
        after = inpainted(network, changed, count)
        assert after[0, 0, row, column] == before[0, 0, row, column]
        assert (after != before).any()


def test_the_prediction_is_the_mean_over_the_scales_of_what_was_hidden():
    expected = np.zeros((24, 1, 64, 64))
    for cells in CELLS:
        for mask in disjoint_masks(64, 64, cells, 3, cells):
            places = mask.expand(24, -1, -1, -1)
            made = network(hidden_under(PICTURES, places)).double().numpy()
            expected = np.where(places.numpy() == 1, expected + made / 3, expected)
    assert inpainted(network, PICTURES).numpy() == pytest.approx(expected, abs=1e-6)


def test_a_flat_picture_is_predicted_by_a_network_that_gives_back_what_it_sees():
    flat = torch.full((2, 3, 32, 48), 0.3)
    assert inpainted(lambda seen: seen, flat).numpy() == pytest.approx(0.3, abs=1e-6)
