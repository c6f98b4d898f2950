"""cluster/aws/cluster.yaml, as Ray's own launcher and autoscaler understand it, with EC2 played by moto.

What a cluster must be is said once, in CHECKS. Each fault is a YAML from which one of our settings was taken away, or
in which one was loosened, and the check that must see it. Where a setting is taken away it is Ray's own default that
the check sees.
"""

import copy
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import ClickException

from tests.cluster.aws_account import AWS, ROOT, SSH_CIDR, TOKEN_OF_THE_CLUSTER, Account
from tests.cluster.conftest import BIN
from tests.cluster.launched import BOOTSTRAP, Launched, Node, bring_up

VERSION = "0.1.0"
GIB = 2**30
EVERYWHERE = ("0.0.0.0/0", "::/0")
DEFAULT_PROFILE = "ray-autoscaler-v1"


@pytest.fixture(scope="module")
def text(account: Account) -> str:
    """The YAML, filled in by account.sh."""
    return (account.folder / "rayae-score.yaml").read_text()


@pytest.fixture(scope="module")
def launched(account: Account, text: str) -> Launched:
    return bring_up(account, text)


def check_no_group_lets_the_world_in(cluster: Launched) -> None:
    for node in cluster.nodes.values():
        for rule in [rule for group in node.groups for rule in group["IpPermissions"]]:
            found = [one["CidrIp"] for one in rule["IpRanges"]] + [one["CidrIpv6"] for one in rule["Ipv6Ranges"]]
            assert not set(found) & set(EVERYWHERE), (node.profile, rule)


def check_only_the_head_hears_ssh_from_outside(cluster: Launched) -> None:
    def from_outside(node: Node) -> list[Any]:
        rules = [rule for group in node.groups for rule in group["IpPermissions"] if rule["IpRanges"]]
        return [(rule["FromPort"], rule["ToPort"], rule["IpRanges"][0]["CidrIp"]) for rule in rules]

    assert from_outside(cluster.head) == [(22, 22, SSH_CIDR)]
    assert [from_outside(node) for node in cluster.workers.values()] == [[]] * len(cluster.workers)


def check_every_node_has_the_profile_of_its_kind(cluster: Launched) -> None:
    name = cluster.config["cluster_name"]
    assert cluster.head.profile == f"{name}-head"
    assert {node.profile for node in cluster.workers.values()} == {f"{name}-worker"}


def check_the_metadata_service_wants_a_session(cluster: Launched) -> None:
    for node in cluster.nodes.values():
        options = node.instance["MetadataOptions"]
        assert (options["HttpTokens"], options["HttpPutResponseHopLimit"]) == ("required", 1)
        assert "--net=host" in node.container()  # with a network of its own a container would need a second hop


def check_disks_are_encrypted_and_end_with_their_machine(cluster: Launched) -> None:
    for node in cluster.nodes.values():
        assert node.volumes
        assert all(volume["Encrypted"] for volume in node.volumes)
        assert all(one["Ebs"]["DeleteOnTermination"] for one in node.instance["BlockDeviceMappings"])


def check_workers_are_spot_from_none_and_the_head_is_not(cluster: Launched) -> None:
    types = cluster.config["available_node_types"]
    assert not cluster.head.is_spot
    assert all(node.is_spot for node in cluster.workers.values())
    assert {types[name]["min_workers"] for name in cluster.workers} == {0}
    assert types["gpu"]["resources"]["GPU"] == 1
    assert 0 < cluster.config["idle_timeout_minutes"] <= 10


def check_nodes_that_are_not_needed_are_terminated(cluster: Launched) -> None:
    assert cluster.config["provider"]["cache_stopped_nodes"] is False


def check_the_head_does_no_work(cluster: Launched) -> None:
    assert "RAY_OVERRIDE_RESOURCES={CPU:0}" in cluster.head.start()
    assert "--num-cpus=0" in cluster.head.start()


def check_the_dashboard_answers_on_loopback_alone(cluster: Launched) -> None:
    assert re.findall(r"--dashboard-host=(\S+)", cluster.head.start()) == ["127.0.0.1"]


def check_metrics_are_where_prometheus_looks(cluster: Launched) -> None:
    assert all("--metrics-export-port=8080 " in node.start() for node in cluster.nodes.values())


def check_nothing_is_installed_and_images_have_our_version(cluster: Launched) -> None:
    for name, node in cluster.nodes.items():
        assert not node.ran("pip install"), node.ran("pip install")
        assert not node.ran(".whl")
        flavour = "gpu" if name == "gpu" else "cpu"
        (pulled,) = node.ran("docker pull")
        assert re.search(rf"/rayae:{re.escape(VERSION)}-{flavour}\b", pulled), pulled
        assert re.search(rf"/rayae:{re.escape(VERSION)}-{flavour} bash", node.container())


