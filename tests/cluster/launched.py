"""What `ray up` makes of a YAML, by Ray's own code: the requests to EC2 and the commands to the machines, kept.

moto plays EC2. Ray lets its caller say what runs `ssh` and `rsync`; here they are written down instead, and answered
as a machine would that has Docker and no container yet. The second half does what the head's autoscaler does when it
wants a worker, from the very file that the first half would have copied to the head.
"""

import functools
import json
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
import botocore.client
import yaml
from ray.autoscaler._private import commands
from ray.autoscaler._private.aws import config as aws_config
from ray.autoscaler._private.aws import node_provider
from ray.autoscaler._private.aws.utils import client_cache, resource_cache
from ray.autoscaler._private.providers import _clear_provider_cache, _get_node_provider
from ray.autoscaler.v2.instance_manager.config import FileConfigReader
from ray.autoscaler.v2.instance_manager.node_provider import NodeProviderAdapter
from ray.autoscaler.v2.instance_manager.ray_installer import RayInstaller
from ray.core.generated.instance_manager_pb2 import Instance

from tests.cluster.aws_account import Account

HOME = "/home/rayae"
BOOTSTRAP = "ray_bootstrap_config.yaml"
INSTANCE_TYPES = functools.cache(node_provider.list_ec2_instances)
"""Ray asks for all types each time, of which moto tells slowly."""
CLIENTS = (client_cache, resource_cache, aws_config._get_subnets_or_die)


@dataclass
class Shell:
    """Stands where Ray takes the module `subprocess` for `ssh` and `rsync`."""

    commands: list[str] = field(default_factory=list)
    """What was to be run on the machine, in its order; of an rsync the places."""
    copied: dict[str, str] = field(default_factory=dict)
    """The text of the files that went there."""
    DEVNULL = subprocess.DEVNULL

    def check_call(self, words: list[str], **_: Any) -> int:
        self._keep(words)
        return 0

    def check_output(self, words: list[str], **_: Any) -> bytes:
        self._keep(words)
        last = self.commands[-1]
        if "printenv HOME" in last:
            return f"{HOME}\n".encode()
        if ".Config.Env" in last:
            return b'["PATH=/opt/rayae/bin:/usr/local/bin:/usr/bin:/bin"]'
        return b"/usr/bin/docker" if "command -v docker" in last else b""

    def _keep(self, words: list[str]) -> None:
        if words[0] == "rsync":
            source, target = words[-2:]
            self.commands.append(f"rsync to {target.partition(':')[2]}")
            found = Path(source)
            for path in [found] if found.is_file() else sorted(found.glob("*")):
                self.copied[path.name if found.is_dir() else target.rpartition("/")[2]] = path.read_text()
        else:
            self.commands.append(" ".join(words[next(i for i, word in enumerate(words) if "@" in word) + 1 :]))


@dataclass(frozen=True)
class Node:
    """An instance as EC2 has it, its volumes and groups, and what was run on it."""

    instance: dict[str, Any]
    volumes: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    request: dict[str, Any]
    """The parameters of the request that made it."""
    shell: Shell

    @property
    def profile(self) -> str | None:
        """The name of its instance profile."""
        arn = self.instance.get("IamInstanceProfile", {}).get("Arn", "")
        return arn.rpartition("/")[2] or None

    @property
    def tags(self) -> dict[str, str]:
        return {tag["Key"]: tag["Value"] for tag in self.instance["Tags"]}

    @property
    def is_spot(self) -> bool:
        return bool(self.request.get("InstanceMarketOptions", {}).get("MarketType") == "spot")

    def ran(self, what: str) -> list[str]:
        """The commands of the machine that hold a text, unquoted as its shell would see them."""
        return [line for line in (re.sub(r"['\"\\]+", "", line) for line in self.shell.commands) if what in line]

    def start(self) -> str:
        """The one command that starts Ray."""
        found = self.ran("ray start")
        assert len(found) == 1, found
        return found[0]

    def container(self) -> str:
        """The one command that starts its container."""
        found = self.ran("docker run")
        assert len(found) == 1, found
        return found[0]


@dataclass(frozen=True)
class Launched:
    """A cluster that is up: what Ray has made of the YAML, its head, and a worker of each type."""

    config: dict[str, Any]
    head: Node
    workers: dict[str, Node]

    @property
    def nodes(self) -> dict[str, Node]:
        return {"head": self.head} | self.workers


@contextmanager
def as_administrator(account: Account) -> Iterator[None]:
    """The environment of whoever runs `ray up` on the account; Ray's clients are left for the next time."""
    outside = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    own = {"HOME": str(account.folder / "home"), "RAY_UP_enable_autoscaler_v2": "1"}
    with patch.dict(os.environ, outside | account.environment | own, clear=True):
        _clear_provider_cache()
        yield


