"""Home of the survey: one pass over the rows of a run that counts what rules for a cut ask of them.

It holds some files at a time, sums and the labelled rows where they are asked for, so that a run of 10^8 rows fits, and
the order of its files does not matter.
"""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayae.cuts.labelled import Labelled, keys_of
from rayae.discoveries import Counts, histogram
from rayae.errors import DataError
from rayae.manifest import is_defect
from rayae.results import Status
from rayae.run import Run
from rayae.threshold import Scores

COLUMNS = ("image_id", "status", "score")
LABELS = ("uri", "label", "group")
MOD = 2**64
LABELLED_AT_MOST = 5_000_000
"""140 bytes each while a rule works on them."""


@dataclass(frozen=True)
class Survey:
    """What the rows of a run come to."""

    images: int
    scored: int
    digest: str
    """16 hex digits of all pairs of `image_id` and score, whatever their order."""
    ranks: Counts
    """How many scored images have the rank 1, 2, ..., n + 1 among the calibration scores."""
    labelled: Labelled
    """The scored images with a label, without those that are left out."""
    left_out: int
    """How many labelled ones were."""


def survey(
    run: Run,
    calibration: Scores,
    *,
    labels: bool,
    leave_out: frozenset[str] = frozenset(),
    leave_out_groups: frozenset[str] = frozenset(),
) -> Survey:
    """Go through the rows of a run once; with `labels` gather the labelled ones, but those of URIs and groups left out.

    DataError when a scored row has no finite score, and for more labelled rows than fit.
    """
    images = scored = left_out = known = 0
    digest, ranks = 0, np.zeros(len(calibration) + 1, np.int64)
    gathered = [Labelled(np.empty(0, np.float32), np.empty(0, bool), np.empty(0))]
    for table in run.result_tables([*COLUMNS, *(LABELS if labels else ())]):
        images += table.num_rows
        digest = (digest + digest_of(table)) % MOD
        rows = scored_rows(table)
        scored += rows.num_rows
        ranks += histogram(rows["score"].to_numpy(), calibration)
        if labels:
            own, strangers = labelled_rows(rows, leave_out, leave_out_groups)
            left_out += strangers
            gathered.append(own)
            known += len(own.scores)
            if known > LABELLED_AT_MOST:
                raise DataError(
                    f"{run.uri} has more than {LABELLED_AT_MOST:,} labelled images, and rules that choose by labels "
                    "hold all of them in memory; score a part as a run of its own, and take its cut by rule=fixed."
                )
    return Survey(images, scored, f"{digest:016x}", ranks, joined(gathered), left_out)


def digest_of(table: pa.Table) -> int:
    """The sum, modulo 2^64, of a mixed number for each row's `image_id` and score (the finaliser of SplitMix64)."""
    ids = table["image_id"].to_numpy().astype(np.uint64)
    scores = table["score"].to_numpy(zero_copy_only=False).astype(np.float32)
    scores[np.isnan(scores)] = np.nan  # of one pattern of bits
    mixed = (ids << np.uint64(32)) ^ scores.view(np.uint32).astype(np.uint64)
    mixed += np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return int((mixed ^ (mixed >> np.uint64(31))).sum(dtype=np.uint64))


def scored_rows(table: pa.Table) -> pa.Table:
    """The rows that are scored; DataError when one of them has no finite score."""
    rows = table.filter(pc.equal(table["status"], Status.SCORED.value))
    strange = rows.num_rows - int(np.isfinite(rows["score"].to_numpy(zero_copy_only=False)).sum())
    if strange:
        raise DataError(
            f"{strange:,} scored images of a file have no finite score, so no cut can judge them; `rayae verify` "
            "says which."
        )
    return rows


def labelled_rows(rows: pa.Table, leave_out: frozenset[str], groups: frozenset[str]) -> tuple[Labelled, int]:
    """The labelled ones of scored rows, and how many of them are left out."""
    rows = rows.filter(pc.is_valid(rows["label"]))
    pairs = zip(rows["uri"].to_pylist(), rows["group"].to_pylist(), strict=True)
    kept = np.array([uri not in leave_out and group not in groups for uri, group in pairs], dtype=bool)
    names = pc.coalesce(rows["group"], rows["uri"]).to_pylist()
    found = Labelled(
        rows["score"].to_numpy().astype(np.float32),
        np.array([is_defect(label) for label in rows["label"].to_pylist()], dtype=bool),
        keys_of(names),
    )
    return found.where(kept), len(kept) - int(kept.sum())


def joined(parts: list[Labelled]) -> Labelled:
    """All the labelled rows, in an order of their own: that of the files does not matter."""
    scores, is_defect, keys = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "is_defect", "keys")
    )
    order = np.lexsort((is_defect, keys, scores))
    return Labelled(scores[order], is_defect[order], keys[order])
