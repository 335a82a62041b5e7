"""Every error Ukiyoe raises on purpose, in one tree.

    UkiyoeError
    ├── InvalidInput        (ValueError)    an argument is out of range or of the wrong type
    ├── ModelError          (OSError)       a model folder or Hub id cannot be loaded
    ├── FileConflict        (FileExistsError) writing would change a file that exists
    └── MissingExtra        (ImportError)   an optional dependency is not installed

A message is one sentence: which argument, what was expected, what came, what
to do. The command line prints it and exits with code 2; anything else that
escapes is a bug and keeps its traceback.
"""


class UkiyoeError(Exception):
    """Base of every error raised on purpose."""


class InvalidInput(UkiyoeError, ValueError):
    """An argument is out of range, malformed or of the wrong type."""


class ModelError(UkiyoeError, OSError):
    """A model folder or Hub id is missing, broken, or not a model we can run."""


class FileConflict(UkiyoeError, FileExistsError):
    """Writing would change a file that is already there."""


class MissingExtra(UkiyoeError, ImportError):
    """An optional dependency is not installed."""
