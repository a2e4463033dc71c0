"""What every peer serves: the network of the bundle, by LiteRT, after one of two decoders.

`BENCH_BUNDLE` is the folder of the bundle, `BENCH_DECODER` a name of `bench.limit.DECODERS`. The network is the same
file with the same settings as in our workers, so that peers differ by what they do around it.
"""

from __future__ import annotations

import os
from typing import Any

from bench.limit import DECODERS
from imagerec_worker.bundle import load_bundle
from imagerec_worker.classifier import Classifier

TOP = 5


class Recogniser:
    """The network and the decoder that the environment names; one for each process."""

    def __init__(self) -> None:
        self._classifier = Classifier(load_bundle(os.environ["BENCH_BUNDLE"]))
        self._decode = DECODERS[os.environ["BENCH_DECODER"]]

    def __call__(self, photograph: bytes) -> dict[str, Any]:
        """Return the best classes of a photograph, as our workers name them."""
        pixels = self._decode(photograph, self._classifier.bundle)
        return {"predictions": [best._asdict() for best in self._classifier.classify(pixels, TOP)]}
