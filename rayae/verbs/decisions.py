"""`rayae decisions`: what was decided about a run."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rayae.assignment import ALL
from rayae.decisions import Decision, all_of
from rayae.run import Run
from rayae.settings import DecisionsSettings
from rayae.statistics import percent
from rayae.terminal import say, show_table
from rayae.threshold import HIGHEST, Threshold

COLUMNS = ("decision", "made (UTC)", "rule", "cut", "flagged", "share", "expected FPR", "upper FPR")
UNKNOWN = "unknown"


def decisions(settings: DecisionsSettings) -> None:
    """List the decisions of a run, the earliest first, with the cut that it was planned with before them."""
    run = Run.open(settings.run)
    found, own, success = all_of(run), run.threshold, run.success()
    rows = [_row(decision) for decision in found]
    if own is not None:
        flagged = None if success is None else int(success["statistics"]["flagged"])
        scored = 0 if success is None else int(success["statistics"]["by_status"].get("scored", 0))
        rows.insert(0, ["run", _moment(run.record["created"]), _own_rule(own), *_figures([own], flagged, scored)])
    if not rows and run.assignment.column is not None:
        say(
            f"{run.uri} was scored with a bundle for each `{run.assignment.column}`, each with a cut of its own "
            "(`rayae report` shows them); `rayae flag` decides about runs of one bundle."
        )
        return
    if not rows:
        say(f"nothing was decided about {run.uri}: it was planned without a cut; `rayae flag` chooses one.")
        return
    show_table(f"{len(found):,} decision(s) about {run.uri}", COLUMNS, rows)
    for name, cut in [*([("run", own)] if own else []), *((one.id, one.threshold) for one in found)]:
        say(f"{name}: {cut.guarantee}")


def _row(decision: Decision) -> Sequence[str]:
    settings = decision.ruling.settings
    asked = " ".join(f"{name}={_shown(value)}" for name, value in settings.items() if name != "confidence")
    cuts = [decision.threshold, *(cut for group, cut in decision.ruling.thresholds.items() if group != ALL)]
    figures = _figures(cuts, decision.counts.flagged, decision.counts.scored)
    return [decision.id, _moment(decision.created), asked, *figures]


def _shown(value: Any) -> str:
    """A setting as it would be typed."""
    if isinstance(value, bool):
        return str(value).lower()
    return f"{value:g}" if isinstance(value, float) else str(value)


def _own_rule(cut: Threshold) -> str:
    return f"rule={cut.rule}" if cut.alpha is None else f"rule={cut.rule} alpha={cut.alpha:g}"


def _moment(text: str) -> str:
    return f"{datetime.fromisoformat(text):%Y-%m-%d %H:%M:%S}"


def _figures(cuts: Sequence[Threshold], flagged: int | None, scored: int) -> list[str]:
    """The cut, or how many there are; what it flags; the rates, the highest of several cuts."""
    highest = "none" if cuts[0].cut == HIGHEST else f"{cuts[0].cut:.6g}"
    words = highest if len(cuts) == 1 else f"{len(cuts)} cuts"
    count = UNKNOWN if flagged is None else f"{flagged:,}"
    share = UNKNOWN if flagged is None or not scored else percent(flagged / scored)
    rates = [[_rate(cut, name) for cut in cuts] for name in ("expected_fpr", "upper_fpr")]
    return [words, count, share, *(_highest(rate) for rate in rates)]


def _highest(rates: Sequence[float | None]) -> str:
    known = [rate for rate in rates if rate is not None]
    return percent(max(known)) if len(known) == len(rates) else UNKNOWN


def _rate(cut: Threshold, name: str) -> float | None:
    """A rate of false alarms; that of a cut which flags nothing is 0, whatever is known."""
    rate: float | None = 0.0 if cut.flags_nothing else getattr(cut, name)
    return rate
