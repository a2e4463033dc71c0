"""Read a design file and refuse, with every reason at once, what cannot be run."""

import difflib
import hashlib
import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from loadtest.errors import LoadtestError
from loadtest.experiments.cells import Cell, Level, in_order
from loadtest.experiments.checks import DEPLOYMENT, FIGURES, LOAD, SECTIONS, TOP, Check, flag
from loadtest.experiments.design import Design
from loadtest.experiments.rules import against_cells, against_levels, against_precision, reasons_against
from loadtest.generate.images import PHOTO
from loadtest.generate.sized import Sized
from loadtest.generate.traces import read_trace

DEFAULTS: dict[str, dict[str, Any]] = {
    "images": {"jpeg_quality": 90, "photo": None, "labelled": False},
    "client": {
        "timeout_s": 60.0,
        "max_in_flight": 2000,
        "warmup_requests": 10,
        "body": "multipart",
        "keep_alive": True,
    },
    "calibration": {
        "unloaded_requests": 100,
        "saturated_s": 10.0,
        "in_flight_per_worker": 4,
        "idle_requests": 100,
        "busy_s": 10.0,
    },
    "validity": {
        "lag_of_service": 0.25,
        "client_cpu": 0.9,
        "other_cpu": 0.05,
        "steal": 0.02,
        "link": 0.9,
        "resent": 0.01,
    },
}


class _Loader(yaml.SafeLoader):
    """YAML without keys that stand twice: of those the last would win unsaid."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a dict of a mapping; see the base class."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for number, (key, _) in enumerate(node.value):
            if keys[number] in keys[:number]:
                line = key.start_mark.line + 1
                raise yaml.constructor.ConstructorError(None, None, f"{keys[number]} stands twice, at line {line}")
        return super().construct_mapping(node, deep)


def load_design(path: Path) -> Design:
    """Read and check a design.

    Raises:
        LoadtestError: It cannot be read, or holds an unknown factor or an impossible level, or lacks something; the
            message lists every reason.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)  # noqa: S506 — it is a SafeLoader
    except (OSError, UnicodeDecodeError) as error:
        raise LoadtestError(f"cannot read the design {path}: {error}") from error
    except yaml.YAMLError as error:
        raise LoadtestError(f"the design {path} cannot be read as YAML: {' '.join(str(error).split())}") from error
    if not isinstance(content, dict):
        raise LoadtestError(f"the design {path} is not a mapping; start it with `name:` and `goal:`")
    return _Reader(path).read(content)


class _Reader:
    def __init__(self, path: Path) -> None:
        self._path = path
        self._faults: list[str] = []
        self._sized: Sized | None = None

    def read(self, content: dict[str, Any]) -> Design:
        known = {*TOP, *SECTIONS, "precision", "dirty", "deployment", "cells", "figures"}
        self._unknown("", content, known)
        for key, check in TOP.items():
            if key not in content:
                self._faults.append(f"{key} is missing" + _WHY.get(key, ""))
            else:
                self._check(key, content[key], check)
        sections = {name: self._section(name, content.get(name)) for name in SECTIONS}
        levels = self._levels(content.get("deployment"))
        cells = self._cells(content.get("cells"), sections)
        self._faults += [f"cells: {reason}" for reason in against_cells(cells, levels)]
        precision = content.get("precision")
        self._faults += against_precision(precision, cells)
        self._check("dirty", content.get("dirty", False), flag)
        figures = content.get("figures") or []
        if not isinstance(figures, list) or not set(map(str, figures)) <= set(FIGURES):
            self._faults.append(f"figures: {figures!r} is not a list of {', '.join(FIGURES)}")
            figures = []
        if self._faults:
            raise LoadtestError(f"the design {self._path} cannot be run:\n  - " + "\n  - ".join(self._faults))
        given: dict[str, Any] = {**{key: content[key] for key in TOP}, **sections}
        return Design(
            **given,
            levels=in_order(levels, content["seed"]),
            cells=tuple(cells),
            figures=tuple(figures),
            precision=None if precision is None else {"of": "mean", **precision},
            dirty=bool(content.get("dirty", False)),
        )

    def _section(self, name: str, given: object) -> dict[str, Any]:
        section = dict(DEFAULTS[name])
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
        self._faults += [f"deployment: {reason}" for reason in against_levels(levels)]
        self._unique("deployment", [level.id for level in levels])
        return levels

    def _cells(self, given: object, sections: Mapping[str, Any]) -> list[Cell]:
        labelled = bool(sections["images"]["labelled"])
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
                    self._faults += [f"{place}: {reason}" for reason in reasons_against(values, labelled=labelled)]
                    if len(self._faults) > before:
                        break
                    complete = self._with_trace(place, values, sections)
                    if len(self._faults) > before:
                        break
                    cells.append(_cell(complete))
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

    def _with_trace(self, place: str, values: dict[str, Any], sections: Mapping[str, Any]) -> dict[str, Any]:
        if "trace" not in values:
            return values
        path = self._path.parent / values["trace"]
        try:
            trace = read_trace(path)
            about = {
                "trace_digest": hashlib.sha256(path.read_bytes()).hexdigest(),
                "trace_s": trace.offsets_s[-1],
            }
            if not {"image_px", "image_mix"}.isdisjoint(values):
                return values | about
            if trace.sizes is None:
                raise LoadtestError(f"the trace {path} has no sizes: give image_px, or make it with `loadtest trace`")
            sizes = trace.until(values.get("duration_s")).sizes or trace.sizes
            return values | about | {"sized": True, "image_mix": self._sizes(sections).mix(sizes)}
        except LoadtestError as error:
            self._faults.append(f"{place}: {error}")
            return values

    def _sizes(self, sections: Mapping[str, Any]) -> Sized:
        if self._sized is None:
            images = sections["images"]
            self._sized = Sized(
                quality=images["jpeg_quality"],
                source=Path(images["photo"] or PHOTO),
                multipart=sections["client"]["body"] == "multipart",
            )
        return self._sized

    def _check(self, place: str, value: object, check: Check) -> None:
        if wrong := check(value):
            self._faults.append(f"{place}: {wrong}")

    def _unknown(self, place: str, given: Mapping[str, Any], known: set[str]) -> None:
        for key in given:
            if key not in known:
                near = difflib.get_close_matches(str(key), known, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(sorted(known))}"
                hint = _GONE.get(str(key), hint) if not place else hint
                self._faults.append(f"{place}{'.' if place else ''}{key} is not a known factor; {hint}")

    def _unique(self, place: str, ids: list[str]) -> None:
        for twice in sorted({one for one in ids if ids.count(one) > 1}):
            self._faults.append(f"{place}: {twice} stands twice")


_GONE = {"minutes": "they are worked out now: remove the line"}
_WHY = {
    "seed": ": without one nobody can repeat the run; write any whole number, such as seed: 1",
    "goal": ": write the question it answers",
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
