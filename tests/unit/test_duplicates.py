"""Near-duplicates: copies are found whatever was done to them; pictures that are merely of one kind are not."""

import io

import numpy as np
import pytest
from PIL import Image

from rayae import duplicates
from rayae.duplicates import near_duplicates
from tests.unit.pictures import photo

SIDE = 128
COUNT = 60
COPIED = [3, 17, 20, 41, 58]


def of_one_kind(count, seed=1):
    """Pictures [N, 136, 136, 1] that share most of what they show, as photographs of one product do."""
    common = photo(136, 136)[..., :1].astype(float)
    own = np.stack([photo(136, 136, seed + number)[..., :1] for number in range(count)]).astype(float)
    return np.clip(common + 0.15 * (own - 128), 0, 255).astype(np.uint8)


LARGE = of_one_kind(COUNT)
FIRST = LARGE[:, 4:132, 4:132]


def each(change, pictures):
    return np.stack([np.asarray(change(Image.fromarray(picture[..., 0])))[..., None] for picture in pictures])


def jpeg(quality):
    def change(image):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality)
        return Image.open(buffer)

    return lambda pictures: each(change, pictures)


def resized(side):
    return lambda pictures: each(lambda image: image.resize((side, side), Image.Resampling.BICUBIC), pictures)


def brighter(factor, offset):
    return lambda pictures: np.clip(pictures * factor + offset, 0, 255).astype(np.uint8)


def noisy(pictures):
    noise = np.random.default_rng(0).normal(0, 3, pictures.shape)
    return np.clip(pictures + noise, 0, 255).astype(np.uint8)


CHANGES = {
    "none": lambda pictures: pictures,
    "jpeg 75": jpeg(75),
    "jpeg 40": jpeg(40),
    "brighter": brighter(1.1, 5),
    "darker": brighter(0.8, 0),
    "smaller": resized(96),
    "larger": resized(300),
    "noise": noisy,
    "colour": lambda pictures: np.repeat(pictures, 3, axis=3),
}


def places(pairs):
    return sorted((pair.first, pair.second) for pair in pairs)


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_and_only_the_copy(change):
    copies = CHANGES[change](FIRST[COPIED])
    others = CHANGES[change](of_one_kind(20, seed=500)[:, 4:132, 4:132])
    pairs = near_duplicates(FIRST, np.concatenate([copies, others]))
    assert places(pairs) == [(first, second) for second, first in enumerate(COPIED)]


@pytest.mark.parametrize(("down", "right"), [(1, 0), (0, -1), (2, 0), (0, 2), (1, -1), (2, 2), (-2, -2)])
def test_a_copy_that_is_shifted_by_one_or_two_pixels_is_found(down, right):
    shifted = LARGE[COPIED, 4 + down : 132 + down, 4 + right : 132 + right]
    assert places(near_duplicates(FIRST, shifted)) == [(first, second) for second, first in enumerate(COPIED)]


def test_pictures_of_one_kind_are_no_duplicates_though_their_pixels_correlate():
    second = of_one_kind(COUNT, seed=500)[:, 4:132, 4:132]
    plain = np.corrcoef(FIRST.reshape(COUNT, -1), second.reshape(COUNT, -1))[:COUNT, COUNT:]
    assert np.median(plain) > 0.95
    assert near_duplicates(FIRST, second) == []


def test_the_same_picture_has_correlation_one():
    (pair,) = near_duplicates(FIRST, FIRST[7:8])
    assert (pair.first, pair.second, pair.correlation) == (7, 0, pytest.approx(1, abs=1e-5))


def test_of_several_the_most_alike_is_named_and_the_best_pair_comes_first():
    first = np.concatenate([FIRST, noisy(FIRST[3:4]), jpeg(40)(FIRST[9:10])])
    pairs = near_duplicates(first, np.stack([FIRST[30], FIRST[3], noisy(noisy(FIRST[9:10]))[0]]))
    assert [(pair.first, pair.second) for pair in pairs[:2]] in ([(30, 0), (3, 1)], [(3, 1), (30, 0)])
    assert (pairs[2].first, pairs[2].second) == (9, 2)
    assert [pair.correlation for pair in pairs] == sorted((pair.correlation for pair in pairs), reverse=True)


def test_flat_pictures_are_in_no_pair_not_even_with_themselves():
    flat = np.stack([np.full((SIDE, SIDE, 1), level, np.uint8) for level in (0, 90, 255)])
    nearly = flat[1:2] + np.random.default_rng(0).integers(0, 2, (1, SIDE, SIDE, 1), dtype=np.uint8)
    blank = np.concatenate([flat, nearly])
    assert near_duplicates(blank, blank) == []
    assert places(near_duplicates(np.concatenate([blank, FIRST]), np.concatenate([blank, FIRST[:2]]))) == [
        (4, 4),
        (5, 5),
    ]


def test_one_picture_is_enough_to_find_its_copy():
    assert places(near_duplicates(FIRST[:1], jpeg(75)(FIRST[:1]))) == [(0, 0)]


def test_an_empty_side_has_no_pair():
    assert near_duplicates(FIRST[:0], FIRST) == []
    assert near_duplicates(FIRST, FIRST[:0]) == []


def test_the_blocks_decide_nothing(monkeypatch):
    second = np.concatenate([jpeg(40)(FIRST[COPIED]), of_one_kind(9, seed=500)[:, 4:132, 4:132]])
    whole = near_duplicates(FIRST, second)
    for name, size in (("BLOCK", 3), ("HASHES_AT_ONCE", 7), ("CANDIDATES_AT_ONCE", 2)):
        monkeypatch.setattr(duplicates, name, size)
    blocks = near_duplicates(FIRST, second)
    assert places(blocks) == places(whole)
    assert [pair.correlation for pair in blocks] == pytest.approx([pair.correlation for pair in whole], abs=1e-5)


def test_the_hashes_lose_no_copy_that_the_correlation_finds(monkeypatch):
    second = np.concatenate([jpeg(40)(FIRST), noisy(FIRST), LARGE[:, 6:134, 5:133]])
    found = places(near_duplicates(FIRST, second))
    monkeypatch.setattr(duplicates, "BITS", 64)
    assert found == places(near_duplicates(FIRST, second))
    assert len(found) == 3 * COUNT


def test_unrelated_pictures_differ_in_half_of_the_bits():
    random = np.random.default_rng(0)
    hashes = duplicates._hashes(random.normal(size=(200, 256)).astype(np.float32))
    differing = [(int(a) ^ int(b)).bit_count() for a, b in zip(hashes[:100], hashes[100:], strict=True)]
    assert np.mean(differing) == pytest.approx(32, abs=1.5)
    assert np.std(differing) == pytest.approx(4, abs=1)


def test_whitening_is_the_inverse_root_of_the_shrunk_second_moments():
    vectors = np.random.default_rng(0).normal(size=(500, 256)) @ np.diag(np.linspace(0.01, 0.1, 256))
    prior = 16 / 516
    shrunk = (1 - prior) * vectors.T @ vectors / 500 + (prior / 256 + 1e-4) * np.eye(256)
    found = duplicates._whitening(vectors.astype(np.float32))
    assert found == pytest.approx(found.T)
    assert np.linalg.eigvalsh(found).min() > 0
    assert found @ shrunk @ found == pytest.approx(np.eye(256), abs=1e-3)
