"""Home of the rows that an evaluation stands on: what is read of them, and which count as normal and as defects."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayae.errors import DataError
from rayae.gates import Training
from rayae.manifest import is_defect, is_normal
from rayae.results import Status
from rayae.statistics import Bools
from rayae.threshold import exceeds

NO_NORMAL = "No unseen normal image is scored and labelled, so false alarms and ranking cannot be had."
NO_DEFECT = "No unseen defect is scored and labelled, so recall and ranking cannot be had."
NO_IMAGE = "No unseen image is scored and labelled, so there is nothing to evaluate."


@dataclass(frozen=True)
class Others:
    """Images of the run whose rows are not at hand, since no figure stands on them."""

    images: int = 0
    unscored: int = 0
    unlabelled: int = 0


@dataclass(frozen=True)
class About:
    """What is known beside the rows and the cut."""

    others: Others = Others()
    promised: float | None = None
    """The upper bound of the false-positive rate that the cut states."""
    promised_fdr: float | None = None
    """The false discovery rate at which a decision flags."""
    decision: str | None = None
    """The id of the decision that the cut is of; None for that of the run."""
    chosen_on: int = 0
    """Labelled images that chose its cut, as the decision says."""
    cuts_of_groups: int = 0
    flagged: Bools | None = None
    """What is flagged, a value a row, where groups have cuts of their own."""
    for_review: Bools | None = None
    """What is for a person to look at, a value a row; None where no cut has such a band."""
    chose: Bools | None = None
    """Which rows chose the cut of the decision."""
    copies: int = 0
    """Labelled images that have the name and the size of images that the bundle was made with."""
    training: Training = field(default_factory=Training)


NOTHING_MORE = About()


@dataclass(frozen=True)
class Rows:
    """The result rows as arrays of one length; the figures stand on those that are `normal` or `defect`."""

    uris: pa.ChunkedArray
    labels: list[str | None]
    groups: list[str | None]
    score: NDArray[np.float32]
    scored: Bools
    used: Bools
    near: Bools
    """Not used, but of a group that was."""
    roles: NDArray[np.object_]
    normal: Bools
    defect: Bools
    flagged: Bools | None
    """None without a cut."""

    @property
    def evaluated(self) -> Bools:
        return self.normal | self.defect

    @property
    def missing_class(self) -> str | None:
        """Why there are not two classes to compare, or None when there are."""
        if not self.evaluated.any():
            return NO_IMAGE
        return NO_NORMAL if not self.normal.any() else NO_DEFECT if not self.defect.any() else None


def read_rows(results: pa.Table, roles: Sequence[str | None], cut: float | None, about: About) -> Rows:
    """The columns of the results as arrays; images that chose the cut count as neither normal nor defect."""
    if len(roles) != results.num_rows:
        raise ValueError(f"{len(roles)} roles for {results.num_rows} result rows")
    score = float_column(results, "score")
    scored = np.array([status == Status.SCORED for status in results["status"].to_pylist()], dtype=bool)
    refuse_strange(int((scored & ~np.isfinite(score)).sum()), int(scored.sum()))
    flagged = exceeds(score, cut) if about.flagged is None and cut is not None else about.flagged
    labels = results["label"].to_pylist()
    used = np.array([role is not None for role in roles], dtype=bool)
    groups = results["group"].to_pylist()
    free = scored & ~used if about.chose is None else scored & ~used & ~_with_mates(about.chose, groups)
    return Rows(
        uris=results["uri"],
        labels=labels,
        groups=groups,
        score=score,
        scored=scored,
        used=used,
        near=np.zeros(len(used), dtype=bool),
        roles=np.array(roles, dtype=object),
        normal=np.array([is_normal(label) for label in labels], dtype=bool) & free,
        defect=np.array([is_defect(label) for label in labels], dtype=bool) & free,
        flagged=flagged,
    )


def _with_mates(chose: Bools, groups: Sequence[str | None]) -> Bools:
    """The images that chose, and all others of their groups."""
    known = {groups[place] for place in np.flatnonzero(chose).tolist()} - {None}
    found: Bools = chose | np.array([group in known for group in groups], dtype=bool)
    return found


def refuse_strange(strange: int, scored: int) -> None:
    """DataError when some of the scored images have no finite score."""
    if strange:
        raise DataError(f"{strange:,} of {scored:,} scored images have no finite score; `rayae verify` says more.")


def float_column(results: pa.Table, name: str) -> NDArray[np.float32]:
    """A score column as float32, NaN for null."""
    return np.asarray(results[name].to_numpy(zero_copy_only=False), dtype=np.float32)


def without_used_groups(rows: Rows, used_groups: Collection[str]) -> Rows:
    """The rows with images near those of the bundle taken out of the figures, where both classes survive it."""
    known = {*used_groups, *(rows.groups[i] for i in np.flatnonzero(rows.used))} - {None}
    near = np.array([group in known for group in rows.groups], dtype=bool) & ~rows.used
    normal, defect = rows.normal & ~near, rows.defect & ~near
    if normal.any() and defect.any():
        return replace(rows, near=near, normal=normal, defect=defect)
    return replace(rows, near=near)


def group_codes(rows: Rows) -> NDArray[np.intp] | None:
    """A dense number for the group of each evaluated image, its own if it has none; None without groups."""
    chosen = [rows.groups[i] for i in np.flatnonzero(rows.evaluated)]
    if all(group is None for group in chosen):
        return None
    numbers: dict[str | int, int] = {}
    keys: list[str | int] = [place if group is None else group for place, group in enumerate(chosen)]
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.intp)
