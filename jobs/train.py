"""Train as a cluster job: images in, a calibrated bundle out. The same command resumes a killed training.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/train.py jobs/train.yaml epochs=80
"""

from rayae.cli import run

if __name__ == "__main__":
    run("train")
