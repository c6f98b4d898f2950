"""Draw synthetic defects on your own images as a cluster job: what task=repair trains on, as a picture.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/defects.py jobs/defects.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("defects")
