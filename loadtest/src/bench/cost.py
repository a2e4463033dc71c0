"""Where the processor time of a request goes."""

from __future__ import annotations

import statistics

from bench import means
from bench.layout import systems
from bench.trials import Run, Trial

_LOAD = "closed-16"
_DECODER = "served"
_LIMIT = f"limit {_DECODER}"


def network(run: Run) -> means.Mean:
    """Return the CPU milliseconds that decoding and inference take in process."""
    return means.of(run, _LIMIT, _LOAD, lambda trial: trial.cpu_ms)


def generator(run: Run) -> means.Mean:
    """Return the CPU milliseconds that the generator takes for a photograph under this section's load."""
    rounds: dict[int, list[float]] = {}
    for key in systems(run):
        for trial in run.of(key, _LOAD) if run.facts["decoders"][key] == _DECODER else ():
            rounds.setdefault(trial.number, []).append(_client_ms(trial))
    return means.mean([statistics.geometric_mean(each) for each in rounds.values()])


def generator_ms(run: Run) -> float:
    """Return the median CPU milliseconds that the generator takes for a request, over all trials."""
    return statistics.median(
        1e3 * trial.client_cpu_s / len(trial.requests) for trial in run.trials if len(trial.requests)
    )


def comparable(run: Run, key: str) -> bool:
    """Tell whether a system has the decoder of the limit, and was measured beside it."""
    return run.facts["decoders"][key] == _DECODER and bool(_pairs(run, key))


def beyond(run: Run, key: str) -> means.Mean:
    """Return the CPU milliseconds of a request that are neither decoding nor inference."""
    return means.difference([one.cpu_ms - limit.cpu_ms for one, limit in _pairs(run, key)])


def nginx(run: Run, key: str) -> means.Mean:
    """Return the CPU milliseconds of a request that are nginx's; NaN where they are not known."""
    return means.of(run, key, _LOAD, lambda trial: trial.nginx_ms)


def own(run: Run, key: str) -> means.Mean:
    """Return the CPU milliseconds of a request that are neither decoding, inference nor nginx's."""
    if not run.facts["nginx"][key]:
        return beyond(run, key)
    return means.difference([one.cpu_ms - one.nginx_ms - limit.cpu_ms for one, limit in _pairs(run, key)])


def room(run: Run, other: str, times: float) -> means.Mean:
    """Return the CPU ms beyond decoding and inference with which a system is so many times as fast as another.

    It holds where nothing but the cores limits both, and the generator takes as much for both.
    """
    pairs = _pairs(run, other)
    return means.difference(
        [(one.cpu_ms + _client_ms(one)) / times - _client_ms(one) - limit.cpu_ms for one, limit in pairs]
    )


def left_ms(run: Run, photographs_hz: float) -> float:
    """Return the CPU milliseconds that are left for HTTP at a rate, when decoding, inference and generator have theirs.

    A system that spends more falls behind, however it spends it. Below 0: they alone take more than the cores have.
    """
    cores: int = run.facts["machine_cores"]
    return 1e3 * cores / photographs_hz - network(run).value - generator(run).value


def busy(run: Run, key: str) -> float:
    """Return the share of the machine's cores that the system and the generator kept busy."""
    cores = run.facts["machine_cores"]
    return means.mean([(one.cpu_s + one.client_cpu_s) / one.wall_s / cores for one, _ in _pairs(run, key)]).value


def _client_ms(trial: Trial) -> float:
    return 1e3 * trial.client_cpu_s / max(trial.images, 1)


def _pairs(run: Run, key: str) -> list[tuple[Trial, Trial]]:
    return run.pairs(key, _LIMIT, _LOAD)
