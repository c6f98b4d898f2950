"""Query as a cluster job, next to the storage: a run is asked by SQL.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/query.py jobs/query.yaml
"""

from rayae.cli import run

if __name__ == "__main__":
    run("query")
