"""Arguments of the commands: what a word must be, and one line where it is not."""

import argparse
import re
from collections.abc import Callable
from typing import NoReturn, TypeVar

from loadtest.errors import UsageError
from loadtest.experiments.checks import Check

Value = TypeVar("Value")


class Parser(argparse.ArgumentParser):
    """A parser that says what is wrong as every command does: one line, and nothing about how to write arguments."""

    def error(self, message: str) -> NoReturn:
        """Refuse the arguments.

        Raises:
            UsageError: Always.
        """
        raise UsageError(re.sub(r"^argument (\S+): ", lambda found: _name(found[1]) + " ", message))


def _name(option: str) -> str:
    return option.rpartition("/")[2]  # of -n/--name the long form


def number_of(check: Check) -> Callable[[str], float]:
    """A number that passes a check, for `type=`."""

    def read(text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
        return value if (wrong := check(value)) is None else _refuse(wrong)

    return read


def whole_of(check: Check) -> Callable[[str], int]:
    """A whole number that passes a check, for `type=`."""

    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
        return value if (wrong := check(value)) is None else _refuse(wrong)

    return read


def word_of(check: Check) -> Callable[[str], str]:
    """A word that passes a check, for `type=`."""
    return lambda text: text if (wrong := check(text)) is None else _refuse(wrong)


def several(read: Callable[[str], Value]) -> Callable[[str], tuple[Value, ...]]:
    """Several of them with commas, for `type=`."""
    return lambda text: tuple(read(word.strip()) for word in text.split(","))


def share_and_seconds(share: Check, seconds: Check) -> Callable[[str], tuple[float, float]]:
    """A pair such as 0.1,5, for `type=`."""

    def read(text: str) -> tuple[float, float]:
        words = text.split(",")
        if len(words) != 2:
            raise argparse.ArgumentTypeError(f"{text!r} is not SHARE,SECONDS, such as 0.1,5")
        found = []
        for name, word, check in zip(("SHARE", "SECONDS"), words, (share, seconds), strict=True):
            try:
                found.append(number_of(check)(word.strip()))
            except argparse.ArgumentTypeError as error:
                raise argparse.ArgumentTypeError(f"{name} {error}") from None
        return found[0], found[1]

    return read


def _refuse(wrong: str) -> NoReturn:
    raise argparse.ArgumentTypeError(wrong)
