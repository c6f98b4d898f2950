"""The room for pictures on clusters known by hand."""

import math

import pytest

from rayae.memory import SHARE
from rayae.on_ray.capacity import Capacity, Groups, Nodes, Workers, capacity
from rayae.on_ray.room import STORE_SHARE, room_on

GB = 1024**3


def node(cpus: float, memory: float, store: float, count: float = 1, gpus: float = 0) -> Nodes:
    return Nodes(count, cpus, gpus, memory * GB, store * GB)


def test_on_one_node_the_workers_share_its_memory() -> None:
    have = Capacity((node(4, 10, 100),))
    for count in (1, 2, 4):
        assert room_on(have, Workers(count, 1, 0)).size_bytes == pytest.approx(SHARE * 10 * GB)


def test_where_less_than_all_may_lie_on_one_node_each_has_what_would_be_left_there() -> None:
    have = Capacity((node(4, 10, 100), node(4, 10, 100)))
    assert room_on(have, Workers(4, 1, 0)).size_bytes == pytest.approx(SHARE * 10 * GB)  # Ray may pack all four on one
    assert room_on(have, Workers(8, 1, 0)).size_bytes == pytest.approx(SHARE * 20 * GB)


def test_the_node_with_least_memory_decides() -> None:
    have = Capacity((node(2, 64, 100), node(2, 4, 100)))
    assert room_on(have, Workers(4, 1, 0)).size_bytes == pytest.approx(SHARE * 4 / 2 * 4 * GB)


def test_a_node_that_holds_no_worker_does_not_decide() -> None:
    have = Capacity((node(0, 1, 50), node(4, 32, 50, gpus=1)))
    assert room_on(have, Workers(1, 1, 1)).size_bytes == pytest.approx(SHARE * 32 * GB)


def test_the_object_store_holds_all_pictures_as_well() -> None:
    have = Capacity((node(4, 100, 2), node(4, 100, 3)))
    assert room_on(have, Workers(2, 1, 0)).size_bytes == pytest.approx(STORE_SHARE * 5 * GB)


def test_of_nodes_that_may_come_the_memory_counts_where_it_is_known() -> None:
    known, unknown = (Groups((Nodes(8, 4, 0, memory),)) for memory in (8.0 * GB, math.inf))
    head = Nodes(1, 0, 0, 0.0, math.inf)
    assert room_on(Capacity((head,), known), Workers(8, 4, 0)).size_bytes == pytest.approx(SHARE * 8 * 8 * GB)
    assert room_on(Capacity((head,), unknown), Workers(8, 4, 0)).size_bytes == math.inf


def test_the_place_is_told() -> None:
    have = Capacity((node(4, 10, 100),))
    assert [room_on(have, Workers(count, 1, 0)).place for count in (1, 2)] == ["on 1 worker", "on 2 workers"]


def test_a_real_cluster_says_what_it_has() -> None:
    assert 0 < room_on(capacity(), Workers(2, 1, 0)).size_bytes < math.inf
