"""The bodies that a design's cells send, encoded once."""

import tempfile
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell
from loadtest.experiments.design import Design
from loadtest.experiments.loads import trace_of
from loadtest.generate.images import PHOTO, find_labelled, labelled, photograph
from loadtest.generate.payload import Payload, encode
from loadtest.generate.sized import Sized


class Bodies:
    """Makes and keeps the request bodies of one design.

    One photograph at every size is kept in memory; labelled images are written to a temporary folder, since a thousand
    of them at 2000 px would fill the client's memory.

    Args:
        design: Says quality, photo, body kind.
        images: Folder of labelled images; needed, and used, only where the design says `labelled`.
        traces: Folder of the run's traces; used where requests have the sizes of one.

    Raises:
        LoadtestError: The design needs labelled images and there are none, or an image cannot be read.
    """

    def __init__(self, design: Design, images: Path | None, traces: Path) -> None:
        self._quality = design.images["jpeg_quality"]
        self._photo = Path(design.images["photo"]) if design.images["photo"] else PHOTO
        self._multipart = design.client["body"] == "multipart"
        self._labelled = None
        if design.images["labelled"]:
            if images is None:
                raise LoadtestError(
                    f"the design {design.name} needs labelled images: give their folder with --images "
                    "(with `make experiment`: IMAGES=FOLDER)"
                )
            self._labelled = find_labelled(images)
        elif images is not None:
            raise LoadtestError(f"the design {design.name} sends a photograph, not labelled images: leave out --images")
        self._photos: dict[int, Payload] = {}
        self._facts: dict[str, dict[str, Any]] = {}
        self._scratch = tempfile.TemporaryDirectory(prefix="loadtest-")
        self._encoded: dict[int, list[tuple[str, Path]]] = {}
        self._traces = traces
        self._sized: Sized | None = None

    def close(self) -> None:
        """Remove the temporary folder."""
        self._scratch.cleanup()

    @property
    def count(self) -> int | None:
        """Number of labelled images; None where one photograph is sent."""
        return None if self._labelled is None else len(self._labelled)

    def prepare(self, cell: Cell) -> None:
        """Encode what a cell sends, so that no trial waits for it."""
        if cell.sized and self._sized is None:
            self._sized = Sized(quality=self._quality, source=self._photo, multipart=self._multipart)
        for side, _ in cell.images:
            if self._labelled is None:
                self._photo_at(side)
            elif side not in self._encoded:
                folder = Path(self._scratch.name) / str(side)
                folder.mkdir()
                entries = []
                for number, image in enumerate(self._labelled):
                    picture = labelled(image, side, quality=self._quality)
                    path = folder / f"{number}.jpg"
                    path.write_bytes(picture.data)
                    entries.append((picture.key, path))
                self._encoded[side] = entries

    def facts(self, cell: Cell) -> dict[str, dict[str, Any]]:
        """Bytes and digest of what a cell sends, by its name; of labelled images their number and mean size."""
        self.prepare(cell)
        if self._labelled is None:
            return {f"{side}px": self._facts[f"{side}px"] for side, _ in cell.images}
        found = {}
        for side, _ in cell.images:
            sizes = [path.stat().st_size for _, path in self._encoded[side]]
            found[f"{side}px"] = {"images": len(sizes), "mean_bytes": round(sum(sizes) / len(sizes))}
        return found

    def stream(self, cell: Cell, rng: np.random.Generator) -> Iterator[Payload]:
        """What a trial sends, in order: without end, or, if it sends every image, each labelled image once."""
        self.prepare(cell)
        if cell.sized:
            return self._some_sizes(cell, rng)
        if self._labelled is not None:
            order = self._each_image if cell.every_image else self._without_end
            return order(cell.images[0][0], rng)
        if len(cell.images) == 1:
            return repeat(self._photo_at(cell.images[0][0]))
        return self._mix(cell, rng)

    def of_trial(self, cell: Cell, rng: np.random.Generator) -> Iterator[Payload]:
        """The same, but where requests have the sizes of a trace, those in the order of the trace."""
        if not cell.sized:
            return self.stream(cell, rng)
        self.prepare(cell)
        assert self._sized is not None
        return self._sized.payloads(trace_of(cell, self._traces).sizes or ())

    def _some_sizes(self, cell: Cell, rng: np.random.Generator) -> Iterator[Payload]:
        assert self._sized is not None
        sizes = trace_of(cell, self._traces).sizes or ()
        while True:
            yield self._sized.payload(sizes[int(rng.integers(len(sizes)))])

    def _photo_at(self, side: int) -> Payload:
        if side not in self._photos:
            picture = photograph(side, quality=self._quality, source=self._photo)
            self._photos[side] = encode(picture.key, picture.data, "image/jpeg", multipart=self._multipart)
            self._facts[picture.key] = picture.facts()
        return self._photos[side]

    def _mix(self, cell: Cell, rng: np.random.Generator) -> Iterator[Payload]:
        photos = [self._photo_at(side) for side, _ in cell.images]
        weights = [weight for _, weight in cell.images]
        while True:
            for index in rng.choice(len(photos), 256, p=weights):
                yield photos[int(index)]

    def _without_end(self, side: int, rng: np.random.Generator) -> Iterator[Payload]:
        while True:
            yield from self._each_image(side, rng)

    def _each_image(self, side: int, rng: np.random.Generator) -> Iterator[Payload]:
        entries = self._encoded[side]
        for index in rng.permutation(len(entries)):
            key, path = entries[int(index)]
            yield encode(key, path.read_bytes(), "image/jpeg", multipart=self._multipart)
