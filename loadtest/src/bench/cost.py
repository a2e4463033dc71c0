"""Where the processor time of a request goes, and what that leaves of the limit."""

from __future__ import annotations

from bench import means
from bench.layout import images_hz, systems, table, titles
from bench.trials import Run, Trial

_LOAD = "closed-16"
_DECODER = "served"
_LIMIT = f"limit {_DECODER}"


def cost(run: Run) -> str:
    """Return the section that says what HTTP costs, and what a system would reach that had no such cost."""
    network = means.of(run, _LIMIT, _LOAD, lambda trial: trial.cpu_ms)
    client = means.mean([_client_ms(trial) for key in systems(run) for trial in run.of(key, _LOAD)])
    rows = [
        [
            titles(run)[key],
            beyond(run, key).text(2),
            nginx(run, key).text(2),
            own(run, key).text(2),
            _busy(run, pairs),
            means.ratio(run, key, _LIMIT, _LOAD, images_hz).text(2),
        ]
        for key in systems(run)
        if run.facts["decoders"][key] == _DECODER and (pairs := run.pairs(key, _LIMIT, _LOAD))
    ]
    head = ["system", "CPU ms beyond decoding and inference", "of it nginx", "of it all else"]
    head += ["busy share of the machine", "images/s over the limit's"]
    return f"""## What HTTP costs
CPU milliseconds a request at 16 users.

- Decoding and inference take {network.text(2)} ms in process, without HTTP.
- The generator takes {client.text(2)} ms on the same cores. The limit has no generator.
- So a system whose own HTTP cost nothing would reach {network.value / (network.value + client.value):.2f} of the limit.
- Those below have the worker's decoder. In brackets: the 95 % t-interval over the rounds, of differences where the
  limit is taken off.
- *All else* is the worker's own, with its agents. A dash stands where there is no nginx, or its time was not recorded.

{table(head, rows)}"""


def beyond(run: Run, key: str) -> means.Mean:
    """Return the CPU milliseconds of a request that are neither decoding nor inference."""
    return means.difference([one.cpu_ms - limit.cpu_ms for one, limit in run.pairs(key, _LIMIT, _LOAD)])


def nginx(run: Run, key: str) -> means.Mean:
    """Return the CPU milliseconds of a request that are nginx's; NaN where they are not known."""
    return means.of(run, key, _LOAD, lambda trial: trial.nginx_ms)


def own(run: Run, key: str) -> means.Mean:
    """Return the CPU milliseconds of a request that are neither decoding, inference nor nginx's."""
    if not run.facts["nginx"][key]:
        return beyond(run, key)
    pairs = run.pairs(key, _LIMIT, _LOAD)
    return means.difference([one.cpu_ms - one.nginx_ms - limit.cpu_ms for one, limit in pairs])


def _busy(run: Run, pairs: list[tuple[Trial, Trial]]) -> str:
    cores = run.facts["machine_cores"]
    return f"{means.mean([(one.cpu_s + one.client_cpu_s) / one.wall_s / cores for one, _ in pairs]).value:.0%}"


def _client_ms(trial: Trial) -> float:
    return 1e3 * trial.client_cpu_s / max(trial.images, 1)
