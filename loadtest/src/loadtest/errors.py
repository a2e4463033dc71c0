"""The errors that a command shows to its user."""


class LoadtestError(Exception):
    """Something the user can put right; the message says what is wrong and what to do."""


class UsageError(LoadtestError):
    """Arguments that a command cannot take; it ends with 2, as argparse does, for 1 may be an answer."""
