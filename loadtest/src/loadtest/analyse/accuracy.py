"""How often the first answer, or one of five, is the label of a photograph."""

from collections.abc import Sequence
from typing import Any

from loadtest.analyse.statistics import wilson
from loadtest.generate.samples import Trial

ACCURACY = ("labelled", "top1", "top1_low", "top1_high", "top5", "top5_low", "top5_high", "answers_differ")


def accuracy(trials: Sequence[Trial]) -> dict[str, Any]:
    """Accuracy over the labelled images; repetitions send the same ones, so they are compared and add no evidence."""
    answers: dict[str, set[str]] = {}
    for trial in trials:
        for one in trial.samples:
            if one.ok and one.answer:
                answers.setdefault(one.image, set()).add(one.answer)
    first = {key: min(given).split() for key, given in answers.items()}
    top1 = sum(ids[0] == key.partition("/")[0] for key, ids in first.items())
    top5 = sum(key.partition("/")[0] in ids[:5] for key, ids in first.items())
    count = len(first)
    return {
        "labelled": count,
        "top1": top1 / count if count else None,
        **dict(zip(("top1_low", "top1_high"), wilson(top1, count), strict=True)),
        "top5": top5 / count if count else None,
        **dict(zip(("top5_low", "top5_high"), wilson(top5, count), strict=True)),
        "answers_differ": sum(len(given) > 1 for given in answers.values()),
    }
