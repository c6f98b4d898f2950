"""Home of the settings of `train`, and of `defects`, which draws what it trains on."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from rayae.settings.base import Fraction, Images, OpenFraction
from rayae.settings.calibrate import CalibrationSettings
from rayae.settings.index import Labelled
from rayae.settings.network import AugmentSettings, HeadSettings, LossSettings, NetworkSettings, OptimizerSettings
from rayae.settings.runner import PreprocessSettings, ReaderSettings

Task = Literal["copy", "denoise", "inpaint", "repair"]
Count = Annotated[int, Field(gt=0)]
Rectangle = tuple[Fraction, Fraction, Fraction, Fraction]


class TrainSettings(Labelled, CalibrationSettings):
    images: Images
    out: str
    """Where the bundle is written, a directory."""
    per_group: str | None = None
    """A column, `group` or one of your own, each value of which gets a bundle trained on its images alone, in a folder
    of `out`; `score` takes such an `out` as its bundle. Default: one bundle for all images."""
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
    bf16 on GPUs and on CPUs that multiply matrices in it (AMX), else float32; scoring goes back to float32 where bf16
    moves a score of held-out pictures by more than a fifth of its robust standard deviation."""
    compile: bool | None = None
    """Whether the network is compiled for training, which takes a minute or two at the start; default: on GPUs. Where
    there is no C++ compiler it is trained as it is, which is told."""
    calibration_fraction: OpenFraction = 0.2
    """Share of the normal images kept out for calibration, by group; not used when the manifest has a `split`."""
    validation_fraction: OpenFraction = 0.1
    """Share of the training images kept out for early stopping, by group."""
    primary_score: str = "auto"
    """The score that is compared with the threshold, one of those of the bundle. `auto`: the one that ranks the
    labelled defects of the split `calibration` best, when there are ten or more, above a third of its normal images,
    which then set no cut; else the combined one."""
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

    @model_validator(mode="after")
    def _spans(self) -> "TrainSettings":
        if isinstance(self.region, tuple):
            left, top, right, bottom = self.region
            if left >= right or top >= bottom:
                edges = f"left {left:g} must lie below right {right:g}, and top {top:g} below bottom {bottom:g}"
                raise ValueError(f"region=[{left:g},{top:g},{right:g},{bottom:g}]: {edges}")
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
