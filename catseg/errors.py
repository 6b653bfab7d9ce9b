"""Errors that a user can mend. Commands show them in one line, see `catseg.console`; all others are faults of the code.

Each is also the built-in error that it specialises, which is what docstrings name. An `OSError` needs no class of its
own: the system says which file it is about and why, and both are the user's.
"""


class UserError(Exception):
    """Something that the user can mend: its message names the input, says what was expected and what to do."""


class InputError(UserError, ValueError):
    """A value, an option or the content of a file is not what is expected."""


class RunError(UserError, RuntimeError):
    """What was asked for cannot be done here, or what it needs was not done before."""


class NotFiniteError(UserError, FloatingPointError):
    """The network gives NaN or infinite numbers."""
