"""The policies of cluster/aws/iam: enough for what they are for, and nothing in them that is not needed.

moto judges every request by the policies of the role that asks. Of EC2 it judges actions alone: resources and
conditions are judged by iam.py, on the requests that Ray has made.
"""

import copy
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml
from ray.autoscaler._private.aws import node_provider
from ray.autoscaler._private.providers import _get_node_provider
from ray.autoscaler.v2.instance_manager.config import FileConfigReader
from ray.autoscaler.v2.instance_manager.node_provider import NodeProviderAdapter
from s3fs import S3FileSystem

from rayae import lease, stores
from rayae.cli import main
from tests.cluster.aws_account import AWS, BUCKETS, REGION, Account
from tests.cluster.iam import Need, Place, allows, grants, needs, policy_of, without
from tests.cluster.launched import as_administrator, bring_up, forget, requests
from tests.conftest import SMALL_TRAINING, write_pictures
from tests.faults.processes import ends_well, start

IMAGES, MODELS, RUNS = (f"s3://{name}" for name in BUCKETS.values())
SCORER, TRAINER, HEAD = "rayae-score-worker", "rayae-train-worker", "rayae-score-head"


def shipped(name: str) -> Any:
    """A policy as it lies in the repository, with the buckets of the tests."""
    text = (AWS / "iam" / f"{name}.json").read_text()
    for setting, bucket in BUCKETS.items():
        text = text.replace(f"MY_{setting}", bucket)
    return json.loads(text)


def for_moto(granted: list[tuple[str, str]]) -> Any:
    """The same in moto's words, where they are not Amazon's.

    A HEAD of a bucket is s3:ListBucket at Amazon's and an action of its own there; removing several objects at once is
    s3:DeleteObject on each of them, and there on the bucket.
    """
    more = [("s3:HeadBucket", resource) for action, resource in granted if action == "s3:ListBucket"]
    more += [(action, resource.removesuffix("/*")) for action, resource in granted if action == "s3:DeleteObject"]
    return policy_of([*granted, *more])


@pytest.fixture(autouse=True, scope="module")
def hasty_leases() -> Iterator[None]:
    """A lease that cannot be given back is void after three seconds instead of thirty."""
    with patch.object(lease.held.__wrapped__, "__defaults__", (lease.Limits(1.0, 3.0, 0.2),)):
        yield


