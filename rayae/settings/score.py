"""Home of the settings of `score` and of the verbs that work on a run."""

from typing import Annotated, Literal

from pydantic import Field

from rayae.settings.base import Images, OpenFraction
from rayae.settings.index import Labelled
from rayae.settings.runner import RunnerSettings
from rayae.settings.verb import VerbSettings


class MapSettings(RunnerSettings):
    maps: Literal["none", "flagged"] = "none"
    """Whether the run keeps original, reconstruction and error map of images that are flagged, for the report."""
    max_maps: Annotated[int, Field(gt=0, le=1_000_000)] = 1000
    """Images whose maps are kept at most, each chunk its share: 15 to 60 kB an image of 128 x 128 pixels."""

    @property
    def most_maps(self) -> int:
        return self.max_maps if self.maps == "flagged" else 0


class ScoreSettings(Labelled, MapSettings):
    images: Images | None = None
    """The images, as everywhere: a folder, a glob, a manifest, or a list of URIs."""
    bundle: str | None = None
    """The bundle that scores: network, preprocess, scores and threshold come from it and cannot be set here. Or a set
    of bundles, as `train per_group=` writes it: each image is scored by the bundle of its value."""
    out: str
    """The run directory; an unfinished run of the same plan is resumed, a finished one is left as it is."""
    chunk_images: Annotated[int, Field(gt=0)] | None = None
    """Images a chunk; default: cut by cost, 32 chunks or more where there are enough images, about 2,000 at most."""
    micro_batch: Annotated[int, Field(gt=0, le=65536)] | None = None
    """Images that go through the network at once; default: 32 on a CPU, 256 on a GPU, fewer of large pictures. The last
    batch of each bundle in a chunk is filled up, so take fewer where a set has many bundles and their images are mixed:
    with 15 that is 12 % more to compute in batches of 32, and 92 % in batches of 256."""


class RunVerbSettings(VerbSettings):
    run: str
    """The run directory."""


class VerifySettings(RunVerbSettings):
    pass


class RetrySettings(MapSettings):
    run: str
    """The run directory."""
    status: str | list[str] = ["throttled", "timeout"]
    """Statuses of the images that are tried again: a list, or names with commas between them."""
    micro_batch: Annotated[int, Field(gt=0, le=65536)] | None = None
    """Images that go through the network at once; default: as in the run."""


class StatusSettings(RunVerbSettings):
    watch: bool = False
    """Whether it goes on, with a line every few seconds, until the run is finished."""


class CompactSettings(RunVerbSettings):
    file_bytes: Annotated[int, Field(ge=1024**2)] = 128 * 1024**2
    """Size of the files that are written, in bytes, about: few requests for a large run, and still a file to copy."""


class EvaluateSettings(RunVerbSettings):
    labels: str | None = None
    """Labels for a run whose manifest had none: a CSV with `path`, `label` and, if known, `group`; or `folder`."""
    decision: str | None = None
    """Decision of `rayae flag` whose cut is evaluated; default: the cut that the run was planned with."""
    confidence: OpenFraction = 0.95
    """Confidence of the intervals."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples behind the intervals of AUROC and average precision."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the bootstrap."""
