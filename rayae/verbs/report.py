"""The verb `report`: a run as one page that a person looks at."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rayae import storage
from rayae.archives import page_of
from rayae.bundle import Bundle
from rayae.bundle_set import open_assigned
from rayae.distributions import products_of
from rayae.errors import ConfigError, RayaeError
from rayae.loader import WHERE
from rayae.pictures import small, small_peaks
from rayae.reader import Image, Reader
from rayae.report import COLUMNS, WorstPicture, compose, render
from rayae.run import REPORT, Run
from rayae.settings import ReportSettings
from rayae.terminal import say, warn

if TYPE_CHECKING:
    from rayae.scorer import Scorer


def report(settings: ReportSettings) -> None:
    """Write the page of a run, with its worst images read and reconstructed once more."""
    run = Run.open(settings.run)
    out = storage.absolute(settings.out or storage.join(run.uri, REPORT))
    if not out.lower().endswith((".html", ".htm")):
        raise ConfigError(f"out={settings.out}: a report is an HTML page; give it a name that ends in .html.")
    column = run.assignment.column
    results = run.results([*COLUMNS, *([] if column is None else [column])])
    if column is None:
        bundle, notes = bundle_of(run)
        shown = pictures(run, bundle, highest(results, settings.worst))
    else:
        shown, notes = pictures_of_products(run, highest_of_each(run, results, settings.worst)), []
    for note in notes:
        warn(note)
    page = compose(
        run.uri,
        run.record,
        run.success(),
        results,
        score_name=run.record["primary_score"],
        threshold=run.threshold,
        calibration=run.calibration,
        evaluation=run.evaluation(),
        products=products_of(run, results),
        pictures=shown,
        notes=notes,
    )
    storage.write_text(out, render(page))
    say(f"report: {out}")


def highest(results: pa.Table, count: int) -> pa.Table:
    """The rows with the highest scores, highest first; of equal scores the first in the manifest."""
    scores = results["score"].to_numpy(zero_copy_only=False)
    scored = np.flatnonzero(np.isfinite(scores))
    return results.take(scored[np.argsort(-scores[scored], kind="stable")[:count]])


def highest_of_each(run: Run, results: pa.Table, count: int) -> pa.Table:
    """The rows with the highest scores of their bundle: the highest of each, then the second of each, and so on.

    Scores of different bundles are not on one scale, so no product can push the others from the page.
    """
    parts = run.assignment.parts(results)
    tables = [highest(results.take(rows), count) for value, rows in parts if value is not None]
    ranks = np.concatenate([np.empty(0, np.int64), *(np.arange(table.num_rows) for table in tables)])
    return pa.concat_tables([results.slice(0, 0), *tables]).take(np.argsort(ranks, kind="stable")[:count])


def pictures_of_products(run: Run, worst: pa.Table) -> list[WorstPicture]:
    """As `pictures`, each by the bundle of its value; one that cannot be had costs the pictures of its own rows."""
    places = dict[int, WorstPicture]()
    for value, rows in run.assignment.parts(worst):
        if value is None:
            continue
        try:
            bundle = open_assigned(run.bundle_uri, run.assignment.bundles[value], run.uri)
        except RayaeError as error:
            own = [(row["image_id"], row["uri"]) for row in worst.take(rows).to_pylist()]
            reason = f"It could not be reconstructed: {error}"
            found = [WorstPicture(image_id, uri, reason=reason) for image_id, uri in own]
        else:
            found = pictures(run, bundle, worst.take(rows))
        places |= dict(zip(rows.tolist(), found, strict=True))
    return [places[row] for row in sorted(places)]


def bundle_of(run: Run) -> tuple[Bundle | None, list[str]]:
    """The bundle that scored a run, if it can still be had, and what has to be said when it cannot."""
    try:
        bundle = Bundle.open(run.bundle_uri)
    except RayaeError as error:
        return None, [f"There are no pictures on this page, since the bundle cannot be opened: {error}"]
    used = run.fingerprint["bundle"]
    if bundle.bundle_id == used:
        return bundle, []
    return None, [
        f"There are no pictures on this page: the run was scored with the bundle {used}, and {bundle.uri} "
        f"is now {bundle.bundle_id}."
    ]


def pictures(run: Run, bundle: Bundle | None, worst: pa.Table) -> list[WorstPicture]:
    """The worst images, read and reconstructed one at a time and made small, so that they fit into memory."""
    rows = [(row["image_id"], row["uri"]) for row in worst.select(["image_id", "uri"]).to_pylist()]
    if bundle is None or not rows:
        return [WorstPicture(image_id, uri) for image_id, uri in rows]
    from rayae.scorer import Scorer

    try:
        scorer = Scorer.open(bundle)
    except RayaeError as error:
        return [WorstPicture(image_id, uri, reason=f"It could not be reconstructed: {error}") for image_id, uri in rows]
    return [picture(run, bundle, scorer, image_id, uri) for image_id, uri in rows]


def picture(run: Run, bundle: Bundle, scorer: "Scorer", image_id: int, uri: str) -> WorstPicture:
    """One image with its reconstruction and error map, or with the reason why they cannot be had."""
    listed = run.manifest.read(image_id, 1).select(WHERE).to_pylist()[0]
    try:
        fetched = Reader().read(Image(*(listed[name] for name in WHERE)))
    except RayaeError as error:
        return WorstPicture(image_id, uri, reason=f"It could not be read again: {error}")
    if fetched.data is None:
        return WorstPicture(image_id, uri, reason=f"It could not be read again: {fetched.error}")
    decoded = bundle.preprocess.decode(fetched.data, page_of(listed["place"]))
    if decoded.pixels is None:
        return WorstPicture(image_id, uri, reason=f"It could not be decoded again: {decoded.error}")
    made, error_maps = scorer.reconstruct(np.stack([decoded.pixels]))
    return WorstPicture(image_id, uri, small(decoded.pixels), small(made[0]), small_peaks(error_maps[0]))
