"""The benchmark's page, made from a recorded run alone."""

from __future__ import annotations

import statistics
from typing import Any

from bench.aims import aims, waiting_well
from bench.cost import cost
from bench.layout import systems, table
from bench.quiet import quiet
from bench.speed import closed, fixed, ratios
from bench.trials import RecordError, Run

PAGE = "throughput.md"
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


def page(run: Run) -> str:
    """Write a run as a page.

    Raises:
        RecordError: The run lacks something that the page says.
    """
    try:
        parts = (_head(run), _systems(run), quiet(run), closed(run), fixed(run), ratios(run), waiting_well(run))
        return "\n\n".join([*parts, aims(run), cost(run), _memory(run), _alone(run), _versions(run)]) + "\n"
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError, IndexError) as error:
        raise RecordError(
            f"the record is damaged or not whole ({type(error).__name__}: {error}); make bench RECORD=… makes one"
        ) from error


def _head(run: Run) -> str:
    facts = run.facts
    served = [trial for trial in run.trials if len(trial.requests)]
    client_ms = statistics.median(1e3 * trial.client_cpu_s / len(trial.requests) for trial in served)
    flags = ", ".join(f"{flag} {'yes' if there else 'no'}" for flag, there in facts["cpu_flags"].items())
    measured = len({trial.number for trial in run.trials})
    rounds = f"{measured}" if measured == facts["rounds"] else f"{measured} of {facts['rounds']}"
    return f"""# Throughput of the service
`make bench` at {facts["commit"]}: {rounds} interleaved rounds, {facts["seconds"]:g} s for each trial.

- Machine: {facts["machine"]}; {flags}. Linux's autogroup (sched(7)) is {"on" if facts["autogroup"] else "off"}.
- Network: {facts["model"]}, the same file for all but the system written like the course project. Before it was
  measured, every system named the class of each photograph that the network finds after its decoder. While it was
  measured, every answer was compared with that class.
- Photographs: {facts["images"]}. Each request carries one, the same for all systems.
- Load: `python -m loadtest.generate.send` for all of them. It keeps its connections open. The generator shares the
  cores with what it measures, and takes {client_ms:.2f} ms of CPU a request.
- CPU: of the serving processes alone, read from /proc: the processes that were started, all below them, and those of
  them that have ended, with nginx and agents.
- Rates, CPU and ratios: the geometric mean over the rounds. In brackets: its 95 % t-interval over the rounds. A ratio
  is of two trials of the same round. Fewer than three rounds have no interval.
- Times: quantiles of the requests of all rounds together. In brackets: the lowest and the highest of the rounds' own.
  A request that failed counts as endlessly late; a dash stands where the quantile falls on one. There is a p99 from
  1,000 requests on, a p95 from 200 on. n is how many requests there were.
- Order: in each round and under each load, the systems are drawn in another order. The record has it.
- Every system was up all the time. All together took {facts["idle_cores"]:.3f} cores while nobody asked."""


def _systems(run: Run) -> str:
    facts = run.facts
    rows = [
        [
            facts["systems"][key],
            facts["described"][key],
            "yes" if facts["nginx"][key] else "no",
            "a browser's form" if key in facts["forms"] else "raw body",
        ]
        for key in systems(run)
    ]
    text = f"""## The systems
All may use {facts["cores"]} cores. A peer has its own defaults, but as many processes as cores.

- nginx stands before ours and plain Flask, and takes part of their CPU. Nothing stands before the others.
- Ours run without limits (requests a second and connections of one address, connections to a worker), for all load
  comes from one address.
"""
    if facts["cores"] % 2:
        text += (
            f"- The two workers of random and random_two cannot share cores evenly, for there are {facts['cores']}.\n"
        )
    for key, when in facts["lost"].items():
        text += f"- **Left out: {facts['systems'][key]} ended in {when}.**\n"
    return text + "\n" + table(["system", "what runs", "nginx before it", "photographs come as"], rows)


def _memory(run: Run) -> str:
    rows = [
        [
            run.facts["systems"][key],
            f"{found['private_mb'] + found['shared_mb']:.0f}",
            f"{found['private_mb']:.0f}",
            f"{found['shared_mb']:.0f}",
            str(found["processes"]),
            f"{found['largest_mb']:.0f}",
        ]
        for key, found in run.facts["memory"].items()
        if key in systems(run)
    ]
    head = ["system", "all together, MB", "private, MB", "shared, MB", "processes", "largest process, MB"]
    text = """## Memory
After the last round. Private: the pages that no other process has mapped, summed over the processes. Shared: the
other resident pages of the process that has most of them, counted once. Largest: all resident pages of one process. A
page that several systems share counts in full for each of them.

"""
    return text + table(head, rows)


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
    return text + table(head, rows)


def _versions(run: Run) -> str:
    """List the versions, once for all the systems that have the same."""
    lines: dict[str, list[str]] = {}
    for key, title in systems(run).items():
        packages = run.facts["packages"][key]
        nginx = [f"nginx {run.facts['nginx'][key]}"] if run.facts["nginx"][key] else []
        said = ", ".join([*nginx, *(f"{name} {packages[name]}" for name in _SHOWN if name in packages)])
        lines.setdefault(said, []).append(title)
    listed = "\n".join(f"- {'; '.join(names)}: {said}." for said, names in lines.items())
    return f"## Versions\nThe JSON file beside this page has every package.\n\n{listed}"
