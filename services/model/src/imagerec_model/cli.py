"""The command `imagerec-model`: make, learn, verify, measure and calibrate model bundles."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imagerec_model import get as getting
from imagerec_model import lite
from imagerec_model.errors import ModelError
from imagerec_model.learn import command as learning
from imagerec_worker.bundle import Bundle, BundleError, load_bundle

_INTERRUPTED = 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 1 with one line on standard error when something is wrong; 2 for wrong usage; 3 when a model could not be
        downloaded, so that a caller can fall back to another; 130 when interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except (ModelError, BundleError) as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code if isinstance(error, ModelError) else 1
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="imagerec-model", description="Make the model bundles that workers serve.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    one = _command(commands, "get", _get, "put a verified bundle into a folder of bundles, if it is not there yet")
    one.add_argument("model", help=f"{', '.join(getting.NAMES)}, or the path of a bundle")
    one.add_argument("--out", type=Path, required=True, help="folder of bundles; each has its own folder in it")
    one.add_argument("--mirror", help="folder or URL that has the model's file; tried before its public address")
    one.add_argument("--offline", action="store_true", help="never ask the network")
    _json_option(one)

    one = _command(commands, "verify", _verify, "check the sha256 of every file of a bundle")
    one.add_argument("path", type=Path, help="folder of the bundle")
    _json_option(one)

    one = _command(commands, "learn", _learn, "learn the classes of folders of photographs")
    learning.add_options(one)
    _json_option(one)

    one = _command(commands, "evaluate", _evaluate, "count the right answers of a bundle on labelled photographs")
    one.add_argument("path", type=Path, help="folder of the bundle")
    _photographs_option(one, "folder of photographs named <wnid>_<anything>")

    one = _command(commands, "calibrate", _calibrate, "measure the ranges that int8 needs, and replace their table")
    one.add_argument("network", choices=lite.NETWORKS)
    one.add_argument("--sizes", type=_integers, required=True, help="input sizes in pixels, such as 128,224")
    one.add_argument("--packages", type=Path, default=Path("dist/packages"), help="folder that keeps packages")
    _photographs_option(one, "folder of about 100 photographs of all kinds of things")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run)
    return parser


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def _photographs_option(parser: argparse.ArgumentParser, text: str) -> None:
    parser.add_argument("--photographs", type=Path, required=True, help=text)


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def _get(options: argparse.Namespace) -> None:
    bundle, changed = getting.get(options.model, options.out, mirror=options.mirror, offline=options.offline)
    _print(bundle, options, changed)


def _verify(options: argparse.Namespace) -> None:
    _print(load_bundle(options.path), options, False)


def _learn(options: argparse.Namespace) -> None:
    _print(learning.run(options), options, True)


def _evaluate(options: argparse.Namespace) -> None:
    from imagerec_model import evaluation  # noqa: PLC0415  # the worker's packages are not on every controller

    bundle = load_bundle(options.path)
    found = evaluation.evaluate(bundle, evaluation.labelled(bundle, options.photographs))
    print(json.dumps(found.summary()))


def _calibrate(options: argparse.Namespace) -> None:
    from imagerec_model import calibration  # noqa: PLC0415  # likewise

    network = lite.NETWORKS[options.network]
    print(calibration.calibrate(network, options.sizes, options.photographs, options.packages))


def _print(bundle: Bundle, options: argparse.Namespace, changed: bool) -> None:
    if options.json:
        result = {
            "path": str(bundle.path),
            "name": bundle.name,
            "version": bundle.version,
            "digest": bundle.digest,
            "changed": changed,
        }
        print(json.dumps(result))
    else:
        print(f"{bundle.name} {bundle.version} {bundle.digest} {bundle.path}{' (written)' if changed else ''}")
