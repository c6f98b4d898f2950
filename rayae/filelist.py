"""Home of the file list of a compacted run: which files hold its rows, switched to by one write."""

import heapq
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np

from rayae import storage
from rayae.errors import RunError
from rayae.records import NUMBER, Each, read_record
from rayae.results import WORST_KEPT, ChunkSummary

FILES = "files.json"
RESULTS = "results"
SUMMARY_SHAPE = {
    "chunk": int,
    "images": int,
    "by_status": Each(int),
    "flagged": int,
    "seconds": Each(NUMBER),
    "histogram": [int],
    "worst": [[NUMBER]],
}
SHAPE = {"fingerprint": str, "files": [{"name": str, "rows": int, "size_bytes": int}], "summary": SUMMARY_SHAPE}


@dataclass(frozen=True)
class ResultFile:
    """A file of the list: its name in `results/`, how many rows it holds, and its size in bytes."""

    name: str
    rows: int
    size_bytes: int


@dataclass(frozen=True)
class FileList:
    """The files of a compacted run, in their order, and the sum of all its chunks' summaries."""

    fingerprint: str
    files: tuple[ResultFile, ...]
    summary: ChunkSummary

    @classmethod
    def of(cls, run: str) -> "FileList | None":
        """The list of a run, None for a run of chunk files; RunError when it is damaged."""
        uri = storage.join(run, FILES)
        found = read_record(uri, SHAPE, "put the former file back, or score into a new `out=`")
        if found is None:
            return None
        try:
            summary = ChunkSummary.from_dict(found["summary"])
        except (TypeError, ValueError) as error:
            raise RunError(f"{uri} is damaged or was changed by hand: its summary is none.") from error
        files = tuple(ResultFile(file["name"], file["rows"], file["size_bytes"]) for file in found["files"])
        rows = sum(file.rows for file in files)
        if any("/" in file.name for file in files) or not rows == summary.images == sum(summary.by_status.values()):
            raise RunError(
                f"{uri} is damaged or was changed by hand: its figures do not agree, or a file lies elsewhere."
            )
        return cls(found["fingerprint"], files, summary)

    @property
    def rows(self) -> int:
        return sum(file.rows for file in self.files)

    def lost(self, run: str) -> list[str]:
        """Names of the files of the list that are no longer there, or not in their size."""
        there = {entry.name: entry.size_bytes for entry in storage.list_files(storage.join(run, RESULTS))}
        return [file.name for file in self.files if there.get(file.name) != file.size_bytes]

    def refuse_lost(self, run: str) -> None:
        """RunError when files are no longer there as they were: no chunk files are left to make them anew from."""
        lost = self.lost(run)
        if lost:
            raise RunError(
                f"{len(lost):,} file(s) of the compacted run {run} are gone or cut, the first is {RESULTS}/{lost[0]}; "
                "put them back, or score the images again into a new `out=`."
            )

    def switch(self, run: str) -> bool:
        """Make it the list of a run; False when it has one already."""
        return storage.create(storage.join(run, FILES), (json.dumps(asdict(self)) + "\n").encode())


def merged(summaries: Sequence[ChunkSummary], number: int = 0) -> ChunkSummary:
    """The sum of summaries, as if all their rows stood in one chunk."""
    by_status: Counter[str] = Counter()
    seconds: defaultdict[str, float] = defaultdict(float)
    traffic = Counter[str]()
    for summary in summaries:
        by_status.update(summary.by_status)
        for stage, spent in summary.seconds.items():
            seconds[stage] += spent
        traffic.update(summary.traffic)
    worst = itertools.chain.from_iterable(summary.worst for summary in summaries)
    return ChunkSummary(
        chunk=number,
        images=sum(summary.images for summary in summaries),
        by_status=dict(by_status),
        flagged=sum(summary.flagged for summary in summaries),
        seconds={stage: round(value, 4) for stage, value in seconds.items()},
        histogram=np.sum([summary.histogram for summary in summaries], axis=0).tolist() if summaries else [],
        worst=heapq.nsmallest(WORST_KEPT, worst, key=lambda pair: (-pair[1], pair[0])),
        traffic=dict(traffic),
    )
