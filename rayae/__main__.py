"""`python -m rayae` is `rayae`."""

from rayae.cli import run

if __name__ == "__main__":
    run()
