"""The errors that a command shows as one line, with the exit code that goes with each."""

from __future__ import annotations


class ModelError(Exception):
    """Something the user can put right; the message says what is wrong and how to put it right."""

    exit_code = 1


class DownloadError(ModelError):
    """A model file could be had neither from the mirror nor from its public address."""

    exit_code = 3
