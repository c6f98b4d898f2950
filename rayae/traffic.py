"""Home of what was asked of storage for images: requests, tries again, answers to slow down, and bytes that came."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass


@dataclass
class Traffic:
    """Counts of one read, or of many: what is read on this machine's disks is no request, and its bytes count."""

    requests: int = 0
    """Sent to object storage and web servers, each try by itself."""
    retries: int = 0
    """Those of them that were sent because the one before had failed."""
    throttled: int = 0
    """Those of them that were answered with the wish for fewer (503, 429)."""
    bytes: int = 0
    """Bodies that came whole, headers not counted."""

    def add(self, other: "Traffic") -> None:
        """Count what the other has counted, too."""
        self.requests += other.requests
        self.retries += other.retries
        self.throttled += other.throttled
        self.bytes += other.bytes

    def to_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

    @classmethod
    def from_dict(cls, counts: Mapping[str, int]) -> "Traffic":
        """The counts of `to_dict`; what is not there is 0, as in files of former versions."""
        return cls(**counts)
