"""Home of the figures of several products side by side, each evaluated on its own images against its own bundle."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from rayae.exhibits import number, span
from rayae.findings import Evaluation
from rayae.statistics import Figure, percent, rate

COUNTS = ("true_positives", "false_positives", "false_negatives", "true_negatives")
NAMED = 5
NO_CUT = "No product with a cut has evaluated images of this kind."


@dataclass(frozen=True)
class ByProduct:
    """The evaluations of the products by their values, and what they are together.

    Bundles have scores on scales of their own, so images of different products are never ranked against one another:
    the mean AUROC is that of the products, each counting once. Flags are decisions, and are counted over all of them.
    """

    column: str
    confidence: float
    products: Mapping[str, Evaluation]

    @property
    def areas(self) -> dict[str, float]:
        """AUROC of the primary score, of the products that have one."""
        known = {value: found.skill[0].auroc.value for value, found in self.products.items()}
        return {value: area for value, area in known.items() if area is not None}

    @property
    def floors(self) -> dict[str, float]:
        """AUROC of the best of what needs no trained network, of the same products."""
        return {value: floor for value in self.areas if (floor := _floor(self.products[value])) is not None}

    @property
    def mean_auroc(self) -> float | None:
        """Mean of the AUROCs of the products; None when none has one."""
        return sum(self.areas.values()) / len(self.areas) if self.areas else None

    @property
    def at_cuts(self) -> dict[str, Figure]:
        """Rates at each product's own cut, over the images of all products together."""
        cuts = [found.at_cut for found in self.products.values()]
        tp, fp, fn, tn = (sum(getattr(cut, name) or 0 for cut in cuts) for name in COUNTS)
        return {
            "recall": rate(tp, tp + fn, self.confidence, NO_CUT),
            "false_positive_rate": rate(fp, fp + tn, self.confidence, NO_CUT),
            "precision": rate(tp, tp + fp, self.confidence, NO_CUT),
        }

    @property
    def words(self) -> list[str]:
        """What the figures mean, a sentence each."""
        return list(self._words())

    def _words(self) -> Iterator[str]:
        yield from self._readiness()
        areas, mean = self.areas, self.mean_auroc
        if mean is not None:
            worst, best = min(areas, key=areas.__getitem__), max(areas, key=areas.__getitem__)
            span = f"from {areas[worst]:.3f} ({worst}) to {areas[best]:.3f} ({best})"
            range_of = "" if areas[worst] == areas[best] else f", {span}"
            yield (
                f"Over {len(areas):,} products the mean AUROC is {mean:.3f}{range_of}. Images are ranked inside their "
                "product alone, since each bundle has scores on a scale of its own."
            )
        if self.floors:
            floor = sum(self.floors.values()) / len(self.floors)
            yield f"The best floor of each, which needs no trained network, has a mean AUROC of {floor:.3f}."
        unbeaten = [value for value in areas if _is_unbeaten(self.products[value])]
        if unbeaten:
            yield (
                f"Of {len(areas):,} products {len(unbeaten):,} have not been shown to beat each of their floors: "
                f"{_named(unbeaten)}. Look whether their detectors are worth their training."
            )
        without = [value for value in self.products if value not in areas]
        if without:
            yield f"{len(without):,} product(s) have no AUROC: {_named(without)}."
            reasons = {self.products[value].skill[0].auroc.reason for value in without}
            yield from sorted(reason for reason in reasons if reason)
        recall, alarms = self.at_cuts["recall"], self.at_cuts["false_positive_rate"]
        if recall.value is not None:
            yield f"At their cuts {percent(recall.value)} of the defects of all products are flagged."
        if alarms.value is not None:
            yield f"At their cuts {percent(alarms.value)} of the normal images of all products are flagged."

    def _readiness(self) -> Iterator[str]:
        short = [value for value, found in self.products.items() if not all(gate.passed for gate in found.gates)]
        ready = len(self.products) - len(short)
        lacking = f"; look at the gates of {_named(short)}" if short else ""
        yield f"Ready for production: {ready:,} of {len(self.products):,} products pass all gates{lacking}."

    def table(self) -> tuple[str, list[str], list[list[str]]]:
        """Title, columns and rows of text, a row a product."""
        interval = f"{percent(self.confidence)} interval"
        columns = [self.column, "normal", "defects", "score", "AUROC", interval, "best floor"]
        rows = [[value, *_row(found)] for value, found in self.products.items()]
        return f"By {self.column}", [*columns, "recall", "false positives"], rows

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "column": self.column,
            "confidence": self.confidence,
            "words": self.words,
            "mean_auroc": self.mean_auroc,
            "floors": self.floors,
            "at_cuts": {name: asdict(found) for name, found in self.at_cuts.items()},
            "products": {value: found.to_dict() for value, found in self.products.items()},
        }


def _row(found: Evaluation) -> list[str]:
    area, cut = found.skill[0].auroc, found.at_cut
    counts = [f"{found.population.normal:,}", f"{found.population.defect:,}", found.primary]
    rates = [number(cut.recall.value), number(cut.false_positive_rate.value)]
    return [*counts, number(area.value), span(area), number(_floor(found)), *rates]


def _is_unbeaten(found: Evaluation) -> bool:
    return not all(floor.is_beaten for floor in found.floors.best.values())


def _named(values: Sequence[str]) -> str:
    return ", ".join(values[:NAMED]) + (" ..." if len(values) > NAMED else "")


def _floor(found: Evaluation) -> float | None:
    return max((f.auroc.value for f in found.floors.all if f.auroc.value is not None), default=None)
