"""Decisions as a cluster job, next to the storage: what was decided about a run.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/decisions.py /data/runs/parts
"""

from rayae.cli import run

if __name__ == "__main__":
    run("decisions")
