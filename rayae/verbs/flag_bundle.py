"""What `flag`, `compare` and `drift` ask the bundle of a run: which images it was made with, and their groups."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from rayae.assignment import GROUP
from rayae.bundle import Bundle
from rayae.errors import ConfigError, RayaeError, RunError
from rayae.run import Run
from rayae.terminal import warn
from rayae.threshold import Scores
from rayae.verbs.evaluate_rows import used_images


@dataclass(frozen=True)
class Used:
    """Images that the bundle was made with, which can tell nothing of new ones, nor can others of their groups."""

    uris: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()


def used_by(run: Run) -> Used:
    """What the bundle of a run was trained and calibrated with; RunError when it is another by now."""
    used = used_images(bundle_of(run))
    return Used(frozenset(used["uri"].to_pylist()), frozenset(used[GROUP].drop_null().to_pylist()))


def groups_of(run: Run) -> int | None:
    """Of how many groups the calibration images are; None where no group is known, or nobody can tell any more."""
    if run.calibration is None:
        return None
    try:
        groups = _calibration(run)[GROUP]
    except RayaeError as error:
        warn(f"how many groups the calibration images are of is not known: {error}")
        return None
    return len(groups.drop_null().unique()) or None


def calibration_by_group(run: Run) -> dict[str, Scores]:
    """The calibration scores, ascending, by group; ConfigError when no calibration image has one.

    RunError when the bundle is another by now, or was calibrated again.
    """
    table = _calibration(run)
    table = table.filter(pc.fill_null(pc.not_equal(table[GROUP], ""), False))
    if table.num_rows == 0:
        raise ConfigError(
            f"per_group=true needs calibration images with a `group`, and none of {run.bundle_uri} has one: calibrate "
            "it on images with a CSV that has `path`, `label` and `group` and score again, or leave per_group out."
        )
    names, scores = np.array(table[GROUP].to_pylist()), table["score"].to_numpy().astype(np.float32)
    return {str(name): np.sort(scores[names == name]) for name in np.unique(names)}


def bundle_of(run: Run) -> Bundle:
    """The bundle of a run; RunError when it is not the one that its rows were scored with."""
    bundle, used = Bundle.open(run.bundle_uri), run.fingerprint["bundle"]
    if bundle.bundle_id != used:
        raise RunError(
            f"{run.uri} was scored with the bundle {used}, but {bundle.uri} is now {bundle.bundle_id}; put the former "
            "back, or score again into a new directory."
        )
    return bundle


def refuse_calibrated_again(run: Run, bundle: Bundle) -> None:
    """RunError when the calibration of the bundle is not that of the run any more."""
    if bundle.record["calibration"] != run.fingerprint["calibration"]:
        raise RunError(
            f"{bundle.uri} was calibrated again since {run.uri} was planned, so which images and groups the run was "
            "calibrated with is not known any more; score again into a new directory."
        )


def _calibration(run: Run) -> pa.Table:
    """The normal calibration images of a run, as its bundle keeps them."""
    bundle = bundle_of(run)
    table = bundle.calibration_table()
    refuse_calibrated_again(run, bundle)
    assert table is not None, "the run has a calibration, and it is the bundle's"
    return table.filter(pc.invert(table["chose_score"]))