def check_containers_are_held_down(cluster: Launched) -> None:
    for name, node in cluster.nodes.items():
        words = shlex.split(node.container().replace("(", " ").replace(")", " "))
        assert {"--cap-drop=ALL", "--security-opt=no-new-privileges"} <= set(words)
        assert not {"--privileged", "--user=root", "--user=0"} & set(words)
        assert ("--gpus all" in node.container()) == (name == "gpu")


def check_every_node_asks_for_the_token(cluster: Launched) -> None:
    for node in cluster.nodes.values():
        assert "--env=RAY_AUTH_MODE=token " in node.container()
        path = re.search(r"--env=RAY_AUTH_TOKEN_PATH=(\S+)", node.container())
        assert path is not None
        folder, name = os.path.split(path[1])
        assert re.search(rf"-v \S+/?{folder}:{folder} ", node.container())
        assert node.shell.copied[name] == TOKEN_OF_THE_CLUSTER


def check_the_token_is_in_that_file_alone(cluster: Launched) -> None:
    for node in cluster.nodes.values():
        assert TOKEN_OF_THE_CLUSTER not in str(node.request)
        assert TOKEN_OF_THE_CLUSTER not in "\n".join(node.shell.commands)
        assert "UserData" not in node.request
    assert TOKEN_OF_THE_CLUSTER not in cluster.head.shell.copied[BOOTSTRAP]


def check_memory_adds_up(cluster: Launched) -> None:
    """The object store fits into /dev/shm, and it with what Ray hands out into the container, that into the machine."""
    for name, node in cluster.nodes.items():
        store = int(re.findall(r"--object-store-memory=(\d+)", node.start())[0])
        shm, container = (
            int(found[1]) * GIB for found in re.finditer(r"--(?:shm-size|memory)=(\d+)g", node.container())
        )
        memory = cluster.config["available_node_types"][name]["resources"].get("memory", 0)
        machine = {"m7i.xlarge": 16, "g6.2xlarge": 32, "c7i.4xlarge": 32}[node.instance["InstanceType"]] * GIB
        assert store < shm
        assert store + memory <= container < machine - GIB


def check_many_files_can_be_open(cluster: Launched) -> None:
    for node in cluster.nodes.values():
        assert "ulimit -n 65536;" in node.start()
        assert "--ulimit=nofile=65536:65536" in node.container()


def check_torch_may_use_its_cores(cluster: Launched) -> None:
    """Ray's launcher sets OMP_NUM_THREADS=1 in whatever it runs, which all that Ray starts would inherit."""
    assert all("unset OMP_NUM_THREADS; " in node.start() for node in cluster.nodes.values())


def check_nobody_is_told_how_ray_is_used(cluster: Launched) -> None:
    assert "--disable-usage-stats" in cluster.head.start()


def check_what_costs_money_says_whose_it_is(cluster: Launched) -> None:
    for node in cluster.nodes.values():
        assert {"project": "rayae", "ray-cluster-name": cluster.config["cluster_name"]}.items() <= node.tags.items()
        for volume in node.volumes:
            tags = {tag["Key"]: tag["Value"] for tag in volume["Tags"]}
            assert tags == {"project": "rayae", "ray-cluster-name": cluster.config["cluster_name"]}


CHECKS = [value for name, value in sorted(globals().items()) if name.startswith("check_")]


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_a_launched_cluster_is_as_it_must_be(launched: Launched, check: Callable[[Launched], None]) -> None:
    check(launched)


Config = dict[str, Any]


def node_config(config: Config, name: str) -> Config:
    """The parameters of the machines of a type; a type's own from here on, without the aliases of the YAML."""
    found: Config = config["available_node_types"][name]["node_config"]
    return found


def say(config: Config, before: str, after: str) -> None:
    """Replace words in the commands that start Ray."""
    for name in ("head_start_ray_commands", "worker_start_ray_commands"):
        config[name] = [line.replace(before, after) for line in config[name]]


def drop_run_option(config: Config, beginning: str) -> None:
    options = config["docker"]["run_options"]
    config["docker"]["run_options"] = [option for option in options if not option.startswith(beginning)]


