"""What holds of the way settings are given, on the real settings and a small class of all kinds of fields."""

from pathlib import Path
from typing import Annotated, Literal

import pytest
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from rayae import settings
from rayae.config import describe, dump, load, required_keys
from rayae.errors import ConfigError

ALL_SETTINGS = [
    kind for kind in vars(settings).values() if isinstance(kind, type) and kind.__name__.endswith("Settings")
]


class Oven(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    heat: Annotated[float, Field(gt=0, le=250)] = 180
    """Heat in degrees."""
    fan: bool = False
    """Whether the air is moved."""


class Cake(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str | None = None
    """What it is called, which may be long: a sentence that fits into no line of a hundred columns at all."""
    fruit: str | list[str] | None = None
    """The fruit in it."""
    shape: Literal["no", "round"] = "round"
    """Its shape."""
    eggs: int = 3
    """Eggs in it."""
    spices: dict[str, float] = {}
    """Grams of each spice."""
    oven: Oven = Oven()

    @model_validator(mode="after")
    def an_ostrich_egg_is_enough(self) -> "Cake":
        if self.name == "ostrich" and self.eggs != 1:
            raise ValueError("an ostrich cake takes one egg: set eggs=1")
        return self


class NamedCake(Cake):
    name: str
    """What it is called, which may be long: a sentence that fits into no line of a hundred columns at all."""


class FruitCake(Cake):
    fruit: str | list[str]
    """The fruit in it."""


def cake(*words: str, kind: type[Cake] = Cake) -> Cake:
    return load(kind, words, first_word="name")


def refusal(*words: str, kind: type[Cake] = Cake) -> str:
    with pytest.raises(ConfigError) as caught:
        cake(*words, kind=kind)
    return str(caught.value)


def written(folder: Path, text: str, name: str = "cake.yaml") -> str:
    (folder / name).write_text(text)
    return str(folder / name)


def test_overrides_come_after_yaml_files_and_the_last_one_wins(tmp_path: Path) -> None:
    first = written(tmp_path, "eggs: 1\nname: plain\noven: {heat: 100, fan: true}")
    second = written(tmp_path, "eggs: 2\noven:\n  heat: 200", "second.yml")
    made = cake("eggs=4", first, "eggs=5", second)
    assert made == Cake(eggs=5, name="plain", oven=Oven(heat=200, fan=True))


def test_the_settings_are_frozen() -> None:
    with pytest.raises(ValidationError):
        cake().eggs = 5


@pytest.mark.parametrize("text", ["2024", "007", "1_000", "on", "no", "a:b", "a: b", "#1", "[a]", "1e-3", " x ", "'q'"])
def test_text_stays_as_it_was_typed(text: str) -> None:
    assert cake(f"name={text}").name == text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2024", "2024"),
        ("[ab]*.png", "[ab]*.png"),
        ("[a.png,b.png]", ["a.png", "b.png"]),
        ("[007, no]", ["007", "no"]),
        ("{a: b}", "{a: b}"),
        ("null", None),
        ("", None),
    ],
)
def test_text_that_may_be_a_list_is_one_when_it_parses_as_one(text: str, value: object) -> None:
    assert cake(f"fruit={text}").fruit == value


def test_yaml_files_keep_text_too(tmp_path: Path) -> None:
    path = written(tmp_path, "name: 007\nfruit: [on, 2024-01-01]\nshape: no\n")
    assert cake(path) == Cake(name="007", fruit=["on", "2024-01-01"], shape="no")


def test_numbers_take_any_usual_form() -> None:
    assert cake("oven.heat=1e-3").oven.heat == 0.001
    assert cake("oven.heat=200").oven.heat == 200.0
    assert cake("eggs=-2").eggs == -2
    assert cake("oven.fan=true").oven.fan is True
    assert (
        load(settings.TrainSettings, ["images=a", "out=b", "optimizer.learning_rate=1e-3"]).optimizer.learning_rate
        == 0.001
    )


def test_a_leading_zero_does_not_make_a_number_octal(tmp_path: Path) -> None:
    assert cake("eggs=010").eggs == cake(written(tmp_path, "eggs: 010")).eggs == 10


def test_a_map_is_set_as_a_whole_or_by_its_keys() -> None:
    assert cake("spices={mace: 1, salt: 2}", "spices.salt=3").spices == {"mace": 1, "salt": 3}
    assert cake("spices={mace: 1}", "spices={salt: 2}").spices == {"salt": 2}


def test_a_group_takes_a_map_and_an_empty_group_changes_nothing(tmp_path: Path) -> None:
    assert cake("oven={heat: 90}").oven == Oven(heat=90)
    assert cake(written(tmp_path, "oven:\n  # heat: 90\n")).oven == Oven()


