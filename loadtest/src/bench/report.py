"""The benchmark's page, made from a recorded run and `throughput.md.j2` alone."""

from __future__ import annotations

import jinja2

from bench import aims, cost, layout, quiet, speed, tails
from bench.trials import Run
from loadtest.errors import LoadtestError

PAGE = "throughput.md"
_SHOWN = (
    *("mosec", "fastapi", "uvicorn", "litserve", "flask", "gunicorn", "keras", "tensorflow", "ai-edge-litert"),
    *("numpy", "opencv-python-headless", "simplejpeg", "pillow", "python"),
)


def page(run: Run) -> str:
    """Write a run as a page.

    Raises:
        LoadtestError: The run lacks something that the page says.
    """
    known = {"aims": aims, "cost": cost, "layout": layout, "quiet": quiet, "speed": speed, "tails": tails}
    try:
        found = {"run": run, "facts": run.facts, "versions": _versions(run)}
        return layout.rendered(PAGE, known | found)
    except (jinja2.TemplateError, LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise LoadtestError(
            f"the record is damaged or not whole ({type(error).__name__}: {error}); make bench RECORD=… makes one"
        ) from error


def _versions(run: Run) -> dict[str, list[str]]:
    """Return the titles of the systems that have the same versions, by what the page says of these."""
    lines: dict[str, list[str]] = {}
    for key, title in layout.systems(run).items():
        packages = run.facts["packages"][key]
        nginx = [f"nginx {run.facts['nginx'][key]}"] if run.facts["nginx"][key] else []
        said = ", ".join([*nginx, *(f"{name} {packages[name]}" for name in _SHOWN if name in packages)])
        lines.setdefault(said, []).append(title)
    return lines
