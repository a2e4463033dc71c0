"""What a slice is to be: the one table of the options that `up` has."""

from __future__ import annotations

import argparse
import ipaddress
import json
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any


@dataclass(frozen=True, slots=True)
class Result:
    """What a command did."""

    changed: bool
    message: str
    notices: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def positive(text: str) -> float:
    """Read a finite number above zero."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above zero")
    return value


def _expression(text: str) -> str:
    try:
        re.compile(text)
    except re.error as error:
        raise argparse.ArgumentTypeError(f"{text!r} is no regular expression: {error}") from error
    return text


def _parameters(text: str) -> dict[str, str]:
    try:
        return {str(name): str(value) for name, value in json.loads(text).items()}
    except (ValueError, AttributeError) as error:
        raise argparse.ArgumentTypeError(f'{text!r} is no JSON object, such as {{"workers": 4}}') from error


def _subnet(text: str) -> ipaddress.IPv4Network:
    try:
        subnet = ipaddress.IPv4Network(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"it must be written as 10.200.7.0/24: {error}") from error
    if subnet.prefixlen != 24:
        raise argparse.ArgumentTypeError(f"it must be a /24, not {subnet}")
    return subnet


def _about(parse: Callable[[str], Any], metavar: str, meaning: str) -> dict[str, Any]:
    return {"type": parse, "metavar": metavar, "help": meaning}


@dataclass(frozen=True, slots=True)
class Options:
    """The options of `up`."""

    request: Path | None = field(
        default=None, metadata=_about(Path, "FILE", "a request RSpec (default: one that the profile writes)")
    )
    parameters: dict[str, str] = field(
        default_factory=dict, metadata=_about(_parameters, "JSON", "the profile's parameters, for a request it writes")
    )
    cpu_scale: float = field(
        default=1.0, metadata=_about(positive, "SHARE", "host cores for each core of a scaled machine (default: 1)")
    )
    cpu_scaled: str = field(
        default=".*", metadata=_about(_expression, "REGEX", "names of the machines that are scaled (default: all)")
    )
    control_subnet: ipaddress.IPv4Network | None = field(
        default=None, metadata=_about(_subnet, "NET/24", "control network (default: a free one, from the name)")
    )
    release: str | None = field(
        default=None, metadata=_about(str, "NAME", "code name of the machines' release (default: the host's)")
    )
    timeout: float = field(
        default=120.0, metadata=_about(positive, "SECONDS", "that a machine may take to be ready (default: 120)")
    )

    @classmethod
    def add_to(cls, parser: argparse.ArgumentParser) -> None:
        """Give a parser these options."""
        for one in fields(cls):
            parser.add_argument(f"--{one.name.replace('_', '-')}", **one.metadata)

    @classmethod
    def of(cls, parsed: argparse.Namespace) -> Options:
        """Take them from what was parsed."""
        given = {one.name: getattr(parsed, one.name) for one in fields(cls)}
        return cls(**{name: value for name, value in given.items() if value is not None})