def test_a_bare_first_word_is_the_named_key() -> None:
    assert cake("s3://shelf/lr=3").name == "s3://shelf/lr=3"
    assert refusal("eggs=1", "plain") == (
        "the command line has 1 problem(s):\n  plain: is neither key=value nor a .yaml file"
    )


def test_all_problems_are_told_at_once_with_the_nearest_key(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "oven: {heat: 300, fann: yes}\nfruit: {a: b}\negg: 3\neggs: 3.5\nwhisk: 1\nspices: {mace: x}",
    )
    assert refusal(path, kind=NamedCake) == (
        f"{path} has 8 problem(s):\n"
        "  oven.heat: Input should be less than or equal to 250, not '300'\n"
        "  oven.fann: unknown key; did you mean 'fan'?\n"
        "  fruit: Input should be text or a list of text, not {'a': 'b'}\n"
        "  egg: unknown key; did you mean 'eggs'?\n"
        "  eggs: Input should be a valid integer, not '3.5'\n"
        "  whisk: unknown key\n"
        "  spices.mace: Input should be a valid number, not 'x'\n"
        "  name: is required: What it is called, which may be long: a sentence that fits into no line of a"
        " hundred columns at all."
    )


def test_the_form_of_the_style_page(tmp_path: Path) -> None:
    path = written(tmp_path, "out: run\nresources:\n  cpus_per_worker: many\n  gpu_per_worker: 1\n", "score.yaml")
    with pytest.raises(ConfigError) as caught:
        load(settings.ScoreSettings, [path])
    assert str(caught.value) == (
        f"{path} has 2 problem(s):\n"
        "  resources.cpus_per_worker: Input should be a valid number, not 'many'\n"
        "  resources.gpu_per_worker: unknown key; did you mean 'gpus_per_worker'?"
    )


def test_the_sources_that_are_named_are_those_with_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path, "eggs: many")
    assert refusal(path, "eggs=3", "shape=4").startswith("the command line has 1 problem(s):\n  shape: ")
    assert refusal(path, "name=x").startswith(f"{path} has 1 problem(s):\n  eggs: ")
    assert refusal(path, "shape=4").startswith(f"{path} and the command line have 2 problem(s):\n  eggs: ")


@pytest.mark.parametrize(
    ("word", "problem"),
    [
        ("oven=3", "oven: is a group of settings, not a value; set one of its keys, such as oven.heat=..."),
        ("name.first=3", "name.first: unknown key; 'name' is a value, not a group"),
        ("egg=[ab]*.png", "egg: unknown key; did you mean 'eggs'?"),
        ("heat=3", "heat: unknown key; did you mean 'oven.heat'?"),
        ("oven.eggs=3", "oven.eggs: unknown key; did you mean 'eggs', which is not in 'oven'?"),
        ("--eggs=3", "--eggs: unknown key; did you mean 'eggs'?"),
        ("eggs=", "eggs: Input should be a valid integer, not null"),
        ("eggs=yes", "eggs: Input should be a valid integer, not 'yes'"),
        (
            "eggs=[1",
            "eggs: '[1' is not valid YAML: line 1, column 3: expected ',' or ']', but got '<stream end>'",
        ),
        ("eggs=*a", "eggs: '*a' is not valid YAML: the alias *a is not read; write the value out"),
        ("spices={a: 1, a: 2}", "spices.a: is given twice, in lines 1 and 1"),
        ("shape=oval", "shape: Input should be 'no' or 'round', not 'oval'"),
        ("name=ostrich", "an ostrich cake takes one egg: set eggs=1"),
    ],
)
def test_a_wrong_override_says_why(word: str, problem: str) -> None:
    assert refusal(word) == f"the command line has 1 problem(s):\n  {problem}"


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("- a\n- b\n", "must be a mapping of settings (key: value), not ['a', 'b']."),
        ("eggs: 3: 4\n", "is not valid YAML: line 1, column 8: mapping values are not allowed here."),
        ("{a: b}: 1\n", "is not valid YAML: line 1, column 1: a key must be text."),
        ("a: &a [*a]\n", "is not valid YAML: the alias *a is not read; write the value out."),
        ("a: 1\n---\nb: 1\n", "is not valid YAML: line 2, column 1: but found another document."),
    ],
)
def test_a_file_that_is_no_mapping_says_why(tmp_path: Path, text: str, sentence: str) -> None:
    path = written(tmp_path, text)
    assert refusal(path) == f"{path} {sentence}"


def test_a_file_that_cannot_be_read_says_why(tmp_path: Path) -> None:
    assert refusal(f"{tmp_path}/no.yaml") == f"{tmp_path}/no.yaml cannot be read: No such file or directory."
    (tmp_path / "latin.yaml").write_bytes(b"name: caf\xe9")
    assert refusal(f"{tmp_path}/latin.yaml") == f"{tmp_path}/latin.yaml is not UTF-8 text, so it cannot be YAML."


