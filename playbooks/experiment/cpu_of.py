"""Print, as JSON, what a worker's processes used and answered since they started: `cpu_of.py PID URL`.

PID is gunicorn's first process. `cpu_s` is its processor time in user and system mode, with that of its children, those
that ended among them. `answers` is the number of photographs that they classified, by the metrics at URL.
"""

import json
import os
import sys
import urllib.request
from pathlib import Path


def _ticks(pid: int) -> int:
    # proc_pid_stat(5): the name in brackets may hold spaces; after it utime, stime, cutime, cstime are 12th to 15th
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return sum(int(field) for field in fields[11:15])


def _cpu_s(pid: int) -> float:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    ticks = _ticks(pid) + sum(_ticks(int(child)) for child in children)
    return ticks / os.sysconf("SC_CLK_TCK")


def _answers(url: str) -> int:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(url, timeout=10) as reply:
        lines = reply.read().decode().splitlines()
    return sum(
        int(float(line.split()[-1])) for line in lines if line.startswith('imagerec_phase_seconds_count{phase="total"}')
    )


print(json.dumps({"cpu_s": _cpu_s(int(sys.argv[1])), "answers": _answers(sys.argv[2])}))
