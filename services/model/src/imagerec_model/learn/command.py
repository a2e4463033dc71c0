"""The subcommand `learn`: its options, and what it tells people."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from imagerec_model.errors import ModelError
from imagerec_worker.bundle import Bundle


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of `learn` to its parser."""
    parser.add_argument("--data", type=Path, required=True, help="folder with one folder of photographs a class")
    parser.add_argument("--name", help="name of the model; the folder's name by default")
    parser.add_argument("--out", type=Path, default=Path("learnt"), help="folder of learnt models, default %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="decides which photographs are held out")
    parser.add_argument("--cache", type=Path, default=Path(".cache/learn"), help="folder that keeps features")
    parser.add_argument("--packages", type=Path, default=Path("dist/packages"), help="folder that keeps packages")
    parser.add_argument("--mirror", help="folder or URL that has the package of the weights")
    parser.add_argument("--offline", action="store_true", help="never ask the network")


def run(options: argparse.Namespace) -> Bundle:
    """Learn, say what came of it on standard error, return the bundle.

    Raises:
        ModelError: see `learning.learn`; or what learning needs is not installed.
    """
    try:
        import sklearn  # noqa: F401  # of the extra `learn`, which no other command needs
    except ImportError:
        raise ModelError("scikit-learn is not installed; use `make learn`, which installs it") from None
    from imagerec_model.learn.folder import REPORT  # noqa: PLC0415
    from imagerec_model.learn.learning import Sources, default_name, learn  # noqa: PLC0415
    from imagerec_model.learn.photographs import some  # noqa: PLC0415
    from imagerec_model.learn.report import figures  # noqa: PLC0415

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    name = options.name or default_name(options.data)
    sources = Sources(options.packages, options.cache, options.mirror, options.offline)
    try:
        bundle, result = learn(options.data, name, options.out, sources, options.seed)
    except KeyboardInterrupt:
        _say("stopped; the same command goes on from there, and nothing was changed")
        raise
    found, collection = figures(result), result.collection
    if collection.in_two_classes:
        groups = [" = ".join(collection.show(path) for path in group) for group in collection.in_two_classes]
        _say(f"left out, because they stand in two classes: {some(groups)}")
    if collection.left_out:
        files = [f"{collection.show(one.path)} ({one.reason})" for one in collection.left_out]
        _say(f"left out, {len(files)} in all: {some(files)}")
    low, high = found["accuracy_interval"]
    _say(
        f"{bundle.name}: {len(bundle.classes)} classes, right for {found['accuracy']:.1%} of {found['held_out']} "
        f"held-out photographs (95 % interval {low:.1%} to {high:.1%})"
    )
    _say(f"report: {bundle.path / REPORT}")
    _say(f"serve it: make up MODEL={options.out / name}")
    return bundle


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")
