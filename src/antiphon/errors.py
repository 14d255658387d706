"""The errors that are a user's to mend: each is one line of what came, what was wanted, and what to do."""

from __future__ import annotations


class UserError(Exception):
    """The command line shows its text and no traceback."""


class WrongValue(UserError, ValueError):
    """A name, an option or a setting that cannot be used where it was given."""


class Stopped(UserError):
    """Work was asked to stop (Ctrl-C, SIGTERM), and was saved first."""
