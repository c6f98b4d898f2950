"""Report as a cluster job, next to the storage: a run as one HTML page.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/report.py jobs/report.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("report")
