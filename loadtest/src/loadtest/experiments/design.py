"""An experiment as data: what is varied, how often, in which order; and where designs are kept."""

import difflib
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import IDLE_LOAD, IDLE_MOST_S
from loadtest.experiments.cells import CHANGES, Cell, Level, shuffled

_ANSWER_S, _LABELLED, _DEPLOY_S = 0.05, 100, 20.0
# Until a pool of four has shrunk from all to one by the autoscaler's usual settings, or from fewer.
SHRINKS_S = 95.0
# Factors that came later than the first runs: where they are not used, a run says what it always said.
_LATER = (
    "model",
    "repetitions",
    "trace_digest",
    "trace_s",
    "sized",
    "batch",
    "batch_window_ms",
    "workers_awake",
    "only_awake",
    "precision",
    "dirty",
    *CHANGES,
)
# Figures that earlier runs name otherwise.
_RENAMED = {"cdf": "ccdf"}


@dataclass(frozen=True, slots=True)
class Design:
    """An experiment: what is varied, how often, in which order.

    Attributes:
        name: Its name.
        goal: The question it answers.
        seed: From which every trial's seed and every order comes.
        repetitions: Independent trials of each cell at each level, where the cell does not say.
        levels: Deployment levels, in the order to run them.
        cells: Loads, each run at every level.
        images: jpeg_quality, photo (None: the one that comes with the package), labelled.
        client: timeout_s, max_in_flight, warmup_requests, body, keep_alive.
        calibration: unloaded_requests, saturated_s, in_flight_per_worker; idle_requests and busy_s of the open loops
            (0: none; earlier runs have neither).
        validity: Limits beyond which a trial is marked invalid: lag_of_service, client_cpu, other_cpu, steal, link,
            resent.
        figures: Names of the figures it is drawn as.
        scale: Factor on the length of every trial, asked for when the run was begun.
        precision: `of` (mean or a quantile) and `half_width` (a share of it) at which a trial ends; None: no.
        dirty: Whether it may run from a checkout with changes that are in no commit: a design for trying.
    """

    name: str
    goal: str
    seed: int
    repetitions: int
    levels: tuple[Level, ...]
    cells: tuple[Cell, ...]
    images: dict[str, Any]
    client: dict[str, Any]
    calibration: dict[str, Any]
    validity: dict[str, Any]
    figures: tuple[str, ...]
    scale: float = 1.0
    precision: dict[str, Any] | None = None
    dirty: bool = False

    def scaled(self, factor: float) -> "Design":
        """The same design with trials `factor` times as long; warm-ups and trials of each image once stay as they are.

        Raises:
            LoadtestError: The factor is not above 0, or leaves nothing to measure.
        """
        if not 0 < factor < math.inf:
            raise LoadtestError(
                f"the scale is {factor}; give a number above 0, such as 5 for trials five times as long"
            )
        cells = tuple(cell.scaled(factor) for cell in self.cells)
        for cell in cells:
            if cell.shortest_s is not None and cell.warmup_s >= cell.shortest_s > 0:
                raise LoadtestError(f"with a scale of {factor:g} the warm-up of {cell.id} leaves nothing to measure")
        return replace(self, cells=cells, scale=self.scale * factor)

    @property
    def minutes(self) -> float:
        """Roughly how long it takes.

        It counts with an answer in 50 ms, 100 labelled images, 20 s to deploy a level, and 95 s before each trial in
        which an autoscaler decides. Levels that differ in nothing that changes a capacity share one calibration.
        """
        calibrated = {cell.images_id for cell in self.cells if cell.arrivals != "closed"}
        pools = {level.hardware_id for level in self.levels}
        closed_s = _ANSWER_S * float(self.calibration["unloaded_requests"]) + float(self.calibration["saturated_s"])
        requests, busy_s = (float(self.calibration.get(key, 0)) for key in ("idle_requests", "busy_s"))
        open_s = min(IDLE_MOST_S, _ANSWER_S * requests / IDLE_LOAD) + busy_s if requests and busy_s else 0.0
        calibrations_s = len(pools) * len(calibrated) * (closed_s + open_s)
        return (calibrations_s + sum(self._level_s(level) for level in self.levels)) / 60

    def _level_s(self, level: Level) -> float:
        trials = self.trials(level)
        shrinks_s = SHRINKS_S * len(trials) * (level.workers_awake == "auto")
        return _DEPLOY_S + shrinks_s + sum(cell.expected_s(_ANSWER_S, _LABELLED) for cell, _ in trials)

    def numbers(self, cell: Cell) -> range:
        """The numbers of a cell's trials, from 1."""
        return range(1, (cell.repetitions or self.repetitions) + 1)

    def cells_at(self, level: Level) -> list[Cell]:
        """The loads that are run at a level."""
        return [cell for cell in self.cells if cell.only_awake in (None, level.workers_awake)]

    def trials(self, level: Level) -> list[tuple[Cell, int]]:
        """Every cell and repetition (from 1) of a level, in the random order in which they run."""
        everything = [(cell, number) for cell in self.cells_at(level) for number in self.numbers(cell)]
        return [everything[index] for index in shuffled(len(everything), self.seed, f"trials {level.id}")]

    def level(self, level_id: str) -> Level:
        """The level of this name.

        Raises:
            LoadtestError: There is none.
        """
        for level in self.levels:
            if level.id == level_id:
                return level
        known = ", ".join(level.id for level in self.levels)
        raise LoadtestError(f"the design {self.name} has no level {level_id!r}; it has {known}")

    def resolved(self) -> dict[str, Any]:
        """The whole design with every default, as JSON values: what a run folder keeps."""
        content = without_unused(asdict(self))
        content["levels"] = [{"id": level.id, **without_unused(asdict(level))} for level in self.levels]
        content["cells"] = [
            {"id": cell.id, **without_unused(asdict(cell)), "images": [list(image) for image in cell.images]}
            for cell in self.cells
        ]
        content["figures"] = list(self.figures)
        return content


