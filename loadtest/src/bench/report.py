"""The benchmark's table: medians, ratios of paired rounds, and where each figure stands against its aim."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

NAMES = {
    "limit served": "in process, no HTTP: the worker's decoder",
    "limit served_pillow": "in process, no HTTP: the worker's Pillow path",
    "limit plain_pillow": "in process, no HTTP: plain Pillow, bilinear",
    "gunicorn": "gunicorn directly, one listener, two processes",
    "nginx": "the same through nginx",
    "two workers": "`make up` as it is: nginx, two workers of one process, random",
    "baseline": "the baseline: Flask development servers, Keras `predict`, forwarding balancer",
}


def ratio(result: dict[str, Any], one: str, other: str) -> float:
    """Median over the rounds of one rate over another of the same round."""
    rates: dict[str, list[float]] = result["rate_hz"]
    return statistics.median(a / b for a, b in zip(rates[one], rates[other], strict=True))


def markdown(result: dict[str, Any]) -> str:
    """Write the result as a page."""
    full = result["connections"][-1]
    lines = [
        "# Throughput of the service",
        "",
        f"`make bench` at {result['commit']}: {result['rounds']} interleaved rounds of {result['seconds']:g} s each;",
        f"{result['images']}; {result['model']}.",
        f"{result['machine']}. Medians, in brackets the lowest and the highest round. Load generator and services",
        f"share the two cores; the generator takes {result['client_cpu_ms']:.2f} ms of CPU a request.",
        "",
        f"| system | images/s at {full} connections | CPU ms an image |",
        "|---|---|---|",
    ]
    rows = [*(name for name in NAMES if name.startswith("limit"))]
    rows += [f"{name} {full}" for name in NAMES if not name.startswith("limit")]
    for name in rows:
        rates, cpu = result["rate_hz"][name], result["cpu_ms"][name]
        title = NAMES.get(name) or NAMES[name.rpartition(" ")[0]]
        lines.append(
            f"| {title} | {statistics.median(rates):.1f} ({min(rates):.1f} to {max(rates):.1f}) "
            f"| {statistics.median(cpu):.2f} |"
        )
    lines += ["", f"| images/s at connections | {' | '.join(map(str, result['connections']))} |", "|---|---|---|---|"]
    for name in ("gunicorn", "nginx", "two workers"):
        medians = (statistics.median(result["rate_hz"][f"{name} {count}"]) for count in result["connections"])
        lines.append(f"| {NAMES[name]} | {' | '.join(f'{median:.0f}' for median in medians)} |")
    lines += [
        "",
        "| figure | aim | reached |",
        "|---|---|---|",
        f"| through nginx, of the in-process limit of the same decode | ≥ 85 % "
        f"| {ratio(result, f'nginx {full}', 'limit served'):.0%} |",
        f"| `make up` as it is (random between two processes), of the same limit | – "
        f"| {ratio(result, f'two workers {full}', 'limit served'):.0%} |",
        f"| in-process limit, over plain Pillow decode and resize | ≥ 1.3 × "
        f"| {ratio(result, 'limit served', 'limit plain_pillow'):.2f} × |",
        f"| through nginx, over the baseline | ≥ 20 × | {ratio(result, f'nginx {full}', f'baseline {full}'):.1f} × |",
        f"| resident memory of a worker process | ≤ 120 MB | {max(result['resident_mb']):.0f} MB |",
    ]
    parts = result["part_ms"]
    lines += [
        "",
        f"Of that memory {max(result['private_mb']):.0f} MB are a process's own; the rest are libraries' files, which "
        "the processes of a host share.",
        "",
        f"Alone, an inference takes {parts['inference']:.1f} ms here and the decoding of a photograph "
        f"{parts['served']:.1f} ms, where plain Pillow takes {parts['plain_pillow']:.1f} ms "
        f"({parts['plain_pillow'] / parts['served']:.1f} ×).",
    ]
    if accuracy := result["accuracy"]:
        count = accuracy["photographs"]
        lines += [
            "",
            f"On {count} labelled photographs, one a class, against the slow reference (whole decode, bicubic):",
            "",
            "| decoder | right (top-1) | same top-1 as the reference |",
            "|---|---|---|",
        ]
        titles = {"served": "libjpeg-turbo and OpenCV", "served_pillow": "the worker's Pillow path"}
        titles |= {"plain_pillow": "plain Pillow, bilinear (not in the worker)", "reference": "the reference"}
        lines += [
            f"| {title} | {accuracy['right'][name]} | {accuracy['as_reference'][name]} of {count} |"
            for name, title in titles.items()
        ]
    return "\n".join(lines) + "\n"


def write(result: dict[str, Any], folder: Path | None) -> str:
    """Return the page; write it and every round's figures into a folder if one is given."""
    page = markdown(result)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "throughput.json").write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        (folder / "throughput.md").write_text(page, encoding="utf-8")
    return page
