"""The command `imagerec-model`: make, get and verify bundles; train and export the embedded model."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from imagerec_model import get as getting
from imagerec_model import imagenet, keras_mobilenet
from imagerec_model.errors import ModelError
from imagerec_model.training_settings import TrainingSettings
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

    one = _command(commands, "imagenet", _imagenet, "download the pinned int8 MobileNetV2 of 1000 classes")
    _bundle_options(one)
    _source_options(one)

    one = _command(commands, "keras", _keras, "export Keras' official float32 MobileNetV2 (needs TensorFlow)")
    _bundle_options(one)
    one.add_argument("--weights", choices=keras_mobilenet.WEIGHTS, default="imagenet", help="none: random weights")

    one = _command(commands, "get", _get, "put a verified bundle into a folder of bundles, if it is not there yet")
    one.add_argument("model", help=f"{', '.join(getting.NAMES)}, or the path of a bundle")
    _bundle_options(one, out="folder of bundles; the bundle's own folder is named after it")
    _source_options(one)

    one = _command(commands, "verify", _verify, "check the sha256 of every file of a bundle")
    one.add_argument("path", type=Path, help="folder of the bundle")
    _json_option(one)

    one = _command(commands, "train", _train, "train the embedded model on Tiny ImageNet (needs Keras)")
    _data_option(one)
    one.add_argument("--out", type=Path, required=True, help="folder for checkpoint, record and plot")
    one.add_argument("--resume", action="store_true", help="go on from the checkpoint in --out")
    for field in dataclasses.fields(TrainingSettings):
        _setting_option(one, field)

    one = _command(commands, "export", _export, "make the embedded bundle of a training run (needs TensorFlow)")
    _data_option(one)
    one.add_argument("--run", dest="training", type=Path, required=True, help="folder that `train` wrote")
    _bundle_options(one)
    one.add_argument("--photographs", type=Path, help="folder of pictures whose answers the model card shows")
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], None], text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(name, help=text, description=text.capitalize() + ".")
    parser.set_defaults(run=run)
    return parser


def _bundle_options(parser: argparse.ArgumentParser, out: str = "bundle to write") -> None:
    parser.add_argument("--out", type=Path, required=True, help=out)
    _json_option(parser)


def _json_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as one line of JSON")


def _source_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--mirror", help="folder or URL that has the model file; tried before its public address")
    parser.add_argument("--offline", action="store_true", help="never try the public address")


def _data_option(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, help="folder of Tiny ImageNet, which holds wnids.txt")


def _setting_option(parser: argparse.ArgumentParser, field: dataclasses.Field[Any]) -> None:
    option = f"--{field.name.replace('_', '-')}"
    if isinstance(field.default, tuple):
        text = ",".join(str(value) for value in field.default)
        parser.add_argument(option, type=_integers, default=field.default, help=f"default {text}")
    else:
        parser.add_argument(option, type=type(field.default), default=field.default, help="default %(default)s")


def _integers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def _imagenet(options: argparse.Namespace) -> None:
    bundle, changed = getting.publish(
        options.out, lambda aside: imagenet.make(aside, mirror=options.mirror, offline=options.offline)
    )
    _print(bundle, options, changed)


def _keras(options: argparse.Namespace) -> None:
    _print(keras_mobilenet.make(options.out, weights=options.weights), options, True)


def _get(options: argparse.Namespace) -> None:
    bundle, changed = getting.get(options.model, options.out, mirror=options.mirror, offline=options.offline)
    _print(bundle, options, changed)


def _verify(options: argparse.Namespace) -> None:
    _print(load_bundle(options.path), options, False)


def _train(options: argparse.Namespace) -> None:
    names = [field.name for field in dataclasses.fields(TrainingSettings)]
    settings = TrainingSettings(**{name: getattr(options, name) for name in names})
    from imagerec_model.tiny_imagenet import check_layout  # noqa: PLC0415  # Pillow is of the extra

    layout = check_layout(options.data)
    _need_keras()
    from imagerec_model.training import train  # noqa: PLC0415  # Keras is of the extra

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _, record = train(layout, options.out, settings, resume=options.resume)
    except KeyboardInterrupt:
        print(f"stopped; the same command with --resume goes on after the last epoch in {options.out}", file=sys.stderr)
        raise
    record.write(options.out)


def _export(options: argparse.Namespace) -> None:
    from imagerec_model.export import use_tensorflow  # noqa: PLC0415
    from imagerec_model.tiny_imagenet import check_layout  # noqa: PLC0415

    use_tensorflow()
    from imagerec_model.embedded import export_run  # noqa: PLC0415  # Keras and LiteRT are not always there

    layout = check_layout(options.data)
    photographs = sorted(options.photographs.iterdir()) if options.photographs else []
    bundle, measured = export_run(options.training, layout, options.out, photographs)
    for name, evaluation in measured.evaluations.items():
        figures = (
            f"top-1 {evaluation.top1 / evaluation.pictures:.2%}, top-5 {evaluation.top5 / evaluation.pictures:.2%}"
        )
        print(f"{name}: {figures}, {evaluation.inference_ms:.2f} ms an inference", file=sys.stderr)
    _print(bundle, options, True)


def _need_keras() -> None:
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    missing = [name for name in ("keras", backend) if importlib.util.find_spec(name) is None]
    if missing:
        raise ModelError(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed: run `make setup-keras`, "
            "or `pip install 'imagerec-model[keras]'`; KERAS_BACKEND=torch or jax chooses another installed backend"
        )


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
