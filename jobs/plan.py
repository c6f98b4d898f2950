"""Plan as a cluster job, on a node like those of the workers: what scoring will take, from a sample.

ray job submit --address http://HEAD:8265 --working-dir . -- python jobs/plan.py images=s3://archive/2026 bundle=s3://models/parts
"""

from rayae.cli import run

if __name__ == "__main__":
    run("plan")
