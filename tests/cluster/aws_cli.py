"""As much of Amazon's command line as cluster/aws/account.sh speaks, for machines without it.

Words become a request by botocore's own model of the service, so an operation, an option or a value that the model
does not know is an error here as there. Lists and structures are JSON, which Amazon's own takes too.
"""

import json
import sys
from typing import Any

import boto3
import jmespath
from botocore import xform_name


def main(words: list[str]) -> str:
    """What a command prints."""
    service, operation, *rest = words
    options = dict(zip(rest[::2], rest[1::2], strict=True))
    query, output = options.pop("--query", "@"), options.pop("--output", "json")
    client = boto3.client(service)
    method = operation.replace("-", "_")
    model = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method])
    members = model.input_shape.members if model.input_shape else {}
    names = {f"--{xform_name(name, '-')}": name for name in members}
    values = {names[option]: _value(members[names[option]], text) for option, text in options.items()}
    answer = getattr(client, method)(**values)
    del answer["ResponseMetadata"]
    found = jmespath.search(query, answer)
    return _text(found) if output == "text" else json.dumps(found, default=str)


def _value(shape: Any, text: str) -> Any:
    return json.loads(text) if shape.type_name in ("list", "structure", "map") else text


def _text(found: Any) -> str:
    return "\t".join(map(str, found)) if isinstance(found, list) else str(found)


if __name__ == "__main__":
    sys.stdout.write(main(sys.argv[1:]) + "\n")
