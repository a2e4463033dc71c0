"""Where the processor time of a request goes, and what that leaves of the limit."""

from __future__ import annotations

from bench import means
from bench.aims import images_hz
from bench.layout import systems, table, titles
from bench.trials import Run, Trial
from loadtest.analyse.statistics import t_interval

_LOAD = "closed-16"
_DECODER = "served"
_LIMIT = f"limit {_DECODER}"


def cost(run: Run) -> str:
    """Return the section that says what HTTP costs, and what a system would reach that had no such cost."""
    network = means.of(run, _LIMIT, _LOAD, lambda trial: trial.cpu_ms)
    client = means.mean([_client_ms(trial) for key in systems(run) for trial in run.of(key, _LOAD)])
    rows = [
        [titles(run)[key], _beyond(pairs), _busy(run, pairs), means.ratio(run, key, _LIMIT, _LOAD, images_hz).text(2)]
        for key in systems(run)
        if run.facts["decoders"][key] == _DECODER and (pairs := run.pairs(key, _LIMIT, _LOAD))
    ]
    head = ["system", "CPU ms beyond decoding and inference", "busy share of the machine", "images/s over the limit's"]
    return f"""## What HTTP costs
CPU milliseconds a request at 16 users.

- Decoding and inference take {network.text(2)} ms in process, without HTTP.
- The generator takes {client.text(2)} ms on the same cores. The limit has no generator.
- So a system whose own HTTP cost nothing would reach {network.value / (network.value + client.value):.2f} of the limit.
- Those below have the worker's decoder. In brackets: the 95 % t-interval of the difference over the rounds.

{table(head, rows)}"""


def _beyond(pairs: list[tuple[Trial, Trial]]) -> str:
    middle, half = t_interval([one.cpu_ms - limit.cpu_ms for one, limit in pairs])
    interval = "" if middle is None or half is None else f" ({middle - half:.2f} to {middle + half:.2f})"
    return f"{middle:.2f}{interval}"


def _busy(run: Run, pairs: list[tuple[Trial, Trial]]) -> str:
    cores = run.facts["machine_cores"]
    return f"{means.mean([(one.cpu_s + one.client_cpu_s) / one.wall_s / cores for one, _ in pairs]).value:.0%}"


def _client_ms(trial: Trial) -> float:
    return 1e3 * trial.client_cpu_s / max(trial.images, 1)
