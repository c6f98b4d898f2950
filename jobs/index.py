"""Index images as a cluster job: list them once and write them as a manifest.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/index.py jobs/index.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("index")
