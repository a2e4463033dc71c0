"""Calibrations beside which something else happened: loads in units of the capacity, and theory, are made of them."""

from loadtest.experiments.folder import RunFolder
from loadtest.experiments.validity import disturbed_by
from loadtest.generate.samples import read_trial


def calibrations(folder: RunFolder) -> dict[str, list[str]]:
    """Return what disturbed each calibration of a run, by a name such as `pool4.128px.busy`; empty lists: nothing.

    Raises:
        LoadtestError: A samples file is none.
    """
    found = {}
    for path in sorted((folder.path / "calibration").glob("*.jsonl.gz")):
        footer = read_trial(path).footer
        if footer is not None and ".incomplete" not in path.name:  # that one was made again
            found[path.name.removesuffix(".jsonl.gz")] = disturbed_by(footer, folder.design.validity)
    return found
