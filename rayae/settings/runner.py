"""Home of the settings of the verbs that read images with workers."""

from typing import Annotated, Literal

from pydantic import Field

from rayae.settings.base import Fraction, Moment, Placement, Settings
from rayae.settings.verb import VerbSettings


class ReaderSettings(Settings):
    max_bytes: Annotated[int, Field(gt=0, lt=2**62)] = 256 * 1024**2
    """Largest file that is read, in bytes; a larger one is `too_large`, before memory is taken for it."""
    threads: Annotated[int, Field(gt=0)] | None = None
    """Threads of one worker that decode, and read disks; default: its CPUs and one more, which waits for the disk."""
    concurrency: Annotated[int, Field(gt=0, le=1024)] = 128
    """Requests to storage that one worker has under way; fewer while storage asks to slow down, and of large files, of
    which 256 MiB are asked for at a time, but 32 files at least. A file of unknown size counts as 2 MiB."""
    job_concurrency: Annotated[int, Field(gt=0)] = 2048
    """Requests to storage that all workers together have under way: each gets its share, one at least."""
    deadline_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds from the first try for an image on object storage or the web after which it is given up."""
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that one request may take, body included."""


class ResourceSettings(Settings):
    cpus_per_worker: Annotated[float, Field(gt=0)] = 1
    """CPUs that Ray sets aside for one worker."""
    gpus_per_worker: Annotated[float, Field(ge=0)] | None = None
    """GPUs for one worker, parts allowed; default: 1 where the cluster has or may get a GPU, else 0."""
    decoders: Annotated[int, Field(gt=0)] | None = None
    """With `placement=apart`: tasks of a CPU each that fetch and decode; default: all CPUs that the workers leave."""
    wait_s: Annotated[float, Field(gt=0)] = 3600.0
    """Seconds to wait for the first worker, while the cluster adds nodes or others work on them; for training, all
    of them, or the fewest."""


class PreprocessSettings(Settings):
    mode: Literal["grey", "rgb"] = "rgb"
    """Colour mode of the pixels that the network sees: `grey` (1 channel) or `rgb` (3)."""
    height: Annotated[int, Field(ge=32, le=4096, multiple_of=16)] = 128
    """Height of the network's input in pixels, a multiple of 16."""
    width: Annotated[int, Field(ge=32, le=4096, multiple_of=16)] = 128
    """Width of the network's input in pixels, a multiple of 16."""
    exif: Literal["apply", "ignore"] = "apply"
    """Whether the EXIF orientation of a picture turns its pixels, as viewers do."""
    max_pixels: Annotated[int, Field(gt=0)] = 100_000_000
    """Largest picture that is decoded, in pixels; a larger one is `too_large`, before memory is taken for it."""
    min_side: Annotated[int, Field(gt=0)] = 8
    """Shortest side that is scored, in pixels; a smaller picture is `too_small`."""
    float_range: tuple[float, float] | None = None
    """Values that become black and white in TIFFs of floats or wide integers, as `[0,1]`; else `unsupported`."""


class RunnerSettings(VerbSettings):
    placement: Placement = "together"
    """`together`: Ray actors, each with its device, do whole chunks; `apart`: tasks on CPUs fetch and decode for the
    actors, which only score; `inline`: this process, without Ray."""
    workers: Annotated[int, Field(gt=0)] | None = None
    """Worker processes; default: one a GPU of the cluster, or without GPUs one a CPU, of all that it may grow to."""
    resources: ResourceSettings = ResourceSettings()
    reader: ReaderSettings = ReaderSettings()
    max_failed_fraction: Fraction = 0.1
    """The job stops when more than this share of its images cannot be scored (or trained on)."""
    max_failed_by_status: dict[str, Fraction] = {}
    """Tighter limits for single statuses, for example `{throttled: 0.01}`."""
    min_failed_sample: Annotated[int, Field(gt=0)] = 200
    """Images that must have been tried before a share of failures can stop scoring; training looks once, at all."""
    finish_by: Moment | None = None
    """When scoring should be done: ISO 8601, as `2026-11-24T06:00+01:00`, else UTC. It stops nothing: Prometheus is
    told, whose rules warn before and after."""

    @property
    def most_maps(self) -> int:
        """Error maps that a run keeps at most."""
        return 0
