"""Home of the settings of `plan`."""

from typing import Annotated

from pydantic import Field

from rayae.settings.base import Images
from rayae.settings.index import Labelled
from rayae.settings.runner import RunnerSettings

Price = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PlanSettings(Labelled, RunnerSettings):
    images: Images
    """The images, as everywhere: a folder, a glob, a manifest, or a list of URIs."""
    bundle: str
    """The bundle that would score them."""
    sample: Annotated[int, Field(ge=64)] = 1024
    """Images that are scored for real, in this process, taken from all over the list; fewer where there are fewer."""
    price_per_hour: Price | None = None
    """What a worker costs an hour, in any currency."""
    price_per_1000_requests: Price | None = None
    """What 1,000 requests to the storage of the images cost, in the same one."""
    chunk_images: Annotated[int, Field(gt=0)] | None = None
    """Images a chunk, as for `score`."""
    micro_batch: Annotated[int, Field(gt=0, le=65536)] | None = None
    """Images that go through the network at once, as for `score`."""
