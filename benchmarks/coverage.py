"""Does each guarantee of a cut hold as often as it says?

    python benchmarks/coverage.py [rounds=1000] [seed=0]

Calibrations, defects and runs are drawn again and again from known distributions: normal, heavy-tailed (Student's t
with 3 degrees of freedom) and in steps so coarse that scores tie. Each rule chooses its cut, and the true rates above
it say whether it kept what it promised. `n` are the images behind the cut: the defects of recall and precision, with
ten times as many normal ones, and the flags of a capacity. `found` is the mean over the rounds, with its standard
error; a guarantee counts as kept within three of these. What nothing was stated of is measured, and not judged.
"""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from rayae.cuts.basis import Basis
from rayae.cuts.capacity import capacity
from rayae.cuts.certified import certified
from rayae.cuts.curve import curve
from rayae.cuts.labelled import Labelled
from rayae.cuts.peaks import peaks
from rayae.cuts.precision import precision
from rayae.cuts.recall import recall
from rayae.discoveries import Discoveries, cut_of_rank, discover, histogram, p_values_of_ranks
from rayae.errors import DataError
from rayae.terminal import show_table
from rayae.threshold import HIGHEST, Scores, conformal, exceeds, fixed

CONFIDENCE = 0.95
ALPHA, RECALL, PRECISION, PREVALENCE, FDR, TAIL = 0.05, 0.9, 0.5, 0.05, 0.1, 1e-3
RUN, STRANGE = 2000, 0.1
"""Images of a run, and the share of defects among them."""
CONDITIONAL = ("simes", "dkw")
RUNS = 50
"""Runs by one calibration, whose mean is its false discovery rate."""


@dataclass(frozen=True)
class Source:
    """Where scores come from."""

    name: str
    distribution: Any
    """Of normal images, frozen by scipy; defects are as much higher as `shift` says."""
    shift: float
    step: float = 0.0
    """Scores are rounded down to multiples of it, unless it is 0."""

    def draw(self, generator: np.random.Generator, count: int, *, defects: bool = False) -> Scores:
        drawn = self.distribution.rvs(size=count, random_state=generator) + self.shift * defects
        return np.asarray(self.step * np.floor(drawn / self.step) if self.step else drawn, np.float32)

    def above(self, cut: float | NDArray[np.float64], *, defects: bool = False) -> Any:
        """The true share above a cut, or above each."""
        first = self.step * (np.floor(np.divide(cut, self.step)) + 1) if self.step else cut
        return self.distribution.sf(first - self.shift * defects)

    def basis(self, generator: np.random.Generator, n: int) -> Basis:
        return Basis("mse", "b0", np.sort(self.draw(generator, n)), None, CONFIDENCE)

    def defects(self, generator: np.random.Generator, m: int) -> Labelled:
        """Labelled defects, each of its own group."""
        return Labelled(self.draw(generator, m, defects=True), np.ones(m, bool), generator.random(m))

    def run(self, generator: np.random.Generator) -> tuple[Scores, NDArray[np.bool_]]:
        """Scores of a run, and which are of defects."""
        is_defect = generator.random(RUN) < STRANGE
        return np.where(is_defect, self.draw(generator, RUN, defects=True), self.draw(generator, RUN)), is_defect


SOURCES = (
    Source("normal", stats.norm(), 3.5),
    Source("heavy", stats.t(3), 12.0),
    Source("ties", stats.norm(), 3.5, step=0.5),
)


@dataclass(frozen=True)
class Claim:
    """What was stated, and what was found of it."""

    words: str
    source: str
    n: int
    stated: float | None
    """None where it is only measured."""
    found: tuple[float, ...]
    """A number a round."""
    at_least: bool = True
    """Whether their mean should be at least, or at most, what was stated."""

    @property
    def mean(self) -> float:
        return float(np.mean(self.found))

    @property
    def error(self) -> float:
        return float(np.std(self.found) / np.sqrt(len(self.found)))

    @property
    def is_kept(self) -> bool:
        if self.stated is None:
            return True
        beyond = self.stated - self.mean if self.at_least else self.mean - self.stated
        return beyond <= 3 * self.error_if_kept

    @property
    def error_if_kept(self) -> float:
        """The standard error of the mean: of rounds that hold or do not, the one that it has if they hold as stated."""
        if self.stated is None or not set(self.found) <= {0.0, 1.0}:
            return self.error
        return float(np.sqrt(self.stated * (1 - self.stated) / len(self.found)))

    def row(self) -> list[str]:
        stated = "" if self.stated is None else f"{'at least' if self.at_least else 'at most'} {self.stated:g}"
        verdict = "" if self.stated is None else "yes" if self.is_kept else "NO"
        return [self.words, self.source, f"{self.n:,}", stated, f"{self.mean:.4f} ± {self.error:.4f}", verdict]


