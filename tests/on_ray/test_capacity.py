"""What fits on nodes that are there and on nodes that may come; `test_autoscaling` has a real autoscaler."""

import math
from pathlib import Path

import pytest
import yaml

from rayae.errors import ClusterError
from rayae.on_ray import capacity
from rayae.on_ray.capacity import (
    Capacity,
    Groups,
    Nodes,
    Workers,
    decoders_on,
    groups_at,
    groups_of,
    plan_decoders,
    plan_on,
    plan_workers,
)
from rayae.on_ray.waiting import lacking, wait_for_all

HEAD = Nodes(1, 0, 0)
CPU_GROUP, GPU_GROUP = Nodes(8, 4, 0), Nodes(4, 3, 1)


def from_zero(*groups: Nodes) -> Capacity:
    """A cluster of a head, on which nothing runs, whose groups have no node yet."""
    return Capacity((HEAD,), Groups(groups))


def test_a_plan_that_does_not_fit_is_refused_with_the_sum() -> None:
    sentence = (
        r"^the plan needs 9 x 1 CPUs = 9 and 9 x 0 GPUs = 0; the cluster has 6 CPUs and 0 GPUs, enough for 6 "
        r"worker\(s\)\. Ask for fewer with `workers=`, or for less with `resources\.cpus_per_worker=` and "
        r"`resources\.gpus_per_worker=`\.$"
    )
    with pytest.raises(ClusterError, match=sentence):
        plan_workers(9, 1, None)


def test_without_a_number_the_workers_fill_the_cluster() -> None:
    assert plan_workers(None, 2, None) == Workers(3, 2, 0)
    assert plan_decoders(Workers(2, 2, 0), None) == 2


def test_a_plan_is_made_for_the_nodes_that_may_come() -> None:
    have = from_zero(CPU_GROUP, GPU_GROUP)
    assert plan_on(have, None, 1, None) == Workers(4, 1, 1)
    assert plan_on(have, None, 2, 0) == Workers(20, 2, 0)
    assert plan_on(have, 3, 3, 1) == Workers(3, 3, 1)
    assert decoders_on(have, Workers(4, 1, 1), None) == 40


def test_a_plan_beyond_what_may_come_is_refused_with_both_sums() -> None:
    sentence = (
        r"^the plan needs 5 x 1 CPUs = 5 and 5 x 1 GPUs = 5; the cluster has 0 CPUs and 0 GPUs and may grow to 44 CPUs "
        r"and 4 GPUs, enough for 4 worker\(s\)\. Ask "
    )
    with pytest.raises(ClusterError, match=sentence):
        plan_on(from_zero(CPU_GROUP, GPU_GROUP), 5, 1, None)
    with pytest.raises(ClusterError, match=r"for decoding = 45; the cluster has 0 CPUs and 0 GPUs and may grow to 44"):
        decoders_on(from_zero(CPU_GROUP, GPU_GROUP), Workers(4, 1, 1), 41)


def test_a_worker_that_fits_on_no_node_is_refused_although_the_sum_is_enough() -> None:
    have = from_zero(CPU_GROUP, GPU_GROUP)
    sentence = (
        r"^the plan needs 2 x 1 CPUs = 2 and 2 x 2 GPUs = 4; .* enough for 0 worker\(s\), since each lies on one node, "
        r"and these have 4 CPUs and 0 GPUs, or 3 CPUs and 1 GPUs\. Ask "
    )
    with pytest.raises(ClusterError, match=sentence):
        plan_on(have, 2, 1, 2)
    with pytest.raises(ClusterError, match=r"enough for 0 worker\(s\), since each lies on one node"):
        plan_on(have, 1, 5, 0)


@pytest.mark.parametrize(("gpus", "fit"), [(1, 4), (2, 2), (0.5, 8), (0.4, 8), (0.3, 12), (3, 1), (0, 16)])
def test_parts_of_a_gpu_are_parts_of_one(gpus: float, fit: int) -> None:
    assert Nodes(1, 16, 4).each_holds(1, gpus) == fit


def test_a_node_of_a_group_takes_a_place_of_the_group() -> None:
    there = (HEAD, Nodes(1, 3, 1), Nodes(1, 3, 1), Nodes(1, 16, 0))
    have = Capacity(there, Groups((CPU_GROUP, GPU_GROUP)))
    assert have.hold(1, 1) == 4
    assert str(have) == "the cluster has 22 CPUs and 2 GPUs and may grow to 60 CPUs and 4 GPUs"
    assert Capacity((Nodes(1, 3, 1),) * 6, Groups((GPU_GROUP,))).hold(1, 1) == 6, "two are of no group"


