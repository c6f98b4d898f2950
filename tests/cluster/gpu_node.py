"""Score on a cluster of a node with CPUs and one with a GPU that Ray is told of and torch does not find.

    python -m tests.cluster.gpu_node score images=... bundle=... out=... placement=apart

The node with the GPU has one CPU, which the scoring actor takes, and the head has none: what is decoded apart can only
be decoded on the other node. Exits as `rayae` does.
"""

import os
import sys
from typing import Any


def main(words: list[str]) -> int:
    os.environ |= {"RAY_AUTH_MODE": "disabled", "OMP_NUM_THREADS": "1", "RAY_prestart_worker_first_driver": "0"}
    import ray
    from ray.cluster_utils import Cluster

    from rayae.cli import main as rayae

    small: dict[str, Any] = {"object_store_memory": 100 * 1024**2}
    cluster = Cluster(initialize_head=True, head_node_args={**small, "num_cpus": 0, "include_dashboard": False})
    try:
        cluster.add_node(**small, num_cpus=2)
        cluster.add_node(**small, num_cpus=1, num_gpus=1)
        os.environ["RAY_ADDRESS"] = cluster.address
        return rayae(words)
    finally:
        ray.shutdown()
        cluster.shutdown()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
