"""Home of how settings are given: YAML, `key.sub=value`, then one typed object, or all problems at once.

Every scalar is read as text, and the field says what it is: YAML 1.1 would read `mode: no` as false,
`out: 1_000` as one thousand and `1e-3` as text. So a field can be text, a number, a boolean, a Literal of
texts, a list or a map of these, None, or a group (a model, never None); `int | str` would always be text.
"""

import difflib
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from rayae.errors import ConfigError

Schema = Mapping[str, Any]
SettingsType = TypeVar("SettingsType", bound=BaseModel)

DEEPEST_NESTING = 20
COMMAND_LINE = "the command line"
OVERRIDE = re.compile(r"([\w.-]+)=(.*)", re.DOTALL)
ITEM = r"""\s*(?:'([^']+)'|"([^"\\]+)"|([^,'"\[\]{}\s](?:[^,'"\[\]{}]*[^,'"\[\]{}\s])?))\s*"""
ITEM_OF_TEXT = re.compile(rf"{ITEM}(?:,|$)")
LIST_OF_TEXT = re.compile(rf"\[(?:{ITEM},)*{ITEM},?\s*\]")
"""A list of texts in brackets; what holds brackets, braces, commas or quotes itself is quoted."""
NULLS = ("", "~", "null", "Null", "NULL")
WIDTH = 100
NAMES_OF_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true or false"}
NAMES_OF_BOUNDS = {
    "minimum": "at least",
    "exclusiveMinimum": "above",
    "maximum": "at most",
    "exclusiveMaximum": "below",
    "multipleOf": "a multiple of",
}


def load(
    settings_type: type[SettingsType],
    argv: Sequence[str],
    *,
    first_word: str | None = None,
    second_word: str | None = None,
) -> SettingsType:
    """Settings from YAML files, then overrides in their order; a bare first word is a value of `first_word`.

    So is a bare second word of `second_word`.

    Raises ConfigError with every problem of every source.
    """
    overrides = [split_override(word) for word in argv]
    files = [word for word, pair in zip(argv, overrides, strict=True) if not pair and word.endswith((".yaml", ".yml"))]
    draft = Draft(settings_type, default_source=files[0] if files else COMMAND_LINE)
    for path in files:
        draft.put_file(path)
    for position, (word, pair) in enumerate(zip(argv, overrides, strict=True)):
        if pair:
            draft.put_text(*pair)
        elif word not in files and (key := dict(enumerate((first_word, second_word))).get(position)):
            draft.put_text(key, word)
        elif word not in files:
            draft.tell(word, "is neither key=value nor a .yaml file")
    return draft.finish(settings_type)


def describe(settings_type: type[BaseModel]) -> str:
    """The help text: each setting with its type, default and sentence; required ones first, groups last."""
    fields, required = known_fields(settings_type), required_keys(settings_type)
    keys = sorted(fields, key=lambda key: (key not in required, "." in key))
    return "\n".join(_describe_field(key, fields[key], key in required) for key in keys)


def required_keys(settings_type: type[BaseModel]) -> list[str]:
    """The keys without a default, in their order."""
    return [key for key, field in settings_type.model_fields.items() if field.is_required()]


def truth_values(settings_type: type[BaseModel]) -> list[str]:
    """The keys, outside groups, that are true or false: `--NAME` on the command line is short for NAME=true."""
    return [
        key for key, field in known_fields(settings_type).items() if "." not in key and _kinds(field) == {"boolean"}
    ]


def dump(settings: BaseModel) -> str:
    """The settings in full, as YAML that `load` reads back to the same object."""
    return yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False, allow_unicode=True, width=10_000)


def known_fields(settings_type: type[BaseModel]) -> dict[str, Schema]:
    """The JSON schema of each setting by its dotted key, groups flattened."""
    schema = settings_type.model_json_schema()
    return dict(_flatten("", schema, schema.get("$defs", {})))


