"""Home of the images nearest to a cut, on both of its sides: they show what a cut that is a little off would change."""

from collections.abc import Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayae import __version__
from rayae.flags import Cuts, columns_of, flag_table, parts
from rayae.histogram import number
from rayae.page import BorderlinePage
from rayae.pictures import INFERNO
from rayae.report import WorstPicture, cards, scale_of
from rayae.run import Run
from rayae.threshold import Threshold

DISTANCE = "distance"


def nearest(run: Run, cuts: Cuts, each: int) -> pa.Table:
    """The rows nearest to their cut: so many that it flags, and so many that it does not, the nearest first.

    They have image_id, uri, label, score, p_value and is_anomaly. Of equal ones the first in the manifest are taken,
    whatever the order of the files.
    """
    kept = {True: list[pa.Table](), False: list[pa.Table]()}
    for rows in run.result_tables(columns_of(cuts)):
        flags = flag_table(rows, cuts).append_column(DISTANCE, pa.array(_distances(rows, cuts)))
        for side, tables in kept.items():
            own = flags.filter(pc.equal(flags["is_anomaly"], side))
            tables[:] = [_first(pa.concat_tables([*tables, own]), each, is_flagged=side)]
    found = pa.concat_tables([*kept[True], *kept[False]]).drop_columns(DISTANCE)
    manifest = run.manifest
    about = [manifest.read(0, 0), *(manifest.read(image_id, 1) for image_id in found["image_id"].to_pylist())]
    listed = pa.concat_tables(about)
    return found.append_column("uri", listed["uri"]).append_column("label", listed["label"])


def _distances(rows: pa.Table, cuts: Cuts) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Of each score from its cut, NaN without a score."""
    distances = np.zeros(rows.num_rows)
    scores = rows["score"].to_numpy(zero_copy_only=False).astype(np.float64)
    for value, places in parts(rows, cuts):
        distances[places] = np.abs(scores[places] - cuts[value].threshold.cut)
    return distances


def _first(rows: pa.Table, count: int, *, is_flagged: bool) -> pa.Table:
    """By distance; by score where float64 cannot tell distances, as from a cut that is above every score."""
    by_score = "ascending" if is_flagged else "descending"
    order = [(DISTANCE, "ascending"), ("score", by_score), ("image_id", "ascending")]
    return rows.sort_by(order).slice(0, count)


def compose(
    run: str,
    decision: str,
    threshold: Threshold,
    rows: pa.Table,
    pictures: Sequence[WorstPicture],
    notes: Sequence[str],
) -> BorderlinePage:
    """The page of rows that `nearest` gave, with a picture of each, in their order."""
    flagged = rows["is_anomaly"].to_pylist()
    sides: Mapping[bool, list[WorstPicture]] = {True: [], False: []}
    for side, picture in zip(flagged, pictures, strict=True):
        sides[side].append(picture)
    scale = scale_of(pictures)
    return BorderlinePage(
        name=run.rstrip("/").rsplit("/", 1)[-1],
        decision=decision,
        headline=f"{len(sides[True]):,} flagged images and {len(sides[False]):,} that are not, nearest to the cut",
        guarantee=threshold.guarantee,
        notes=tuple(notes),
        above=cards(sides[True], rows, scale),
        below=cards(sides[False], rows, scale),
        colours=", ".join(INFERNO),
        brightest=None if scale is None else number(scale),
        version=__version__,
    )
