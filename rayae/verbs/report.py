"""The verb `report`: a run as one page that a person looks at."""

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from rayae import storage
from rayae.archives import page_of
from rayae.bundle import Bundle
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
    results = run.results(COLUMNS)
    bundle, notes = bundle_of(run)
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
        pictures=pictures(run, bundle, highest(results, settings.worst)),
        notes=notes,
    )
    storage.write_text(out, render(page))
    say(f"report: {out}")


def highest(results: pa.Table, count: int) -> pa.Table:
    """The rows with the highest scores, highest first; of equal scores the first in the manifest."""
    scores = results["score"].to_numpy(zero_copy_only=False)
    scored = np.flatnonzero(np.isfinite(scores))
    return results.take(scored[np.argsort(-scores[scored], kind="stable")[:count]])


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
