"""Evaluate as a cluster job, next to the storage: a run against its labels.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/evaluate.py jobs/evaluate.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("evaluate")
