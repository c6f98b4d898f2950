"""Retry as a cluster job: images of a run that failed for a passing reason are tried again, in place.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/retry.py jobs/retry.yaml status=throttled
"""

from rayae.cli import run

if __name__ == "__main__":
    run("retry")