FAULTS: dict[str, tuple[Callable[[Config], Any], Callable[[Launched], None]]] = {
    "Ray makes the groups": (
        lambda c: [node_config(c, name).pop("SecurityGroupIds") for name in c["available_node_types"]],
        check_no_group_lets_the_world_in,
    ),
    "workers are in the group with SSH": (
        lambda c: node_config(c, "gpu").update(SecurityGroupIds=node_config(c, "head")["SecurityGroupIds"]),
        check_only_the_head_hears_ssh_from_outside,
    ),
    "Ray chooses the role of the head": (
        lambda c: node_config(c, "head").pop("IamInstanceProfile"),
        check_every_node_has_the_profile_of_its_kind,
    ),
    "workers have no role": (
        lambda c: node_config(c, "gpu").pop("IamInstanceProfile"),
        check_every_node_has_the_profile_of_its_kind,
    ),
    "workers have the role of the head": (
        lambda c: node_config(c, "cpu").update(IamInstanceProfile={"Name": "rayae-score-head"}),
        check_every_node_has_the_profile_of_its_kind,
    ),
    "the metadata service answers anybody": (
        lambda c: node_config(c, "gpu").pop("MetadataOptions"),
        check_the_metadata_service_wants_a_session,
    ),
    "disks are as Ray makes them": (
        lambda c: node_config(c, "head").pop("BlockDeviceMappings"),
        check_disks_are_encrypted_and_end_with_their_machine,
    ),
    "GPU workers are on demand": (
        lambda c: node_config(c, "gpu").pop("InstanceMarketOptions"),
        check_workers_are_spot_from_none_and_the_head_is_not,
    ),
    "the head is spot": (
        lambda c: node_config(c, "head").update(InstanceMarketOptions={"MarketType": "spot"}),
        check_workers_are_spot_from_none_and_the_head_is_not,
    ),
    "a GPU worker is kept": (
        lambda c: c["available_node_types"]["gpu"].update(min_workers=1),
        check_workers_are_spot_from_none_and_the_head_is_not,
    ),
    "nodes are stopped": (
        lambda c: c["provider"].update(cache_stopped_nodes=True),
        check_nodes_that_are_not_needed_are_terminated,
    ),
    "Ray says what the head can do": (
        lambda c: c["available_node_types"]["head"].update(resources={}),
        check_the_head_does_no_work,
    ),
    "Ray starts the head": (
        lambda c: c.pop("head_start_ray_commands"),
        check_the_dashboard_answers_on_loopback_alone,
    ),
    "the dashboard is for the network": (
        lambda c: say(c, "127.0.0.1", "0.0.0.0"),
        check_the_dashboard_answers_on_loopback_alone,
    ),
    "metrics are on a port by chance": (
        lambda c: say(c, "--metrics-export-port=8080", ""),
        check_metrics_are_where_prometheus_looks,
    ),
    "Ray sets the nodes up": (
        lambda c: c.pop("setup_commands"),
        check_nothing_is_installed_and_images_have_our_version,
    ),
    "Ray sets the head up": (
        lambda c: c.pop("head_setup_commands"),
        check_nothing_is_installed_and_images_have_our_version,
    ),
    "the image is the latest": (
        lambda c: c["docker"].update(image=c["docker"]["image"].replace(f":{VERSION}-cpu", ":latest")),
        check_nothing_is_installed_and_images_have_our_version,
    ),
    "the container may do anything": (
        lambda c: c["docker"]["run_options"].append("--privileged"),
        check_containers_are_held_down,
    ),
    "the token is not asked for": (
        lambda c: drop_run_option(c, "--env=RAY_AUTH_MODE"),
        check_every_node_asks_for_the_token,
    ),
    "the token is not copied": (lambda c: c.update(file_mounts={}), check_every_node_asks_for_the_token),
    "the token is an environment variable": (
        lambda c: c["docker"]["run_options"].append(f"--env=RAY_AUTH_TOKEN={TOKEN_OF_THE_CLUSTER}"),
        check_the_token_is_in_that_file_alone,
    ),
    "the token is in the user data": (
        lambda c: node_config(c, "gpu").update(UserData=f"echo {TOKEN_OF_THE_CLUSTER} > /token"),
        check_the_token_is_in_that_file_alone,
    ),
    "the object store is larger than its place": (
        lambda c: say(c, "--object-store-memory=4000000000", "--object-store-memory=8000000000"),
        check_memory_adds_up,
    ),
    "Ray hands out the memory of the store": (
        lambda c: c["available_node_types"]["gpu"]["resources"].update(memory=26 * 10**9),
        check_memory_adds_up,
    ),
    "few files can be open": (lambda c: drop_run_option(c, "--ulimit"), check_many_files_can_be_open),
    "torch has one thread": (lambda c: say(c, "unset OMP_NUM_THREADS; ", ""), check_torch_may_use_its_cores),
    "usage is told": (lambda c: say(c, "--disable-usage-stats", ""), check_nobody_is_told_how_ray_is_used),
    "nobody knows whose disk it is": (
        lambda c: node_config(c, "cpu").pop("TagSpecifications"),
        check_what_costs_money_says_whose_it_is,
    ),
}