@pytest.fixture(scope="module")
def stocked(account: Account, bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Account:
    """The account with pictures and a bundle in its buckets."""
    few = write_pictures(tmp_path_factory.mktemp("few"), 6, seed=3)
    some = write_pictures(tmp_path_factory.mktemp("some"), 24, seed=4)
    s3 = account.client("s3")
    for folder, bucket, prefix in ((few, "IMAGES", "few"), (some, "IMAGES", "some"), (bundle, "MODELS", "parts")):
        for path in [path for path in folder.rglob("*") if path.is_file()]:
            key = f"{prefix}/{path.relative_to(folder).as_posix()}"
            s3.put_object(Bucket=BUCKETS[bucket], Key=key, Body=path.read_bytes())
    return account


@contextmanager
def as_role(account: Account, role: str) -> Iterator[dict[str, str]]:
    """The environment of a process on an instance with a role, and nothing of the tester's own."""
    credentials = account.credentials(role)
    outside = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
    files = {"AWS_CONFIG_FILE": os.devnull, "AWS_SHARED_CREDENTIALS_FILE": os.devnull}
    environment = account.environment | files | credentials
    with patch.dict(os.environ, outside | environment, clear=True), account.judging():
        S3FileSystem.clear_instance_cache()
        stores.forget_stores()
        yield environment
    S3FileSystem.clear_instance_cache()
    stores.forget_stores()


def line_of_verbs(name: str) -> list[list[str]]:
    """All that is done with images, a bundle and a run, by the role of scoring."""
    run = f"{RUNS}/{name}/run"
    manifest = f"{RUNS}/{name}/manifest.parquet"
    return [
        ["index", f"images={IMAGES}/few", f"out={manifest}"],
        ["score", f"images={manifest}", f"bundle={MODELS}/parts", f"out={run}", "placement=inline"],
        ["verify", run],
        ["status", run],
        ["retry", run, "status=missing"],
        ["report", run],
        ["compact", run],
    ]


def training(name: str, *more: str) -> list[str]:
    how = ["epochs=1", "rule=none", *SMALL_TRAINING, *more]
    return ["train", f"images={IMAGES}/some", f"out={MODELS}/{name}", *how]


def first_failure(verbs: list[list[str]], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """The exit code of the first verb that does not end well, and the last line it says."""
    for words in verbs:
        code = main(words)
        said = capsys.readouterr().err.strip().splitlines()
        if code != 0:
            return code, said[-1]
        assert not [line for line in said if "not given back" in line]
    return 0, ""


def short(granted: tuple[str, str]) -> str:
    return f"{granted[0].partition(':')[2]}-{granted[1].rpartition(':')[2].replace('/*', '')}"


def test_all_verbs_of_a_run_do_with_the_policy_for_scoring(
    stocked: Account, capsys: pytest.CaptureFixture[str]
) -> None:
    with stocked.with_policy(SCORER, "score", for_moto(grants(shipped("score")))), as_role(stocked, SCORER):
        assert first_failure(line_of_verbs("whole"), capsys) == (0, "")


@pytest.mark.parametrize("missing", grants(shipped("score")), ids=short)
def test_scoring_without_a_permission_says_which_it_lacks(
    stocked: Account, capsys: pytest.CaptureFixture[str], missing: tuple[str, str]
) -> None:
    left = [one for one in grants(shipped("score")) if one != missing]
    with stocked.with_policy(SCORER, "score", for_moto(left)), as_role(stocked, SCORER):
        code, said = first_failure(line_of_verbs(short(missing)), capsys)
    assert code == 1
    assert said.startswith("error: ")
    assert missing[0] in said, said
    assert missing[1].rpartition(":")[2].removesuffix("/*") in said or missing[0] == "s3:GetObject", said


@pytest.fixture(scope="module")
def trained(stocked: Account, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The exit code and words of a training by Ray under the policy for training, with a checkpoint an epoch."""
    log = tmp_path_factory.mktemp("training") / "log"
    policy = for_moto(grants(shipped("train")))
    with stocked.with_policy(TRAINER, "train", policy), as_role(stocked, TRAINER) as environment:
        ends_well(start(*training("by-ray", "workers=1", "epochs=2"), env=environment, log=log), log)
    return log.read_text()


def test_a_training_by_ray_does_with_the_policy_for_training(stocked: Account, trained: str) -> None:
    assert "bundle: " in trained
    keys = [one["Key"] for one in stocked.client("s3").list_objects_v2(Bucket=BUCKETS["MODELS"])["Contents"]]
    assert "by-ray/bundle.json" in keys
    assert not [key for key in keys if "checkpoint" in key]


@pytest.mark.parametrize("missing", grants(shipped("train")), ids=short)
def test_training_without_a_permission_says_which_it_lacks(
    stocked: Account, capsys: pytest.CaptureFixture[str], missing: tuple[str, str]
) -> None:
    left = [one for one in grants(shipped("train")) if one != missing]
    with stocked.with_policy(TRAINER, "train", for_moto(left)), as_role(stocked, TRAINER):
        code, said = first_failure([training(short(missing), "placement=inline")], capsys)
    assert code == 1
    assert missing[0] in said, said


@pytest.mark.parametrize(
    ("role", "words"),
    [
        (SCORER, training("by-a-scorer", "placement=inline")),
        (SCORER, ["index", f"images={IMAGES}/few", f"out={IMAGES}/manifest.parquet"]),
        (TRAINER, ["index", f"images={IMAGES}/few", f"out={RUNS}/manifest.parquet"]),
        (TRAINER, ["verify", f"{RUNS}/whole/run"]),
    ],
)
def test_what_is_not_of_its_kind_is_refused_to_a_role(
    stocked: Account, capsys: pytest.CaptureFixture[str], role: str, words: list[str]
) -> None:
    name = role.split("-")[1]
    with stocked.with_policy(role, name, for_moto(grants(shipped(name)))), as_role(stocked, role):
        code, said = first_failure([words], capsys)
    assert code == 1
    assert "It takes s3:" in said, said


@pytest.fixture(scope="module")
def bootstrap(stocked: Account) -> Path:
    """The file that `ray up` copies to the head, from which its autoscaler works."""
    text = (stocked.folder / "rayae-score.yaml").read_text()
    bring_up(stocked, text)
    return stocked.folder / "ray_bootstrap_config.yaml"


Asked = list[tuple[str, Any]]


def work_of_the_head(account: Account, bootstrap: Path, policy: Any) -> tuple[list[str], Asked]:
    """See, start, tag and end a worker of each type as the head's role: what failed, and the requests made."""
    config = json.loads(bootstrap.read_text())
    actions = policy_of([(action, "*") for action, _ in grants(policy)])
    hurried = patch.object(node_provider, "TAG_BATCH_DELAY", 0)
    tries = patch.object(node_provider, "BOTO_CREATE_MAX_RETRIES", 1)
    with account.with_policy(HEAD, "launcher", actions), as_administrator(account), hurried, tries:
        forget()
        with patch.dict(os.environ, account.credentials(HEAD)), account.judging(), requests(all_of_them=True) as asked:
            failed = _start_and_end(_get_node_provider(config["provider"], config["cluster_name"]), bootstrap)
        forget()
        ec2 = account.client("ec2")
        alive = ec2.describe_instances(Filters=[{"Name": "instance-state-name", "Values": ["pending", "running"]}])
        for one in [one["InstanceId"] for found in alive["Reservations"] for one in found["Instances"]]:
            ec2.terminate_instances(InstanceIds=[one])
    return failed, [(one["operation"], one) for one in asked]


def _start_and_end(provider: Any, bootstrap: Path) -> list[str]:
    adapter = NodeProviderAdapter(provider, FileConfigReader(str(bootstrap), skip_content_hash=True))
    try:
        for name in ("gpu", "cpu"):
            adapter._launch_nodes_by_type(name, 1, f"wants-{name}")
        errors = [str(error.__cause__ or error) for error in adapter.poll_errors()]
        found = list(adapter.get_non_terminated())
        for one in found:
            provider.set_node_tags(one, {"ray-node-status": "up-to-date"})
        provider.terminate_nodes(found)
        return errors
    except Exception as error:  # noqa: BLE001  what botocore and Ray make of a refusal
        return [f"{type(error).__name__}: {error}"]


def place(account: Account) -> Place:
    pages = account.client("ec2").get_paginator("describe_instances").paginate()
    found = [one for page in pages for reservation in page["Reservations"] for one in reservation["Instances"]]
    tags = {one["InstanceId"]: {tag["Key"]: tag["Value"] for tag in one.get("Tags", [])} for one in found}
    return Place(REGION, "123456789012", tags)


@pytest.fixture(scope="module")
def needed(stocked: Account, bootstrap: Path) -> list[Need]:
    """The permissions that the work of the head takes."""
    failed, asked = work_of_the_head(stocked, bootstrap, stocked.policy(HEAD, "launcher"))
    assert failed == []
    operations = [operation for operation, _ in asked]
    assert {"DescribeInstances", "RunInstances", "CreateTags", "TerminateInstances"} == set(operations)
    where = place(stocked)
    return [need for operation, parameters in asked for need in needs(operation, parameters, where)]


def test_the_head_does_its_work_with_the_policy_for_launching(stocked: Account, needed: list[Need]) -> None:
    policy = stocked.policy(HEAD, "launcher")
    assert [need for need in needed if not allows(policy, need)] == []


LAUNCHER = [(one["Sid"], action) for one in shipped("launcher")["Statement"] for action in [one["Action"]]]
LAUNCHER = [(sid, action) for sid, found in LAUNCHER for action in (found if isinstance(found, list) else [found])]


@pytest.mark.parametrize(("sid", "action"), LAUNCHER)
def test_nothing_in_the_policy_for_launching_is_too_much(
    stocked: Account, needed: list[Need], sid: str, action: str
) -> None:
    left = without(stocked.policy(HEAD, "launcher"), sid, action)
    refused = [need for need in needed if not allows(left, need)]
    assert {need.action for need in refused} == {action}


def test_every_resource_in_the_policy_for_launching_is_used(stocked: Account, needed: list[Need]) -> None:
    for statement in stocked.policy(HEAD, "launcher")["Statement"]:
        resources = statement["Resource"] if isinstance(statement["Resource"], list) else [statement["Resource"]]
        for resource in resources:
            narrowed = {"Statement": [statement | {"Resource": resource}]}
            assert [need for need in needed if allows(narrowed, need)], (statement["Sid"], resource)


@pytest.mark.parametrize("action", ["ec2:DescribeInstances", "ec2:RunInstances", "ec2:TerminateInstances"])
def test_a_head_without_an_action_fails_by_what_ec2_says(stocked: Account, bootstrap: Path, action: str) -> None:
    policy = copy.deepcopy(stocked.policy(HEAD, "launcher"))
    for sid in [one["Sid"] for one in policy["Statement"]]:
        policy = without(policy, sid, action)
    failed, _ = work_of_the_head(stocked, bootstrap, policy)
    assert failed, action


OTHERS = {
    "an instance without the tag of the cluster": Need("ec2:RunInstances", "instance/*", {}),
    "an instance of another cluster": Need(
        "ec2:RunInstances", "instance/*", {"aws:RequestTag/ray-cluster-name": "theirs"}
    ),
    "another network": Need("ec2:RunInstances", "subnet/subnet-of-others"),
    "another group": Need("ec2:RunInstances", "security-group/sg-of-others"),
    "another key": Need("ec2:RunInstances", "key-pair/theirs"),
    "another image": Need("ec2:RunInstances", "image/ami-of-others"),
    "ending what is not of the cluster": Need(
        "ec2:TerminateInstances", "instance/i-1", {"aws:ResourceTag/ray-cluster-name": "theirs"}
    ),
    "taking an instance over by a tag": Need("ec2:CreateTags", "instance/i-1", {}),
    "stopping": Need("ec2:StopInstances", "instance/i-1", {"aws:ResourceTag/ray-cluster-name": "rayae-score"}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_a_head_may_not_reach_beyond_its_cluster(stocked: Account, what: str) -> None:
    need, where = OTHERS[what], place(stocked)
    assert not allows(stocked.policy(HEAD, "launcher"), Need(need.action, where.arn(need.resource), dict(need.context)))


def test_a_head_passes_the_role_of_its_workers_to_instances_and_no_other(stocked: Account) -> None:
    policy, roles = stocked.policy(HEAD, "launcher"), "arn:aws:iam::123456789012:role"
    to_instances = {"iam:PassedToService": "ec2.amazonaws.com"}
    assert allows(policy, Need("iam:PassRole", f"{roles}/rayae-score-worker", to_instances))
    for role in ("rayae-score-head", "rayae-train-worker", "admin"):
        assert not allows(policy, Need("iam:PassRole", f"{roles}/{role}", to_instances))
    elsewhere = {"iam:PassedToService": "lambda.amazonaws.com"}
    assert not allows(policy, Need("iam:PassRole", f"{roles}/rayae-score-worker", elsewhere))


def test_only_instances_take_the_roles(account: Account) -> None:
    for role in (SCORER, TRAINER, HEAD, "rayae-train-head"):
        trust = account.client("iam").get_role(RoleName=role)["Role"]["AssumeRolePolicyDocument"]
        (statement,) = trust["Statement"]
        assert (statement["Principal"], statement["Action"]) == ({"Service": "ec2.amazonaws.com"}, "sts:AssumeRole")


def test_no_policy_has_a_wildcard_for_an_action() -> None:
    for path in (AWS / "iam").glob("*.json"):
        actions = [one["Action"] for one in json.loads(path.read_text())["Statement"]]
        assert "*" not in str(actions), path


def test_the_yaml_names_the_profiles_that_the_script_makes(account: Account) -> None:
    types = yaml.safe_load((account.folder / "rayae-score.yaml").read_text())["available_node_types"]
    names = {one["node_config"]["IamInstanceProfile"]["Name"] for one in types.values()}
    made = {one["InstanceProfileName"] for one in account.client("iam").list_instance_profiles()["InstanceProfiles"]}
    assert names == {HEAD, SCORER}
    assert names <= made


def test_the_script_removes_what_it_has_made(account: Account) -> None:
    removed = account.script("remove", JOB="train")
    assert removed.returncode == 0, removed.stderr
    left = [one["RoleName"] for one in account.client("iam").list_roles()["Roles"]]
    groups = [one["GroupName"] for one in account.client("ec2").describe_security_groups()["SecurityGroups"]]
    assert not [name for name in left + groups if name.startswith("rayae-train")]
    assert {"rayae-score", "rayae-score-ssh"} <= set(groups)
    again = account.script("remove", JOB="train")
    assert again.returncode == 0, again.stderr
