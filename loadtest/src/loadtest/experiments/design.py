"""Read a design file and refuse, with every reason at once, what cannot be run."""

import difflib
import itertools
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level, shuffled
from loadtest.experiments.checks import DEPLOYMENT, FIGURES, LOAD, SECTIONS, TOP, Check

_DEFAULTS: dict[str, dict[str, Any]] = {
    "images": {"jpeg_quality": 90, "photo": None, "labelled": False},
    "client": {
        "timeout_s": 60.0,
        "max_in_flight": 2000,
        "warmup_requests": 10,
        "body": "multipart",
        "keep_alive": True,
    },
    "calibration": {"unloaded_requests": 100, "saturated_s": 10.0, "in_flight_per_worker": 4},
    "validity": {"lag_of_service": 0.25, "client_cpu": 0.9},
}
_RATES = ("rate_hz", "interval_s", "utilisation")
_NEEDS_RATE = ("poisson", "constant", "jittered")


@dataclass(frozen=True, slots=True)
class Design:
    """An experiment: what is varied, how often, in which order.

    Attributes:
        name: Its name.
        goal: The question it answers.
        seed: From which every trial's seed and every order comes.
        repetitions: Independent trials of each cell at each level, where the cell does not say.
        minutes: How long it is expected to take.
        levels: Deployment levels, in the order to run them.
        cells: Loads, each run at every level.
        images: jpeg_quality, photo (None: the one that comes with the package), labelled.
        client: timeout_s, max_in_flight, warmup_requests, body, keep_alive.
        calibration: unloaded_requests, saturated_s, in_flight_per_worker.
        validity: Limits beyond which a trial is marked invalid: lag_of_service, client_cpu.
        figures: Names of the figures it is drawn as.
        scale: Factor on the length of every trial, asked for when the run was begun.
    """

    name: str
    goal: str
    seed: int
    repetitions: int
    minutes: float
    levels: tuple[Level, ...]
    cells: tuple[Cell, ...]
    images: dict[str, Any]
    client: dict[str, Any]
    calibration: dict[str, Any]
    validity: dict[str, Any]
    figures: tuple[str, ...]
    scale: float = 1.0

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
            shortest = cell.duration_s if cell.duration_s is not None else cell.min_duration_s
            if shortest is not None and cell.warmup_s >= shortest:
                raise LoadtestError(f"with a scale of {factor:g} the warm-up of {cell.id} leaves nothing to measure")
        return replace(self, cells=cells, minutes=self.minutes * factor, scale=self.scale * factor)

    def numbers(self, cell: Cell) -> range:
        """The numbers of a cell's trials, from 1."""
        return range(1, (cell.repetitions or self.repetitions) + 1)

    def trials(self, level: Level) -> list[tuple[Cell, int]]:
        """Every cell and repetition (from 1) of a level, in the random order in which they run."""
        everything = [(cell, number) for cell in self.cells for number in self.numbers(cell)]
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
        content = asdict(self)
        content["levels"] = [{"id": level.id, **_without_unused(asdict(level))} for level in self.levels]
        content["cells"] = [
            {"id": cell.id, **_without_unused(asdict(cell)), "images": [list(image) for image in cell.images]}
            for cell in self.cells
        ]
        content["figures"] = list(self.figures)
        return content


def design_from_resolved(content: Mapping[str, Any]) -> Design:
    """Rebuild a design from what a run folder keeps."""
    fields = dict(content)
    fields["levels"] = tuple(_without_id(Level, entry) for entry in content["levels"])
    fields["cells"] = tuple(
        _without_id(Cell, {**entry, "images": tuple((int(side), float(weight)) for side, weight in entry["images"])})
        for entry in content["cells"]
    )
    fields["figures"] = tuple(content["figures"])
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


