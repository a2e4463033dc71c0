"""Small photographs that a network can tell apart, and a network that is small itself."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imagerec_model.efficientnet import FEATURES
from imagerec_model.learn.network import BASE, Network
from imagerec_model.learn.photographs import Photograph
from imagerec_model.litert_graph import Graph

COLOURS = {"red": (200, 60, 60), "green": (60, 180, 60), "blue": (60, 60, 200), "grey_ones": (128, 128, 128)}


def write_photograph(path: Path, colour: Sequence[int], seed: int, size: int = 48) -> Path:
    """Write a JPEG of coarse noise around a colour."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = np.random.default_rng(seed).normal(0, 40, (6, 6, 3))
    pixels = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).resize((size, size), Image.Resampling.NEAREST).save(path, quality=90)
    return path


def write_classes(root: Path, names: Sequence[str] = ("blue", "green", "red"), number: int = 8) -> Path:
    """Write a folder of photographs, so many a class."""
    for place, name in enumerate(names):
        for index in range(number):
            write_photograph(root / name / f"{index:02}.jpg", COLOURS[name], 1000 * place + index)
    return root


def photographs_of(labels: Sequence[int]) -> list[Photograph]:
    """Return made-up photographs of these classes, each of a content of its own."""
    return [Photograph(Path(f"{label}/{index}.jpg"), label, f"{index:064x}") for index, label in enumerate(labels)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of three classes of eight photographs."""
    return write_classes(tmp_path / "photographs")


@pytest.fixture(scope="session")
def network() -> Network:
    """A network whose features are 1280 mixtures of red, green and blue; it takes no time."""
    kernel = np.random.default_rng(0).uniform(0, 1, (FEATURES, 1, 1, 3)).astype(np.float32)
    graph = Graph()
    mixed = graph.conv("mixed", graph.image("image", BASE.size), kernel, np.zeros(FEATURES, np.float32), 32, relu6=True)
    return Network({}, graph.finish({"features": graph.pool("features", mixed)}))
