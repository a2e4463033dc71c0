"""The law of service times that a run measured."""

import json
import re
from typing import Any

from loadtest.analyse.theory.law import ServiceLaw, service_law
from loadtest.experiments.calibration import from_facts
from loadtest.experiments.cells import Cell, Level
from loadtest.experiments.folder import RunFolder
from loadtest.experiments.record import batch_of
from loadtest.generate.samples import read_trial

# Samples of idle workers and of busy ones: of the open loops, and of earlier runs, which had closed loops alone.
_KINDS = (("idle", "busy"), ("unloaded", "saturated"))


def law_of(folder: RunFolder, level: Level, record: dict[str, Any], cell: Cell) -> ServiceLaw | None:
    """The measured law of a level's service times for what a cell sends; None where it was not calibrated."""
    facts = record.get("capacity", {}).get(cell.images_id)
    if batch_of(level, record) > 1:
        return None  # a run of several photographs has no service time of one; analyse.batches has theirs
    if facts is None:
        return None
    capacity = from_facts(facts)
    for kinds in _KINDS:
        idle, busy = (folder.calibration_path(level, cell.images_id, kind) for kind in kinds)
        if kinds[0] == "idle" and not (capacity.idle and capacity.busy):
            continue  # too few requests
        if busy.exists():
            alone = read_trial(idle).samples if idle.exists() else ()
            return service_law(
                capacity, alone, read_trial(busy).samples, max_conns=max_conns_of(record, capacity.processes)
            )
    return None


def max_conns_of(record: dict[str, Any], processes: int) -> int:
    """The balancer's limit of requests at one worker, as the level had it; 0 for none.

    The balancer says it at /status, for each process; in earlier runs it stands in nginx's settings, for each worker.
    """
    told = ((record.get("status") or {}).get("limits") or {}).get("max_conns")
    if told is not None:
        return int(told) * processes
    found = re.findall(r"\bmax_conns=(\d+)", json.dumps((record.get("facts") or {}).get("nginx") or {}))
    return min((int(limit) for limit in found), default=0)
