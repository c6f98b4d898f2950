"""The part of `rayae flag` that chooses the cut: what each rule is asked, and the call of it."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from rayae.cuts.basis import Basis
from rayae.cuts.capacity import capacity
from rayae.cuts.certified import certified, certified_needs
from rayae.cuts.cost import Costs, cost
from rayae.cuts.f_beta import f_beta
from rayae.cuts.fdr import fdr
from rayae.cuts.labelled import Labelled
from rayae.cuts.peaks import peaks
from rayae.cuts.precision import precision
from rayae.cuts.recall import recall
from rayae.cuts.sigma import sigma
from rayae.discoveries import Counts
from rayae.errors import ConfigError
from rayae.settings import FlagSettings
from rayae.threshold import Scores, Threshold, conformal, conformal_needs, fixed


@dataclass(frozen=True)
class Asked:
    """The settings that a rule cannot do without, and those that it may have besides."""

    needs: tuple[str, ...]
    may: tuple[str, ...] = ()

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.needs, *self.may)


RULES: Mapping[str, Asked] = {
    "fdr": Asked(("fdr",), ("p_values",)),
    "conformal": Asked(("alpha",), ("per_group",)),
    "certified": Asked(("alpha",), ("per_group",)),
    "fixed": Asked(("cut",)),
    "recall": Asked(("recall",), ("choose_on",)),
    "precision": Asked(("precision", "prevalence"), ("choose_on",)),
    "f_beta": Asked(("beta",), ("prevalence", "choose_on")),
    "cost": Asked(("cost_fn", "cost_fp", "prevalence"), ("cost_review", "choose_on")),
    "capacity": Asked(("flags",)),
    "sigma": Asked(("sigmas",)),
    "peaks": Asked(("alpha",)),
}
OF_RULES = tuple(dict.fromkeys(name for asked in RULES.values() for name in asked.all))
DEFAULTS: Mapping[str, Any] = {"p_values": "marginal", "choose_on": 0.5}


def asked_of(settings: FlagSettings) -> dict[str, Any]:
    """The rule and all that decides its cut, by name; ConfigError when something lacks, or is of another rule."""
    rule = settings.rule or ("fdr" if settings.fdr is not None else None)
    if rule is None:
        raise ConfigError(f"flag needs fdr=, a false discovery rate, or rule=, one of {', '.join(RULES)}.")
    asked, given = RULES[rule], given_of(settings)
    missing = [f"{name}=" for name in asked.needs if name not in given]
    if missing:
        raise ConfigError(f"rule={rule} needs {' and '.join(missing)}; `rayae flag --help` says what it is.")
    strange = [name for name in given if name not in asked.all]
    if strange:
        users = [other for other, its in RULES.items() if strange[0] in its.all]
        raise ConfigError(
            f"{strange[0]}={given[strange[0]]} is only used by rule={' and '.join(users)}, and the rule is {rule}."
        )
    used = {name: given.get(name, DEFAULTS.get(name)) for name in asked.all}
    known = {name: value for name, value in used.items() if value is not None}
    return {"rule": rule, **known, "confidence": settings.confidence}


def given_of(settings: FlagSettings) -> dict[str, Any]:
    """The settings of rules that are set, by name."""
    values = {name: getattr(settings, name) for name in OF_RULES}
    return {name: value for name, value in values.items() if value is not None and value is not False}


@dataclass(frozen=True)
class Material:
    """What rules choose by."""

    basis: Basis
    counts: Counts
    """Of the run's images, by rank."""
    labelled: Labelled
    """The labelled images that choose."""
    scores: Callable[[], Iterator[Scores]]
    """The scores of the run, in parts."""


def chosen(asked: Mapping[str, Any], given: Material) -> Threshold:
    """The cut of a rule; raises what the rule does."""
    basis, labelled = given.basis, given.labelled
    rules: Mapping[str, Callable[[], Threshold]] = {
        "fdr": lambda: fdr(basis, given.counts, asked["fdr"], asked["p_values"]),
        "conformal": lambda: by_calibration(asked, basis),
        "certified": lambda: by_calibration(asked, basis),
        "fixed": lambda: _fixed(basis, asked["cut"]),
        "recall": lambda: recall(basis, labelled, asked["recall"]),
        "precision": lambda: precision(basis, labelled, asked["precision"], asked["prevalence"]),
        "f_beta": lambda: f_beta(basis, labelled, asked["beta"], asked.get("prevalence")),
        "cost": lambda: cost(basis, labelled, costs_of(asked)),
        "capacity": lambda: capacity(basis, given.scores, asked["flags"]),
        "sigma": lambda: sigma(basis, asked["sigmas"]),
        "peaks": lambda: peaks(basis, asked["alpha"]),
    }
    return rules[asked["rule"]]()


def by_calibration(asked: Mapping[str, Any], basis: Basis) -> Threshold:
    """The cut of a rule that looks at nothing but calibration scores, so that a group may have its own."""
    if asked["rule"] == "certified":
        return certified(basis, asked["alpha"])
    basis.needs("conformal")
    about = {"score": basis.score, "bundle_id": basis.bundle_id}
    return conformal(basis.calibration, alpha=asked["alpha"], confidence=basis.confidence, groups=basis.groups, **about)


def fewest_for(asked: Mapping[str, Any]) -> int:
    """How many calibration scores such a rule needs."""
    if asked["rule"] == "certified":
        return certified_needs(asked["alpha"], asked["confidence"])
    return conformal_needs(asked["alpha"])


def _fixed(basis: Basis, cut: float) -> Threshold:
    about = {"score": basis.score, "bundle_id": basis.bundle_id}
    return fixed(cut, calibration=basis.calibration, confidence=basis.confidence, groups=basis.groups, **about)


def costs_of(asked: Mapping[str, Any]) -> Costs:
    """What answers cost, as asked of rule=cost."""
    return Costs(asked["cost_fn"], asked["cost_fp"], asked["prevalence"], asked.get("cost_review"))
