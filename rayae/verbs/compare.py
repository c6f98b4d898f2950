"""`rayae compare`: two runs of the same images, as figures on the terminal and as files."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayae import __version__, answers, decisions, storage
from rayae.agreement import NO_DEFECT, NO_FLAGS, NO_NORMAL, Flags, PairedRanking, PairedRates, in_words, rank, rates
from rayae.database import Answer, opened
from rayae.decisions import Decision
from rayae.disagreement import compose, furthest
from rayae.errors import ConfigError, RayaeError
from rayae.exhibits import number, signed, span
from rayae.labels import attach_labels
from rayae.manifest import is_defect, is_normal
from rayae.page import render
from rayae.pairing import SCHEMAS, InCommon, Pairs, pair
from rayae.run import Run, short_hash
from rayae.settings import CompareSettings
from rayae.statistics import percent
from rayae.terminal import say, show_table, warn
from rayae.verbs.flag import finished
from rayae.verbs.flag_bundle import Used, used_by
from rayae.verbs.query import cell
from rayae.verbs.report import bundle_of, pictures

SHOWN = 20
"""Images that are shown of those on which the runs disagree most."""
Runs = tuple[Run, Run]
Asked = tuple[Decision | None, Decision | None]


def compare(settings: CompareSettings) -> None:
    """Hold two runs against each other on the images that both have: ranking, flags, and where they disagree most."""
    runs = (finished(settings.run_a), finished(settings.run_b))
    asked = decisions_of(runs, settings)
    out = storage.absolute(settings.out or default_out(runs, asked, settings.labels))
    for run in runs:
        run.refuse_as_out(out)
    with opened(list(zip(SCHEMAS, runs, strict=True)), settings.memory_bytes) as database:
        used = used_by_both(runs)
        pairs = pair(database, runs, asked, used.uris, used.groups, labels_of(runs[0], settings.labels))
        tell_counts(runs, pairs)
        found = measure(pairs, settings.confidence)
        tell(found)
        tell_flags(runs, asked, found.flags)
        disagreements = write_images(pairs, out, settings.n, has_flags=bool(found.flags))
    words = in_words(found.ranking, found.recall, found.false_positive_rate, found.confidence)
    for sentence in words:
        say(sentence)
    sides = {name: about(run, decision) for name, run, decision in zip(SCHEMAS, runs, asked, strict=True)}
    record = {"rayae": __version__, "runs": sides, **found.to_dict(), "words": words}
    storage.write_json(storage.join(out, "comparison.json"), record)
    if settings.pictures:
        storage.write_text(storage.join(out, "disagreements.html"), page_of(runs, disagreements, settings.pictures))
    say(f"comparison: {out}")


@dataclass(frozen=True)
class Found:
    """What a comparison comes to."""

    confidence: float
    counts: InCommon
    ranking: PairedRanking
    recall: PairedRates | None
    false_positive_rate: PairedRates | None
    """Like the recall None where there are no flags of labelled images."""
    flags: Mapping[str | None, Flags]
    """By label; empty where one of the runs has no cut."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self) | {"flags": [{"label": label, **asdict(own)} for label, own in self.flags.items()]}


def measure(pairs: Pairs, confidence: float) -> Found:
    """All figures of a comparison."""
    judged = pairs.flags(evaluated=True)
    recall = rates_of(judged, is_defect, confidence, NO_DEFECT)
    alarms = rates_of(judged, is_normal, confidence, NO_NORMAL)
    return Found(confidence, pairs.counts, rank(pairs.labelled(), confidence), recall, alarms, pairs.flags())


def decisions_of(runs: Runs, settings: CompareSettings) -> Asked:
    """The decisions that are asked for; ConfigError for one that is not there, and for a run compared with itself."""
    a, b = settings.decision_a, settings.decision_b
    found = tuple(
        None if one is None else decisions.with_flags(run, one) for run, one in zip(runs, (a, b), strict=True)
    )
    if runs[0].uri == runs[1].uri and a == b:
        raise ConfigError(f"run_a and run_b are both {runs[0].uri}: name two runs, or two decisions about this one.")
    return found[0], found[1]


def default_out(runs: Runs, asked: Asked, labels: str | None) -> str:
    """A directory in the first run, named by both runs, their decisions and the labels that are given."""
    ids = (None if decision is None else decision.id for decision in asked)
    name = short_hash([*((run.uri, run.record["fingerprint_hash"]) for run in runs), *ids, labels])
    return storage.join(runs[0].uri, "comparisons", name)


def about(run: Run, decision: Decision | None) -> dict[str, str | None]:
    """What is compared."""
    bundle, score = run.assignment.bundle_id, str(run.record["primary_score"])
    return {"run": run.uri, "bundle_id": bundle, "score": score, "decision": None if decision is None else decision.id}


def used_by_both(runs: Runs) -> Used:
    """What the bundles were made with, as far as it can be had."""
    found = Used()
    for run in runs:
        try:
            used = used_by(run)
        except RayaeError as error:
            warn(f"which images the bundle of {run.uri} was made with is not known, so all of them judge: {error}")
            continue
        found = Used(found.uris | used.uris, found.groups | used.groups)
    return found