def load_design(path: Path) -> Design:
    """Read and check a design.

    Raises:
        LoadtestError: It cannot be read, or holds an unknown factor or an impossible level, or lacks something; the
            message lists every reason.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise LoadtestError(f"cannot read the design {path}: {error}") from error
    except yaml.YAMLError as error:
        raise LoadtestError(f"the design {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise LoadtestError(f"the design {path} is not a mapping; start it with `name:` and `goal:`")
    return _Reader(path).read(content)


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._faults: list[str] = []

    def read(self, content: dict[str, Any]) -> Design:
        known = {*TOP, *SECTIONS, "deployment", "cells", "figures"}
        self._unknown("", content, known)
        for key, check in TOP.items():
            if key not in content:
                self._faults.append(f"{key} is missing" + _WHY.get(key, ""))
            else:
                self._check(key, content[key], check)
        sections = {name: self._section(name, content.get(name)) for name in SECTIONS}
        levels = self._levels(content.get("deployment"))
        cells = self._cells(content.get("cells"), labelled=bool(sections["images"]["labelled"]))
        figures = content.get("figures") or []
        if not isinstance(figures, list) or not set(map(str, figures)) <= set(FIGURES):
            self._faults.append(f"figures: {figures!r} is not a list of {', '.join(FIGURES)}")
            figures = []
        if self._faults:
            raise LoadtestError(f"the design {self._path} cannot be run:\n  - " + "\n  - ".join(self._faults))
        order = shuffled(len(levels), content["seed"], "levels")
        given: dict[str, Any] = {**{key: content[key] for key in TOP}, **sections}
        return Design(
            **given,
            levels=tuple(levels[index] for index in order),
            cells=tuple(cells),
            figures=tuple(figures),
        )

    def _section(self, name: str, given: object) -> dict[str, Any]:
        section = dict(_DEFAULTS[name])
        if given is None:
            return section
        if not isinstance(given, dict):
            self._faults.append(f"{name} is not a mapping")
            return section
        self._unknown(name, given, set(SECTIONS[name]))
        for key, value in given.items():
            if key in SECTIONS[name]:
                self._check(f"{name}.{key}", value, SECTIONS[name][key])
                section[key] = value
        return section

    def _levels(self, given: object) -> list[Level]:
        if given is None:
            return [Level()]
        if not isinstance(given, dict):
            self._faults.append("deployment is not a mapping of factors to levels")
            return []
        levels = [Level(**values) for values in self._grid("deployment", given, DEPLOYMENT)]
        for level in levels:
            if level.slow_worker != 1 and level.pool_size == 1:
                self._faults.append("deployment: slow_worker slows one of several workers, but pool_size is 1")
                break
        self._unique("deployment", [level.id for level in levels])
        return levels

    def _cells(self, given: object, *, labelled: bool) -> list[Cell]:
        if not isinstance(given, list) or not given:
            self._faults.append("cells is missing: list at least one block of loads")
            return []
        cells = []
        for number, block in enumerate(given, start=1):
            place = f"cells[{number}]"
            if not isinstance(block, dict):
                self._faults.append(f"{place} is not a mapping of factors to levels")
                continue
            before = len(self._faults)
            grid = self._grid(place, block, LOAD)
            if len(self._faults) == before:
                for values in grid:
                    self._combination(place, values, labelled=labelled)
                    if len(self._faults) > before:
                        break
                    cells.append(_cell(values))
        self._unique("cells", [cell.id for cell in cells])
        return cells

    def _grid(self, place: str, block: Mapping[str, Any], checks: Mapping[str, Check]) -> list[dict[str, Any]]:
        self._unknown(place, block, set(checks))
        before = len(self._faults)
        factors: dict[str, list[Any]] = {}
        for key, given in block.items():
            if key not in checks:
                continue
            factors[key] = given if isinstance(given, list) else [given]
            if not factors[key]:
                self._faults.append(f"{place}.{key} has no level")
            for value in factors[key]:
                self._check(f"{place}.{key}", value, checks[key])
        if len(self._faults) > before:
            return []
        return [dict(zip(factors, values, strict=True)) for values in itertools.product(*factors.values())]

    def _combination(self, place: str, values: Mapping[str, Any], *, labelled: bool) -> None:
        law = values.get("arrivals")
        rates = [key for key in _RATES if key in values]
        ends = [key for key in ("requests", "duration_s") if key in values]
        shortest = values.get("duration_s", values.get("min_duration_s"))
        faults = {
            "arrivals is missing": law is None,
            "give one of image_px and image_mix": ("image_px" in values) == ("image_mix" in values),
            f"{law} arrivals need one of {', '.join(_RATES)}": law in _NEEDS_RATE and len(rates) != 1,
            "a closed loop needs in_flight and has no rate": law == "closed"
            and (bool(rates) or "in_flight" not in values),
            "the original's loop needs interval_s, measured_every and requests": law == "original"
            and not {"interval_s", "measured_every", "requests"} <= values.keys(),
            "the original's loop lasts as long as its requests take, and interval_s gives its rate": law == "original"
            and ("duration_s" in values or len(rates) != 1),
            "trace arrivals need trace, a file of offsets, and have no rate; others have none": (law == "trace")
            != ("trace" in values)
            or (law == "trace" and bool(rates)),
            "give one of requests and duration_s": law != "trace" and len(ends) != 1,
            "requests: all needs images.labelled and a closed loop": values.get("requests") == "all"
            and not (labelled and law == "closed"),
            "repetitions under 5 are for requests: all alone; of other trials fewer give no interval": values.get(
                "repetitions", 5
            )
            < 5
            and values.get("requests") != "all",
            "labelled images have one size a cell; give image_px": labelled and "image_mix" in values,
            "min_duration_s is over max_duration_s": values.get("min_duration_s", 0)
            > values.get("max_duration_s", math.inf),
            f"warmup_s leaves nothing of the {shortest} s to measure": shortest is not None
            and values.get("warmup_s", 0) >= shortest,
        }
        faults |= {
            f"{key} has no meaning for {law} arrivals": key in values and law not in laws for key, laws in _ONLY.items()
        }
        self._faults.extend(f"{place}: {fault}" for fault, found in faults.items() if found)

    def _check(self, place: str, value: object, check: Check) -> None:
        if wrong := check(value):
            self._faults.append(f"{place}: {wrong}")

    def _unknown(self, place: str, given: Mapping[str, Any], known: set[str]) -> None:
        for key in given:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
                self._faults.append(f"{place}{'.' if place else ''}{key} is not a known factor; {hint}")

    def _unique(self, place: str, ids: list[str]) -> None:
        for twice in sorted({one for one in ids if ids.count(one) > 1}):
            self._faults.append(f"{place}: {twice} stands twice")


_WHY = {
    "seed": ": without one nobody can repeat the run; write any whole number, such as seed: 1",
    "goal": ": write the question it answers",
}
_LATER = ("model", "repetitions")
_ONLY = {
    "in_flight": ("closed",),
    "jitter": ("jittered",),
    "measured_every": ("original",),
    "min_duration_s": _NEEDS_RATE,
    "max_duration_s": _NEEDS_RATE,
}


def _cell(values: Mapping[str, Any]) -> Cell:
    fields = {key: value for key, value in values.items() if key not in ("image_px", "image_mix")}
    mix = values.get("image_mix") or {values["image_px"]: 1.0}
    total = sum(mix.values())
    fields["images"] = tuple((side, weight / total) for side, weight in sorted(mix.items()))
    if fields.get("requests") == "all":
        fields["requests"] = None
        fields["every_image"] = True
    return Cell(**fields)


def _without_unused(factors: dict[str, Any]) -> dict[str, Any]:
    """Factors that came later than the first runs: where they are not used, a run says what it always said."""
    return {key: value for key, value in factors.items() if key not in _LATER or value is not None}


def _without_id(kind: Any, entry: Mapping[str, Any]) -> Any:
    return kind(**{key: value for key, value in entry.items() if key != "id"})
