"""Verify as a cluster job, next to the storage: every image of a run has exactly one row.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/verify.py /data/runs/parts
"""

from rayae.cli import run

if __name__ == "__main__":
    run("verify")
