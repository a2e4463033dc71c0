"""The page's tables of rates and times."""

from __future__ import annotations

from bench import means, tails
from bench.layout import LIMITS, OURS, images_hz, loads, number, peers, systems, table, titles
from bench.trials import Run

_BEHIND, _FEW = 0.1, 8
_CAPACITY = "closed-16"


def closed(run: Run) -> str:
    """Return the section of the closed loops."""
    found = loads(run, "closed")
    users = [f"{number(load):.0f}" for load in found]
    head = ["system", *(f"images/s, {count} users" for count in users)]
    head += [*(f"ms, {count} users" for count in users), f"CPU ms an image, {users[-1]} users"]
    rows = []
    for key, title in titles(run).items():
        rates = [means.of(run, key, load, images_hz).text() for load in found]
        late = ["–" if key in LIMITS else tails.text(run, key, load) for load in found]
        cpu = means.of(run, key, found[-1], lambda trial: trial.cpu_ms).text(1)
        rows.append([title + _failed(run, key, found), *rates, *late, cpu])
    text = "## As fast as they can\nEach user sends the next photograph when it has the answer to the last.\n\n"
    return text + table(head, rows)


def fixed(run: Run) -> str:
    """Return the section of the open loops."""
    found = loads(run, "open")
    limit_hz = run.facts["limit_hz"]
    shares = [f"{number(load):.0%}" for load in found]
    rates = ", ".join(f"{number(load) * limit_hz:.0f}" for load in found)
    lag_ms = max(trial.lag_ms(0.99) for trial in run.trials if trial.load in found)
    rows = [
        [title + _failed(run, key, found), *(_latency(run, key, load) for load in found)]
        for key, title in systems(run).items()
        if run.of(key, found[0])
    ]
    text = f"""## At fixed rates
Poisson arrivals at {rates} photographs a second: {", ".join(shares)} of the limit, which was {limit_hz:.0f} in this
run's warm-up.

- Milliseconds count from when a request was due.
- The generator was late by {lag_ms:.1f} ms at p99 in its worst trial.
- *behind*: the system does not keep up with the rate in most rounds, so its times only say how long the trial was.
  Either it answers fewer photographs a second to 16 users than are due here. Or more than {_BEHIND:.0%} of all
  requests, and more than {_FEW}, still waited when the last one was due.

"""
    return text + table(["system", *(f"ms at {share}" for share in shares)], rows)


def _latency(run: Run, key: str, load: str) -> str:
    half = tails.pooled(run, key, load, 0.5).text()
    return f"p50 {half}, {tails.text(run, key, load)}{' *behind*' * behind(run, key, load)}"


def behind(run: Run, key: str, load: str) -> bool:
    """Tell whether a system fell behind the rate of a load in most rounds."""
    capacity_hz = {trial.number: trial.images_hz for trial in run.of(key, _CAPACITY)}
    late = [
        trial.waiting > max(_FEW, _BEHIND * len(trial.requests))
        or capacity_hz.get(trial.number, trial.rate_hz) < trial.rate_hz
        for trial in run.of(key, load)
    ]
    return 2 * sum(late) > len(late)


def ratios(run: Run) -> str:
    """Return the section that compares ours with the others."""
    names = [(f"{key} at {number(load):.0f}", key, load) for key in OURS for load in loads(run, "closed")]
    rows = [
        [titles(run)[other], *(means.ratio(run, key, other, load, images_hz).text(2) for _, key, load in names)]
        for other in ("limit served", *peers(run))
    ]
    text = "## Ours over theirs\nImages a second of each column over those of each line, at 4 and 16 users.\n\n"
    return text + table(["over", *(name for name, _, _ in names)], rows)


def _failed(run: Run, key: str, found: list[str]) -> str:
    each = [trial for load in found for trial in run.of(key, load)]
    counts = {"requests failed": sum(trial.failed for trial in each), "wrong answers": sum(one.wrong for one in each)}
    said = ", ".join(f"{count} {what}" for what, count in counts.items() if count)
    return f" ({said})" if said else ""
