"""Home of the pages as such: what stands on them, all in words, and the HTML files that they become."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from rayae.histogram import Histogram, Tick
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
    group: str | None
    link: str | None
    """Where a browser opens the image, if it can."""
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
class Distribution:
    """The scores that one bundle gave: on an axis of their own, since no two bundles have one scale."""

    name: str
    """The value of the column by which bundles are chosen; empty where there is but one."""
    score_name: str
    score_words: str | None
    histogram: Histogram
    calibrated_on: str | None
    """How many images the outline is of."""


@dataclass(frozen=True)
class Products:
    """What is said of each product of a run with a set of bundles."""

    table: Table
    distributions: tuple[Distribution, ...]
    undrawn: str | None
    """Which products have no distribution on the page, and why."""


@dataclass(frozen=True)
class Line:
    """A line of a plot in a box of 100 by 100: its points, and those around its interval."""

    name: str
    points: str
    band: str


@dataclass(frozen=True)
class Curve:
    """Lines against the cut."""

    lines: tuple[Line, ...]
    x_ticks: tuple[Tick, ...]
    cut: Tick | None
    logarithmic: bool


@dataclass(frozen=True)
class Judgement:
    """What `evaluate` found: the verdict, which stands on top of the page, other sentences, then figures."""

    verdict: str
    words: tuple[str, ...]
    tables: tuple[Table, ...]
    curve: Curve | None


@dataclass(frozen=True)
class Drifted:
    """What `drift` found: against what, sentences, then figures."""

    title: str
    words: tuple[str, ...]
    tables: tuple[Table, ...]


@dataclass(frozen=True)
class Rate:
    """The share of a group that is flagged; `left` and `width` are those of the bar of its interval, in percent."""

    name: str
    count: str
    share: str
    interval: str
    left: float
    width: float


@dataclass(frozen=True)
class Rates:
    """The shares of groups; the bars go from 0 to `scale`."""

    about: str
    scale: str
    rows: tuple[Rate, ...]


@dataclass(frozen=True)
class Gallery:
    """The images that are shown: `cards` those with pictures, `rows` all of them as the script reads them."""

    title: str
    notes: tuple[str, ...]
    cards: tuple[Worst, ...]
    rows: tuple[Mapping[str, Any], ...]
    colours: str
    brightest: str | None
    """`colours` and `brightest` explain the error maps."""


@dataclass(frozen=True)
class ReportPage:
    """Everything that stands on the page, in words."""

    name: str
    headline: str
    verdict: str | None
    """What the share of flagged images says."""
    guarantee: str | None
    notes: tuple[str, ...]
    gallery: Gallery
    score_name: str
    distributions: tuple[Distribution, ...]
    """One, or one a product; none when no image has a score."""
    groups: Rates | None
    products: Products | None
    evaluation: Judgement | None
    drifts: tuple[Drifted, ...]
    """The latest first."""
    statuses: tuple[Count, ...]
    flagged: Count | None
    failures: tuple[Failure, ...]
    run: tuple[Fact, ...]
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


def render(page: ReportPage | BorderlinePage | DisagreementPage) -> str:
    """The page as one HTML file; whatever came from outside is escaped, and no script runs but that of the gallery."""
    if isinstance(page, BorderlinePage):
        return _template("borderline").render(page=page)
    if isinstance(page, DisagreementPage):
        return _template("disagreement").render(page=page)
    script = files("rayae").joinpath("gallery.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return _template("report").render(page=page, script=Markup(script), script_hash=Markup(digest))


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