def design_from_resolved(content: Mapping[str, Any]) -> Design:
    """Rebuild a design from what a run folder keeps."""
    fields = {key: value for key, value in content.items() if key != "minutes"}  # earlier runs kept a guess
    fields["levels"] = tuple(_without_id(Level, entry) for entry in content["levels"])
    fields["cells"] = tuple(
        _without_id(Cell, {**entry, "images": tuple((int(side), float(weight)) for side, weight in entry["images"])})
        for entry in content["cells"]
    )
    fields["figures"] = tuple(_RENAMED.get(name, name) for name in content["figures"])
    return Design(**fields)


def find_design(name: str) -> Path:
    """The file of a design: a path, or the name of one that comes with this package.

    Raises:
        LoadtestError: There is none.
    """
    path = Path(name)
    if path.is_file():
        return path
    for folder in design_folders():
        if (folder / f"{name}.yml").is_file():
            return folder / f"{name}.yml"
    known = sorted({file.stem for folder in design_folders() for file in folder.glob("*.yml")})
    near = difflib.get_close_matches(name, known, 1)
    hint = f"did you mean {near[0]}? There are" if near else "give a file, or one of"
    raise LoadtestError(f"there is no design {name!r}{'; ' if near else ': '}{hint} {', '.join(known)}")


def design_folders() -> list[Path]:
    """Where designs come from: inside an installed package, or beside src/ in a checkout."""
    package = Path(__file__).parents[1]
    return [folder for folder in (package / "designs", package.parents[1] / "designs") if folder.is_dir()]


def without_unused(factors: dict[str, Any]) -> dict[str, Any]:
    """Leave out the factors of a level or a cell that came later than the first runs, where they are not used."""
    return {key: value for key, value in factors.items() if key not in _LATER or not (value is None or value is False)}


def _without_id(kind: Any, entry: Mapping[str, Any]) -> Any:
    return kind(**{key: value for key, value in entry.items() if key != "id"})