def forget() -> None:
    """Ray keeps clients, with their credentials, and providers for as long as a process lives."""
    for cache in CLIENTS:
        cache.cache_clear()
    boto3.setup_default_session()
    _clear_provider_cache()


def bring_up(account: Account, text: str) -> Launched:
    """Do what `ray up` does with a YAML, then start a worker of each type; the instances are ended afterwards."""
    hurried = {"TAG_BATCH_DELAY": 0, "list_ec2_instances": INSTANCE_TYPES}
    with as_administrator(account), patch.multiple(node_provider, **hurried), requests() as asked:
        config = commands._bootstrap_config(yaml.safe_load(text), no_config_cache=True)
        shells = {config["head_node_type"]: Shell()}
        path = account.folder / "up.yaml"
        path.write_text(text)
        commands.get_or_create_head_node(
            config, str(path), False, False, True, None, _runner=shells[config["head_node_type"]]
        )
        workers = start_workers(account, shells)
        launched = Launched(config, *_nodes(account, config, shells, asked, workers))
        ids = [node.instance["InstanceId"] for node in launched.nodes.values()]
        account.client("ec2").terminate_instances(InstanceIds=ids)
        return launched


def start_workers(account: Account, shells: dict[str, Shell]) -> list[str]:
    """What the head's autoscaler does to have a worker of each type, from the file that was copied to the head."""
    (head_type,) = shells
    bootstrap = json.loads(shells[head_type].copied[BOOTSTRAP])
    bootstrap["auth"]["ssh_private_key"] = account.settings["KEY_FILE"]
    bootstrap["file_mounts"] = {there: str(account.folder / "token") for there in bootstrap["file_mounts"]}
    path = account.folder / BOOTSTRAP
    path.write_text(json.dumps(bootstrap))
    _clear_provider_cache()
    provider = _get_node_provider(bootstrap["provider"], bootstrap["cluster_name"])
    reader = FileConfigReader(str(path), skip_content_hash=True)
    adapter = NodeProviderAdapter(provider, reader)
    types = [name for name in bootstrap["available_node_types"] if name != head_type]
    for name in types:
        adapter._launch_nodes_by_type(name, 1, f"wants-{name}")
    errors = [str(error.__cause__ or error) for error in adapter.poll_errors()]
    assert not errors, errors
    for found in adapter.get_non_terminated().values():
        if found.node_type in types:
            shells[found.node_type] = Shell()
            installer = RayInstaller(provider, reader.get_cached_autoscaling_config(), shells[found.node_type])
            instance = Instance(cloud_instance_id=found.cloud_instance_id, instance_type=found.node_type)
            installer.install_ray(instance, "10.0.0.10")
    return types


@contextmanager
def requests(*, all_of_them: bool = False) -> Iterator[list[dict[str, Any]]]:
    """The parameters of the requests that botocore makes while the block lasts, for new instances or all."""
    asked: list[dict[str, Any]] = []
    make = botocore.client.BaseClient._make_api_call

    def keep(self: Any, operation: str, parameters: Any) -> Any:
        answer = make(self, operation, parameters)
        if all_of_them or operation == "RunInstances":
            made = [one["InstanceId"] for one in answer.get("Instances", [])]
            asked.append(parameters | {"operation": operation, "made": made})
        return answer

    with patch.object(botocore.client.BaseClient, "_make_api_call", keep):
        yield asked


def _nodes(
    account: Account, config: dict[str, Any], shells: dict[str, Shell], asked: list[dict[str, Any]], types: list[str]
) -> tuple[Node, dict[str, Node]]:
    ec2 = account.client("ec2")
    wanted = [{"Name": "tag:ray-cluster-name", "Values": [config["cluster_name"]]}]
    alive = {"Name": "instance-state-name", "Values": ["pending", "running"]}
    found = ec2.describe_instances(Filters=[*wanted, alive])["Reservations"]
    nodes = {}
    for instance in [one for reservation in found for one in reservation["Instances"]]:
        name = next(tag["Value"] for tag in instance["Tags"] if tag["Key"] == "ray-user-node-type")
        ids = [one["Ebs"]["VolumeId"] for one in instance["BlockDeviceMappings"]]
        groups = ec2.describe_security_groups(GroupIds=[one["GroupId"] for one in instance["SecurityGroups"]])
        request = next(one for one in asked if instance["InstanceId"] in one["made"])
        volumes = ec2.describe_volumes(VolumeIds=ids)["Volumes"]
        nodes[name] = Node(instance, volumes, groups["SecurityGroups"], request, shells[name])
    return nodes[config["head_node_type"]], {name: nodes[name] for name in types}
