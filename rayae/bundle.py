"""Home of the bundle: a trained model as a directory. No pickle in it, no code run from it, all but the weights light.

    bundle.json              what the model is, with the SHA-256 of itself and of every file below but the card;
                             replaced last and whole
    weights.safetensors      the network's weights, and what the scores need of the training images: statistics, codes
    training.json            the record of the training: settings, epochs, counts
    training_images.parquet  the images it was made with: uri, size, digest of the bytes, group, split
    calibration-ID.parquet   scores and pixel statistics of held-out normal images
    threshold-ID.json        the cut, its rule and its guarantee
    CARD.md                  the same for people, made of the rest; who wants may add to it

The hashes find damage and mix-ups. They are no signature: who can write to the bundle can write new hashes.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from rayae import __version__, storage
from rayae.errors import BundleError, ConfigError, DataError, StorageError
from rayae.preprocess import Preprocess
from rayae.threshold import Threshold

SCHEMA_VERSION = 4
BUNDLE = "bundle.json"
WEIGHTS = "weights.safetensors"
TRAINING = "training.json"
TRAINING_IMAGES = "training_images.parquet"
CARD = "CARD.md"
NAMES = {
    "calibration": re.compile(r"calibration-[0-9a-f]{12}\.parquet"),
    "threshold": re.compile(r"threshold-[0-9a-f]{12}\.json"),
}
"""What these files are called. A bundle names nothing else, so that none can lead out of its directory."""


@dataclass(frozen=True)
class Choice:
    """The primary score, and what speaks for it."""

    score: str
    reason: str
    """In words."""
    auroc: Mapping[str, float]
    """What each score reached, by name; empty when nothing was compared."""

    def to_dict(self) -> dict[str, Any]:
        return {"score": self.score, "reason": self.reason, "auroc": dict(self.auroc)}

    def in_words(self) -> str:
        """The score, the reason, and the others, the best first."""
        others = sorted(((area, name) for name, area in self.auroc.items() if name != self.score), reverse=True)
        told = f"; the others: {', '.join(f'{name} {area:.3f}' for area, name in others)}" if others else ""
        return f"{self.score}, {self.reason}{told}."


@dataclass(frozen=True)
class Bundle:
    """A trained model with what belongs to it; `open` has verified every file against its hash."""

    uri: str
    record: Mapping[str, Any]

    @classmethod
    def exists(cls, uri: str) -> bool:
        """Whether the directory holds a bundle."""
        return storage.exists(storage.join(storage.absolute(uri), BUNDLE))

    @classmethod
    def open(cls, uri: str) -> "Bundle":
        """Open a bundle and verify its hashes.

        ConfigError when there is none, BundleError when a file is not what it was.
        """
        uri = storage.absolute(uri)
        if not cls.exists(uri):
            raise ConfigError(f"{uri} is no bundle: it has no {BUNDLE}; `rayae train images=... out={uri}` makes one.")
        try:
            bundle = cls(uri, storage.read_json(storage.join(uri, BUNDLE)))
            _check_record(bundle)
            for name in bundle.record["files"]:
                bundle.read(name)
            _check_threshold(bundle, bundle.threshold)
        except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
            raise BundleError(f"{uri}: {BUNDLE} is damaged ({type(error).__name__}: {error}).") from error
        except (StorageError, ConfigError, DataError) as error:
            raise BundleError(f"{uri} cannot be opened: {error}") from error
        return bundle

    def read(self, name: str) -> bytes:
        """The bytes of a file that the bundle names, verified at each reading; BundleError when it was changed."""
        digest = self.record["files"][name]
        try:
            data = storage.read_bytes(storage.join(self.uri, name))
        except StorageError as error:
            raise BundleError(f"the bundle lacks a file that it names: {error}") from error
        found = hashlib.sha256(data).hexdigest()
        if found != digest:
            raise BundleError(
                f"{storage.join(self.uri, name)} was changed after the bundle was written: its SHA-256 is "
                f"{found[:12]}, {BUNDLE} says {digest[:12]}; take an undamaged copy of the bundle."
            )
        return data

    @property
    def bundle_id(self) -> str:
        return str(self.record["bundle_id"])

    @property
    def preprocess(self) -> Preprocess:
        return Preprocess.from_dict(self.record["preprocess"])

    @property
    def network(self) -> dict[str, Any]:
        return dict(self.record["network"])

    @property
    def detector(self) -> dict[str, Any]:
        """What is beside the network: task, head, latent, region, standard."""
        return dict(self.record["detector"])

    @property
    def scores(self) -> tuple[str, ...]:
        return tuple(self.record["scores"])

    @property
    def primary_score(self) -> str:
        return str(self.record["primary_score"])

    @property
    def choice(self) -> Choice:
        """Why the primary score is what it is."""
        return Choice(**self.record["choice"])

    @property
    def precision(self) -> str:
        return str(self.record["precision"])

    @cached_property
    def threshold(self) -> Threshold | None:
        name = self.record["threshold"]
        return None if name is None else Threshold.from_dict(json.loads(self.read(name)))

    @property
    def training(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.read(TRAINING))
        return found

    def weights(self) -> bytes:
        """The bytes of the safetensors file."""
        return self.read(WEIGHTS)

    def training_images(self) -> pa.Table:
        """The images that the model was made with: uri, size_bytes, digest, group, split."""
        return self._table(TRAINING_IMAGES)

    def calibration_table(self) -> pa.Table | None:
        """Scores and pixel statistics of the calibration images, one row an image, or None before calibration.

        Where `chose_score` is true are the labelled images by which the score was chosen, defects and normal ones; the
        others, all normal, set the cut.
        """
        name = self.record["calibration"]
        return None if name is None else self._table(name)

    @cached_property
    def calibration(self) -> NDArray[np.float32] | None:
        """Primary scores of the normal calibration images, ascending, or None before calibration."""
        table = self.calibration_table()
        if table is None:
            return None
        return np.sort(table.filter(pc.invert(table["chose_score"]))["score"].to_numpy().astype(np.float32))

    def _table(self, name: str) -> pa.Table:
        # Not pq.read_table: of an open file it leaves threads behind, and 1 process in 4 that then ends does so by
        # SIGABRT (github.com/apache/arrow/issues/50482; pyarrow 26.0.1).
        return pq.ParquetFile(io.BytesIO(self.read(name)), pre_buffer=False).read(use_threads=False)


def create(
    uri: str,
    *,
    weights: bytes,
    network: Mapping[str, Any],
    detector: Mapping[str, Any],
    preprocess: Preprocess,
    scores: Sequence[str],
    choice: Choice,
    precision: str,
    training: Mapping[str, Any],
    training_images: pa.Table,
) -> Bundle:
    """Write a new bundle, without calibration and threshold; `bundle.json` comes last, so a cut write is no bundle.

    `training` must have what the card says: `images` (counts by split), `best_epoch`, `epochs_done`. BundleError when
    there is a bundle already: a new one over it would be broken until its last file is there.
    """
    uri = storage.absolute(uri)
    if Bundle.exists(uri):
        raise BundleError(f"{uri} holds a bundle already; write the new one into another directory, or remove it.")
    files = {
        WEIGHTS: weights,
        TRAINING: _json(training),
        TRAINING_IMAGES: _parquet(training_images),
    }
    for name, data in files.items():
        storage.write_bytes(storage.join(uri, name), data)
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "rayae": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "network": dict(network),
        "detector": dict(detector),
        "preprocess": preprocess.to_dict(),
        "scores": list(scores),
        "primary_score": choice.score,
        "choice": choice.to_dict(),
        "precision": precision,
        "calibration": None,
        "threshold": None,
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in files.items()},
    }
    return _commit(uri, record | {"bundle_id": bundle_id(record)})


def bundle_id(record: Mapping[str, Any]) -> str:
    """Twelve hex digits of what decides the scores: weights, network, detector, preprocess, scores and precision."""
    decides = {key: record[key] for key in ("network", "detector", "preprocess", "scores", "precision")}
    decides["weights"] = record["files"][WEIGHTS]
    return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]


def seal(record: Mapping[str, Any]) -> str:
    """SHA-256, in hex, of all that the record says but this itself."""
    rest = {key: value for key, value in record.items() if key != "seal"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True).encode()).hexdigest()


def calibrated(
    bundle: Bundle, calibration: pa.Table | None, threshold: Threshold | None, choice: Choice | None = None
) -> Bundle:
    """The bundle with these calibration scores and this threshold in place of those it had; the old files go last.

    A `choice` of the primary score replaces that which it had.
    """
    if choice is not None:
        chosen = {"primary_score": choice.score, "choice": choice.to_dict()}
        bundle = Bundle(bundle.uri, {**bundle.record, **chosen})
    _check_threshold(bundle, threshold)
    files, record = dict(bundle.record["files"]), dict(bundle.record)
    stale = [record[kind] for kind in NAMES if record[kind] is not None]
    for kind, ending, data in (
        ("calibration", "parquet", None if calibration is None else _parquet(calibration)),
        ("threshold", "json", None if threshold is None else _json(threshold.to_dict())),
    ):
        files.pop(record[kind], None)
        record[kind] = None
        if data is not None:
            digest = hashlib.sha256(data).hexdigest()
            record[kind] = f"{kind}-{digest[:12]}.{ending}"
            files[record[kind]] = digest
            storage.write_bytes(storage.join(bundle.uri, record[kind]), data)
    changed = _commit(bundle.uri, record | {"files": files})
    for name in stale:
        if name not in files:
            storage.remove(storage.join(bundle.uri, name))
    return changed


def _commit(uri: str, record: dict[str, Any]) -> Bundle:
    bundle = Bundle(uri, record | {"seal": seal(record)})
    text = card(bundle)
    storage.write_json(storage.join(uri, BUNDLE), bundle.record)
    storage.write_text(storage.join(uri, CARD), text)
    return bundle


def card(bundle: Bundle) -> str:
    """The bundle in words."""
    record, threshold, training = bundle.record, bundle.threshold, bundle.training
    preprocess, images = record["preprocess"], training["images"]
    lines = [
        f"# Bundle {bundle.bundle_id}",
        "",
        f"Made {record['created']} by rayae {record['rayae']}.",
        "",
        f"- Input: {preprocess['mode']}, {preprocess['height']} x {preprocess['width']} pixels.",
        f"- Trained on {images.get('train', 0):,} normal images; {images.get('validation', 0):,} others chose the "
        f"epoch, {training['best_epoch']} of {training['epochs_done']}.",
        f"- Task: {record['detector']['task']}, by a network of the kind {record['network']['kind']}"
        f"{'' if record['detector']['head'] is None else ' and a head that learnt where synthetic defects were'}.",
        f"- Scores: {', '.join(bundle.scores)}. The network computes in {bundle.precision}.",
        f"- Primary score: {bundle.choice.in_words()}",
        f"- Threshold: {_threshold_in_words(threshold)}",
        "",
        "A score says how unlike the training images a picture is, not what is wrong with it. It holds for pictures",
        "taken as the training images were.",
    ]
    return "\n".join(lines) + "\n"


def _threshold_in_words(threshold: Threshold | None) -> str:
    if threshold is None:
        return "none; `rayae calibrate` chooses one."
    named = f"{threshold.score} above {threshold.cut:.6g} is an anomaly (`threshold_id` {threshold.id})"
    return f"{named}. {threshold.guarantee}"


def _check_record(bundle: Bundle) -> None:
    """BundleError, or what Python raises for a value of another shape, when `bundle.json` is not as it was written."""
    record, path = bundle.record, storage.join(bundle.uri, BUNDLE)
    if record["schema_version"] != SCHEMA_VERSION:
        raise BundleError(
            f"{bundle.uri} has the schema version {record['schema_version']!r}, and this rayae reads {SCHEMA_VERSION}; "
            "open it with the version of rayae that wrote it, or train again."
        )
    named = {kind: record[kind] for kind in NAMES if record[kind] is not None}
    foreign = [name for kind, name in named.items() if not NAMES[kind].fullmatch(name)]
    foreign += sorted(set(record["files"]) - {WEIGHTS, TRAINING, TRAINING_IMAGES, *named.values()})
    if foreign:
        raise BundleError(f"{path} names {foreign[0]!r}, which is no file of a bundle; do not use this bundle.")
    missing = [name for name in (WEIGHTS, TRAINING, TRAINING_IMAGES, *named.values()) if name not in record["files"]]
    if missing:
        raise BundleError(f"{path} has no hash of {missing[0]}; take an undamaged copy of the bundle.")
    if record["bundle_id"] != bundle_id(record) or record["seal"] != seal(record):
        raise BundleError(
            f"{path} was changed after it was written: its hash is another; take an undamaged copy of the bundle."
        )
    for part in ("network", "detector"):
        if not isinstance(record[part], Mapping):
            raise BundleError(
                f"{path} is damaged: its {part} is {record[part]!r}, and not what a {part} is built from."
            )
    if bundle.choice.score != bundle.primary_score:
        raise BundleError(f"{path} is damaged: its choice is of another score than its primary one.")
    if bundle.primary_score not in bundle.scores or bundle.preprocess.to_dict() != record["preprocess"]:
        raise BundleError(f"{path} is damaged: its primary score or its preprocess is not one that it can have.")


def _check_threshold(bundle: Bundle, threshold: Threshold | None) -> None:
    belongs = (bundle.bundle_id, bundle.primary_score)
    if threshold is not None and (threshold.bundle_id, threshold.score) != belongs:
        raise BundleError(
            f"the threshold is a cut on {threshold.score} of the bundle {threshold.bundle_id}, and this is the bundle "
            f"{bundle.bundle_id} with the primary score {bundle.primary_score}; calibrate it again."
        )


def _json(value: Mapping[str, Any]) -> bytes:
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _parquet(table: pa.Table) -> bytes:
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()
