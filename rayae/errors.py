"""Home of the errors. The class says who can mend it, and with it the exit code of the process.

Each takes one message: an exception with several arguments loses its type and text on the way between processes.
"""


class RayaeError(Exception):
    """Something outside the code is wrong: the data, the storage, the cluster. One sentence, no traceback."""

    exit_code = 1


class ConfigError(RayaeError):
    """What was asked cannot be done as asked; whoever asked can mend it."""

    exit_code = 2


class StorageError(RayaeError):
    """A file or object cannot be read or written."""


class DataError(RayaeError):
    """The images, labels or manifest are not what the job needs."""


class BundleError(RayaeError):
    """A bundle is absent, damaged, or not fit for what it was asked."""


class TrainingError(RayaeError):
    """Training cannot go on: the loss is no number, or the images do not fit."""


class PictureLost(TrainingError):
    """A picture that was there when training began cannot be read any more."""


class RunError(RayaeError):
    """A run directory is absent, incomplete, damaged, or belongs to another plan."""


class TooManyFailures(RayaeError):
    """More images failed than the failure budget allows."""


class ClusterError(RayaeError):
    """The machines cannot hold the plan, or failed more often than is forgiven."""