def of_conformal(source: Source, n: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """The rate on average, and its certificate; those of a cut that was set by hand, too."""
    rates, held, by_hand = [], [], []
    middle = float(np.float32(source.distribution.isf(ALPHA)))
    for _ in range(rounds):
        known = source.basis(generator, n).calibration
        threshold = conformal(known, score="mse", alpha=ALPHA, bundle_id="b0", confidence=CONFIDENCE)
        rates.append(float(source.above(threshold.cut)))
        held.append(rates[-1] <= threshold.upper_fpr)
        given = fixed(middle, score="mse", bundle_id="b0", calibration=known, confidence=CONFIDENCE)
        by_hand.append(source.above(middle) <= given.upper_fpr)
    yield Claim("conformal: mean false-positive rate", source.name, n, ALPHA, tuple(rates), at_least=False)
    yield Claim("conformal: upper_fpr holds", source.name, n, CONFIDENCE, tuple(held))
    yield Claim("fixed: upper_fpr holds", source.name, n, CONFIDENCE, tuple(by_hand))


def of_certified(source: Source, n: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """As often as the confidence says the true rate is the one asked for, or less."""
    held = [source.above(certified(source.basis(generator, n), ALPHA).cut) <= ALPHA for _ in range(rounds)]
    yield Claim("certified: false-positive rate <= alpha", source.name, n, CONFIDENCE, tuple(held))


def of_recall(source: Source, m: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """The true recall, of as many defects."""
    nothing = Basis("mse", "b0", np.empty(0, np.float32), None, CONFIDENCE)
    cuts = (recall(nothing, source.defects(generator, m), RECALL).cut for _ in range(rounds))
    held = tuple(source.above(cut, defects=True) >= RECALL for cut in cuts)
    yield Claim("recall: as asked for", source.name, m, CONFIDENCE, held)


def of_precision(source: Source, m: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """The true precision; a refusal claims nothing, and is counted beside."""
    held, refused = [], []
    for _ in range(rounds):
        basis, defects = source.basis(generator, 10 * m), source.defects(generator, m)
        try:
            cut = precision(basis, defects, PRECISION, PREVALENCE).cut
        except DataError:
            refused.append(True)
            continue
        refused.append(False)
        hits, alarms = PREVALENCE * source.above(cut, defects=True), (1 - PREVALENCE) * source.above(cut)
        held.append(hits / (hits + alarms) >= PRECISION)
    yield Claim("precision: as asked for", source.name, m, CONFIDENCE, tuple(held))
    yield Claim("precision: refused", source.name, m, None, tuple(refused))


def of_discoveries(source: Source, n: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """False discovery rates on average over calibrations, and given each; what is found of the defects."""
    p_values = {"marginal": None} | {kind: p_values_of_ranks(n, kind, CONFIDENCE) for kind in CONDITIONAL}
    rates = {kind: [] for kind in p_values}  # [calibration] of (false discovery rate, recall)
    for _ in range(max(2, rounds // 5)):
        known = source.basis(generator, n).calibration
        runs = [source.run(generator) for _ in range(RUNS)]
        counts = [histogram(scores, known) for scores, _ in runs]
        for kind, values in p_values.items():
            cuts = [cut_of(discover(ranks, FDR, values), known) for ranks in counts]
            shares = [false_and_found(*run, cut) for run, cut in zip(runs, cuts, strict=True)]
            rates[kind].append(np.mean(shares, axis=0))
    marginal = tuple(false for false, _ in rates["marginal"])
    yield Claim("fdr marginal: mean rate", source.name, n, FDR, marginal, at_least=False)
    for kind in CONDITIONAL:
        held = tuple(false <= FDR for false, _ in rates[kind])
        yield Claim(f"fdr {kind}: rate given the calibration", source.name, n, CONFIDENCE, held)
    for kind, pairs in rates.items():
        yield Claim(f"fdr {kind}: defects found", source.name, n, None, tuple(found for _, found in pairs))


def cut_of(discoveries: Discoveries, known: Scores) -> float:
    return cut_of_rank(discoveries.rank, known) if discoveries.rank else HIGHEST


def false_and_found(scores: Scores, is_defect: NDArray[np.bool_], cut: float) -> tuple[float, float]:
    """The share of normal images among the flagged ones, 0 without any, and that of flagged ones among the defects."""
    flagged = exceeds(scores, cut)
    return float((flagged & ~is_defect).sum() / max(1, flagged.sum())), float(flagged[is_defect].mean())


def of_capacity(source: Source, flags: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """No more are flagged than asked for, and a lower cut would flag more."""
    exact = []
    for _ in range(max(2, rounds // 10)):
        basis, (scores, _) = source.basis(generator, 100), source.run(generator)
        cut = capacity(basis, lambda scores=scores: iter(np.array_split(scores, 3)), flags).cut
        exact.append(exceeds(scores, cut).sum() <= flags < (scores >= np.float32(cut)).sum())
    yield Claim("capacity: exact", source.name, flags, 1.0, tuple(exact))


def of_curve(source: Source, n: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """The upper bounds of all cuts at once, and the lower ones."""
    upper, lower = [], []
    for _ in range(rounds):
        columns = curve(source.basis(generator, n), np.bincount([0], minlength=n + 1))  # a run of one image
        true = source.above(columns["cut"])
        upper.append((true <= columns["upper_false_positives"] + 1e-12).all())
        lower.append((true >= columns["lower_false_positives"] - 1e-12).all())
    yield Claim("curve: all upper bounds hold", source.name, n, CONFIDENCE, tuple(upper))
    yield Claim("curve: all lower bounds hold", source.name, n, CONFIDENCE, tuple(lower))


def of_peaks(source: Source, n: int, rounds: int, generator: np.random.Generator) -> Iterator[Claim]:
    """A model is right as far as the tail is of its kind, so that nothing was stated."""
    held, ratios, refused = [], [], []
    for _ in range(max(2, rounds // 5)):
        try:
            threshold = peaks(source.basis(generator, n), TAIL)
        except DataError:
            refused.append(True)
            continue
        refused.append(False)
        ratios.append(float(source.above(threshold.cut)) / TAIL)
        held.append(TAIL * ratios[-1] <= threshold.figures["model_upper_fpr"])
    yield Claim("peaks: refused", source.name, n, None, tuple(refused))
    if held:
        yield Claim("peaks: model_upper_fpr holds", source.name, n, None, tuple(held))
        yield Claim("peaks: rate / alpha", source.name, n, None, tuple(ratios))


Simulation = Callable[[Source, int, int, np.random.Generator], Iterator[Claim]]
SIMULATIONS: tuple[tuple[Simulation, tuple[int, ...]], ...] = (
    (of_conformal, (99, 1000)),
    (of_certified, (59, 1000)),
    (of_recall, (29, 200)),
    (of_precision, (50, 200)),
    (of_discoveries, (1000, 20_000)),
    (of_capacity, (10, 1000)),
    (of_curve, (50, 1000)),
    (of_peaks, (500, 5000)),
)


def claims(rounds: int, seed: int) -> Iterator[Claim]:
    """All rules on scores of all kinds, at the smaller and the larger of their sizes."""
    for simulation, sizes in SIMULATIONS:
        for source in SOURCES:
            for n in sizes:
                yield from simulation(source, n, rounds, np.random.default_rng([seed, n]))


if __name__ == "__main__":
    given = {"rounds": 1000, "seed": 0} | {key: int(value) for key, value in (x.split("=") for x in sys.argv[1:])}
    all_of_them = list(claims(**given))
    title = f"alpha {ALPHA}, recall {RECALL}, precision {PRECISION} at {PREVALENCE}, fdr {FDR}, tail {TAIL:g}"
    heads = ("guarantee", "scores", "n", "stated", "found", "kept")
    show_table(title, heads, [claim.row() for claim in all_of_them])
    sys.exit(0 if all(claim.is_kept for claim in all_of_them) else 1)
