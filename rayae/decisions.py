"""Home of decisions: cuts that are chosen for the scores of a finished run, and the flags that they give.

    RUN/decisions/<id>/flags-000000.parquet ...    image_id, score, p_value, is_anomaly, and needs_review if asked for
    RUN/decisions/<id>/curve.csv                   what other cuts would do
    RUN/decisions/<id>/changes-<other>.parquet     the images that it or another decision flags, and not both
    RUN/decisions/<id>/borderline-12.html          the images nearest to the cut
    RUN/decisions/<id>/threshold.json              the cuts and where they come from; written last

The rows stand in the order of the run's files, and no score is touched. The id follows from the scores, the cuts and
what was asked, so the same decision is the same directory; a directory without `threshold.json` is none.
"""

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from rayae import __version__, storage
from rayae.assignment import ALL
from rayae.errors import ConfigError, DataError, RunError
from rayae.flags import NEEDS_REVIEW, Cuts, Thresholds, columns_of, flag_table
from rayae.manifest import regrouped
from rayae.records import Each, moment, read_record
from rayae.run import Run, short_hash
from rayae.terminal import warn
from rayae.threshold import Threshold

DECISIONS = "decisions"
RECORD = "threshold.json"
FLAGS = "flags-"
FILE_ROWS = 1_000_000
"""Rows of a file of flags: 5 to 10 MB, so that the flags of 10^8 images are 100 files."""
SHAPE = {
    "rayae": str,
    "id": str,
    "created": moment,
    "run": str,
    "scores": str,
    "settings": {"rule": str},
    "threshold": dict,
    "groups": Each(dict),
    "labels": (dict, type(None)),
    "counts": {"images": int, "scored": int, "flagged": int, "for_review": (int, type(None))},
    "files": Each({"bytes": int, "sha256": str}),
}


@dataclass(frozen=True)
class Ruling:
    """What a decision follows from."""

    run: str
    """The hash of the run's fingerprint."""
    scores: str
    """The digest of its scores."""
    settings: Mapping[str, Any]
    """The rule, and what was asked of it."""
    thresholds: Thresholds

    @property
    def id(self) -> str:
        """12 hex digits that name it: by what it flags and what was asked, not by the words and figures about it."""
        cuts = {value: (cut.rule, cut.score, cut.cut, cut.review_cut) for value, cut in self.thresholds.items()}
        return short_hash({"run": self.run, "scores": self.scores, "settings": self.settings, "cuts": cuts})


@dataclass(frozen=True)
class Counts:
    """What the flags of a decision come to."""

    images: int
    scored: int
    flagged: int
    for_review: int | None
    """Images between the cut for review and the cut; None where there is no such cut."""


@dataclass(frozen=True)
class Written:
    """Flags that lie in files."""

    counts: Counts
    files: Mapping[str, Mapping[str, Any]]
    """`bytes` and `sha256` of each, by its name."""


@dataclass(frozen=True)
class Decision:
    """A ruling, and what it flags."""

    ruling: Ruling
    written: Written
    labels: Mapping[str, Any] | None
    """Which labelled images have chosen the cut, and what it makes of the others; None for rules without labels."""
    created: str

    @property
    def id(self) -> str:
        return self.ruling.id

    @property
    def counts(self) -> Counts:
        return self.written.counts

    @property
    def choose_on(self) -> float:
        """The share of the groups whose labelled images chose the cut; 0 for rules without labels."""
        return 0.0 if self.labels is None else float(self.ruling.settings["choose_on"])

    @property
    def threshold(self) -> Threshold:
        """The cut of the images of no group that has its own."""
        return self.ruling.thresholds[ALL]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ruling, cuts = self.ruling, {value: cut.to_dict() for value, cut in self.ruling.thresholds.items()}
        return {
            "rayae": __version__,
            "id": self.id,
            "created": self.created,
            "run": ruling.run,
            "scores": ruling.scores,
            "settings": dict(ruling.settings),
            "threshold": cuts.pop(ALL),
            "groups": cuts,
            "labels": self.labels,
            "counts": vars(self.counts),
            "files": self.written.files,
        }

    @classmethod
    def from_dict(cls, value: Mapping[str, Any]) -> "Decision":
        """What `to_dict` gave; DataError when a threshold is none."""
        cuts = {ALL: value["threshold"], **value["groups"]}
        thresholds = {group: Threshold.from_dict(cut) for group, cut in cuts.items()}
        ruling = Ruling(value["run"], value["scores"], value["settings"], thresholds)
        written = Written(Counts(**value["counts"]), value["files"])
        return cls(ruling, written, value["labels"], value["created"])


def place(run: Run, decision_id: str, *names: str) -> str:
    """The URI of a decision's directory, or of something in it."""
    return storage.join(run.uri, DECISIONS, decision_id, *names)


