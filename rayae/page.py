"""Home of the pages as such: what stands on them, all in words, and the HTML files that they become."""

from dataclasses import dataclass
from functools import cache

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from rayae.histogram import Histogram
from rayae.terminal import printable


@dataclass(frozen=True)
class Fact:
    """A name and what stands beside it."""

    name: str
    value: str


@dataclass(frozen=True)
class Count:
    """A line of a table of counts; `part` is the share in percent, for its bar."""

    name: str
    count: str
    share: str
    part: float


@dataclass(frozen=True)
class Shown:
    """A picture; `source` is a `data:` URI."""

    name: str
    source: str


@dataclass(frozen=True)
class Worst:
    """One card among the worst images."""

    rank: int
    image_id: int
    uri: str
    score: str
    p_value: str | None
    flagged: bool | None
    label: str | None
    pictures: tuple[Shown, ...]
    reason: str | None


@dataclass(frozen=True)
class Failure:
    """A kind of failure; each example is a URI and its sentence, and `more` says whether there are others."""

    status: str
    count: str
    more: bool
    examples: tuple[Fact, ...]


@dataclass(frozen=True)
class Table:
    """A small table; its first column is text, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Judgement:
    """What `evaluate` found: sentences, then figures."""

    words: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class ReportPage:
    """Everything that stands on the page, in words; `colours` and `brightest` explain the error maps."""

    name: str
    headline: str
    guarantee: str | None
    notes: tuple[str, ...]
    run: tuple[Fact, ...]
    statuses: tuple[Count, ...]
    flagged: Count | None
    score_name: str
    score_words: str | None
    histogram: Histogram | None
    calibrated_on: str | None
    products: Table | None
    """What each bundle of a set found."""
    evaluation: Judgement | None
    worst: tuple[Worst, ...]
    colours: str
    brightest: str | None
    failures: tuple[Failure, ...]
    stages: tuple[Count, ...]
    version: str


@dataclass(frozen=True)
class BorderlinePage:
    """The images whose scores are nearest to a cut, in words."""

    name: str
    decision: str
    headline: str
    guarantee: str
    notes: tuple[str, ...]
    above: tuple[Worst, ...]
    below: tuple[Worst, ...]
    colours: str
    brightest: str | None
    version: str


@dataclass(frozen=True)
class DisagreementPage:
    """The images on which two runs disagree most, in words."""

    names: tuple[str, str]
    notes: tuple[str, ...]
    higher: tuple[Worst, ...]
    """Those that the first run ranks higher."""
    lower: tuple[Worst, ...]
    colours: str
    brightest: str | None
    version: str


TEMPLATES = {ReportPage: "report", BorderlinePage: "borderline", DisagreementPage: "disagreement"}


def render(page: ReportPage | BorderlinePage | DisagreementPage) -> str:
    """The page as one HTML file; whatever came from outside is escaped."""
    return _template(TEMPLATES[type(page)]).render(page=page)


@cache
def _template(name: str) -> Template:
    environment = Environment(
        loader=PackageLoader("rayae", "."),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: value if isinstance(value, Markup) else printable(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["named"] = named
    return environment.get_template(f"{name}.html.j2")


def named(text: str) -> Markup:
    """Text from outside with what cannot be seen spelt out and marked; not for use in attributes."""
    mark = Markup('<span class="escape">{}</span>')
    return Markup("").join(c if c.isprintable() else mark.format(repr(c)[1:-1]) for c in text)
