"""The report of a learnt model: one HTML file with what it can do, what it cannot, and which photographs to mend."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape
from PIL import Image

from imagerec_model.errors import ModelError
from imagerec_model.learn.examination import Result, Share
from imagerec_model.learn.photographs import LIMITS, label_of, read
from imagerec_worker.errors import ProblemError
from imagerec_worker.preprocess import preprocess

# A class with fewer photographs is answered badly or, by so few held-out ones, measured badly.
ENOUGH = 20
_THUMBNAIL = 128
_MOST_PICTURES = 24
_MOST_PAIRS = 12
_MOST_LINES = 50
# A larger matrix cannot be read; the most frequent confusions are listed instead.
_LARGEST_MATRIX = 25


def render(result: Result) -> str:
    """Return the report, an HTML page that needs nothing from anywhere."""
    environment = Environment(
        loader=PackageLoader("imagerec_model.learn", "."),
        autoescape=select_autoescape(),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = lambda share: f"{100 * share:.1f}".removesuffix(".0") + "\N{NO-BREAK SPACE}%"
    return environment.get_template("report.html").render(
        result=result,
        figures=figures(result),
        accuracy=_share(result.examination.accuracy()),
        cross_validated=_share(result.examination.cross_validated()),
        classes=_classes(result),
        matrix=_matrix(result),
        confusions=_confusions(result),
        wrong=_wrong(result),
        wrong_in_all=len(result.examination.most_wrong()),
        across=_pairs(result, across=True),
        within=_pairs(result, across=False),
        twice=[[result.collection.show(path) for path in group] for group in result.collection.in_two_classes],
        left_out=[(result.collection.show(one.path), one.reason) for one in result.collection.left_out],
        most_lines=_MOST_LINES,
        enough=ENOUGH,
    )


def figures(result: Result) -> dict[str, Any]:
    """Return the figures of a result, ready for JSON."""
    examination, learnt = result.examination, result.learnt
    accuracy = examination.accuracy()
    return {
        "photographs": len(result.collection.photographs),
        "learnt_from": len(result.split.learning),
        "held_out": accuracy.of,
        "accuracy": accuracy.share,
        "accuracy_interval": accuracy.interval,
        "cross_validated_accuracy": examination.cross_validated().share,
        "calibration_error_before": examination.error_before,
        "calibration_error_after": examination.error_after,
        "temperature": learnt.temperature,
        "unsure_below": learnt.unsure_below,
        "unsure": examination.unsure,
        "strength": learnt.strength,
        "near_duplicates": len(result.pairs),
        "near_duplicates_apart": result.split.near_duplicates_apart,
        "in_two_classes": len(result.collection.in_two_classes),
        "left_out": len(result.collection.left_out),
    }


def _share(share: Share) -> dict[str, Any]:
    low, high = share.interval
    return {"right": share.right, "of": share.of, "share": share.share, "low": low, "high": high}


def _label(result: Result, label: int) -> str:
    return label_of(result.collection.names[label])


def _classes(result: Result) -> list[dict[str, Any]]:
    examination = result.examination
    rows = []
    for label in range(len(result.collection.names)):
        number = int((examination.labels == label).sum())
        rows.append(
            {
                "label": _label(result, label),
                "photographs": number,
                "few": number < ENOUGH,
                **_share(examination.accuracy(label)),
            }
        )
    return rows


def _matrix(result: Result) -> list[dict[str, Any]] | None:
    if len(result.collection.names) > _LARGEST_MATRIX:
        return None
    confusion = result.examination.confusion()
    return [
        {
            "label": _label(result, label),
            "cells": [
                {"number": int(number), "share": round(number / max(row.sum(), 1), 2), "right": answer == label}
                for answer, number in enumerate(row)
            ],
        }
        for label, row in enumerate(confusion)
    ]


def _confusions(result: Result) -> list[dict[str, Any]]:
    """Return the most frequent confusions, of held-out and of cross-validated photographs."""
    numbers: dict[tuple[int, int], int] = {}
    for index in result.examination.most_wrong():
        pair = int(result.examination.labels[index]), int(result.examination.answers[index])
        numbers[pair] = numbers.get(pair, 0) + 1
    frequent = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))[:10]
    return [
        {"is": _label(result, true), "answer": _label(result, answer), "number": number}
        for (true, answer), number in frequent
    ]


def _wrong(result: Result) -> list[dict[str, Any]]:
    examination = result.examination
    return [
        {
            **_picture(result, index),
            "answer": _label(result, int(examination.answers[index])),
            "probability": float(examination.probabilities[index].max()),
            "held_out": bool(examination.held_out[index]),
        }
        for index in examination.most_wrong()[:_MOST_PICTURES]
    ]


def _pairs(result: Result, *, across: bool) -> dict[str, Any]:
    labels = result.examination.labels
    chosen = [pair for pair in result.pairs if (labels[pair.first] != labels[pair.second]) == across]
    shown = [
        {"cosine": pair.cosine, "pictures": [_picture(result, pair.first), _picture(result, pair.second)]}
        for pair in chosen[:_MOST_PAIRS]
    ]
    return {"number": len(chosen), "shown": shown}


def _picture(result: Result, index: int) -> dict[str, Any]:
    photograph = result.collection.photographs[index]
    return {
        "data": _thumbnail(photograph.path),
        "path": result.collection.show(photograph.path),
        "is": _label(result, photograph.label),
    }


def _thumbnail(path: Path) -> str:
    """Return a small JPEG in base64, or nothing when the file went away since it was learnt from."""
    try:
        pixels, _ = preprocess(read(path), _THUMBNAIL, LIMITS.max_pixels)
    except (ModelError, ProblemError):
        return ""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "JPEG", quality=80)
    return base64.b64encode(file.getvalue()).decode()
