"""Home of ratios of one run, as tables show them."""

from collections.abc import Sequence
from statistics import median


def spread(ratios: Sequence[float]) -> str:
    """The median, and the lowest and highest."""
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
