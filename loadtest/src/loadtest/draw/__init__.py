"""Draw a run's figures from its summary and its samples."""

from collections.abc import Callable

from loadtest.draw import batching, loops, mix, models, policies, pool, rate, resolution
from loadtest.draw.style import Row
from loadtest.experiments.folder import RunFolder

_FIGURES: dict[str, Callable[[RunFolder, list[Row]], list[str]]] = {
    "resolution": resolution.draw,
    "rate": rate.draw,
    "ccdf": policies.draw_ccdf,
    "shares": policies.draw_shares,
    "timeseries": loops.draw_timeseries,
    "method": loops.draw_method,
    "mix": mix.draw,
    "models": models.draw,
    "batching": batching.draw,
    "pool": pool.draw,
}


def draw(folder: RunFolder) -> list[str]:
    """Draw every figure that the design names; cells without a valid trial are left out.

    Returns:
        Names of the files in figures/, each there as .svg and .png.

    Raises:
        LoadtestError: The summary is missing, or a file cannot be written.
    """
    rows = [row for row in folder.read_summary("cells") if row["valid_trials"]]
    return [name for figure in folder.design.figures for name in _FIGURES[figure](folder, rows)]
