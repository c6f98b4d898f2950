"""Home of the gallery of a report: its rows as the page sorts and filters them, and where an image can be opened."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from rayae.histogram import number
from rayae.labels import IN_AN_ARCHIVE
from rayae.overview import Overview
from rayae.terminal import printable

IN_URLS = ":/?#[]@!$&'()*+,;=%~"
"""Characters of a URL that stand in it as they are."""


def link(uri: str) -> str | None:
    """Where a browser opens an image: a page of the web, or a file of this machine; None for all else.

    A browser cannot open `s3://` and its like, nor a member of an archive, and what has another scheme may be no
    address at all.
    """
    if re.search(IN_AN_ARCHIVE, uri):
        return None
    if uri.lower().startswith(("http://", "https://")):
        return quote(uri, safe=IN_URLS, errors="surrogateescape")
    if uri.startswith("/"):
        return "file://" + quote(uri, safe="/", errors="surrogateescape")
    return None


def rows_of(shown: pa.Table) -> list[dict[str, Any]]:
    """The rows as the script of the page reads them, which draws those that have no pictures."""
    return [_row(row) for row in shown.to_pylist()]


def _row(row: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "uri": spelt_out(row["uri"]),
        "link": link(row["uri"]),
        "group": None if row["group"] is None else spelt_out(row["group"]),
        "label": None if row["label"] is None else spelt_out(row["label"]),
        "score": row["score"],
        "p": row["p_value"],
        "flagged": row["is_anomaly"],
        "words": [number(row["score"]), p_words(row["p_value"])],
    }


def spelt_out(text: str) -> str:
    """Text from outside on one line, with what cannot be seen as escapes."""
    return printable(text).replace("\n", "\\n")


def p_words(p_value: float | None) -> str | None:
    """A p-value in two digits that count."""
    return None if p_value is None else f"{p_value:.2g}"


def title(overview: Overview, shown: pa.Table) -> str:
    """What the gallery holds, in a few words."""
    flagged = sum(row is True for row in shown["is_anomaly"].to_pylist())
    others = shown.num_rows - flagged
    if not flagged:
        return "The highest score" if others == 1 else f"The {others:,} highest scores"
    all_of_them = "" if flagged == overview.flagged else f" of {overview.flagged:,}"
    more = f", and {others:,} more of the highest scores" if others else ""
    return f"{flagged:,}{all_of_them} flagged {'image' if flagged == 1 else 'images'}{more}"


def left_out(overview: Overview, shown: pa.Table, cards: int, pictures: int, question: str) -> list[str]:
    """What the gallery does not show, a sentence each.

    Of the rows `cards` have a card, `pictures` of these a picture; `question` is the command that lists all flagged
    images.
    """
    lacking = overview.flagged - sum(row is True for row in shown["is_anomaly"].to_pylist())
    found = []
    if lacking:
        images = "flagged image is" if lacking == 1 else "flagged images are"
        found.append(
            f"{lacking:,} {images} not on this page, which holds {shown.num_rows:,} rows (`rows=`); `{question}` "
            "lists all."
        )
    if cards < shown.num_rows:
        found.append(f"{cards:,} of {shown.num_rows:,} rows are shown with pictures; `gallery=` says how many may be.")
    if pictures < cards:
        found.append(f"{cards - pictures:,} of these pictures could not be had.")
    return found
