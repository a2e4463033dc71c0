"""A recorded run that tests change where they need to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bench import report, trials
from bench.rounds import IN_PROCESS, LOADS
from bench.trials import Run, Trial

SYSTEMS = {
    "listener": "nginx, one listener",
    "random": "random",
    "random_two": "random_two",
    "flask served": "plain Flask: the same decoder",
    "mosec served": "mosec: the same decoder",
    "mosec plain_pillow": "mosec: as documented, Pillow",
    "keras": "written like the course project",
}
BEHIND_NGINX = ("listener", "random")


def trial(
    system: str, load: str, number: int, images: int, took_ms: Sequence[float] = (20.0,), **changes: Any
) -> Trial:
    """A trial of a second that answers every request."""
    took = np.resize(np.array(took_ms), images)
    due = np.arange(images) * 1e6 / images
    requests = trials.table(zip(due.astype(int), [100] * images, (1e3 * took).astype(int), [200] * images, strict=True))
    nginx_s = 0.0003 * images if system in BEHIND_NGINX else None
    plain = {"nginx_cpu_s": nginx_s, "position": 1, "wall_s": 1.0, "wrong": 0, "rate_hz": 0.0, "others_cores": 0.01}
    plain |= changes
    spent = {"cpu_s": 0.016 * images, "client_cpu_s": 0.0008 * images}
    return Trial(system=system, load=load, number=number, images=images, requests=requests, **(plain | spent))


def run(times: int = 1, **rates: int) -> Run:
    """A run of three rounds: every system answers 100 a second in the first, 200, then 50, unless it is named here."""
    found = []
    for number, images in enumerate((100 * times, 200 * times, 50 * times), 1):
        for load in LOADS:
            if load.users:
                limits = (trial(f"limit {name}", load.name, number, 2 * images) for name in IN_PROCESS)
                found += [without_requests(limit) for limit in limits]
            asked = [key for key in SYSTEMS if load.users or key != "keras"]
            found += [trial(key, load.name, number, rates.get(key, images)) for key in asked]
    facts = {
        "machine": "a machine, 2 cores",
        "machine_cores": 2,
        "cores": 2,
        "autogroup": True,
        "cpu_flags": {"avx2": True, "avx512f": False},
        "commit": "1234567 with local changes",
        "model": "a network",
        "images": "20 photographs",
        "rounds": 3,
        "seconds": 1.0,
        "limit_hz": 120.0,
        "idle_cores": 0.004,
        "systems": SYSTEMS,
        "described": dict.fromkeys(SYSTEMS, "two processes"),
        "decoders": {key: "plain_pillow" if "plain" in key else "served" for key in SYSTEMS},
        "forms": ["mosec plain_pillow"],
        "lost": {},
        "memory": {key: {"processes": 2, "private_mb": 70.4, "shared_mb": 40.1, "largest_mb": 90.2} for key in SYSTEMS},
        "nginx": {key: "1.22.1" if key in BEHIND_NGINX else "" for key in SYSTEMS},
        "packages": {key: {"python": "3.11.7", "numpy": "2.2.6", "flask": "3.1.3"} for key in SYSTEMS},
        "part_ms": {"inference": 4.0, "served": 1.5, "served_pillow": 3.0, "plain_pillow": 3.5, "reference": 5.0},
        "accuracy": None,
    }
    return Run(facts, tuple(found))


def without_requests(one: Trial) -> Trial:
    """The same, as the in-process limit is recorded."""
    return replaced(one, requests=trials.table([]))


def replaced(one: Trial, **changes: Any) -> Trial:
    """The same trial with other values."""
    values = {name: getattr(one, name) for name in Trial.__slots__} | changes
    return Trial(**values)


def changed(whole: Run, which: Callable[[Trial], bool], change: Callable[[Trial], Trial], **facts: Any) -> Run:
    """A run with some of its trials and facts changed."""
    found = tuple(change(one) if which(one) else one for one in whole.trials)
    return Run(whole.facts | facts, found)


def section(title: str, whole: Run) -> str:
    """A section of a run's page."""
    return report.page(whole).partition(f"## {title}\n")[2].partition("\n## ")[0]