def test_a_limit_for_all_groups_together_is_kept() -> None:
    have = Capacity((HEAD,), Groups((Nodes(3, 4, 0), Nodes(3, 8, 1)), limit=3))
    assert (have.hold(4, 0), have.hold(1, 1)) == (6, 3)
    assert str(have).endswith("and may grow to 24 CPUs and 3 GPUs")


def test_a_cluster_that_may_grow_without_limit_wants_a_number() -> None:
    have = from_zero(Nodes(math.inf, 4, 1))
    assert plan_on(have, 300, 1, None) == Workers(300, 1, 1)
    with pytest.raises(ClusterError, match=r"enough for 0 worker\(s\)"):
        plan_on(have, None, 8, None)
    with pytest.raises(ClusterError, match=r"say so with `workers=`\.$"):
        plan_on(have, None, 1, None)
    with pytest.raises(ClusterError, match=r"say `resources\.decoders=`\.$"):
        decoders_on(have, Workers(3, 1, 1), None)


def test_the_groups_are_those_of_the_launcher_on_its_head(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "max_workers": 3,
        "head_node_type": "head",
        "available_node_types": {
            "head": {"resources": {"CPU": 8}},
            "gpu": {"resources": {"CPU": 4, "GPU": 1, "memory": 2**34}, "max_workers": 2},
            "cpu": {"resources": {"CPU": 16}, "max_workers": 10},
            "any": {"resources": {"CPU": 2}},
        },
    }
    gpu, cpu, other = Nodes(2, 4, 1, 2**34), Nodes(3, 16, 0), Nodes(3, 2, 0)
    assert groups_of(config) == Groups((gpu, cpu, other), 3)
    path = tmp_path / "ray_bootstrap_config.yaml"
    path.write_text(yaml.safe_dump(config))
    monkeypatch.setenv("HOME", str(tmp_path))
    groups_at.cache_clear()
    assert plan_workers(None, 2, None) == Workers(3, 2, 0), "it is not the head of a cluster that was joined"
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    groups_at.cache_clear()
    assert plan_workers(None, 2, None) == Workers(2, 2, 1)
    groups_at.cache_clear()


def test_where_nobody_says_how_many_there_may_be_there_is_no_limit() -> None:
    kind = {"resources": {"CPU": 4}, "max_workers": 2**31 - 1}
    assert groups_of({"max_workers": 2**31 - 1, "available_node_types": {"cpu": kind}}) == Groups(
        (Nodes(math.inf, 4, 0),)
    )


def test_what_has_no_node_yet_is_said_with_the_sums() -> None:
    workers = Workers(4, 1, 1)
    have = Capacity((HEAD, Nodes(1, 3, 1)), Groups((CPU_GROUP, GPU_GROUP)))
    sums = "the cluster has 3 CPUs and 1 GPUs and may grow to 44 CPUs and 4 GPUs"
    assert lacking(have, workers) == f"waiting for 3 of 4 workers: {sums}"
    assert lacking(have, workers, 6) == f"waiting for 3 of 4 workers and 4 of 6 decoders: {sums}"
    assert lacking(have, Workers(1, 1, 1), 2) == ""


def test_nothing_grows_where_nobody_says_so() -> None:
    have = capacity.capacity()
    assert have.groups == Groups()
    assert str(have) == "the cluster has 6 CPUs and 0 GPUs"


def test_a_range_of_workers_is_told_as_one_and_its_fewest_are_waited_for() -> None:
    assert Workers(2, 1, 0, most=8).in_words() == "2 to 8 workers"
    assert Workers(2, 1, 0).in_words() == "2 worker(s)"
    wait_for_all(Workers(6, 1, 0, most=60), wait_s=30)
    sentence = (
        r"^7 to 60 workers of 1 CPUs and 0 GPUs were asked for, and in 1 s there was no room for 7 of them: the "
        r"cluster has 6 CPUs and 0 GPUs"
    )
    with pytest.raises(ClusterError, match=sentence):
        wait_for_all(Workers(7, 1, 0, most=60), wait_s=1)


def test_what_a_range_lacks_are_its_fewest() -> None:
    have = Capacity((Nodes(1, 3, 0),))
    assert lacking(have, Workers(3, 1, 0, most=8)) == ""
    assert lacking(have, Workers(4, 1, 0, most=8)).startswith("waiting for 1 of 4 workers: ")
