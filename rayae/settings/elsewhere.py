"""Home of the settings of `submit` and `demo`, which do other verbs."""

from typing import Annotated

from pydantic import Field

from rayae.settings.base import Placement, Settings
from rayae.settings.verb import SpokenSettings


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
