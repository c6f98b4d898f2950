"""Home of the failure budget: how many images may fail before a job stops."""

import difflib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from rayae.errors import ConfigError, TooManyFailures
from rayae.results import Status


@dataclass
class FailureBudget:
    """How many images may fail before the job stops: overall, and by status where a limit is given.

    ConfigError for a limit on something that is no status of a failed image.
    """

    max_failed_fraction: float
    max_failed_by_status: Mapping[str, float]
    min_sample: int
    images: int = 0
    by_status: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        known = [str(status) for status in Status if status != Status.SCORED]
        for name in self.max_failed_by_status:
            if name not in known:
                near = difflib.get_close_matches(name.lower(), known, n=1)
                guess = f"; did you mean {near[0]!r}?" if near else "."
                raise ConfigError(
                    f"max_failed_by_status.{name}: no image fails with the status {name!r}{guess} "
                    f"The statuses are {', '.join(known)}."
                )

    def spend(self, by_status: Mapping[str, int]) -> None:
        """Count the images of a chunk; TooManyFailures, with what was seen, when a limit is passed."""
        self.by_status.update(by_status)
        self.images += sum(by_status.values())
        if self.images < self.min_sample:
            return
        failed = self.images - self.by_status[Status.SCORED]
        self._check("max_failed_fraction", "failed", failed, self.max_failed_fraction)
        for status, limit in self.max_failed_by_status.items():
            self._check(f"max_failed_by_status.{status}", f"are `{status}`", self.by_status[status], limit)

    def _check(self, setting: str, became: str, failed: int, limit: float) -> None:
        if not failed or failed / self.images <= limit:
            return
        seen = ", ".join(f"{count:,} {status}" for status, count in self.by_status.most_common() if status != "scored")
        raise TooManyFailures(
            f"{failed:,} of {self.images:,} images {became}, more than {setting}={limit:g} allows ({seen}). "
            "Mend the cause, or raise the limit, and run the same command again. Rows that were written stay, failed "
            f"ones too; a chunk file that is removed is scored again.{why_forbidden(self.by_status)}"
        )


def why_forbidden(by_status: Mapping[str, int]) -> str:
    """The sentence that says where to look when images may not be read; empty when all may."""
    forbidden = by_status.get(Status.FORBIDDEN, 0)
    asks = "the column `error` says by whom; S3 asks for s3:GetObject on them"
    return f" {forbidden:,} are forbidden: {asks}." if forbidden else ""
