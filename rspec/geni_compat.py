"""Make PyPI's geni-lib 0.9.9.4 work under Python 3.11 and later.

That release (2020, the newest) does not import as installed: `geni.portal` is Python 2 source, and
three of its functions mix bytes with text or parse "False" as true. `install()` repairs exactly these,
in memory; nothing is written into the installed package.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import ModuleType
from typing import Any

GENI_LIB_VERSION = "0.9.9.4"
NEEDED = ("geni-lib", "six", "lxml")

_PRINT_STATEMENT = re.compile(r"^(?P<indent>\s*)print (?P<values>[^\n]+)$", re.MULTILINE)


class GeniLibError(Exception):
    """geni-lib, or what it needs, is missing or of another version; the message names the remedy."""


def translate(source: str) -> str:
    """Return Python 2 source of `geni.portal` as Python 3 source; only print and `raw_input` are rewritten."""
    source = _PRINT_STATEMENT.sub(r"\g<indent>print(\g<values>)", source)
    return re.sub(r"\braw_input\b", "input", source)


class _PortalLoader(importlib.machinery.SourceFileLoader):
    """Loads `geni.portal` translated, and never from or into a bytecode cache."""

    def get_code(self, fullname: str) -> Any:
        path = self.get_filename(fullname)
        source = translate(Path(path).read_text(encoding="utf-8"))
        return compile(source, path, "exec", dont_inherit=True)


class _PortalFinder(importlib.abc.MetaPathFinder):
    """Finds `geni.portal` before the regular finders do."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != "geni.portal":
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        if spec is None or spec.origin is None:
            return None
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=_PortalLoader(fullname, spec.origin)
        )


def parse_boolean(text: str | bool) -> bool:
    """Read a BOOLEAN parameter: a bool, or one of true, false, yes, no, on, off, 1, 0 in any case.

    Raises:
        ValueError: for any other text.
    """
    words = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
    try:
        return words[str(text).strip().lower()]
    except KeyError:
        raise ValueError(f"{text!r} is not a boolean: write true or false") from None


def _write_xml(request: Any, path: str | None) -> None:
    """Replace `Request.writeXML`: write the RSpec as UTF-8 text to a path, or to standard output."""
    text = request.toXMLString(pretty_print=True, ucode=True)
    if path is None:
        sys.stdout.write(text)
    else:
        Path(path).write_text(text, encoding="utf-8")


def _installed(name: str) -> str | None:
    """Version of an installed distribution, None where there is none."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def check_installed() -> None:
    """Check that geni-lib and what it needs can be imported.

    Raises:
        GeniLibError: naming every missing or unsuitable distribution at once.
    """
    found = {name: _installed(name) for name in NEEDED}
    problems = [f"{name} is not installed" for name in NEEDED if found[name] is None]
    if found["geni-lib"] not in {None, GENI_LIB_VERSION}:
        problems.append(f"geni-lib is {found['geni-lib']}, not {GENI_LIB_VERSION}")
    if problems:
        raise GeniLibError(
            f"{'; '.join(problems)}. Run `make setup`, or: pip install geni-lib=={GENI_LIB_VERSION} six lxml"
        )


def install() -> ModuleType:
    """Repair geni-lib in this process and return its `geni.portal`; calling it again changes nothing.

    Raises:
        GeniLibError: geni-lib is missing or not the version this module repairs.
    """
    check_installed()
    if not any(isinstance(finder, _PortalFinder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _PortalFinder())
    portal = importlib.import_module("geni.portal")
    pg = importlib.import_module("geni.rspec.pg")
    pg.Request.writeXML = _write_xml
    kinds: Any = portal.ParameterType
    kinds.argparsemap[kinds.BOOLEAN] = parse_boolean
    return portal


def fresh_context() -> Any:
    """Return a new `geni.portal.context`: the library's own is one per process and binds one request only.

    Raises:
        GeniLibError: see `install`.
    """
    portal: Any = install()
    portal.Context._instance = None
    portal.Context._initialized = False
    portal.context = portal.Context()
    return portal.context
