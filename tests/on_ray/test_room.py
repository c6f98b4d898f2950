"""The room for pictures on clusters known by hand."""

import math

import pytest
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION

from rayae.memory import SHARE
from rayae.on_ray.capacity import Capacity, Groups, Nodes, Workers, capacity
from rayae.on_ray.room import STORE_OF_MEMORY, STORE_SHARE, room_on

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
    known, unknown = (Groups((Nodes(8, 4, 0, memory, 900 * GB),)) for memory in (8.0 * GB, math.inf))
    head = Nodes(1, 0, 0, 0.0, 900 * GB)
    assert room_on(Capacity((head,), known), Workers(8, 4, 0)).size_bytes == pytest.approx(SHARE * 8 * 8 * GB)
    assert room_on(Capacity((head, node(4, 6, 900)), unknown), Workers(8, 4, 0)).size_bytes == pytest.approx(
        SHARE * 8 * 6 * GB
    )


def test_of_nodes_that_may_come_only_those_have_a_store_that_the_workers_wait_for() -> None:
    kind = node(4, 1000, 3, count=100)
    have = Capacity((node(0, 1000, 2), node(4, 1000, 3)), Groups((kind,)))
    for count, coming in ((1, 0), (4, 0), (5, 1), (8, 1), (9, 2), (12, 2)):
        assert room_on(have, Workers(count, 1, 0)).size_bytes == pytest.approx(STORE_SHARE * (2 + 3 + coming * 3) * GB)


def test_workers_that_may_become_more_have_the_room_of_the_fewest() -> None:
    have = Capacity((node(4, 1000, 3),), Groups((node(4, 1000, 3, count=100),)))
    assert room_on(have, Workers(4, 1, 0, most=40)).size_bytes == pytest.approx(STORE_SHARE * 3 * GB)


def test_of_several_kinds_of_nodes_that_may_come_the_one_with_least_store_counts() -> None:
    kinds = (node(4, 1000, 9, count=5), node(1, 1000, 2, count=5), node(0, 1000, 0.1, count=5))
    assert room_on(Capacity((), Groups(kinds)), Workers(4, 1, 0)).size_bytes == pytest.approx(STORE_SHARE * 4 * 2 * GB)


def test_a_store_that_nobody_knows_is_reckoned_by_the_memory_or_as_on_a_node_that_is_there() -> None:
    by_memory, unknown = (Groups((Nodes(8, 4, 0, memory),)) for memory in (10.0 * GB, math.inf))
    assert room_on(Capacity((), by_memory), Workers(2, 4, 0)).size_bytes == pytest.approx(STORE_SHARE * 2 * 3 * GB)
    there = (node(4, 1000, 5), node(0, 1000, 1))
    assert room_on(Capacity(there, unknown), Workers(3, 4, 0)).size_bytes == pytest.approx(STORE_SHARE * 16 * GB)
    assert room_on(Capacity((), unknown), Workers(3, 4, 0)).size_bytes == 0


def test_the_share_of_memory_that_is_an_object_store_is_that_of_ray() -> None:
    assert STORE_OF_MEMORY == DEFAULT_OBJECT_STORE_MEMORY_PROPORTION


def test_the_place_is_told() -> None:
    have = Capacity((node(4, 10, 100),))
    assert [room_on(have, Workers(count, 1, 0)).place for count in (1, 2)] == ["on 1 worker", "on 2 workers"]


def test_a_real_cluster_says_what_it_has() -> None:
    assert 0 < room_on(capacity(), Workers(2, 1, 0)).size_bytes < math.inf
