"""Calibrate as a cluster job: choose the threshold of a bundle again, on other held-out normal images.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/calibrate.py jobs/calibrate.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("calibrate")