def nearest(key: str, known: Sequence[str]) -> str | None:
    """The known dotted key that is most like `key`, whole or in its last part; None when none is near."""

    def likeness(other: str) -> float:
        parts = ((key, other), (key.rpartition(".")[2], other.rpartition(".")[2]))
        return max(difflib.SequenceMatcher(None, *pair).ratio() for pair in parts)

    best = max(known, key=likeness, default=None)
    return best if best is not None and likeness(best) >= 0.6 else None


def split_override(word: str) -> tuple[str, str] | None:
    """`key.sub=value` in two; None for other words, also for paths with `=` in them, as `runs/lr=3`."""
    match = OVERRIDE.fullmatch(word)
    return (match[1], match[2]) if match else None


class Draft:
    """What was asked so far: values by dotted key, where each came from, and what is wrong with it."""

    def __init__(self, settings_type: type[BaseModel], default_source: str) -> None:
        self.fields = known_fields(settings_type)
        self.groups = {key[: dot.start()] for key in self.fields for dot in re.finditer(r"\.", key)}
        self.default_source = default_source
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.problems: dict[str, str] = {}

    def tell(self, key: str, problem: str, source: str = COMMAND_LINE) -> None:
        """Note a problem; the first one of a key stands."""
        self.sources[key] = source
        self.problems.setdefault(key, problem)

    def put_file(self, path: str) -> None:
        """Take all values of a YAML file; raises ConfigError where it cannot be read as a mapping at all."""
        twice: dict[str, str] = {}
        try:
            value = read_yaml(Path(path).read_text("utf-8"), twice)
        except OSError as error:
            raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
        except UnicodeDecodeError as error:
            raise ConfigError(f"{path} is not UTF-8 text, so it cannot be YAML.") from error
        except yaml.YAMLError as error:
            raise ConfigError(f"{path} is not valid YAML: {_explain(error)}.") from error
        if not isinstance(value, dict | None):
            raise ConfigError(f"{path} must be a mapping of settings (key: value), not {_show(value)}.")
        for name, item in (value or {}).items():
            self.put(name, item, path)
        for key, problem in twice.items():
            self.tell(key, problem, path)

    def put_text(self, key: str, text: str) -> None:
        """Take one override of the command line."""
        parent = self.fields.get(key.rpartition(".")[0], {})
        field = self.fields.get(key) or parent.get("additionalProperties")
        if field is None and key not in self.groups:
            return self.put(key, text, COMMAND_LINE)
        twice: dict[str, str] = {}
        try:
            value = read_override(text, _kinds(field or {}), twice, key)
        except yaml.YAMLError as error:
            self.tell(key, f"{_show(text)} is not valid YAML: {_explain(error)}")
        else:
            self.put(key, value, COMMAND_LINE)
        for name, problem in twice.items():
            self.tell(name, problem)

    def put(self, key: str, value: Any, source: str) -> None:
        """Take one value, or a mapping of values for a group; an empty group changes nothing."""
        self.sources[key] = source
        parent, _, name = key.rpartition(".")
        if key in self.fields:
            self.values[key] = value
        elif key in self.groups and isinstance(value, dict):
            for part, item in value.items():
                self.put(f"{key}.{part}", item, source)
        elif key in self.groups:
            if value is not None:
                example = next(field for field in self.fields if field.startswith(f"{key}."))
                self.tell(key, f"is a group of settings, not a value; set one of its keys, such as {example}=...")
        elif "object" in _kinds(self.fields.get(parent, {})):
            before = self.values.get(parent)
            self.values[parent] = {**(before if isinstance(before, dict) else {}), name: value}
        else:
            self.tell(key, self._unknown(key), source)

    def finish(self, settings_type: type[SettingsType]) -> SettingsType:
        """The typed settings; raises ConfigError with all problems when there are any."""
        settings = None
        for key in required_keys(settings_type):
            if self.values.get(key) in (None, "", []):
                self.problems.setdefault(key, self._missing(key))
        try:
            settings = settings_type.model_validate(_nest(self.values))
        except ValidationError as error:
            for problem in error.errors(include_url=False):
                key = self._key(problem["loc"])
                self.problems.setdefault(key, self._message(key, problem["type"], problem["msg"], problem["input"]))
        if self.problems or settings is None:
            raise ConfigError(self._sentence())
        return settings

    def _sentence(self) -> str:
        """All problems under their sources, in the order of the keys as given; what is missing comes last."""
        given = list(self.sources)
        origins = {key: self._origin(key) for key in self.problems}
        keys = sorted(origins, key=lambda key: given.index(origins[key]) if origins[key] else len(given))
        at_fault = {self.sources.get(origin, self.default_source) for origin in origins.values()}
        names = sorted(at_fault, key=[*self.sources.values(), self.default_source].index)
        lines = [f"  {key}: {self.problems[key]}" if key else f"  {self.problems[key]}" for key in keys]
        verb = "has" if len(names) == 1 else "have"
        return "\n".join([f"{' and '.join(names)} {verb} {len(lines)} problem(s):", *lines])

    def _origin(self, key: str) -> str:
        """The key that was given for `key`: itself, or the group or map around it; "" when none was."""
        while key and key not in self.sources:
            key = key.rpartition(".")[0]
        return key

    def _key(self, location: tuple[int | str, ...]) -> str:
        """The dotted key of pydantic's location, without the members of unions and lists that it appends."""
        for length in range(len(location), 0, -1):
            key = ".".join(map(str, location[:length]))
            if key in self.fields:
                inside = location[length : length + 1] if "object" in _kinds(self.fields[key]) else ()
                return ".".join([key, *map(str, inside)])
            if key in self.groups:
                return key
        return ""

    def _message(self, key: str, kind: str, message: str, found: Any) -> str:
        if kind == "missing":
            return self._missing(key)
        if len(_members(self.fields.get(key, {}))) > 1:
            message = f"Input should be {_words(self.fields[key])}"
        message = message.removeprefix("Value error, ").split(", unable to parse")[0]
        return message if kind == "value_error" else f"{message}, not {_show(found)}"

    def _missing(self, key: str) -> str:
        return f"is required: {self.fields[key].get('description', 'it has no default')}"

    def _unknown(self, key: str) -> str:
        if (parent := key.rpartition(".")[0]) in self.fields:
            return f"unknown key; {parent!r} is a value, not a group"
        groups_beside = [group for group in sorted(self.groups) if group.count(".") == key.count(".")]
        near = nearest(key, [*self.fields, *groups_beside])
        if near is None:
            return "unknown key"
        group, near_group = key.rpartition(".")[0], near.rpartition(".")[0]
        if group and not near_group:
            return f"unknown key; did you mean {near!r}, which is not in {group!r}?"
        return f"unknown key; did you mean {(near.rpartition('.')[2] if group == near_group else near)!r}?"


