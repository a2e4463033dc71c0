"""The benchmark's page, made from a recorded run alone."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from typing import Any

from bench import medians
from bench.aims import aims, waiting_well
from bench.trials import Run

PAGE = "throughput.md"
LIMITS = {
    "limit served": "in process, no HTTP: the worker's decoder",
    "limit served_pillow": "in process, no HTTP: the worker's Pillow path",
    "limit plain_pillow": "in process, no HTTP: plain Pillow, bilinear",
}
OURS = ("listener", "random", "random_two")
_SHOWN: tuple[str, ...] = (
    "mosec",
    "fastapi",
    "uvicorn",
    "litserve",
    "flask",
    "gunicorn",
    "keras",
    "tensorflow",
    "ai-edge-litert",
)
_SHOWN += ("numpy", "opencv-python-headless", "simplejpeg", "pillow", "python")
_BEHIND, _FEW = 0.1, 8


def page(run: Run) -> str:
    """Write a run as a page."""
    parts = (_head(run), _closed(run), _open(run), _ratios(run), waiting_well(run), aims(run), _memory(run))
    return "\n\n".join([*parts, _alone(run), _versions(run)]) + "\n"


def _table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    titles = list(head)
    lines = [titles, ["---"] * len(titles), *map(list, rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _others(run: Run) -> list[str]:
    return [key for key in run.facts["systems"] if key not in OURS]


def _titles(run: Run) -> dict[str, str]:
    titles: dict[str, str] = LIMITS | run.facts["systems"]
    return titles


def _loads(run: Run, kind: str) -> list[str]:
    return list(dict.fromkeys(trial.load for trial in run.trials if trial.load.startswith(kind)))


def _head(run: Run) -> str:
    facts = run.facts
    served = [trial for trial in run.trials if len(trial.requests)]
    client_ms = statistics.median(1e3 * trial.client_cpu_s / len(trial.requests) for trial in served)
    flags = ", ".join(f"{flag} {'yes' if there else 'no'}" for flag, there in facts["cpu_flags"].items())
    forms = [facts["systems"][key] for key in facts["forms"]]
    return f"""# Throughput of the service
`make bench` at {facts["commit"]}: {facts["rounds"]} interleaved rounds, {facts["seconds"]:g} s for each trial.

- Machine: {facts["machine"]}; {flags}.
- Network: {facts["model"]}, the same file for all but the course project. Before it was measured, every system
  named the class of each photograph that the network finds after its decoder.
- Photographs: {facts["images"]}. Each request carries one, the same for all systems, as its body.
  These take the file of a form instead: {"; ".join(forms) or "none"}.
- Load: `python -m loadtest.generate.send` for all of them. The generator shares the cores with what it measures, and
  takes {client_ms:.2f} ms of CPU a request.
- CPU: of the serving processes alone, read from /proc: the processes that were started and all below them, with nginx
  and agents.
- Figures: the median over the rounds. In brackets: the 95 % t-interval over the rounds, of the mean of logarithms. A
  ratio is of two trials of the same round. Fewer than three rounds have no interval.
- Settings: a peer has its own defaults, but as many processes as cores.
- Linux's autogroup, which shares the cores by session, is {"on" if facts["autogroup"] else "off"}.
  No system is more than one session; the generator is another.
- Every system was up all the time. All together took {facts["idle_cores"]:.3f} cores while nobody asked."""


def _closed(run: Run) -> str:
    loads = _loads(run, "closed")
    users = [load.partition("-")[2] for load in loads]
    head = [
        "system",
        *(f"images/s, {count} users" for count in users),
        *(f"p99 ms, {count} users" for count in users),
        f"CPU ms an image, {users[-1]} users",
    ]
    rows = []
    for key, title in _titles(run).items():
        rates = [medians.of(run, key, load, lambda trial: trial.images_hz).text() for load in loads]
        late = ["–" if key in LIMITS else _ms(run, key, load, 0.99).text() for load in loads]
        rows.append([title + _failed(run, key, loads), *rates, *late, _cpu(run, key, loads[-1]).text(1)])
    text = "## As fast as they can\nEach user sends the next photograph when it has the answer to the last.\n\n"
    return text + _table(head, rows)


def _open(run: Run) -> str:
    loads = _loads(run, "open")
    limit_hz = run.facts["limit_hz"]
    shares = [float(load.partition("-")[2]) for load in loads]
    rates = ", ".join(f"{share * limit_hz:.0f}" for share in shares)
    parts = ", ".join(f"{share:.0%}" for share in shares)
    lag_ms = max(trial.lag_ms(0.99) for trial in run.trials if trial.load in loads)
    head = ["system", *(f"p50 / p99 ms at {share:.0%}" for share in shares)]
    rows = [
        [title + _failed(run, key, loads), *(_latency(run, key, load) for load in loads)]
        for key, title in run.facts["systems"].items()
        if run.of(key, loads[0])
    ]
    text = f"""## At fixed rates
