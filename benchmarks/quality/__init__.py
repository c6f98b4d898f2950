"""Does a detector rank defects better than what needs no trained network? Run as `python -m benchmarks.quality`."""
