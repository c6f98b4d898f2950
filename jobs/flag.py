"""Flag as a cluster job, next to the storage: a run is decided about anew, from the scores that it has.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/flag.py /data/runs/parts fdr=0.05
"""

from rayae.cli import run

if __name__ == "__main__":
    run("flag")
