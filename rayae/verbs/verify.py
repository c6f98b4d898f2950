"""`rayae verify`: is every image of the manifest in the results exactly once, as planned and undamaged?"""

import time

from rayae import storage
from rayae.errors import RunError
from rayae.filelist import FILES
from rayae.lease import holder_of
from rayae.run import Run
from rayae.settings import VerifySettings
from rayae.terminal import Progress, say
from rayae.verbs.status import told
from rayae.verification import problems

MOST_LINES = 20
MANY_ROWS = 100_000
"""Above it the check takes so long that progress is shown."""


def verify(settings: VerifySettings) -> None:
    """Check a run against its plan; RunError, with what is wrong, when it is not whole."""
    run = Run.open(settings.run)
    was_compacted = _is_compacted(run)
    found = _problems(run)
    if found and _is_compacted(run) and not was_compacted:
        found = _problems(run)  # its chunk files were removed while they were read
    if found:
        lines = [f"  {line}" for line in found[:MOST_LINES]]
        if len(found) > MOST_LINES:
            lines.append(f"  and {len(found) - MOST_LINES:,} more")
        driver, is_driven = told(holder_of(run.uri), time.time())
        if is_driven:
            lines.append(f"  it is being worked on by {driver}; verify it again when that process has ended.")
        raise RunError(f"{run.uri} is not whole:\n" + "\n".join(lines))
    listed = run.file_list()
    files = f"{len(run.chunks)} chunk(s)" if listed is None else f"{len(listed.files)} file(s), sorted by score,"
    say(f"whole: each of the {run.rows:,} images has one row in {files} of {run.uri}")


def _is_compacted(run: Run) -> bool:
    return storage.exists(storage.join(run.uri, FILES))


def _problems(run: Run) -> list[str]:
    if run.rows < MANY_ROWS:
        return problems(run)
    with Progress("verify", run.rows) as progress:
        return problems(run, progress.advance)