def test_a_key_that_is_given_twice_in_a_file_is_a_problem(tmp_path: Path) -> None:
    path = written(tmp_path, "eggs: 1\noven:\n  heat: 3\n  heat: 4\neggs: 2\n")
    assert refusal(path) == (
        f"{path} has 2 problem(s):\n"
        "  eggs: is given twice, in lines 1 and 5\n"
        "  oven.heat: is given twice, in lines 3 and 4"
    )


def test_an_empty_file_is_no_settings(tmp_path: Path) -> None:
    assert cake(written(tmp_path, "# nothing yet\n")) == Cake()


@pytest.mark.parametrize("value", ["", "[]"])
def test_a_required_key_must_hold_something(value: str) -> None:
    assert refusal(f"fruit={value}", kind=FruitCake) == (
        "the command line has 1 problem(s):\n  fruit: is required: The fruit in it."
    )


def test_help_tells_type_default_and_sentence_in_a_hundred_columns() -> None:
    assert describe(FruitCake) == (
        "  fruit: text or a list of text; required\n"
        "      The fruit in it.\n"
        "  name: text; optional\n"
        "      What it is called, which may be long: a sentence that fits into no line of a hundred columns\n"
        "      at all.\n"
        "  shape: no or round; default: round\n"
        "      Its shape.\n"
        "  eggs: integer; default: 3\n"
        "      Eggs in it.\n"
        "  spices: a map of text to number; default: {}\n"
        "      Grams of each spice.\n"
        "  oven.heat: number, above 0, at most 250; default: 180\n"
        "      Heat in degrees.\n"
        "  oven.fan: true or false; default: false\n"
        "      Whether the air is moved."
    )


@pytest.mark.parametrize("kind", ALL_SETTINGS)
def test_every_setting_has_its_sentence(kind: type[BaseModel]) -> None:
    lines = describe(kind).splitlines()
    assert all(len(line) <= 100 for line in lines)
    heads = [number for number, line in enumerate(lines) if not line.startswith("   ")]
    assert all(number + 1 < len(lines) and number + 1 not in heads for number in heads)


@pytest.mark.parametrize(
    "made",
    [
        *(kind(**dict.fromkeys(required_keys(kind), "given")) for kind in ALL_SETTINGS),
        Cake(
            name="007",
            fruit=["no", "null", "a: b", "[x]", "#", "", "a\nb", "\udcff", "é" * 200],
            spices={"on": 1e-7},
        ),
        Cake(name="null", fruit="~", shape="no", oven=Oven(heat=1e-5, fan=True)),
    ],
    ids=repr,
)
def test_what_dry_run_prints_can_be_given_back(tmp_path: Path, made: BaseModel) -> None:
    assert load(type(made), [written(tmp_path, dump(made))]) == made


def test_nesting_without_end_is_refused_at_once() -> None:
    sentence = "the command line has 1 problem(s):\n  spices: "
    assert refusal("spices=" + "[" * 5000 + "]" * 5000).startswith(sentence)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["select.min_bytes=9", "select.max_bytes=8"], "min_bytes=9 is above max_bytes=8: nothing would be taken"),
        (
            ["select.newer=2026-11-24", "select.older=2026-11-24T01:00+01:00"],
            "newer=2026-11-24 is not before older=2026-11-24T01:00+01:00: nothing would be taken",
        ),
    ],
)
def test_a_selection_that_takes_nothing_is_refused(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as error:
        load(settings.IndexSettings, ["out=m.parquet", "images=/data", *words])
    assert str(error.value) == f"the command line has 1 problem(s):\n  select: {sentence}"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[*.png, *.jpg]", ["*.png", "*.jpg"]),
        ("[a/p02?0.*, 'b c.png']", ["a/p02?0.*", "b c.png"]),
        ("[ab]*.png", "[ab]*.png"),
        ("*.png, *.jpg", "*.png, *.jpg"),
        ("[a, b]", ["a", "b"]),
        ("['a,b.png', *.png]", ["a,b.png", "*.png"]),
        ("[0-9][0-9]", "[0-9][0-9]"),
        ("[!a.png, b.png]", ["!a.png", "b.png"]),
        ("[?.png, b.png,]", ["?.png", "b.png"]),
        ('["a\\u00e4", b]', ["aä", "b"]),
    ],
)
def test_a_list_of_patterns_needs_no_quotes(text: str, expected: str | list[str]) -> None:
    given = load(settings.IndexSettings, ["out=m.parquet", f"images={text}", f"select.exclude={text}"])
    assert (given.images, given.select.exclude) == (expected, expected)


@pytest.mark.parametrize("text", ["[*.png, [x]]", "['*.png', '*.jpg]", "[*{a,b}]", "[*.png,,]"])
def test_brackets_that_are_no_list_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="is not valid YAML"):
        load(settings.IndexSettings, ["out=m.parquet", "images=/data", f"select.exclude={text}"])
