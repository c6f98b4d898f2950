"""`rayae verify`: is every image of the manifest in the results exactly once, as planned and undamaged?"""

from rayae.errors import RunError
from rayae.run import Run
from rayae.settings import VerifySettings
from rayae.terminal import say
from rayae.verification import problems

MOST_LINES = 20


def verify(settings: VerifySettings) -> None:
    """Check a run against its plan; RunError, with what is wrong, when it is not whole."""
    run = Run.open(settings.run)
    found = problems(run)
    if found:
        lines = [f"  {line}" for line in found[:MOST_LINES]]
        if len(found) > MOST_LINES:
            lines.append(f"  and {len(found) - MOST_LINES:,} more")
        raise RunError(f"{run.uri} is not whole:\n" + "\n".join(lines))
    say(f"whole: each of the {run.rows:,} images has one row in {len(run.chunks)} chunk(s) of {run.uri}")