def labels_of(run: Run, labels: str | None) -> pa.Table | None:
    """The images of a run that a label or a group is given; None when no labels are."""
    if labels is None:
        return None
    found, notes = attach_labels(run.results(["image_id", "uri", "label", "group"]), labels, run.record["images"])
    for note in notes:
        say(note)
    return found.filter(pc.or_(pc.is_valid(found["label"]), pc.is_valid(found["group"])))


def tell_counts(runs: Runs, pairs: Pairs) -> None:
    """Say how many images are compared, and which are not."""
    counts = pairs.counts
    say(f"A is {runs[0].uri}, B is {runs[1].uri}")
    say(f"compare: {counts.images:,} images are in both runs, {counts.scored:,} of them scored in both")
    sides = (("A", counts.only_a, counts.scored_by_a_only), ("B", counts.only_b, counts.scored_by_b_only))
    for name, alone, scored in sides:
        if alone:
            warn(f"{alone:,} images are in {name} only, and are not compared.")
        if scored:
            warn(f"{scored:,} images are scored in {name} only, and are not compared.")
    if counts.labels_differ:
        warn(f"{counts.labels_differ:,} images have another label in B; that of A counts.")
    if counts.used:
        say(f"{counts.used:,} labelled images do not judge: a bundle was made with them")
    if counts.chose:
        say(f"{counts.chose:,} labelled images judge the ranking but not the flags: they chose the cut of a decision")
    if counts.of_used_groups:
        judge = (
            "judge, as a class has no others, so the figures may be too good"
            if pairs.near_ones_judge
            else "do not judge"
        )
        say(f"{counts.of_used_groups:,} labelled images {judge}: a bundle was made with others of their groups")


def rates_of(
    flags: Mapping[str | None, Flags], belongs: Callable[[str | None], bool], confidence: float, without: str
) -> PairedRates | None:
    """What both flag of the images whose labels belong; None where there are no flags of labelled images."""
    if not flags:
        return None
    own = sum((counts for label, counts in flags.items() if belongs(label)), start=NO_FLAGS)
    return rates(own, confidence, without)


def tell(found: Found) -> None:
    """Show the figures that labels give, where there are labels."""
    shown: dict[str, PairedRanking | PairedRates | None] = {
        "AUROC": found.ranking,
        "recall": found.recall,
        "false-positive rate": found.false_positive_rate,
    }
    rows = []
    for name, one in shown.items():
        if one is None or one.difference.value is None:
            continue
        rows.append([f"{name} of A", number(one.a.value), span(one.a)])
        rows.append([f"{name} of B", number(one.b.value), span(one.b)])
        rows.append([f"{name}, A less B", signed(one.difference.value), span(one.difference, signed)])
    if rows:
        show_table("A and B against the labels", ["figure", "value", f"{percent(found.confidence)} interval"], rows)
    if found.ranking.difference.method is not None:
        say(f"interval of the difference in AUROC: {found.ranking.difference.method}")


def tell_flags(runs: Runs, asked: Asked, flags: Mapping[str | None, Flags]) -> None:
    """Show who flags how many images of each label, or say whose cut is missing."""
    for name, run, decision in zip(SCHEMAS, runs, asked, strict=True):
        if decision is None and not run.has_threshold:
            say(f"{run.uri} was planned without a cut, so flags are not compared; decision_{name}= names one.")
    if not flags:
        return
    whole = sum(flags.values(), start=NO_FLAGS)
    rows = [("all", whole), *((label or "no label", own) for label, own in flags.items())]
    cells = [[name, *(f"{count:,}" for count in vars(own).values())] for name, own in rows]
    show_table("who flags what", ["label", "both", "only A", "only B", "neither"], cells)


def write_images(pairs: Pairs, out: str, count: int, *, has_flags: bool) -> pa.Table:
    """Write the images on which the runs disagree most, and those that one of them flags; the former.

    They are held against each other by rank: scores of two bundles are not on one scale.
    """
    answer = pairs.disagreements(count)
    table = pa.Table.from_batches(answer.batches, answer.schema)
    write(storage.join(out, "disagreements.parquet"), Answer(table.schema, iter(table.to_batches())))
    columns = ["uri", "label", "score_a", "score_b", "top_a", "top_b", "decades"]
    rows = [[cell(row[name]) for name in columns] for row in table.slice(0, SHOWN).select(columns).to_pylist()]
    if rows:
        show_table(f"the {len(rows):,} images on which they disagree most, by rank", columns, rows)
        say("top_a is the share of the images that A scores as high or higher; decades is log10(top_b / top_a)")
    else:
        say("both put all images into the same order")
    if has_flags:
        write(storage.join(out, "flagged_by_one.parquet"), pairs.flagged_by_one())
    return table


def page_of(runs: Runs, disagreements: pa.Table, count: int) -> str:
    """The page of the images on which the runs disagree most, each with what both bundles make of it."""
    rows, notes = furthest(disagreements, (count + 1) // 2), list[str]()
    made = []
    for run, column in zip(runs, ("image_id_a", "image_id_b"), strict=True):
        bundle, own = bundle_of(run)
        notes += own
        made.append(pictures(run, bundle, pa.table({"image_id": rows[column], "uri": rows["uri"]})))
    return render(compose((runs[0].uri, runs[1].uri), rows, (made[0], made[1]), notes))


def write(uri: str, answer: Answer) -> None:
    with storage.open_write(uri) as file:
        answers.write(file, "parquet", answer.schema, answer.batches)
