"""The part of `rayae calibrate` that calibrates each bundle of a set, on the images of its value."""

from collections.abc import Callable

import pyarrow as pa

from rayae.assignment import refuse_column
from rayae.bundle import Bundle
from rayae.bundle_set import BundleSet
from rayae.errors import ConfigError, DataError, RayaeError
from rayae.settings import RuleSettings
from rayae.terminal import say, show_table, warn
from rayae.verbs.products import products_of

CalibrateOne = Callable[[Bundle, pa.Table], Bundle]


def refuse_one_cut(model: BundleSet, settings: RuleSettings) -> None:
    """ConfigError for one cut for all bundles of a set: each has scores on a scale of its own."""
    if settings.rule == "fixed":
        first = next(iter(model.bundles.values()))
        raise ConfigError(
            f"rule=fixed gives one cut, and each of the {len(model.bundles):,} bundles of {model.uri} has scores on a "
            f"scale of its own; set the cut of one of them, as `rayae calibrate {first.uri} rule=fixed cut=...`."
        )


def calibrate_each(model: BundleSet, table: pa.Table, calibrate_one: CalibrateOne) -> None:
    """Calibrate each bundle of a set; one without images keeps what it has, and is told.

    DataError at the end, with the reasons, when a bundle could not be calibrated; the others are.
    """
    refuse_column(model.column, table.column_names)
    products = products_of(table, model.column)
    others = {value: images.num_rows for value, images in products.items() if value not in model.bundles}
    if others:
        warn(f"{sum(others.values()):,} images have a `{model.column}` without a bundle and calibrate none")
    rows, failed = list[tuple[str, ...]](), dict[str, str]()
    for value, bundle in model.bundles.items():
        if value not in products:
            warn(f"no image has the `{model.column}` {value!r}: its bundle stays as it is")
            rows.append(_row(value, bundle, 0))
            continue
        say(f"\n--- {model.column}={value} ---")
        try:
            rows.append(_row(value, calibrate_one(bundle, products[value]), products[value].num_rows))
        except ConfigError:
            raise  # of the settings, which are those of every bundle
        except RayaeError as error:
            failed[value] = str(error)
            warn(f"{model.column}={value} is not calibrated: {error}")
    show_table(f"{model.uri}", (model.column, "images", "score", "cut", "expected false positives"), rows)
    if failed:
        reasons = "\n".join(f"  {value}: {reason}" for value, reason in failed.items())
        raise DataError(f"{len(failed):,} of {len(model.bundles):,} bundles were not calibrated:\n{reasons}")


def _row(value: str, bundle: Bundle, images: int) -> tuple[str, ...]:
    cut = bundle.threshold
    rate = "-" if cut is None or cut.expected_fpr is None else f"{cut.expected_fpr:.2%}"
    return (value, f"{images:,}", bundle.primary_score, "-" if cut is None else f"{cut.cut:.6g}", rate)
