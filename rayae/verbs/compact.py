"""`rayae compact`: a finished run as few files, sorted by score, so that its highest scores are read quickly."""

from rayae import compaction, storage
from rayae.filelist import RESULTS
from rayae.lease import held
from rayae.run import Run
from rayae.settings import CompactSettings
from rayae.terminal import say


def compact(settings: CompactSettings) -> None:
    """Compact a run; of one that is compacted only remove what a killed compaction has left.

    RunError when the run is not finished.
    """
    run = Run.open(settings.run)
    listed = run.file_list()
    if listed is not None:
        listed.refuse_lost(run.uri)
    if listed is not None and not compaction.leftovers(run):
        say(f"nothing to do: {run.uri} is compacted")
        return
    with held(run.uri) as lease:
        if run.file_list() is not None:
            say(f"{run.uri} is compacted already; {compaction.clean(run):,} file(s) that were left over are removed")
            return
        run.refuse_unfinished()
        listed = compaction.compact(run, settings.file_bytes, lease.check)
    folder = storage.join(run.uri, RESULTS)
    if run.assignment.column is not None:
        say(f"scores of two bundles have no common scale: sort by `{run.assignment.column}` first")
    say(f"compacted: {listed.rows:,} rows in {len(listed.files):,} file(s), highest scores first: {folder}")
