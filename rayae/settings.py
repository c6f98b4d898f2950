"""Home of the typed settings, one class a verb. Below the verbs nobody sees them: values are passed on."""

from datetime import UTC, datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

Placement = Literal["together", "apart", "inline"]
Fraction = Annotated[float, Field(ge=0, le=1)]
OpenFraction = Annotated[float, Field(gt=0, lt=1)]


def moment(text: str) -> datetime:
    """A time in ISO 8601, `2026-11-24` or `2026-11-24T02:15+01:00`; without a zone it is UTC. ValueError for others."""
    found = datetime.fromisoformat(text)
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found


def _checked_moment(text: str) -> str:
    try:
        moment(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no time in ISO 8601, as 2026-11-24 or 2026-11-24T02:15+01:00") from error
    return text


Moment = Annotated[str, AfterValidator(_checked_moment)]
Count = Annotated[int, Field(gt=0)]
Images = Annotated[
    str | list[str],
    Field(
        description="The images: folders, globs, prefixes of object storage, manifests, archives, or lists of URIs "
        "(YAML, or a .txt, .csv, .jsonl or .parquet with `uri` or `path`)."
    ),
]


class Settings(BaseModel):
    """Base of all settings: frozen, strangers refused, each field described by the sentence under it."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False)


class ReaderSettings(Settings):
    max_bytes: Annotated[int, Field(gt=0, lt=2**62)] = 256 * 1024**2
    """Largest file that is read, in bytes; a larger one is `too_large`, before memory is taken for it."""
    threads: Annotated[int, Field(gt=0)] | None = None
    """Threads of one worker that decode, and read disks; default: its CPUs and two more, which wait for the disk."""
    concurrency: Annotated[int, Field(gt=0, le=1024)] = 32
    """Requests to storage that one worker has under way; fewer while storage asks to slow down."""
    job_concurrency: Annotated[int, Field(gt=0)] = 2048
    """Requests to storage that all workers together have under way: each gets its share, one at least."""
    deadline_s: Annotated[float, Field(gt=0)] = 120.0
    """Seconds from the first try for an image on object storage or the web after which it is given up."""
    timeout_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds that one request may take, body included."""


def _checked_endpoint(url: str) -> str:
    if not url.startswith(("http://", "https://")):
        raise ValueError("it must begin with http:// or https://")
    if "@" in url:
        raise ValueError("it holds a user or a password; give credentials in the environment or by storage.profile=")
    return url


Endpoint = Annotated[str, AfterValidator(_checked_endpoint)]
Allowed = Annotated[
    list[Literal["file", "other", "loopback", "link-local"]],
    BeforeValidator(lambda given: given.split(",") if isinstance(given, str) and given else given),
]


class StorageSettings(Settings):
    """How storage is reached. What is not set is found in the usual places: environment, profile, machine."""

    endpoint: Endpoint | None = None
    """URL of an S3 server that is not Amazon's, for example `http://minio:9000`; without TLS when it says so."""
    region: str | None = None
    """Region of the buckets."""
    profile: str | None = None
    """Profile of the AWS configuration files to take credentials from."""
    anonymous: bool = False
    """Whether requests go out without credentials, for public buckets."""
    ca_file: str | None = None
    """PEM file of the authorities to trust besides those of the system, there on every machine."""
    allow: Allowed | None = None
    """What names in lists and redirects may reach besides storage: `file` (files of the machine that reads, for lists
    elsewhere), `other` (schemes of fsspec), `loopback`, `link-local` (metadata services); default: RAYAE_ALLOW."""


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


Task = Literal["copy", "denoise", "inpaint", "repair"]
Rectangle = tuple[Fraction, Fraction, Fraction, Fraction]


class NetworkSettings(Settings):
    kind: str | None = None
    """`convolutional` (a bottleneck), `variational`, `unet`, `linear` (its optimum is PCA), or your own network as
    `module:Class`; default: `unet` for the tasks inpaint and repair, else `convolutional`."""
    base_width: Annotated[int, Field(gt=0, le=512, multiple_of=8)] = 16
    """Channels of the first layer, a multiple of 8, from which all sizes follow."""
    latent: Annotated[int, Field(gt=0, le=4096)] | None = None
    """Numbers that a network with a bottleneck squeezes a whole picture into; default: follows from `base_width`."""
    options: dict[str, int | float | str | bool] = {}
    """What your own network takes besides."""


class HeadSettings(Settings):
    enabled: bool = True
    """Whether task=repair also trains a head: a small network that sees picture and reconstruction and says where the
    synthetic defects were."""
    base_width: Annotated[int, Field(gt=0, le=512, multiple_of=8)] | None = None
    """Channels of its first layer, a multiple of 8; default: half of those of the network, 8 at least."""
    weight: Annotated[float, Field(gt=0)] = 1.0
    """Weight of its loss beside that of the reconstruction."""


class LossSettings(Settings):
    """The weights of what is minimised; the sum is taken as it is."""

    l1: Annotated[float, Field(ge=0)] = 1.0
    """Weight of the mean absolute error."""
    l2: Annotated[float, Field(ge=0)] = 2.0
    """Weight of the mean squared error."""
    ssim: Annotated[float, Field(ge=0)] = 0.5
    """Weight of 1 - SSIM."""
    gradient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the gradient dissimilarity at several scales."""
    kl: Annotated[float, Field(ge=0)] = 0.005
    """Weight of the divergence of a variational network from the normal distribution, in nats a pixel and channel."""

    @model_validator(mode="after")
    def _compares_pictures(self) -> "LossSettings":
        if not (self.l1 or self.l2 or self.ssim or self.gradient):
            raise ValueError("l1, l2, ssim and gradient are all 0: nothing would compare pictures")
        return self


class AugmentSettings(Settings):
    """Changes that a normal picture may have anyway, at random in each epoch."""

    flip_horizontal: bool = False
    """Whether left and right may change places: only where a mirrored part is a normal part."""
    flip_vertical: bool = False
    """Whether top and bottom may change places."""
    shift: Annotated[int, Field(ge=0, le=256)] = 0
    """Largest shift along each side, in pixels of the network's input."""
    brightness: Annotated[float, Field(ge=0, le=0.5)] = 0.05
    """Largest change of brightness, as a fraction of white."""
    contrast: Annotated[float, Field(ge=0, le=0.9)] = 0.1
    """Largest change of contrast around the mean, as a fraction."""
    noise: Annotated[float, Field(ge=0, le=0.5)] = 0.02
    """Largest standard deviation of added noise, as a fraction of white."""


class OptimizerSettings(Settings):
    learning_rate: Annotated[float, Field(gt=0, le=100)] = 2e-3
    """Peak learning rate of AdamW; it warms up over the first twentieth and falls along a cosine to zero."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    """Weight decay of AdamW."""
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    """Largest gradient norm; longer gradients are cut to it."""


class SpokenSettings(Settings):
    log: Literal["text", "json"] = "text"
    """How lines are printed: `text` for people, or `json`, an object a line, for what collects logs."""


class VerbSettings(SpokenSettings):
    storage: StorageSettings = StorageSettings()


Patterns = str | list[str] | None


class SelectSettings(Settings):
    """Which of the images that `images=` names are taken; the rule of the patterns stands in `selection`."""

    include: Patterns = None
    """Patterns of which one must match, such as `*.png` for the name, or `cam1/**` for the path below the folder."""
    exclude: Patterns = None
    """Patterns of which none may match."""
    min_bytes: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """Smallest file that is taken, in bytes."""
    max_bytes: Annotated[int, Field(ge=0, lt=2**62)] | None = None
    """Largest file that is taken, in bytes."""
    newer: Moment | None = None
    """Takes what was written at this time or later: ISO 8601, as `2026-11-24` or `2026-11-24T02:15+01:00`, else UTC."""
    older: Moment | None = None
    """Takes what was written before this time, given in the same way."""
    image_column: str | None = None
    """The column of Parquet files that holds the images, where there are several; `a.b` for a field of a struct."""
    pages: Literal["first", "all"] = "first"
    """Of a TIFF with several pages: its first, or each as an image of its own."""

    @model_validator(mode="after")
    def _takes_something(self) -> "SelectSettings":
        if self.min_bytes is not None and self.max_bytes is not None and self.min_bytes > self.max_bytes:
            raise ValueError(f"min_bytes={self.min_bytes} is above max_bytes={self.max_bytes}: nothing would be taken")
        if self.newer is not None and self.older is not None and moment(self.newer) >= moment(self.older):
            raise ValueError(f"newer={self.newer} is not before older={self.older}: nothing would be taken")
        return self


class Labelled(VerbSettings):
    select: SelectSettings = SelectSettings()
    labels: str | None = None
    """Labels: a CSV with `path`, `label`, perhaps `group`, `split`, own columns; or `folder` for the folder names."""


class IndexSettings(Labelled):
    images: Images | None = None
    """The images: folders, globs, prefixes, manifests, archives, or lists of URIs; required, but for `update`."""
    out: str
    """Where the manifest is written, a .parquet file."""
    update: bool = False
    """Whether the manifest at `out` is made anew, with the images that are new, changed or gone told and written."""


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


class RuleSettings(Settings):
    rule: Literal["conformal", "fixed", "none"] = "conformal"
    """How the cut is chosen: `conformal` (quantile of held-out normal scores), `fixed` (`cut=`), or `none`."""
    alpha: OpenFraction = 0.05
    """False-positive rate that the conformal rule aims at, as a fraction of normal images."""
    confidence: OpenFraction = 0.95
    """Confidence of the upper bound that the certificate states."""
    cut: float | None = None
    """The cut of `rule=fixed`, in units of the primary score."""


class CalibrationSettings(RunnerSettings, RuleSettings):
    """What calibration needs, by itself and at the end of training."""

    primary_score: str | None = None
    """The score that is compared with the threshold: one of those of the bundle, or `auto`, the one that ranks labelled
    defects among the images best, when there are ten or more; default: as it is."""


class TrainSettings(Labelled, CalibrationSettings):
    images: Images
    out: str
    """Where the bundle is written, a directory."""
    workers: Count | tuple[Count, Count] | None = None  # type: ignore[assignment]  # others see `for_scoring`
    """Worker processes, or the fewest and the most, `[2, 8]`: then training begins when the fewest have room, and goes
    on from the last checkpoint with more or fewer when the cluster grows or shrinks; default: as in scoring."""
    task: Task = "repair"
    """What the network learns: to `copy` normal pictures; to `denoise` them; to `inpaint` hidden parts from what is
    around; or to `repair` synthetic defects."""
    epochs: Annotated[int, Field(gt=0)] = 60
    """Passes over the training images, at most."""
    batch_size: Annotated[int, Field(gt=0)] = 16
    """Images a step, all workers together, as near as it divides by their number."""
    accumulation: Annotated[int, Field(gt=0)] = 1
    """Parts that a worker's images of a step go through the network in, one after the other, to need less memory."""
    pictures: Literal["auto", "memory", "stream"] = "auto"
    """Where the decoded pictures are while epochs go by: in `memory`, read once; or nowhere, `stream`: each epoch reads
    and decodes them anew. `auto`: in memory where they fit, and the arithmetic is printed. The weights are the same."""
    patience: Annotated[int, Field(gt=0)] = 15
    """Epochs without a better loss on held-out normal images after which training stops early."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the weights, the order of the images, the synthetic defects and the split."""
    precision: Literal["auto", "bf16", "float32"] = "auto"
    """Arithmetic of the network in training, calibration and scoring; errors are always summed in float32. `auto`:
    bf16 on GPUs and on CPUs that multiply matrices in it (AMX), else float32."""
    compile: bool | None = None
    """Whether the network is compiled for training, which takes a minute or two at the start; default: on GPUs. Where
    there is no C++ compiler it is trained as it is, which is told."""
    calibration_fraction: OpenFraction = 0.2
    """Share of the normal images kept out for calibration, by group; not used when the manifest has a `split`."""
    validation_fraction: OpenFraction = 0.1
    """Share of the training images kept out for early stopping, by group."""
    primary_score: str = "auto"
    """The score that is compared with the threshold, one of those of the bundle. `auto`: the one that ranks the
    labelled defects of the split `calibration` best, when there are ten or more, else the combined one."""
    region: str | Rectangle | None = None
    """What matters of a picture: a mask picture, white where to look, or a rectangle as fractions of width and height,
    `[left, top, right, bottom]`; default: all of it."""
    max_worker_failures: Annotated[int, Field(ge=0)] = 3
    """Times that dead workers are replaced before training gives up; it goes on from the last checkpoint. Workers on
    a node that is drained are replaced without being counted."""
    preprocess: PreprocessSettings = PreprocessSettings()
    network: NetworkSettings = NetworkSettings()
    head: HeadSettings = HeadSettings()
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    optimizer: OptimizerSettings = OptimizerSettings()

    @model_validator(mode="after")
    def _grows(self) -> "TrainSettings":
        if isinstance(self.workers, tuple) and self.workers[0] > self.workers[1]:
            fewest, most = self.workers
            raise ValueError(f"workers=[{fewest},{most}]: the first is the fewest, and {fewest} is above {most}")
        return self

    @property
    def fewest_workers(self) -> int | None:
        """As many as training waits for."""
        return self.workers[0] if isinstance(self.workers, tuple) else self.workers

    @property
    def most_workers(self) -> int | None:
        """As many as an elastic training may grow to; None for one that keeps its size."""
        return self.workers[1] if isinstance(self.workers, tuple) else None

    def for_scoring(self) -> "TrainSettings":
        """The same with one number of workers, as the calibration at the end of training is not elastic."""
        return self.model_copy(update={"workers": self.fewest_workers})


class DefectsSettings(Labelled):
    images: Images
    out: str
    """Where the picture is written, a .png file."""
    count: Annotated[int, Field(gt=0, le=64)] = 8
    """Images that are damaged, the first ones that can be read; more than one, since defects are pasted from others."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the defects."""
    preprocess: PreprocessSettings = PreprocessSettings()
    reader: ReaderSettings = ReaderSettings()


class CalibrateSettings(Labelled, CalibrationSettings):
    bundle: str
    """The bundle that gets the calibration scores and the threshold."""
    images: Images | None = None
    """The images, as everywhere: a folder, a glob, a manifest, or a list of URIs."""


class ScoreSettings(Labelled, RunnerSettings):
    images: Images | None = None
    """The images, as everywhere: a folder, a glob, a manifest, or a list of URIs."""
    bundle: str | None = None
    """The bundle that scores: network, preprocess, scores and threshold come from it and cannot be set here."""
    out: str
    """The run directory; an unfinished run of the same plan is resumed, a finished one is left as it is."""
    chunk_images: Annotated[int, Field(gt=0)] | None = None
    """Images a chunk; default: cut by cost, 32 chunks or more where there are enough images, about 2,000 at most."""
    micro_batch: Annotated[int, Field(gt=0, le=65536)] | None = None
    """Images that go through the network at once; default: 32 on a CPU, 256 on a GPU, fewer of large pictures."""


class RunVerbSettings(VerbSettings):
    run: str
    """The run directory."""


class VerifySettings(RunVerbSettings):
    pass


class RetrySettings(RunnerSettings):
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
    confidence: OpenFraction = 0.95
    """Confidence of the intervals."""
    resamples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap resamples behind the intervals of AUROC and average precision."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the bootstrap."""


class ReportSettings(RunVerbSettings):
    out: str | None = None
    """Where the page is written; default: `report.html` in the run."""
    worst: Annotated[int, Field(ge=0, le=200)] = 12
    """Worst images that are shown with reconstruction and error map."""


class SubmitSettings(Settings):
    address: str | None = None
    """The job server of the cluster, as `http://HEAD:8265`; default: that of RAY_ADDRESS."""
    detach: bool = False
    """Whether to return as soon as the job is submitted; the same command without it follows the job."""
    stop_on_interrupt: bool = False
    """Whether Ctrl-C stops the job; without it Ctrl-C ends the following alone."""
    working_dir: str | None = None
    """Folder or URI of code that is sent to the cluster, where rayae is not installed in its image."""


class DemoSettings(SpokenSettings):
    out: str = "demo"
    """Folder for the manifest, the bundle, the run and the report."""
    cache: str | None = None
    """Folder for the downloaded images; default: `rayae` in the user's cache folder."""
    epochs: Annotated[int, Field(gt=0)] | None = None
    """Training epochs; default: those of the demo."""
    workers: Annotated[int, Field(gt=0)] = 2
    """Workers for training and for scoring."""
    placement: Placement = "together"
    """As in `score`: with or without Ray."""
