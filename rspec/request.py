"""Write the request RSpec that profile.py describes.

Run as `python -m rspec.request --workers 4 --out rspec/requests/local.xml`. Every parameter of the profile
is an option (`--help` lists them). The file is checked before it lands; bad input writes nothing.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import runpy
import sys
import tempfile
from pathlib import Path

from rspec import geni_compat
from rspec.checks import load_checked
from rspec.model import RSpecError

PROFILE = Path(__file__).resolve().parent.parent / "profile.py"
# geni-lib exits with 100 + the number of errors after writing them to standard error as JSON.
_PARAMETER_ERRORS = 100


class ProfileError(Exception):
    """The profile refused its parameters; the message lists every reason."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def _explain(report: str) -> str:
    """Turn geni-lib's JSON report of parameter errors into one sentence each."""
    try:
        errors = json.loads(report)
    except ValueError:
        return report.strip()
    return "; ".join(f"{', '.join(item['params'])}: {item['message']}" for item in errors)


def run_profile(parameters: list[str], out: Path) -> None:
    """Run profile.py outside the portal with options of its own, and let it write its request to `out`.

    Raises:
        ProfileError: a parameter is unknown or out of range.
        geni_compat.GeniLibError: geni-lib is not installed.
    """
    context = geni_compat.fresh_context()
    context._portalRequestPath = str(out)
    saved, errors = sys.argv, io.StringIO()
    sys.argv = [PROFILE.name, *parameters]
    try:
        with contextlib.redirect_stderr(errors):
            runpy.run_path(str(PROFILE), run_name="__main__")
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if code == 0:
            raise
        report = errors.getvalue()
        raise ProfileError(
            _explain(report) if code > _PARAMETER_ERRORS else report.strip().splitlines()[-1], min(code, 2)
        ) from None
    finally:
        sys.argv = saved
    sys.stderr.write(errors.getvalue())
    for warning in context._parameterWarnings:
        # The portal shows them beside the fields; outside it the library keeps them to itself.
        sys.stderr.write(f"warning: {', '.join(warning.params)}: {warning.message}\n")


def write_request(parameters: list[str], out: Path) -> None:
    """Write and check a request RSpec; an earlier file at `out` is replaced only by a sound one.

    Raises:
        ProfileError, geni_compat.GeniLibError: see `run_profile`.
        RSpecError: the profile wrote a request that fails the structural checks.
        OSError: the file cannot be written.
    """
    out.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{out.name}.", dir=out.parent)
    os.close(handle)
    aside = Path(name)
    try:
        run_profile(parameters, aside)
        load_checked(aside)
        aside.chmod(0o644)
        aside.replace(out)
    finally:
        aside.unlink(missing_ok=True)


def main(arguments: list[str] | None = None) -> int:
    """Write the request that the command line asks for; return the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m rspec.request",
        description="Write the request RSpec of profile.py.",
        epilog="Every other option is a parameter of the profile, listed below.",
        add_help=False,
        allow_abbrev=False,
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="the request RSpec to write (required)")
    parser.add_argument("--help", "-h", action="store_true", help="show this help and the profile's parameters")
    options, parameters = parser.parse_known_args(arguments)
    if options.help:
        parser.print_help()
        sys.stdout.write("\n")
        sys.stdout.flush()
        parameters = ["--help"]
    elif options.out is None:
        sys.stderr.write("error: say where the request goes: --out rspec/requests/local.xml\n")
        return 2
    try:
        if options.help:
            run_profile(parameters, Path(os.devnull))
        else:
            write_request(parameters, options.out)
    except ProfileError as error:
        sys.stderr.write(f"error: {error}\n")
        return error.exit_code
    except (geni_compat.GeniLibError, RSpecError) as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    except OSError as error:
        sys.stderr.write(f"error: cannot write {options.out}: {error.strerror}\n")
        return 1
    sys.stdout.write(f"wrote {options.out}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
