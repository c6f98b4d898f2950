"""What a policy allows, with the resources and conditions that moto does not judge for EC2; Allow statements only.

`needs` says which permissions a request to EC2 takes, as Amazon's Service Authorization Reference lists them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any

EC2 = "ec2.amazonaws.com"


@dataclass(frozen=True)
class Need:
    """One permission that a request takes: an action on a resource, in the circumstances of the request."""

    action: str
    resource: str
    context: Mapping[str, str] = field(default_factory=dict)


def grants(document: Any) -> list[tuple[str, str]]:
    """Every action on every resource that a policy names."""
    found = [(action, one) for one in document["Statement"] for action in _list(one["Action"])]
    return [(action, resource) for action, one in found for resource in _list(one["Resource"])]


def policy_of(granted: list[tuple[str, str]]) -> Any:
    """A policy, without conditions, that allows just that."""
    statements = [{"Effect": "Allow", "Action": action, "Resource": resource} for action, resource in granted]
    return {"Version": "2012-10-17", "Statement": statements}


def without(document: Any, sid: str, action: str) -> Any:
    """A policy of which one statement no longer names an action."""
    left = []
    for one in document["Statement"]:
        actions = [found for found in _list(one["Action"]) if (one["Sid"], found) != (sid, action)]
        left += [one | {"Action": actions}] if actions else []
    return document | {"Statement": left}


def allows(document: Any, need: Need) -> bool:
    assert all(one["Effect"] == "Allow" for one in document["Statement"])
    return any(_holds(one, need) for one in document["Statement"])


def _holds(statement: Any, need: Need) -> bool:
    conditions = statement.get("Condition", {"StringEquals": {}})
    assert set(conditions) == {"StringEquals"}
    return (
        any(fnmatchcase(need.action, pattern) for pattern in _list(statement["Action"]))
        and any(fnmatchcase(need.resource, pattern) for pattern in _list(statement["Resource"]))
        and all(need.context.get(key) in _list(value) for key, value in conditions["StringEquals"].items())
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


@dataclass(frozen=True)
class Place:
    """Where requests go, and the tags that instances have there by their ids."""

    region: str
    account: str
    tags: Mapping[str, Mapping[str, str]]

    def arn(self, what: str) -> str:
        owner = "" if what.startswith("image/") else self.account
        return f"arn:aws:ec2:{self.region}:{owner}:{what}"


def needs(operation: str, parameters: Any, place: Place) -> list[Need]:
    """The permissions that a request takes; a request that is not known here is an error."""
    if operation == "DescribeInstances":
        return [Need("ec2:DescribeInstances", "*")]
    if operation in ("TerminateInstances", "CreateTags"):
        ids = parameters["InstanceIds" if operation == "TerminateInstances" else "Resources"]
        return [Need(f"ec2:{operation}", place.arn(f"instance/{one}"), _of_resource(place.tags[one])) for one in ids]
    assert operation == "RunInstances", operation
    return [*_to_run(parameters, place), *_to_tag(parameters, place), _to_pass(parameters, place)]


def _of_resource(tags: Mapping[str, str]) -> dict[str, str]:
    return {f"aws:ResourceTag/{name}": value for name, value in tags.items()}


def _to_run(parameters: Any, place: Place) -> Iterator[Need]:
    asked = {one["ResourceType"]: one["Tags"] for one in parameters["TagSpecifications"]}
    tags = {f"aws:RequestTag/{tag['Key']}": tag["Value"] for tag in asked["instance"]}
    yield Need("ec2:RunInstances", place.arn("instance/*"), tags)
    groups = [f"security-group/{one}" for one in parameters["SecurityGroupIds"]]
    named = [f"image/{parameters['ImageId']}", f"subnet/{parameters['SubnetId']}", f"key-pair/{parameters['KeyName']}"]
    new = ["network-interface/*", "volume/*"]
    spot = ["spot-instances-request/*"] if "InstanceMarketOptions" in parameters else []
    for what in [*groups, *named, *new, *spot]:
        yield Need("ec2:RunInstances", place.arn(what))


def _to_tag(parameters: Any, place: Place) -> list[Need]:
    created = {"ec2:CreateAction": "RunInstances"}
    kinds = [one["ResourceType"] for one in parameters["TagSpecifications"]]
    return [Need("ec2:CreateTags", place.arn(f"{kind}/*"), created) for kind in kinds]


def _to_pass(parameters: Any, place: Place) -> Need:
    role = f"arn:aws:iam::{place.account}:role/{parameters['IamInstanceProfile']['Name']}"
    return Need("iam:PassRole", role, {"iam:PassedToService": EC2})
