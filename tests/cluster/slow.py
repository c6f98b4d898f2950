"""Score with decoders that are faster than the scoring actor, and tell how much lay in Ray's object store meanwhile.

    python -m tests.cluster.slow score images=... bundle=... out=... placement=apart

The last line is JSON: `most` bytes at a time, and what was `spilled` to disk.
"""

import json
import os
import sys
import threading
import time

import pyarrow as pa

from rayae.manifest import Chunk
from rayae.on_ray import score as scoring
from rayae.results import ChunkSummary

SECONDS_A_CHUNK = 0.5


class SlowActor(scoring.ScoringActor):
    """Takes its time over each chunk."""

    def score(self, chunk: Chunk, row: pa.Table) -> ChunkSummary:
        time.sleep(SECONDS_A_CHUNK)
        return super().score(chunk, row)


def main(words: list[str]) -> int:
    os.environ |= {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1"}
    import ray
    from ray._private.internal_api import get_memory_info_reply
    from ray._private.state import state

    from rayae.cli import main as rayae

    scoring.ScoringActor = SlowActor  # type: ignore[misc]
    ray.init("local", num_cpus=4, object_store_memory=500 * 1024**2, include_dashboard=False, log_to_driver=False)
    seen, ended = [(0, 0)], threading.Event()

    def look() -> None:
        while not ended.wait(0.1):
            stats = get_memory_info_reply(state).store_stats
            seen.append((stats.object_store_bytes_used, stats.spilled_bytes_total))

    looking = threading.Thread(target=look)
    looking.start()
    try:
        return rayae(words)
    finally:
        ended.set()
        looking.join()
        ray.shutdown()
        sys.stdout.write(
            json.dumps({"most": max(used for used, _ in seen), "spilled": max(spilled for _, spilled in seen)}) + "\n"
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
