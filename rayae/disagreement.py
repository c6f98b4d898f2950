"""Home of the page of the images on which two runs disagree most, with what each of their bundles makes of them."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from rayae import __version__
from rayae.gallery import link
from rayae.histogram import number
from rayae.page import DisagreementPage, Shown, Worst
from rayae.pictures import INFERNO
from rayae.report import WorstPicture, scale_of, shown
from rayae.statistics import percent


def furthest(rows: pa.Table, each: int) -> pa.Table:
    """Of rows that are in order the first that A ranks higher, so many, then the first that B ranks higher."""
    return pa.concat_tables(
        [rows.filter(higher(rows["decades"], 0)).slice(0, each) for higher in (pc.greater, pc.less)]
    )


def compose(
    names: tuple[str, str],
    rows: pa.Table,
    pictures: tuple[Sequence[WorstPicture], Sequence[WorstPicture]],
    notes: Sequence[str],
) -> DisagreementPage:
    """The page of rows that `furthest` gave, with their pictures by the bundles of A and of B, in their order."""
    scale = scale_of([*pictures[0], *pictures[1]])
    higher, lower = list[Worst](), list[Worst]()
    for row, a, b in zip(rows.to_pylist(), *pictures, strict=True):
        side = higher if row["decades"] > 0 else lower
        side.append(_card(len(side) + 1, row, a, b, scale))
    return DisagreementPage(
        names=names,
        notes=tuple(notes),
        higher=tuple(higher),
        lower=tuple(lower),
        colours=", ".join(INFERNO),
        brightest=None if scale is None else number(scale),
        version=__version__,
    )


def _card(rank: int, row: dict[str, Any], a: WorstPicture, b: WorstPicture, scale: float | None) -> Worst:
    told = (
        f"{name} {number(row[f'score_{name.lower()}'])}, among the highest {percent(row[f'top_{name.lower()}'])}"
        for name in "AB"
    )
    return Worst(
        rank=rank,
        image_id=row["image_id_a"],
        uri=row["uri"],
        score="; ".join(told),
        p_value=None,
        flagged=None,
        label=row["label"],
        group=row.get("group"),
        link=link(row["uri"]),
        pictures=tuple(
            Shown(f"{picture.name}, {name}", picture.source)
            for name, own in (("A", a), ("B", b))
            for picture in shown(own, scale)
        ),
        reason=" ".join(dict.fromkeys(one.reason for one in (a, b) if one.reason)) or None,
    )
