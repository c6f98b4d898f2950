"""Top as a cluster job, next to the storage: the images with the highest scores of a run.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/top.py /data/runs/parts n=100
"""

from rayae.cli import run

if __name__ == "__main__":
    run("top")
