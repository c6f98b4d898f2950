"""The verb `report`: a run as one page that a person looks at."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from rayae import storage
from rayae.bundle import Bundle
from rayae.bundle_set import open_assigned
from rayae.database import opened, unless_compacted
from rayae.decisions import Decision, place, with_flags
from rayae.distributions import chosen, products_of
from rayae.errors import ConfigError, RayaeError, RunError
from rayae.loader import Loader, images_of
from rayae.maps import StoredMap, stored
from rayae.overview import Judged, Overview
from rayae.page import Products
from rayae.pictures import LONGEST_SIDE, side_of, small, small_peaks
from rayae.reader import Image, Reader
from rayae.records import DRIFT_SHAPE, read_record
from rayae.report import WorstPicture, compose, render
from rayae.result_files import read_ahead
from rayae.run import DRIFT, DRIFT_RECORD, EVALUATION, REPORT, Run
from rayae.settings import ReportSettings
from rayae.terminal import say, warn
from rayae.threshold import Threshold
from rayae.verdicts import FINE

if TYPE_CHECKING:
    from rayae.scorer import Scorer


def report(settings: ReportSettings) -> None:
    """Write the page of a run, or of a decision about it, with the first of its images reconstructed once more."""
    run = Run.open(settings.run)
    usual = storage.join(run.uri, REPORT) if settings.decision is None else place(run, settings.decision, REPORT)
    out = storage.absolute(settings.out or usual)
    if not out.lower().endswith((".html", ".htm")):
        raise ConfigError(f"out={settings.out}: a report is an HTML page; give it a name that ends in .html.")
    if settings.out is not None:
        run.refuse_as_out(out)
    decision = None if settings.decision is None else with_flags(run, settings.decision)
    threshold = run.threshold if decision is None else decision.threshold
    evaluation = run.evaluation(None if decision is None else place(run, decision.id, EVALUATION))
    asked = unless_compacted(run, partial(ask, run, decision, threshold, settings))
    first = asked.shown.slice(0, settings.gallery)
    shown, notes = pictures_of(run, first)
    for note in notes:
        warn(note)
    moved, damage = drifts_of(run)
    page = compose(
        run.uri,
        run.record,
        run.success(),
        asked.overview,
        asked.shown,
        score_name=run.record["primary_score"],
        threshold=threshold,
        decision=decision,
        calibration=run.calibration,
        evaluation=evaluation,
        drifts=moved,
        products=asked.products,
        pictures=shown,
        notes=[*words_of_training(run), *damage, *notes, *notes_on(run, asked.overview, decision, evaluation)],
    )
    storage.write_text(out, render(page))
    say(f"report: {out}")


@dataclass(frozen=True)
class Asked:
    """What the tables of a run answer."""

    overview: Overview
    shown: pa.Table
    products: Products | None


def ask(run: Run, decision: Decision | None, threshold: Threshold | None, settings: ReportSettings) -> Asked:
    """Ask the run in bounded memory; RunError when it has no results yet."""
    column = run.assignment.column
    with opened([("main", run)], settings.memory_bytes) as database:
        judged = Judged(database, None if decision is None else decision.id)
        overview = judged.overview(None if threshold is None else threshold.cut)
        if not overview.images:
            raise RunError(f"{run.uri} has no results yet; `rayae score {run.uri}` scores the rest of it.")
        shown = judged.shown(settings.rows, settings.worst, column)
        return Asked(overview, shown, None if column is None else products(run, judged, column))


def products(run: Run, judged: Judged, column: str) -> Products | None:
    """What each bundle of a set found."""
    assignment, tallies = run.assignment, judged.tallies(column)
    cuts = {value: assignment.bundles[value].threshold for value in chosen(assignment, tallies)}
    scores = {value: judged.scores(cut.cut if cut else None, column, value) for value, cut in cuts.items()}
    return products_of(assignment, run.calibrations, tallies, scores)


def notes_on(
    run: Run, overview: Overview, decision: Decision | None, evaluation: Mapping[str, Any] | None
) -> Iterator[str]:
    """What a reader of the figures has to know."""
    if decision is not None and decision.counts.scored != overview.scored:
        yield (
            f"The decision {decision.id} was made when {decision.counts.scored:,} images were scored, and "
            f"{overview.scored:,} are now: those that came later have no flag. `rayae flag` decides again."
        )
    if evaluation is None and overview.has_labels:
        of = "" if decision is None else f" decision={decision.id}"
        yield (
            f"The images have labels: `rayae evaluate {run.uri}{of}` holds the scores against them, and this page, "
            "written again, then shows precision and recall against the cut."
        )
    used = run.assignment.threshold_id if decision is None else decision.threshold.id
    if evaluation is not None and evaluation.get("threshold_id") != used:
        yield "The evaluation below was made at another cut than the one of this page."


def words_of_training(run: Run) -> Iterator[str]:
    """What the bundle's own training found to be wrong; of a set of bundles nothing."""
    bundle = None if run.assignment.column is not None else bundle_of(run)[0]
    for verdict in [] if bundle is None else bundle.training.get("verdicts", []):
        if verdict["name"] != FINE:
            yield f"The training of the bundle says `{verdict['name']}`. {verdict['sentence']}"


