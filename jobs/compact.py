"""Compact as a cluster job, next to the storage: a finished run as few files, sorted by score.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/compact.py jobs/compact.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("compact")
