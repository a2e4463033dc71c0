"""The pictures that are sent: one photograph at stated sizes, or a folder of labelled images."""

import hashlib
import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from loadtest.errors import LoadtestError

PHOTO = Path(__file__).parents[1] / "photo.jpg"
_WNID = re.compile(r"n\d{8}")
_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".gif"}
# Enlarging adds no detail, so an enlarged photograph would make far too small a file. Grain of this standard
# deviation (of 255) brings the bytes per pixel back to what the photograph has at its own size.
_GRAIN = 4.0


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image whose class is known.

    Attributes:
        path: The file.
        wnid: WordNet id of its class, such as `n01440764`.
    """

    path: Path
    wnid: str


@dataclass(frozen=True, slots=True)
class Picture:
    """An encoded image and what it was made from.

    Attributes:
        key: Its name in the samples.
        data: JPEG bytes.
        enlarged: Whether its source had fewer pixels a side.
    """

    key: str
    data: bytes
    enlarged: bool

    def facts(self) -> dict[str, object]:
        """What provenance states of it: bytes and sha256."""
        return {
            "bytes": len(self.data),
            "sha256": hashlib.sha256(self.data).hexdigest(),
            "enlarged": self.enlarged,
        }


def photograph(side_px: int, *, quality: int, source: Path = PHOTO) -> Picture:
    """Make the photograph's centre square at side_px × side_px pixels, as JPEG; the same bytes every time.

    Args:
        side_px: Side of the square in pixels.
        quality: JPEG quality as libjpeg counts it, 1 to 95.
        source: The photograph. Beyond its own size it is enlarged and seeded grain is added.

    Raises:
        LoadtestError: The photograph cannot be read.
    """
    square = _square(source)
    enlarged = side_px > square.width
    scaled = square.resize((side_px, side_px), Image.Resampling.LANCZOS)
    if enlarged:
        grain = np.random.default_rng(side_px).normal(0.0, _GRAIN, (side_px, side_px, 1))
        scaled = Image.fromarray(np.clip(np.asarray(scaled) + grain, 0, 255).astype(np.uint8))
    return Picture(f"{side_px}px", jpeg(scaled, quality), enlarged)


def labelled(image: LabelledImage, side_px: int, *, quality: int) -> Picture:
    """Make a labelled image's centre square at side_px × side_px pixels, as JPEG; its key is `wnid/file@side`.

    Raises:
        LoadtestError: The image cannot be read.
    """
    square = _square(image.path)
    scaled = square.resize((side_px, side_px), Image.Resampling.LANCZOS)
    key = f"{image.wnid}/{image.path.stem}@{side_px}"
    return Picture(key, jpeg(scaled, quality), side_px > square.width)


def find_labelled(folder: Path) -> list[LabelledImage]:
    """List a folder's labelled images: in folders named by wnid, or with names that start with one.

    Raises:
        LoadtestError: There is no such folder, or no image in it carries a label.
    """
    if not folder.is_dir():
        raise LoadtestError(f"{folder} is no folder; give the folder of labelled images with --images")
    found = []
    unlabelled = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix.lower() not in _SUFFIXES or not path.is_file():
            continue
        match = _WNID.match(path.name) or _WNID.fullmatch(path.parent.name)
        if match:
            found.append(LabelledImage(path, match.group()))
        else:
            unlabelled += 1
    if not found:
        raise LoadtestError(
            f"{folder} holds no labelled image ({unlabelled} without a label). Name folders by WordNet id, such as "
            "n01440764/, or start file names with it, such as n01440764_tench.jpg"
        )
    names = [f"{image.wnid}/{image.path.stem}" for image in found]
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise LoadtestError(f"{folder} holds two images named {twice}; rename one, results are kept by that name")
    return found


def _square(path: Path) -> Image.Image:
    try:
        with Image.open(path) as opened:
            upright = ImageOps.exif_transpose(opened).convert("RGB")
    except (OSError, Image.DecompressionBombError) as error:
        raise LoadtestError(f"cannot read the image {path}: {error}") from error
    side = min(upright.size)
    return ImageOps.fit(upright, (side, side), Image.Resampling.LANCZOS)


def jpeg(image: Image.Image, quality: int = 90) -> bytes:
    """Encode an image as a JPEG file, with colours at half its resolution as cameras do."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality, subsampling="4:2:0")
    return buffer.getvalue()
