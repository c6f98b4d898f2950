"""`rayae flag`: a finished run is decided about anew, by another rule, from the scores that it has."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from rayae import answers, decisions, storage
from rayae.assignment import ALL
from rayae.borderline import compose, nearest
from rayae.changes import CHANGES, count_changes, write_changes
from rayae.cuts.curve import curve
from rayae.decisions import Decision, Ruling
from rayae.errors import ConfigError
from rayae.flags import Cuts, Thresholds
from rayae.lease import held
from rayae.page import render
from rayae.run import Run
from rayae.settings import FlagSettings
from rayae.statistics import percent
from rayae.terminal import say, show_table, warn
from rayae.threshold import HIGHEST
from rayae.verbs.flag_cuts import choose
from rayae.verbs.flag_rules import Material, asked_of, costs_of
from rayae.verbs.report import bundle_of, pictures

OF_THE_RUN = "run"
"""Stands for the cut that the run was planned with, where a decision could stand."""


def flag(settings: FlagSettings) -> None:
    """Choose a cut by a rule, write what it flags, and tell what that changes; the scores stay as they are.

    The same decision is made once: whoever asks for it again is told what there is.
    """
    asked = asked_of(settings)
    run = finished(settings.run)
    with held(run.uri) as lease:
        made = choose(run, asked)
        ruling = Ruling(run.record["fingerprint_hash"], made.survey.digest, asked, made.thresholds)
        known = decisions.find(run, ruling.id)
        found = whole(run, known)
        base = base_of(run, settings.against, known)
        written = found.written if found else decisions.write_flags(run, ruling.id, made.cuts, lease.check)
        write_curve(run, ruling, made.material)
        compare(run, ruling, base)
        show_borderline(run, ruling.id, made.cuts, settings.borderline)
        decision = found or decisions.commit(run, ruling, written, made.labels)
    tell(run, decision, is_new=found is None)
    tell_changes(run, decision, base)
    if settings.borderline:
        say(f"nearest to the cut: {borderline_uri(run, decision.id, settings.borderline)}")


def whole(run: Run, decision: Decision | None) -> Decision | None:
    """The same decision; None, which is told, when its flags are not those that were written, and must be again."""
    problem = None if decision is None else decisions.damage(run, decision, thorough=True)
    if decision is None or problem is None:
        return decision
    warn(f"the flags of the decision {decision.id} were damaged ({problem}); they are written again.")
    return None


def write_curve(run: Run, ruling: Ruling, material: Material) -> None:
    """Write what other cuts would do, as CSV, unless it is there or no calibration scores could tell."""
    uri = decisions.place(run, ruling.id, "curve.csv")
    if material.basis.n == 0 or storage.exists(uri):
        return
    costs = costs_of(ruling.settings) if ruling.settings["rule"] == "cost" else None
    table = pa.table(curve(material.basis, material.counts, material.labelled, costs))
    with storage.open_write(uri) as file:
        answers.write(file, "csv", table.schema, table.to_batches())


def show_borderline(run: Run, decision_id: str, cuts: Cuts, count: int) -> None:
    """Write the page of the images nearest to the cut, unless it is there or none are wanted."""
    uri = borderline_uri(run, decision_id, count)
    if count == 0 or storage.exists(uri):
        return
    rows = nearest(run, cuts, (count + 1) // 2)
    bundle, notes = bundle_of(run)
    page = compose(run.uri, decision_id, cuts[ALL].threshold, rows, pictures(run, bundle, rows), notes)
    storage.write_text(uri, render(page))


def borderline_uri(run: Run, decision_id: str, count: int) -> str:
    return decisions.place(run, decision_id, f"borderline-{count}.html")


def finished(uri: str) -> Run:
    """A run whose scores are to be decided about; RunError when it is not finished, ConfigError for several bundles."""
    run = Run.open(uri)
    run.refuse_several_bundles()
    run.refuse_unfinished()
    return run


@dataclass(frozen=True)
class Base:
    """What a decision is compared with."""

    name: str
    """The id of a decision, or `run`."""
    thresholds: Thresholds
    scores: str | None
    """The digest of the scores that it was made on; None for the run's own cut, which goes with any."""

    @property
    def in_words(self) -> str:
        return "the run's own flags" if self.name == OF_THE_RUN else f"the decision {self.name}"


def base_of(run: Run, against: str | None, decision: Decision | None) -> Base | None:
    """What a decision is compared with: as asked, or the one before it; None where there is nothing.

    ConfigError for a decision that is not there, and for the run's own flags where it was planned without a cut.
    """
    if against not in (None, OF_THE_RUN):
        return _base(decisions.named(run, against))
    own = None if run.threshold is None else Base(OF_THE_RUN, {ALL: run.threshold}, None)
    if against == OF_THE_RUN:
        if own is None:
            raise ConfigError(f"against=run: {run.uri} was planned without a cut, so it has no flags of its own.")
        return own
    others = [one for one in decisions.all_of(run) if decision is None or one.created < decision.created]
    return _base(others[-1]) if others else own


def _base(decision: Decision) -> Base:
    return Base(decision.id, decision.ruling.thresholds, decision.ruling.scores)


def compare(run: Run, ruling: Ruling, base: Base | None) -> None:
    """Write the changes against another decision, unless they are there."""
    if base is None:
        return
    if base.scores not in (None, ruling.scores):
        warn(f"{base.in_words} was made before the scores of some images changed; its cut is asked of those of now.")
    uri = changes_uri(run, ruling.id, base)
    if not storage.exists(uri):
        write_changes(run, uri, base.thresholds, ruling.thresholds)


def changes_uri(run: Run, decision_id: str, base: Base) -> str:
    return decisions.place(run, decision_id, f"changes-{base.name}.parquet")


def tell(run: Run, decision: Decision, *, is_new: bool) -> None:
    """Say what a decision is and what may be relied on."""
    counts, cut = decision.counts, decision.threshold
    share = percent(counts.flagged / counts.scored) if counts.scored else "none"
    above = "" if cut.cut == HIGHEST else f", {cut.score} above {cut.cut:.6g}"
    band = ""
    if cut.review_cut is not None:
        band = f", {counts.for_review:,} more above {cut.review_cut:.6g} for a person to look at"
    words = f"flag: {counts.flagged:,} of {counts.scored:,} scored images flagged ({share}){above}{band}"
    say(words, **fields_of(decision))
    say(cut.guarantee)
    own = sorted(one.cut for group, one in decision.ruling.thresholds.items() if group != ALL)
    if own:
        say(f"{len(own):,} group(s) have a cut of their own, from {own[0]:.6g} to {own[-1]:.6g}, by the same rule")
    is_there = "" if is_new else ", which was there already"
    say(f"decision {decision.id}{is_there}: {decisions.place(run, decision.id)}")


def fields_of(decision: Decision) -> dict[str, Any]:
    """What stands in the line of `log=json`."""
    return {"decision": decision.id, "cut": decision.threshold.cut, **vars(decision.counts)}


def tell_changes(run: Run, decision: Decision, base: Base | None) -> None:
    """Show how many images are newly flagged and released, by label."""
    if base is None:
        say("there is no decision before it to compare it with, and the run was planned without a cut")
        return
    uri = changes_uri(run, decision.id, base)
    found = count_changes(uri)
    if not found:
        say(f"it flags the same images as {base.in_words}")
        return
    rows = [[label or "no label", *(f"{counts[change]:,}" for change in CHANGES)] for label, counts in found.items()]
    show_table(f"against {base.in_words}", ["label", *CHANGES], rows)
    say(f"changes: {uri}")
