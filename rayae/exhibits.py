"""Home of the tables that show what an evaluation finds: a title, columns and rows of text each."""

from collections.abc import Callable

from rayae.evidence import Example, Examples, Population
from rayae.findings import Evaluation
from rayae.statistics import Figure, percent

Table = tuple[str, list[str], list[list[str]]]


def tables(e: Evaluation) -> list[Table]:
    """Title, columns and rows of text of each table, in the order of reading.

    What cannot be had at all has no table and no row: the words of the evaluation say why.
    """
    is_ranked = any(one.auroc.value is not None for one in e.skill)
    return [
        _population_table(e.population),
        *([_skill_table(e), _floor_table(e)] if is_ranked else []),
        *([_cut_table(e)] if e.at_cut.true_positives is not None else []),
        *_role_tables(e),
        *(_example_table(title, examples) for title, examples in _titled(e.examples) if examples),
    ]


def _population_table(p: Population) -> Table:
    counts = {
        "in the run": p.images,
        "unscored": p.unscored,
        "used to make the bundle": p.used,
        "of a group that was used": p.of_used_groups,
        "without a label": p.unlabelled,
        "evaluated, normal": p.normal,
        "evaluated, defect": p.defect,
    }
    return "Images", ["images", "count"], [[name, f"{count:,}"] for name, count in counts.items()]


def _skill_table(e: Evaluation) -> Table:
    rows = [
        [
            s.name,
            number(s.auroc.value),
            span(s.auroc),
            number(s.average_precision.value),
            span(s.average_precision),
        ]
        for s in e.skill
    ]
    rows.append(["random order", "0.5", "-", number(e.floors.average_precision_random.value), "-"])
    interval = f"{percent(e.confidence)} interval"
    return "Ranking", ["score", "AUROC", interval, "average precision", interval], rows


def _floor_table(e: Evaluation) -> Table:
    interval, answer = f"{percent(e.confidence)} interval", {True: "yes", False: "no", None: "-"}
    rows = [
        [f.title, number(f.auroc.value), span(f.auroc), signed(f.lead.value), span(f.lead, signed), answer[f.is_beaten]]
        for f in e.floors.all
    ]
    columns = ["floor", "AUROC", interval, f"{e.primary} above it", interval, "beaten"]
    return "Floors, which need no trained network", columns, rows


def _cut_table(e: Evaluation) -> Table:
    at = e.at_cut
    counts = {
        "defects flagged": at.true_positives,
        "normal images flagged": at.false_positives,
        "defects missed": at.false_negatives,
        "normal images passed": at.true_negatives,
    }
    figures = {
        "precision": at.precision,
        "recall": at.recall,
        "false-positive rate": at.false_positive_rate,
        "F1": at.f1,
        "F1 of flagging everything": e.floors.f1_flag_everything,
    }
    rows = [[name, "-" if count is None else f"{count:,}", "-"] for name, count in counts.items()]
    rows += [[name, number(f.value), span(f)] for name, f in figures.items()]
    return f"At the cut {at.cut:.6g}", ["figure", "value", f"{percent(e.confidence)} interval"], rows


def _role_tables(e: Evaluation) -> list[Table]:
    rows = [[r.role, f"{r.images:,}", number(r.mean), number(r.median)] for r in e.errors if r.images]
    return [(f"{e.primary} by role", ["images of the role", "images", "mean", "median"], rows)] if rows else []


def _titled(examples: Examples) -> list[tuple[str, tuple[Example, ...]]]:
    return [
        ("Highest scores of the evaluated images", examples.highest),
        ("Defects with the lowest scores", examples.lowest_defects),
        ("Normal images with the highest scores", examples.highest_normals),
    ]


def _example_table(title: str, examples: tuple[Example, ...]) -> Table:
    answer = {True: "yes", False: "no", None: "-"}
    rows = [[x.uri, x.label or "-", f"{x.score:.6g}", answer[x.flagged]] for x in examples]
    return title, ["image", "label", "score", "flagged"], rows


def number(value: float | None) -> str:
    """A number in three digits that count, or `-` where there is none."""
    return "-" if value is None else f"{value:.3g}"


def signed(value: float | None) -> str:
    """A difference to a thousandth, with its sign, or `-` where there is none."""
    return "-" if value is None else f"{value:+.3f}"


def span(f: Figure, text: Callable[[float | None], str] = number) -> str:
    """The interval of a figure, or `-`."""
    return "-" if f.low is None or f.high is None else f"{text(f.low)} to {text(f.high)}"
