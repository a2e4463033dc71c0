"""A made-up Tiny ImageNet, and a bundle of a network written by hand."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagerec_worker.bundle import Bundle
from tests.tiny_imagenet import write_data
from tests.unit.worker.conftest import write_colour_bundle


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A complete data folder of four classes, three training and two validation pictures each."""
    return write_data(tmp_path / "tiny-imagenet-4")


@pytest.fixture
def colours(tmp_path: Path) -> Bundle:
    """A bundle of the colour network."""
    return write_colour_bundle(tmp_path / "bundles/colours")