@pytest.fixture(scope="module")
def used_before(account: Account) -> Iterator[None]:
    """Ray's own role in the account, as whoever has used `ray up` there has left it; else Ray waits half a minute."""
    iam = account.client("iam")
    iam.create_role(RoleName=DEFAULT_PROFILE, AssumeRolePolicyDocument=(AWS / "iam" / "trust.json").read_text())
    iam.create_instance_profile(InstanceProfileName=DEFAULT_PROFILE)
    iam.add_role_to_instance_profile(InstanceProfileName=DEFAULT_PROFILE, RoleName=DEFAULT_PROFILE)
    yield
    iam.remove_role_from_instance_profile(InstanceProfileName=DEFAULT_PROFILE, RoleName=DEFAULT_PROFILE)
    iam.delete_instance_profile(InstanceProfileName=DEFAULT_PROFILE)
    iam.delete_role(RoleName=DEFAULT_PROFILE)


@pytest.mark.usefixtures("used_before")
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_the_yaml_is_seen(account: Account, text: str, fault: str) -> None:
    break_it, check = FAULTS[fault]
    config = copy.deepcopy(yaml.safe_load(text))
    for node_type in config["available_node_types"].values():
        node_type["node_config"] = copy.deepcopy(node_type["node_config"])
    break_it(config)
    launched = bring_up(account, yaml.safe_dump(config))
    with pytest.raises((AssertionError, KeyError, IndexError)):
        check(launched)


def test_every_check_sees_a_fault() -> None:
    assert {check for _, check in FAULTS.values()} == set(CHECKS)


def test_a_yaml_that_is_not_filled_in_is_refused(account: Account, capsys: pytest.CaptureFixture[str]) -> None:
    text = (AWS / "cluster.yaml").read_text().replace("MY_KEY_FILE", account.settings["KEY_FILE"])
    with pytest.raises((AssertionError, ClickException)):  # which, is a matter of how pretty it prints
        bring_up(account, text.replace("MY_REGION", account.settings["REGION"]))
    assert "security group" in capsys.readouterr().err


def test_what_the_script_makes_has_no_gap_left(account: Account, text: str) -> None:
    assert "MY_" not in text
    for role in ("rayae-score-head", "rayae-score-worker", "rayae-train-head", "rayae-train-worker"):
        names = account.client("iam").list_role_policies(RoleName=role)["PolicyNames"]
        assert set(names) == {role.split("-")[1], "pull"} | ({"launcher"} if role.endswith("head") else set())
        assert "MY_" not in str([account.policy(role, name) for name in names])


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"SSH_CIDR": "0.0.0.0/0"}, "is no network of"),
        ({"SSH_CIDR": "0.0.0.0/1"}, "is no network of"),
        ({"JOB": "launcher"}, "neither score nor train"),
        ({"KEY_FILE": "a&b.pem"}, "holds &"),
        ({"SSH_CIDR": ""}, "SSH_CIDR"),
    ],
)
def test_the_script_makes_nothing_of_what_it_refuses(account: Account, settings: dict[str, str], said: str) -> None:
    before = account.client("ec2").describe_security_groups()["SecurityGroups"]
    made = account.script("make", **{"JOB": "score"} | settings)
    assert made.returncode != 0
    assert said in made.stderr
    assert account.client("ec2").describe_security_groups()["SecurityGroups"] == before


def test_the_script_ends_at_the_first_thing_that_fails(account: Account) -> None:
    before = [one["RoleName"] for one in account.client("iam").list_roles()["Roles"]]
    made = account.script("make", JOB="score")
    assert made.returncode != 0
    assert "already exists" in made.stderr
    assert "CreateRole" not in made.stderr
    assert [one["RoleName"] for one in account.client("iam").list_roles()["Roles"]] == before


def test_a_head_whose_image_lacks_what_the_autoscaler_needs_is_refused(tmp_path: Path) -> None:
    (line,) = yaml.safe_load((AWS / "cluster.yaml").read_text())["head_setup_commands"]
    (tmp_path / "python").symlink_to(BIN / "python")
    for name in ("ssh", "rsync"):
        (tmp_path / name).write_text("#!/bin/sh\n")
        (tmp_path / name).chmod(0o755)
    line = line.replace("/opt/rayae/bin", str(BIN))

    def run(path: Path) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(["/bin/bash", "-c", line], env={"PATH": str(path)}, capture_output=True, text=True)

    assert run(tmp_path).returncode == 0
    (tmp_path / "rsync").unlink()
    refused = run(tmp_path)
    assert (refused.returncode, refused.stderr) == (
        1,
        "the image has no rsync, by which the head sets up workers\n",
    )


def test_the_script_and_the_yaml_are_clean() -> None:
    style = "{extends: default, rules: {line-length: {max: 120}, document-start: disable, braces: disable}}"
    for words in (["shellcheck", str(AWS / "account.sh")], ["yamllint", "-s", "-d", style, str(AWS / "cluster.yaml")]):
        checked = subprocess.run([str(BIN / words[0]), *words[1:]], cwd=ROOT, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr
