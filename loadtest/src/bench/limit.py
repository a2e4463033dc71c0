"""The in-process limit: one pinned process that decodes, infers and ranks, with no HTTP at all.

``python -m bench.limit BUNDLE FOLDER CORE`` reads lines ``DECODER SECONDS`` from standard input and answers each
with ``IMAGES SECONDS CPU_SECONDS``: the last image ends after the time that was asked for. Numbers of images behind
the seconds are those to begin with, and all of them are computed.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from imagerec_worker import preprocess as worker_preprocess
from imagerec_worker import turbo
from imagerec_worker.bundle import Bundle, load_bundle
from imagerec_worker.classifier import Classifier

Pixels = npt.NDArray[np.uint8]
MAX_PIXELS = 50_000_000


def served(data: bytes, bundle: Bundle) -> Pixels:
    """What the worker does: libjpeg-turbo and OpenCV for photographs."""
    return worker_preprocess.preprocess(data, bundle.input_size, MAX_PIXELS, bundle.crop)[0]


def served_pillow(data: bytes, bundle: Bundle) -> Pixels:
    """What the worker does with everything that its fast decoder leaves: Pillow, bicubic."""
    fast = turbo.decode_colours
    turbo.decode_colours = lambda *_: None
    try:
        return served(data, bundle)
    finally:
        turbo.decode_colours = fast


def plain_pillow(data: bytes, bundle: Bundle) -> Pixels:
    """The usual way: decode whole, centre square, bilinear."""
    return _by_pillow(data, bundle, Image.Resampling.BILINEAR)


def reference(data: bytes, bundle: Bundle) -> Pixels:
    """The slow reference: decode whole, upright, RGB on white, centre square, bicubic."""
    return _by_pillow(data, bundle, Image.Resampling.BICUBIC)


def _by_pillow(data: bytes, bundle: Bundle, method: Image.Resampling) -> Pixels:
    image: Image.Image = ImageOps.exif_transpose(Image.open(io.BytesIO(data)))
    if image.has_transparency_data:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
    image = image.convert("RGB")
    side, size = round(min(image.size) * bundle.crop), bundle.input_size
    left, top = (image.width - side) // 2, (image.height - side) // 2
    return np.asarray(image.crop((left, top, left + side, top + side)).resize((size, size), method))


DECODERS: dict[str, Callable[[bytes, Bundle], Pixels]] = {
    "served": served,
    "served_pillow": served_pillow,
    "plain_pillow": plain_pillow,
    "reference": reference,
}


def main() -> None:
    """Answer rounds until standard input ends."""
    bundle_folder, images_folder, core = sys.argv[1:]
    os.sched_setaffinity(0, {int(core)})
    classifier = Classifier(load_bundle(bundle_folder))
    bundle = classifier.bundle
    images = [path.read_bytes() for path in sorted(Path(images_folder).iterdir())]
    worker_preprocess.warm_up(bundle.input_size)
    print("ready", flush=True)
    for line in sys.stdin:
        name, seconds, *numbers = line.split()
        decode, done = DECODERS[name], 0
        asked = [images[int(number)] for number in numbers] or images
        start_s, cpu_s = time.perf_counter(), time.process_time()
        while done < len(numbers) or time.perf_counter() < start_s + float(seconds):
            classifier.classify(decode(asked[done % len(asked)], bundle), 5)
            done += 1
        print(done, time.perf_counter() - start_s, time.process_time() - cpu_s, flush=True)


if __name__ == "__main__":
    main()
