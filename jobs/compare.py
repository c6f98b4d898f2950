"""Compare as a cluster job, next to the storage: two runs of the same images.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/compare.py jobs/compare.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("compare")
