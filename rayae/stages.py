"""Home of the stages of scoring: what the time of workers goes to, and which setting moves what takes most of it.

A worker waits for pixels (`wait`), lets the network score them (`model`) and writes a chunk (`write`), one after the
other. Meanwhile threads of its own, or other workers, `fetch` and `decode`: their seconds add up over threads.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from rayae.statistics import percent

IN_TURN = ("wait", "model", "write")
Stage = Literal["fetch", "decode", "model", "write"]
IN_WORDS: dict[Stage, str] = {
    "fetch": "waiting for storage",
    "decode": "waiting for pictures to be decoded",
    "model": "the network",
    "write": "writing results",
}
MOVED_BY: dict[Stage, str] = {
    "fetch": "`reader.concurrency=` moves that, as far as the storage answers",
    "decode": "`resources.cpus_per_worker=` or placement=apart moves that, where there are cores to spare, and on a "
    "GPU `resources.gpus_per_worker=0.5`, as a process hands over only so many images",
    "model": "`workers=` moves that, where there are cores or GPUs for more",
    "write": "`chunk_images=` of the next run moves that: larger chunks are fewer files",
}
INLINE_MOVED_BY = MOVED_BY | {
    "decode": "`reader.threads=` moves that, where there are cores to spare, else placement=together on more machines",
    "model": "placement=together moves that, with more `workers=` on more cores or GPUs",
}


@dataclass(frozen=True)
class Bottleneck:
    """What most of the workers' time goes to."""

    stage: Stage
    share: float
    """Of what workers do one after the other."""

    def in_words(self, placement: str) -> str:
        """The stage, its share, and the setting that moves it."""
        moved_by = INLINE_MOVED_BY if placement == "inline" else MOVED_BY
        return f"{percent(self.share)} of the workers' time went to {IN_WORDS[self.stage]}; {moved_by[self.stage]}"


def bottleneck(seconds: Mapping[str, float]) -> Bottleneck | None:
    """The bottleneck that seconds by stage show; None where there are none."""
    shares = shares_in_turn(seconds)
    if not shares:
        return None
    most = max(shares, key=lambda stage: shares[stage])
    if most == "wait":
        fetches = seconds.get("fetch", 0.0) >= seconds.get("decode", 0.0)
        return Bottleneck("fetch" if fetches else "decode", shares[most])
    return Bottleneck("model" if most == "model" else "write", shares[most])


def shares_in_turn(seconds: Mapping[str, float]) -> dict[str, float]:
    """The share of each stage of what workers do one after the other; empty where that is nothing."""
    total = sum(seconds.get(stage, 0.0) for stage in IN_TURN)
    return {stage: seconds.get(stage, 0.0) / total for stage in IN_TURN} if total > 0 else {}


def shares_in_words(seconds: Mapping[str, float]) -> str:
    """As `wait 12 %, model 85 %, write 3 %`; empty where there are none."""
    return ", ".join(f"{stage} {share:.0%}".replace("%", " %") for stage, share in shares_in_turn(seconds).items())
