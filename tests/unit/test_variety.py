"""How much of the variance of pictures their reconstructions have, added up over batches, workers and a region."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA
from sklearn.metrics import r2_score

from rayae.scores import Region
from rayae.variety import VarietySums
from rayae.verdicts import Variety, collapsed

CPU = torch.device("cpu")
RANDOM = np.random.default_rng(0)
PICTURES = RANDOM.random((60, 2, 14, 13)).astype(np.float32)
RECONSTRUCTIONS = np.float32(0.2 + 0.7 * PICTURES + RANDOM.normal(0, 0.05, PICTURES.shape))
WEIGHTS = np.zeros((14, 13), np.float32)
WEIGHTS[4:9, 3:8] = 1
WEIGHTS[4:9, 8] = 0.25


def variety(pictures, reconstructions, region=None, batch=60):
    pictures, reconstructions = (torch.tensor(np.float32(values)) for values in (pictures, reconstructions))
    sums = VarietySums(*pictures.shape[1:], CPU, region)
    for given, made in zip(pictures.split(batch), reconstructions.split(batch), strict=True):
        sums.add(given, made)
    return sums.found()


def by_hand(pictures, reconstructions, weights):
    """Kept and explained, in float64 and with all pictures at once."""
    given, made = pictures.astype(np.float64), reconstructions.astype(np.float64)
    variance = (given.var(axis=0) * weights).sum()
    error = (np.square(given - made).mean(axis=0) * weights).sum()
    return (made.var(axis=0) * weights).sum() / variance, 1 - error / variance


def test_the_principal_components_keep_what_they_explain():
    flat = PICTURES.reshape(60, -1)
    components = PCA(3).fit(flat)
    reconstructions = components.inverse_transform(components.transform(flat))
    found = variety(PICTURES, reconstructions.reshape(PICTURES.shape))
    share = components.explained_variance_ratio_.sum()
    assert found.kept == pytest.approx(share, rel=1e-5)
    assert found.explained == pytest.approx(share, rel=1e-5)
    assert found.explained == pytest.approx(r2_score(flat, reconstructions, multioutput="variance_weighted"), rel=1e-5)


@pytest.mark.parametrize("batch", [60, 7, 1])
def test_the_batches_do_not_matter(batch):
    found = variety(PICTURES, RECONSTRUCTIONS, batch=batch)
    assert (found.kept, found.explained) == pytest.approx(by_hand(PICTURES, RECONSTRUCTIONS, 1), rel=1e-9)


def test_small_changes_of_bright_pictures_are_not_lost_in_rounding():
    bright = np.float32(0.9 + 1e-4 * PICTURES)
    made = np.float32(0.9 + 0.5e-4 * PICTURES)
    found = variety(bright, made)
    assert (found.kept, found.explained) == pytest.approx(by_hand(bright, made, 1), rel=1e-5)


def test_in_a_region_each_pixel_counts_as_much_as_it_weighs():
    found = variety(PICTURES, RECONSTRUCTIONS, Region(torch.from_numpy(WEIGHTS)), batch=7)
    wanted = by_hand(PICTURES, RECONSTRUCTIONS, WEIGHTS)
    assert (found.kept, found.explained) == pytest.approx(wanted, rel=1e-9)
    assert wanted != pytest.approx(by_hand(PICTURES, RECONSTRUCTIONS, 1), rel=1e-3)


@pytest.mark.parametrize("outside", [0.5, 9.0, np.inf, np.nan])
def test_what_is_outside_the_region_changes_nothing(outside):
    region = Region(torch.from_numpy(WEIGHTS))
    other, made = (np.where(WEIGHTS > 0, values, outside) for values in (PICTURES, RECONSTRUCTIONS))
    wanted = variety(PICTURES, RECONSTRUCTIONS, region)
    assert variety(other, RECONSTRUCTIONS, region) == variety(PICTURES, made, region) == wanted


def test_perfect_reconstructions_keep_and_explain_all():
    assert variety(PICTURES, PICTURES) == Variety(pytest.approx(1), 1)


def test_a_network_that_always_gives_the_mean_picture_has_collapsed():
    mean = np.broadcast_to(PICTURES.mean(axis=0), PICTURES.shape)
    found = variety(PICTURES, mean)
    assert (found.kept, found.explained) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-6))
    assert collapsed(found).name == "collapsed"


def test_reconstructions_of_other_pictures_have_collapsed():
    found = variety(PICTURES, RANDOM.random(PICTURES.shape))
    assert found.explained == pytest.approx(-1, abs=0.1)  # independent: twice the variance
    assert collapsed(found).name == "collapsed"


@pytest.mark.parametrize("count", [1, 3, 7, 50])
def test_pictures_that_are_all_alike_have_no_variety(count):
    alike = np.repeat(PICTURES[:1], count, axis=0)
    assert variety(alike, RECONSTRUCTIONS[:count]) == Variety(None, None)


def test_black_pictures_and_no_pictures_have_no_variety():
    assert variety(0 * PICTURES, RECONSTRUCTIONS) == Variety(None, None)
    assert variety(PICTURES[:0], PICTURES[:0]) == Variety(None, None)


WORKER = """
import pickle, sys
import torch, torch.distributed as dist
from tests.unit.test_variety import PICTURES, RECONSTRUCTIONS, variety
place, rank = sys.argv[1], int(sys.argv[2])
dist.init_process_group("gloo", init_method=f"file://{place}/meeting", rank=rank, world_size=2)
parts = [slice(0, count) if rank == 0 else slice(count, 60) for count in (60, 41)]
found = [variety(PICTURES[part], RECONSTRUCTIONS[part]) for part in parts]
open(f"{place}/{rank}", "wb").write(pickle.dumps(found))
dist.destroy_process_group()
"""


def test_workers_come_to_the_same_though_one_has_no_picture(tmp_path):
    workers = [subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path), str(rank)]) for rank in (0, 1)]
    assert [worker.wait(240) for worker in workers] == [0, 0]
    first, second = (pickle.loads((tmp_path / str(rank)).read_bytes()) for rank in (0, 1))
    assert first == second
    wanted = by_hand(PICTURES, RECONSTRUCTIONS, 1)
    assert all((found.kept, found.explained) == pytest.approx(wanted, rel=1e-9) for found in first)
