"""Status as a cluster job, next to the storage: how far a run is.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/status.py /data/runs/parts
"""

from rayae.cli import run

if __name__ == "__main__":
    run("status")
