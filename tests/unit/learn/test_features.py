"""Features: the same as a worker computes, kept by content, computed once."""

from __future__ import annotations

import errno
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagerec_model.learn.features import Store, extract
from imagerec_model.learn.network import Network, write_features_bundle
from imagerec_model.learn.photographs import Photograph, collect
from imagerec_worker.classifier import Classifier
from imagerec_worker.preprocess import preprocess
from tests.unit.learn.conftest import COLOURS, write_photograph


def test_features_are_a_workers_and_are_computed_once(data: Path, network: Network, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    first = collect(data).photographs
    found, failures = extract(first, network, cache, 2)
    assert not failures
    assert found.keys() == {one.sha256 for one in first}
    bundle = write_features_bundle(tmp_path / "features", network)
    content = first[5].path.read_bytes()
    pixels, _ = preprocess(content, bundle.input_size, 10**6, bundle.crop)
    np.testing.assert_array_equal(found[first[5].sha256], Classifier(bundle).probabilities(pixels))

    kept = {path: path.stat().st_mtime_ns for path in cache.rglob("*.npy")}
    (data / "red").rename(data / "crimson")  # content counts, not names
    write_photograph(data / "blue/new.jpg", COLOURS["blue"], 99)
    again, _ = extract(collect(data).photographs, network, cache, 2)
    assert len(again) == 25
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert len(list(cache.rglob("*.npy"))) == 25


def test_other_network_has_other_features(network: Network) -> None:
    assert Network({}, network.features + b"\0").version != network.version


def test_what_cannot_be_decoded_is_named(data: Path, network: Network, tmp_path: Path) -> None:
    whole = (data / "red/00.jpg").read_bytes()
    (data / "red/cut.jpg").write_bytes(whole[: len(whole) // 2])
    (data / "red/phone.heic").write_bytes(b"\0\0\0\x18ftypheic" + bytes(100))
    (data / "red/empty.jpg").write_bytes(b"")
    Image.new("L", (8000, 8000)).save(data / "red/huge.png")
    photographs = collect(data).photographs
    shutil.copy(data / "blue/01.jpg", data / "blue/00.jpg")
    _, failures = extract(photographs, network, tmp_path / "cache", 1)
    reasons = {one.path.name: one.reason for one in failures}
    assert reasons.keys() == {"cut.jpg", "phone.heic", "empty.jpg", "huge.png", "00.jpg"}
    assert reasons["00.jpg"] == "changed while it was read"
    assert "damaged" in reasons["cut.jpg"]
    assert "is no JPEG, PNG, WebP or GIF" in reasons["phone.heic"]
    assert "8000 by 8000 pixels" in reasons["huge.png"]


@pytest.mark.parametrize("damage", [b"", b"\x93NUMPY", None], ids=["empty", "cut off", "of another shape"])
def test_damaged_features_are_computed_again(tmp_path: Path, damage: bytes | None) -> None:
    store = Store(tmp_path)
    store.put("ab" * 32, np.arange(1280, dtype=np.float32))
    [path] = tmp_path.rglob("*.npy")
    assert store.get("ab" * 32) is not None
    if damage is None:
        np.save(path, np.zeros(3, np.float32))
    else:
        path.write_bytes(damage)
    assert store.get("ab" * 32) is None


def test_full_disk_leaves_nothing_half_written(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))
    try:
        with pytest.raises(OSError, match="too large") as refusal:
            Store(tmp_path).put("ab" * 32, np.zeros(1280, np.float32))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert refusal.value.errno == errno.EFBIG
    assert not [name for _, _, names in os.walk(tmp_path) for name in names]


def test_no_photographs_need_no_process(network: Network, tmp_path: Path) -> None:
    nothing: list[Photograph] = []
    assert extract(nothing, network, tmp_path) == ({}, [])
