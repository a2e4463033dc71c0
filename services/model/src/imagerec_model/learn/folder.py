"""The folder of a learnt model: its bundle, and beside it the report and the record of what it was learnt from."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from imagerec_model.errors import ModelError
from imagerec_model.learn.photographs import Collection

REPORT = "report.html"
RECORD = "learnt.json"


def check_free(folder: Path, collection: Collection) -> None:
    """Refuse to replace anything but a model that was learnt from photographs of this collection.

    A model is replaced when half of its photographs or more are still there: photographs were added or taken away.

    Raises:
        ModelError: the folder holds something else.
    """
    try:
        if not folder.exists() or not any(folder.iterdir()):
            return
        record = json.loads((folder / RECORD).read_text(encoding="utf-8"))
        learnt_from = set(record["photographs"])
    except (OSError, ValueError, KeyError, TypeError):
        raise ModelError(
            f"{folder} is there already and was not made by `make learn`; choose another NAME=, or remove it"
        ) from None
    still_there = learnt_from & {one.sha256 for one in collection.photographs}
    if 2 * len(still_there) < len(learnt_from):
        raise ModelError(
            f"the name is taken: {folder} was learnt from other photographs ({len(still_there)} of its "
            f"{len(learnt_from)} are in {collection.root}); choose another NAME=, or remove {folder}"
        )


@contextlib.contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """Give a folder to write to, and put it in the place of `folder` when all went well.

    Yields:
        A path where nothing is yet, on the same disk.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent) as scratch:
        made, old = Path(scratch, folder.name), Path(scratch, "old")
        yield made
        made.chmod(0o755)
        if folder.exists():
            folder.rename(old)
        try:
            made.rename(folder)
        except BaseException:
            if old.exists():
                old.rename(folder)
            raise


def write_record(folder: Path, figures: dict[str, Any], collection: Collection) -> None:
    """Write what a model was learnt from, and its figures."""
    record = {
        "figures": figures,
        "classes": {
            name: sum(one.label == label for one in collection.photographs)
            for label, name in enumerate(collection.names)
        },
        "photographs": sorted(one.sha256 for one in collection.photographs),
    }
    (folder / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
