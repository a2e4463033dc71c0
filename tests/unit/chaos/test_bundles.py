"""What a fault builds takes the place of the deployed bundle, and is gone after it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from chaos.faults import changes
from chaos.scene import Scene
from chaos.verdict import Marks


def test_each_roll_of_an_upgrade_is_to_another_bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The build puts a bundle that is given by its path where the one of the same name stands."""
    deployed, built = tmp_path / "dist/bundles/given/imagenet", tmp_path / "dist/bundle.json"
    deployed.mkdir(parents=True)
    (deployed / "bundle.json").write_text(json.dumps({"version": "1.0", "files": {"model.tflite": "0"}}))
    (deployed / "model.tflite").write_bytes(b"a model")
    built.write_text(json.dumps({"path": str(deployed)}))
    rolled: list[Any] = []

    def roll(_scene: Scene, model: str, *_: str, **__: Any) -> None:
        source = Path(model.removeprefix("model="))
        files = {name: (source / name).read_bytes() for name in ("bundle.json", "model.tflite")}
        rolled.append((json.loads(files["bundle.json"])["version"], files["model.tflite"]))
        for name, content in files.items():
            (deployed / name).write_bytes(content)
        built.write_text(json.dumps({"path": str(deployed)}))

    monkeypatch.setattr(changes, "REPOSITORY", tmp_path)
    monkeypatch.setattr(changes, "_roll", roll)
    scene = cast("Scene", SimpleNamespace(system=SimpleNamespace(make=lambda *_: None)))
    faults = {fault.name: fault.inject for fault in changes.FAULTS}
    for name in ("upgrade-bundle", "broken-upgrade", "rollback"):
        faults[name](scene, Marks())
    broken = b"no model" * 1000
    assert rolled == [("2.0", b"a model"), ("1.0", b"a model"), ("3.0", broken), ("2.0", b"a model")]
    assert (deployed / "model.tflite").read_bytes() == b"a model"