def find(run: Run, decision_id: str) -> Decision | None:
    """A decision of a run, or None; RunError when its record is damaged or was changed."""
    uri = place(run, decision_id, RECORD)
    remedy = f"remove {place(run, decision_id)} and decide again"
    value = read_record(uri, SHAPE, remedy)
    if value is None:
        return None
    try:
        found = Decision.from_dict(value)
    except (DataError, TypeError) as error:
        raise RunError(f"{uri} is damaged or was changed by hand: its cuts are none; {remedy}.") from error
    if found.id != decision_id:
        raise RunError(f"{uri} was changed by hand: it is of the decision {found.id}; {remedy}.")
    return found


def all_of(run: Run) -> list[Decision]:
    """The decisions of a run, the earliest first; one whose record is damaged is told and left out."""
    found = list[Decision]()
    for name in storage.list_names(storage.join(run.uri, DECISIONS)):
        try:
            decision = find(run, name)
        except RunError as error:
            warn(f"a decision is left out: {error}")
            continue
        found += [] if decision is None else [decision]
    return sorted(found, key=lambda decision: (decision.created, decision.id))


def damage(run: Run, decision: Decision, *, thorough: bool) -> str | None:
    """What is wrong with the files of a decision's flags, or None: by their sizes, `thorough` by what is in them."""
    known = decision.written.files
    entries = storage.list_files(place(run, decision.id))
    sizes = {entry.name: entry.size_bytes for entry in entries if entry.name.startswith(FLAGS)}
    for name in sorted(known.keys() | sizes.keys()):
        if name not in sizes:
            return f"{name} is gone"
        if name not in known:
            return f"{name} is none of its files"
        if sizes[name] != known[name]["bytes"]:
            return f"{name} has {sizes[name]:,} bytes instead of {known[name]['bytes']:,}"
        if thorough and _sha256(storage.read_bytes(place(run, decision.id, name))) != known[name]["sha256"]:
            return f"{name} holds something else than what was written"
    return None


def named(run: Run, decision_id: str) -> Decision:
    """The decision of a run that has this id; ConfigError, with those that there are, when it has none."""
    found = find(run, decision_id)
    if found is None:
        known = [decision.id for decision in all_of(run)]
        there_are = f"its decisions are {', '.join(known)}" if known else "it has no decisions yet"
        raise ConfigError(f"{run.uri} has no decision {decision_id!r}: {there_are}.")
    return found


def with_flags(run: Run, decision_id: str) -> Decision:
    """The same for who needs its flags; RunError when their files are not those that were written, by their sizes."""
    decision = named(run, decision_id)
    problem = damage(run, decision, thorough=False)
    if problem is not None:
        raise RunError(
            f"the flags of the decision {decision_id} of {run.uri} were damaged: {problem}; ask for the same decision "
            "again by `rayae flag`, which writes them anew."
        )
    return decision


def write_flags(run: Run, decision_id: str, cuts: Cuts, check: Callable[[], None]) -> Written:
    """Write the flags of a decision, FILE_ROWS a file, in place of what a killed process has left.

    `check` is called for each file of the run. A few of these are in memory at a time, and one of the flags.
    """
    storage.remove(place(run, decision_id))
    images = scored = flagged = in_band = 0
    files = dict[str, dict[str, Any]]()
    has_band = any(cut.threshold.review_cut is not None for cut in cuts.values())
    for number, table in enumerate(regrouped(_flagged(run, cuts, check), FILE_ROWS)):
        name, data = f"{FLAGS}{number:06d}.parquet", _parquet(table)
        storage.write_bytes(place(run, decision_id, name), data)
        files[name] = {"bytes": len(data), "sha256": _sha256(data)}
        images += table.num_rows
        scored += table.num_rows - table["score"].null_count
        flagged += _count(table, "is_anomaly")
        in_band += _count(table, NEEDS_REVIEW) if has_band else 0
    return Written(Counts(images, scored, flagged, in_band if has_band else None), files)


def _flagged(run: Run, cuts: Cuts, check: Callable[[], None]) -> Iterator[pa.Table]:
    for rows in run.result_tables(columns_of(cuts)):
        check()
        yield flag_table(rows, cuts)


def commit(run: Run, ruling: Ruling, written: Written, labels: Mapping[str, Any] | None = None) -> Decision:
    """Write the record of a decision whose other files are there: from now on it is one."""
    created = datetime.now(UTC).isoformat(timespec="milliseconds")
    decision = Decision(ruling, written, labels, created)
    storage.write_json(place(run, ruling.id, RECORD), decision.to_dict())
    return decision


def flag_files(run: Run, decision_id: str) -> list[str]:
    """The URIs of the files that hold the flags of a decision, in their order."""
    names = storage.list_names(place(run, decision_id))
    return [place(run, decision_id, name) for name in names if name.startswith(FLAGS)]


def read_flags(run: Run, decision_id: str) -> Iterator[pa.Table]:
    """The flags of a decision, file by file."""
    for uri in flag_files(run, decision_id):
        yield pq.ParquetFile(io.BytesIO(storage.read_bytes(uri)), pre_buffer=False).read(use_threads=False)


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd", write_page_checksum=True)
    return buffer.getvalue()


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _count(table: pa.Table, column: str) -> int:
    return int(pc.sum(table[column], min_count=0).as_py())