def drifts(run: Run) -> list[dict[str, Any]]:
    """What `drift` wrote about a run in its own directory, the latest first; RunError for a damaged one."""
    folder = storage.join(run.uri, DRIFT)
    uris = [storage.join(folder, name, DRIFT_RECORD) for name in storage.list_names(folder)]
    read = (read_record(uri, DRIFT_SHAPE, f"`rayae drift {run.uri}` writes it anew") for uri in uris)
    return sorted((found for found in read if found is not None), key=lambda one: one["created"], reverse=True)


def drifts_of(run: Run) -> tuple[Sequence[Mapping[str, Any]], list[str]]:
    """What `drift` has written about a run, and what has to be said when that is damaged."""
    try:
        return drifts(run), []
    except RunError as error:
        return [], [f"What `rayae drift` found is left out: {error}"]


def pictures_of(run: Run, rows: pa.Table) -> tuple[list[WorstPicture], list[str]]:
    """The images of rows as the run has kept them, and else read and reconstructed once more; what has to be said."""
    ids, side = rows["image_id"].to_pylist(), side_of(rows.num_rows)
    uris = dict(zip(ids, rows["uri"].to_pylist(), strict=True))
    shown = {image_id: kept(image_id, uris[image_id], one, side) for image_id, one in stored(run, ids)}
    others = rows.filter(pa.array([image_id not in shown for image_id in ids], pa.bool_()))
    notes = list[str]()
    if run.assignment.column is not None:
        again = pictures_of_products(run, others, side)
    else:
        bundle, notes = bundle_of(run) if others.num_rows else (None, notes)
        again = pictures(run, bundle, others, side)
    shown |= {picture.image_id: picture for picture in again}
    return [shown[image_id] for image_id in ids], notes


def kept(image_id: int, uri: str, one: StoredMap, side: int) -> WorstPicture:
    """An image whose maps the run has kept, as small as it is shown."""
    pixels = small(one.original, side), small(one.reconstruction, side)
    return WorstPicture(image_id, uri, *pixels, small_peaks(one.error_map, side))


def pictures_of_products(run: Run, worst: pa.Table, side: int = LONGEST_SIDE) -> list[WorstPicture]:
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
            found = pictures(run, bundle, worst.take(rows), side)
        places |= dict(zip(rows.tolist(), found, strict=True))
    return [places[row] for row in sorted(places)]


def bundle_of(run: Run) -> tuple[Bundle | None, list[str]]:
    """The bundle that scored a run, if it can still be had, and what has to be said when it cannot."""
    try:
        bundle = Bundle.open(run.bundle_uri)
    except RayaeError as error:
        return None, [f"No image can be reconstructed again, since the bundle cannot be opened: {error}"]
    used = run.fingerprint["bundle"]
    if bundle.bundle_id == used:
        return bundle, []
    return None, [
        f"No image can be reconstructed again: the run was scored with the bundle {used}, and {bundle.uri} "
        f"is now {bundle.bundle_id}."
    ]


def pictures(run: Run, bundle: Bundle | None, worst: pa.Table, side: int = LONGEST_SIDE) -> list[WorstPicture]:
    """The images of rows, read and reconstructed a micro-batch at a time and made small, so that they fit into memory.

    `side` is the longest that a picture may have, in pixels. One that cannot be had keeps its place, with the reason.
    """
    rows = [(row["image_id"], row["uri"]) for row in worst.select(["image_id", "uri"]).to_pylist()]
    if bundle is None or not rows:
        return [WorstPicture(image_id, uri) for image_id, uri in rows]
    from rayae.scorer import Scorer

    try:
        scorer = Scorer.open(bundle)
    except RayaeError as error:
        return [WorstPicture(image_id, uri, reason=f"It could not be reconstructed: {error}") for image_id, uri in rows]
    manifest, loader = run.manifest, Loader(Reader(), bundle.preprocess, threads=1)
    found = list[WorstPicture]()
    for first in range(0, len(rows), scorer.micro_batch):
        batch = rows[first : first + scorer.micro_batch]
        images = pa.concat_tables([manifest.read_row(image_id) for image_id, _ in batch])
        again = list(read_ahead(partial(read_again, loader), images_of(images)))
        found += reconstructed(scorer, batch, again, side)
    return found


def read_again(loader: Loader, image: Image) -> NDArray[np.uint8] | str:
    """The pixels of an image, or the reason why they cannot be had."""
    try:
        picture = loader.load_one(image).picture
    except RayaeError as error:
        return f"It could not be read again: {error}"
    return f"It could not be read again: {picture.error}" if picture.pixels is None else picture.pixels


def reconstructed(
    scorer: "Scorer", rows: Sequence[tuple[int, str]], again: Sequence[NDArray[np.uint8] | str], side: int
) -> list[WorstPicture]:
    """Rows, image_id and URI, with what the network makes of their pixels."""
    pixels = [one for one in again if not isinstance(one, str)]
    made, error_maps = scorer.reconstruct(np.stack(pixels)) if pixels else ((), ())
    parts = iter(zip(pixels, made, error_maps, strict=True))
    found = []
    for (image_id, uri), one in zip(rows, again, strict=True):
        if isinstance(one, str):
            found.append(WorstPicture(image_id, uri, reason=one))
        else:
            original, reconstruction, errors = next(parts)
            small_ones = (small(original, side), small(reconstruction, side), small_peaks(errors, side))
            found.append(WorstPicture(image_id, uri, *small_ones))
    return found
