"""The loop: look, decide, tell nginx. Everything that is decided stands in `conditions`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from dataclasses import replace

import aiohttp

from imagerec_pool import kernel
from imagerec_pool.access_log import AccessLog
from imagerec_pool.addresses import Addresses
from imagerec_pool.arrivals import Arrivals
from imagerec_pool.conditions import DOWN, FAILING, UP, Condition, Rules, decide, left_out, serving
from imagerec_pool.figures import Figures
from imagerec_pool.metrics import Metrics
from imagerec_pool.nginx import Nginx, Server, marked, servers_in
from imagerec_pool.probes import Probe
from imagerec_pool.reload import Reload
from imagerec_pool.settings import Settings
from imagerec_pool.standby import Standby
from imagerec_pool.under_way import Place, UnderWay

_TICK_S = 0.1
# Of a longer pause (a machine that stood still, a clock that jumped) nothing is held against the workers.
_LONGEST_TICK_S = 3 * _TICK_S


class Agent:
    """Watches nginx's pool. ``figures`` and ``metrics`` tell of its requests, ``begun`` of its first news."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules = Rules(silent_s=settings.silent_s, retry_s=settings.failing_retry_s)
        self._nginx = Nginx(settings.servers, settings.serves, settings.nginx_pid)
        self._log = AccessLog(settings.access_log)
        self.figures = Figures(time.time())
        self.metrics = Metrics(self.report, self.serving)
        self._arrivals = Arrivals(settings.silent_s)
        self._standby = Standby(settings.standby)
        self._servers: dict[str, Server] = {}
        self._upstreams: dict[str, str] = {}
        self._addresses = Addresses(
            self._know_upstreams,
            lambda name, error: self._notice(name, f"the address of {name} is not found ({error}); tried again"),
        )
        self._probes: dict[str, Probe] = {}
        self._pool: dict[str, Condition] = {}
        self._reload = Reload(self._nginx, self._notice)
        self.begun = asyncio.Event()
        self._may_cut = True
        self._connections = UnderWay(
            lambda: {name: self._places(name) for name in self._servers}, lambda text: self._notice("count", text)
        )
        self._said: dict[str, str] = {}
        self._text = ""

    async def run(self) -> None:
        """Watch until cancelled."""
        connector = aiohttp.TCPConnector(force_close=True, limit=0, use_dns_cache=False)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            before_s = time.monotonic()
            try:
                while True:
                    now_s = time.monotonic()
                    self.look(session, now_s, min(now_s - before_s, _LONGEST_TICK_S))
                    before_s = now_s
                    await asyncio.sleep(_TICK_S)
            finally:
                for probe in self._probes.values():
                    probe.stop()
                self._log.close()
                with contextlib.suppress(OSError):
                    self._nginx.part(wanted=False)

    def look(self, session: aiohttp.ClientSession, now_s: float, passed_s: float) -> None:
        """Look once, decide, and tell nginx."""
        self._read_list(session, now_s)
        self._addresses.look_up(self._servers.values(), now_s)
        self._read_log()
        asleep = self._standby.asleep(self._pool, serving(self._pool), now_s)
        for name, probe in self._probes.items():
            if name in asleep:  # a question would wake it
                probe.rest()
                continue
            serves = self._pool[name].state == UP
            probe.tick(now_s, passed_s, self._settings.probe_interval_s, serves=serves)
            if self._arrivals.grow(name, probe.waited_s, self._places(name), now_s):
                probe.moved()
        late = self._connections.late(now_s)
        seen = {name: replace(probe.seen(), late_s=late.get(name, 0.0)) for name, probe in self._probes.items()}
        self._pool, cut = decide(before := self._pool, seen, now_s, self._rules)
        for name, condition in self._pool.items():
            if condition.state != before[name].state:
                _say(worker=name, was=before[name].state, state=condition.state, why=condition.why)
        # What an earlier run told nginx stands until there is news of everybody.
        if all(condition.heard for condition in self._pool.values()):
            self.begun.set()
        if self.begun.is_set():
            self._tell_nginx(now_s)
        for name in cut:
            self._cut_off(name, spare_begun=seen[name].waited_s < self._rules.silent_s)
        self.figures.close(time.time(), self.serving(), len(self._pool))

    def serving(self) -> int:
        """Return how many workers serve; who has not been heard of yet does not count."""
        return sum(self._pool[name].heard for name in serving(self._pool))

    def report(self) -> list[dict[str, object]]:
        """Return each worker of the pool with its state, since when, why, and its connections under way."""
        now_s, now = time.monotonic(), time.time()
        settled = self._reload.settled(now_s)
        counts = self._connections.counts(now_s)
        return [
            {
                "name": name,
                "state": condition.state if condition.heard else "unknown",
                "since": _iso(now - (now_s - condition.since_s)),
                "why": condition.why,
                "asked": not (self._servers[name].down and settled),
                "under_way": counts.get(name),
            }
            for name, condition in self._pool.items()
        ]

    def _read_list(self, session: aiohttp.ClientSession, now_s: float) -> None:
        """Take the members of the list, which a deployment may have changed."""
        try:
            text = self._nginx.list()
        except (OSError, UnicodeError) as error:
            self._notice("list", f"nginx's list cannot be read ({error}); the last one is followed until it can")
            return
        self._said.pop("list", None)
        if text == self._text:
            return
        self._text = text
        servers = {server.name: server for server in servers_in(text)}
        for name in self._servers.keys() - servers.keys():
            self._probes.pop(name).stop()
            del self._pool[name]
        for name, server in servers.items():
            known = self._servers.get(name)
            if known is None or (known.address, known.port) != (server.address, server.port):
                if known is not None:
                    self._probes[name].stop()
                self._probes[name] = Probe(f"http://{server.upstream}/readyz", session)
                self._pool[name] = Condition(DOWN, now_s, falls=(now_s,)) if server.down else Condition(UP, now_s)
        if servers.keys() != self._servers.keys():
            _say(pool=list(servers))
        self._servers = servers
        # As the list has them, so that each decision finds its worker in this order.
        self._pool = {name: self._pool[name] for name in servers}
        self._know_upstreams()

    def _read_log(self) -> None:
        for entry in self._log.read():
            for answer in entry.answers:
                name = self._upstreams.get(answer.address)
                if name is not None:
                    self._probes[name].answered(failed=answer.status == 500)
            if (request := entry.request) is not None:
                worker = self._upstreams.get(request.by or "")
                self.figures.add(request, worker)
                self.metrics.count(request.status, worker, request.worker_ms / 1000)

    def _know_upstreams(self) -> None:
        self._upstreams = {
            replace(server, address=address).upstream: name
            for name, server in self._servers.items()
            for address in self._addresses.of(server) or (server.address,)
        }

    def _tell_nginx(self, now_s: float) -> None:
        down = left_out(self._pool)
        if self._servers:
            self._write(down)
        if self._reload.look(now_s):
            _say(reload="nginx", left_out=sorted(down))

    def _write(self, down: set[str]) -> None:
        text = marked(self._text, down)
        try:
            if self._nginx.mark(self._text, text):
                fell = {name for name in down if not self._servers[name].down}
                self._reload.ask(urgent=any(self._pool[name].state in {DOWN, FAILING} for name in fell))
                self._text = text
                self._servers = {name: replace(server, down=name in down) for name, server in self._servers.items()}
            if self._nginx.tell(serves=bool(serving(self._pool))):
                self._reload.ask(urgent=True)
        except (OSError, UnicodeError) as error:
            self._notice("write", f"nginx cannot be told who serves ({error}); tried again until it can")
            return
        self._said.pop("write", None)

    def _notice(self, about: str, text: str | None) -> None:
        """Say what is wrong, once for as long as it is; None when it is no longer."""
        if text is None:
            self._said.pop(about, None)
        elif self._said.get(about) != text:
            self._said[about] = text
            _say(notice=text)

    def _cut_off(self, name: str, *, spare_begun: bool) -> None:
        if not self._may_cut:
            return
        try:
            ended = sum(kernel.cut_off(*place, spare_begun=spare_begun) for place in self._places(name))
        except (kernel.NotAllowedError, PermissionError) as error:
            self._may_cut = False
            _say(notice=f"connections to a worker cannot be ended ({error}); nginx's own timeout remains")
            return
        except OSError as error:
            self._notice("cut", f"connections to {name} cannot be ended ({error}); tried again while they wait")
            return
        self._said.pop("cut", None)
        if ended:
            _say(worker=name, ended_connections=ended)

    def _places(self, name: str) -> list[Place]:
        """Return a worker's addresses, each with its port; none while they are not known."""
        server = self._servers[name]
        return [(address, server.port) for address in self._addresses.of(server)]


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps({"time": _iso(time.time()), **what}) + "\n")
    sys.stdout.flush()