Poisson arrivals at {rates} photographs a second: {parts} of the limit, which was {limit_hz:.0f} in this run's warm-up.

- Milliseconds count from when a request was due.
- The generator was late by {lag_ms:.1f} ms at p99 in its worst trial.
- *behind*: when the last request was due, more than {_BEHIND:.0%} of all, and more than {_FEW}, still waited.

"""
    return text + _table(head, rows)


def _latency(run: Run, key: str, load: str) -> str:
    found = run.of(key, load)
    behind = statistics.median(trial.waiting - max(_FEW, _BEHIND * len(trial.requests)) for trial in found) > 0
    return f"{_ms(run, key, load, 0.5).value:.0f} / {_ms(run, key, load, 0.99).text()}{' *behind*' * behind}"


def _ratios(run: Run) -> str:
    loads = _loads(run, "closed")
    names = [(f"{key} at {load.partition('-')[2]}", key, load) for key in OURS for load in loads]
    rows = [
        [_titles(run)[other], *(_over(run, key, other, load) for _, key, load in names)]
        for other in ("limit served", *_others(run))
    ]
    text = "## Ours over theirs\nImages a second of each column over those of each line, at 4 and 16 users.\n\n"
    return text + _table(["over", *(name for name, _, _ in names)], rows)


def _over(run: Run, key: str, other: str, load: str) -> str:
    return medians.ratio(run, key, other, load, lambda trial: trial.images_hz).text(2)


def _ms(run: Run, key: str, load: str, quantile: float) -> medians.Median:
    return medians.of(run, key, load, lambda trial: trial.response_ms(quantile))


def _cpu(run: Run, key: str, load: str) -> medians.Median:
    return medians.of(run, key, load, lambda trial: trial.cpu_ms)


def _failed(run: Run, key: str, loads: list[str]) -> str:
    failed = sum(trial.failed for load in loads for trial in run.of(key, load))
    return f" ({failed} requests failed)" if failed else ""


def _memory(run: Run) -> str:
    rows = [
        [run.facts["systems"][key], f"{max(sizes):.0f}", str(len(sizes)), f"{sum(sizes):.0f}"]
        for key, sizes in run.facts["memory_mb"].items()
        if sizes
    ]
    head = ["system", "largest process, MB", "processes", "all together, MB"]
    text = "## Memory\nProportional set size after the last round: each process has its part of what several share.\n\n"
    return text + _table(head, rows)


def _alone(run: Run) -> str:
    ms: dict[str, float] = run.facts["part_ms"]
    text = (
        f"## Alone\nIn one process an inference takes {ms['inference']:.1f} ms here. "
        f"The worker decodes a photograph in {ms['served']:.1f} ms, plain Pillow in {ms['plain_pillow']:.1f} ms."
    )
    found: dict[str, Any] | None = run.facts["accuracy"]
    if found is None:
        return text
    titles = {"served": "libjpeg-turbo and OpenCV", "served_pillow": "the worker's Pillow path"}
    titles |= {"plain_pillow": "plain Pillow, bilinear (peers as documented)", "reference": "the reference"}
    count = found["photographs"]
    rows = [
        [title, str(found["right"][name]), f"{found['as_reference'][name]} of {count}"]
        for name, title in titles.items()
    ]
    head = ["decoder", "right (top-1)", "same top-1 as the reference"]
    text += f"\n\n{count} labelled photographs, one a class; the reference decodes whole and resizes bicubically:\n\n"
    return text + _table(head, rows)


def _versions(run: Run) -> str:
    lines = {
        ", ".join(f"{name} {packages[name]}" for name in _SHOWN if name in packages): run.facts["systems"][key]
        for key, packages in reversed(run.facts["packages"].items())
    }
    listed = "\n".join(f"- {title}: {packages}." for packages, title in reversed(lines.items()))
    return f"## Versions\nnginx {run.facts['nginx']}. The JSON file beside this page has every package.\n\n{listed}"