def read_yaml(text: str, twice: dict[str, str], key: str = "") -> Any:
    """YAML with all scalars as text, or None where empty or null; keys that come twice go into `twice`."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST_NESTING:
            raise yaml.YAMLError(f"it is nested more than {DEEPEST_NESTING} deep")
        if isinstance(event, yaml.AliasEvent):  # settings do not need them, and they can be endless
            raise yaml.YAMLError(f"the alias *{event.anchor} is not read; write the value out")
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    return None if node is None else _plain(node, twice, key)


def read_override(text: str, kinds: set[str], twice: dict[str, str], key: str) -> Any:
    """An override's value: YAML; but text is kept raw, unless it is a null or list that the field admits.

    A list of texts in brackets needs no quotes, as `[*.png, *.jpg]`, unless they hold brackets or commas themselves.
    """
    if "string" not in kinds:
        return read_yaml(text, twice, key)
    if text == "" or (text in NULLS and "null" in kinds):
        return None
    if "array" not in kinds:
        return text
    if LIST_OF_TEXT.fullmatch(text):  # without YAML, to which `*`, `?` and `!` mean something
        return [next(filter(None, item.groups())) for item in ITEM_OF_TEXT.finditer(text[1:-1])]
    try:
        value = read_yaml(text, twice, key)
    except yaml.YAMLError:
        if text.startswith("[") and text.endswith("]") and "][" not in text:
            raise
        return text
    return value if isinstance(value, list) else text


def _plain(node: yaml.Node, twice: dict[str, str], key: str) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return None if node.style is None and node.value in NULLS else node.value
    if isinstance(node, yaml.SequenceNode):
        return [_plain(item, twice, key) for item in node.value]
    lines: dict[str, int] = {}
    mapping: dict[str, Any] = {}
    for name_node, item in node.value:
        line = name_node.start_mark.line + 1
        if not isinstance(name_node, yaml.ScalarNode):
            raise yaml.MarkedYAMLError(problem="a key must be text", problem_mark=name_node.start_mark)
        name = name_node.value
        inner = f"{key}.{name}" if key else name
        if name in lines:
            twice[inner] = f"is given twice, in lines {lines[name]} and {line}"
        lines.setdefault(name, line)
        mapping[name] = _plain(item, twice, inner)
    return mapping


def _flatten(prefix: str, schema: Schema, definitions: Schema) -> Iterator[tuple[str, Schema]]:
    for name, field in schema.get("properties", {}).items():
        group = definitions.get(field.get("$ref", "").rpartition("/")[2], {})
        if "properties" in group:
            yield from _flatten(f"{prefix}{name}.", group, definitions)
        else:
            yield f"{prefix}{name}", field


def _nest(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for key, value in values.items():
        *groups, name = key.split(".")
        branch = tree
        for group in groups:
            branch = branch.setdefault(group, {})
        branch[name] = value
    return tree


def _kinds(schema: Schema) -> set[str]:
    """The JSON types that a field admits; a Literal of texts is "string" too."""
    return {member["type"] for member in _alternatives(schema) if "type" in member}


def _members(schema: Schema) -> list[Schema]:
    return [member for member in _alternatives(schema) if member.get("type") != "null"]


def _alternatives(schema: Schema) -> list[Schema]:
    """What a union admits, unions inside it taken apart."""
    return [one for member in schema["anyOf"] for one in _alternatives(member)] if "anyOf" in schema else [schema]


def _words(schema: Schema) -> str:
    """A type in words, for example "integer, at least 32, a multiple of 16"."""
    if "anyOf" in schema:
        return " or ".join(_words(member) for member in _members(schema))
    choices = [str(choice) for choice in schema.get("enum", [schema["const"]] if "const" in schema else [])]
    if choices:
        return " or ".join(filter(None, [", ".join(choices[:-1]), choices[-1]]))
    kind = schema.get("type", "")
    if kind == "array":
        parts = schema.get("prefixItems")
        if parts is not None:
            return f"a list of {len(parts)}, each {_words(parts[0])}"
        return f"a list of {_words(schema['items'])}"
    if kind == "object":
        return f"a map of text to {_words(schema['additionalProperties'])}"
    bounds = [f"{name} {schema[bound]}" for bound, name in NAMES_OF_BOUNDS.items() if bound in schema]
    return ", ".join([NAMES_OF_TYPES[kind], *bounds])


def _describe_field(key: str, schema: Schema, is_required: bool) -> str:
    default = schema.get("default")
    if is_required:
        standing = "required"
    else:
        standing = "optional" if default is None else f"default: {_show_default(default)}"
    head = textwrap.fill(f"{key}: {_words(schema)}; {standing}", WIDTH, initial_indent="  ", subsequent_indent=" " * 6)
    sentence = textwrap.fill(schema.get("description", ""), WIDTH, initial_indent=" " * 6, subsequent_indent=" " * 6)
    return f"{head}\n{sentence}" if sentence else head


def _show_default(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show(value: Any) -> str:
    text = "null" if value is None else repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _explain(error: yaml.YAMLError) -> str:
    """Line, column and reason of a YAML error, in one line."""
    problem = getattr(error, "problem", None) or str(error)
    mark = getattr(error, "problem_mark", None)
    where = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
    return where + " ".join(str(problem).splitlines()[0].split()).rstrip(".")
