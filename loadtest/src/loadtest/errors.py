"""The one error that a command shows to its user."""


class LoadtestError(Exception):
    """Something the user can put right; the message says what is wrong and what to do."""
