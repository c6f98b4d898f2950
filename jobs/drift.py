"""Drift as a cluster job, next to the storage: whether the images of a run, or their scores, have moved.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/drift.py jobs/drift.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("drift")
