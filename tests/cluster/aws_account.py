"""An AWS account of the tests, played by moto, in which cluster/aws/account.sh has made what a cluster needs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import boto3
import pytest
import requests

from tests.servers import OWN, Server, moto

ROOT = Path(__file__).parents[2]
AWS = ROOT / "cluster" / "aws"
REGION = "eu-central-1"
SSH_CIDR = "198.51.100.7/32"
TOKEN_OF_THE_CLUSTER = "a-token-that-only-a-file-may-hold"
BUCKETS = {"IMAGES": "the-images", "MODELS": "the-models", "RUNS": "the-runs"}
CLI = f'#!/bin/sh\nexec "{sys.executable}" "{Path(__file__).with_name("aws_cli.py")}" "$@"\n'


@dataclass(frozen=True)
class Account:
    """The account, and what account.sh is told of it."""

    server: Server
    folder: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        """The environment variables by which every client reaches it as its administrator."""
        return self.server.environment() | {"AWS_REGION": REGION, "AWS_DEFAULT_REGION": REGION}

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            REGION,
            endpoint_url=self.server.url,
            aws_access_key_id=self.server.key_id,
            aws_secret_access_key=self.server.secret,
        )

    def script(self, verb: str, **more: str) -> "subprocess.CompletedProcess[str]":
        """Run account.sh, with Amazon's command line where `make servers` has put it, else with aws_cli.py."""
        stand_in = self.folder / "bin" / "aws"
        stand_in.parent.mkdir(exist_ok=True)
        stand_in.write_text(CLI)
        stand_in.chmod(0o755)
        path = os.pathsep.join([str(OWN if (OWN / "aws").exists() else stand_in.parent), os.environ["PATH"]])
        outside = {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
        env = outside | self.environment | self.settings | more | {"PATH": path}
        words = ["bash", str(AWS / "account.sh"), verb]
        return subprocess.run(words, cwd=self.folder, env=env, capture_output=True, text=True, timeout=300)

    def credentials(self, role: str) -> dict[str, str]:
        """What an instance with this role finds at its metadata service, as environment variables."""
        arn = self.client("iam").get_role(RoleName=role)["Role"]["Arn"]
        found = self.client("sts").assume_role(RoleArn=arn, RoleSessionName="instance")["Credentials"]
        return {
            "AWS_ACCESS_KEY_ID": found["AccessKeyId"],
            "AWS_SECRET_ACCESS_KEY": found["SecretAccessKey"],
            "AWS_SESSION_TOKEN": found["SessionToken"],
        }

    @contextmanager
    def judging(self) -> Iterator[None]:
        """While the block lasts every request is judged by the policies of who asks; before and after none is."""
        self._judge_after("0")
        try:
            yield
        finally:
            self._judge_after("inf")

    def _judge_after(self, count: str) -> None:
        answer = requests.post(f"{self.server.url}/moto-api/reset-auth", data=count.encode(), timeout=60)
        answer.raise_for_status()

    def policy(self, role: str, name: str) -> Any:
        """A policy of a role, as account.sh has filled it in."""
        return self.client("iam").get_role_policy(RoleName=role, PolicyName=name)["PolicyDocument"]

    @contextmanager
    def with_policy(self, role: str, name: str, document: Any) -> Iterator[None]:
        """Another policy in place of one while the block lasts."""
        before = self.policy(role, name)
        put = self.client("iam").put_role_policy
        put(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(document))
        try:
            yield
        finally:
            put(RoleName=role, PolicyName=name, PolicyDocument=json.dumps(before))


@contextmanager
def open_account(folder: Path) -> Iterator[Account]:
    """An account with a network, a key pair and three buckets, in which nothing has been made yet."""
    with moto() as server:
        empty = Account(server, folder)
        ec2, s3 = empty.client("ec2"), empty.client("s3")
        vpc = ec2.describe_vpcs()["Vpcs"][0]["VpcId"]
        subnets = ec2.describe_subnets(Filters=[{"Name": "vpc-id", "Values": [vpc]}])["Subnets"]
        key_file = folder / "key.pem"
        key_file.write_text(ec2.create_key_pair(KeyName="rayae")["KeyMaterial"])
        for bucket in BUCKETS.values():
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": REGION})
        place = {"REGION": REGION, "VPC": vpc, "SUBNET": subnets[0]["SubnetId"], "SSH_CIDR": SSH_CIDR}
        machine = {"AMI": ec2.describe_images()["Images"][0]["ImageId"], "KEY_NAME": "rayae", "KEY_FILE": str(key_file)}
        registry = {"REGISTRY": f"123456789012.dkr.ecr.{REGION}.amazonaws.com"}
        yield Account(server, folder, place | machine | registry | BUCKETS)


@pytest.fixture(scope="session")
def account(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Account]:
    """An account in which all is made for a cluster that scores, and for one that trains."""
    folder = tmp_path_factory.mktemp("account")
    with open_account(folder) as found:
        for job in ("score", "train"):
            made = found.script("make", JOB=job)
            assert made.returncode == 0, made.stderr
        for name in ("token", "home/.rayae/rayae-score"):
            (folder / name).mkdir(parents=True)
            (folder / name / "token").write_text(TOKEN_OF_THE_CLUSTER)
        yield found
