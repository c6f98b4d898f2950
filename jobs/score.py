"""Score as a cluster job: one Parquet row an image. The same command resumes a killed run.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/score.py jobs/score.yaml workers=8
"""

from rayae.cli import run

if __name__ == "__main__":
    run("score")
