"""The part of `rayae flag` that chooses the cut: what each rule is asked, and the call of it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from rayae.cuts.basis import Basis
from rayae.cuts.fdr import fdr
from rayae.discoveries import Counts
from rayae.errors import ConfigError
from rayae.settings import FlagSettings
from rayae.threshold import Threshold, conformal, fixed


@dataclass(frozen=True)
class Asked:
    """The settings that a rule cannot do without, and those that it may have besides."""

    needs: tuple[str, ...]
    may: tuple[str, ...] = ()


RULES: Mapping[str, Asked] = {
    "fdr": Asked(("fdr",), ("p_values",)),
    "conformal": Asked(("alpha",)),
    "fixed": Asked(("cut",)),
}
OF_RULES = tuple(dict.fromkeys(name for asked in RULES.values() for name in (*asked.needs, *asked.may)))
DEFAULTS: Mapping[str, Any] = {"p_values": "marginal"}


def asked_of(settings: FlagSettings) -> dict[str, Any]:
    """The rule and all that decides its cut, by name; ConfigError when something lacks, or is of another rule."""
    rule = settings.rule or ("fdr" if settings.fdr is not None else None)
    if rule is None:
        raise ConfigError(f"flag needs fdr=, a false discovery rate, or rule=, one of {', '.join(RULES)}.")
    asked, given = RULES[rule], given_of(settings)
    missing = [f"{name}=" for name in asked.needs if name not in given]
    if missing:
        raise ConfigError(f"rule={rule} needs {' and '.join(missing)}; `rayae flag --help` says what it is.")
    strange = [name for name in given if name not in (*asked.needs, *asked.may)]
    if strange:
        users = [other for other, its in RULES.items() if strange[0] in (*its.needs, *its.may)]
        raise ConfigError(
            f"{strange[0]}={given[strange[0]]} is only used by rule={' and '.join(users)}, and the rule is {rule}."
        )
    used = {name: given.get(name, DEFAULTS.get(name)) for name in (*asked.needs, *asked.may)}
    known = {name: value for name, value in used.items() if value is not None}
    return {"rule": rule, **known, "confidence": settings.confidence}


def given_of(settings: FlagSettings) -> dict[str, Any]:
    """The settings of rules that are set, by name."""
    values = {name: getattr(settings, name) for name in OF_RULES}
    return {name: value for name, value in values.items() if value is not None and value is not False}


def chosen(asked: Mapping[str, Any], basis: Basis, counts: Counts) -> Threshold:
    """The cut of a rule; `counts` are those of the run's images by rank. Raises what the rule does."""
    rules: Mapping[str, Callable[[], Threshold]] = {
        "fdr": lambda: fdr(basis, counts, asked["fdr"], asked["p_values"]),
        "conformal": lambda: _conformal(basis, asked["alpha"]),
        "fixed": lambda: _fixed(basis, asked["cut"]),
    }
    return rules[asked["rule"]]()


def _conformal(basis: Basis, alpha: float) -> Threshold:
    basis.needs("conformal")
    about = {"score": basis.score, "bundle_id": basis.bundle_id}
    return conformal(basis.calibration, alpha=alpha, confidence=basis.confidence, groups=basis.groups, **about)


def _fixed(basis: Basis, cut: float) -> Threshold:
    about = {"score": basis.score, "bundle_id": basis.bundle_id}
    return fixed(cut, calibration=basis.calibration, confidence=basis.confidence, groups=basis.groups, **about)
