"""The loop: look, decide, tell nginx. Everything that is decided stands in `conditions`."""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import time
from dataclasses import replace

import aiohttp

from imagerec_pool import kernel
from imagerec_pool.access_log import AccessLog
from imagerec_pool.conditions import DOWN, UP, Condition, Rules, decide, left_out, serving
from imagerec_pool.nginx import Nginx, Server, marked, servers_in
from imagerec_pool.probes import Probe
from imagerec_pool.settings import Settings

_TICK_S = 0.1
# Of a longer pause (a machine that stood still, a clock that jumped) nothing is held against the workers.
_LONGEST_TICK_S = 3 * _TICK_S
# nginx starts new processes with each reload, so it is told once a second at most; after that it has a moment to do it.
_RELOAD_S = 1.0
_SETTLE_S = 0.5


class Agent:
    """Watches the pool that nginx's list names."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._rules = Rules(silent_s=settings.silent_s, retry_s=settings.failing_retry_s)
        self._nginx = Nginx(settings.servers, settings.serves, settings.nginx_pid)
        self._log = AccessLog(settings.access_log)
        self._servers: dict[str, Server] = {}
        self._upstreams: dict[str, str] = {}
        self._addresses: dict[str, str] = {}
        self._probes: dict[str, Probe] = {}
        self._pool: dict[str, Condition] = {}
        self._reloaded_s = 0.0
        # An earlier run may have written the list and ended before it told nginx.
        self._reload_due = True
        self._may_cut = True
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

    def look(self, session: aiohttp.ClientSession, now_s: float, passed_s: float) -> None:
        """Look once, decide, and tell nginx."""
        self._read_list(session, now_s)
        for answer in self._log.read():
            name = self._upstreams.get(answer.address)
            if name is not None:
                self._probes[name].answered(failed=answer.status == 500)
        for name, probe in self._probes.items():
            serves = self._pool[name].state == UP
            probe.tick(now_s, passed_s, self._settings.probe_interval_s, serves=serves)
        seen = {name: probe.seen() for name, probe in self._probes.items()}
        before = self._pool
        self._pool, cut = decide(before, seen, now_s, self._rules)
        for name, condition in self._pool.items():
            if condition.state != before[name].state:
                _say(worker=name, was=before[name].state, state=condition.state, why=condition.why)
        self._tell_nginx(now_s)
        for name in cut:
            self._cut_off(name)

    def serving(self) -> int:
        """Return how many workers serve."""
        return len(serving(self._pool))

    def report(self) -> list[dict[str, object]]:
        """Return each worker of the pool with its state, since when, why, and its connections under way."""
        now_s, now = time.monotonic(), time.time()
        settled = not self._reload_due and now_s - self._reloaded_s >= _SETTLE_S
        return [
            {
                "name": name,
                "state": condition.state,
                "since": _iso(now - (now_s - condition.since_s)),
                "why": condition.why,
                "asked": not (self._servers[name].down and settled),
                "under_way": self._under_way(name),
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
                self._pool[name] = Condition(DOWN if server.down else UP, now_s)
                self._addresses[name] = _numeric(server)
        if servers.keys() != self._servers.keys():
            _say(pool=list(servers))
        self._servers = servers
        # As the list has them, so that each decision finds its worker in this order.
        self._pool = {name: self._pool[name] for name in servers}
        self._upstreams = {
            replace(server, address=self._addresses[name]).upstream: name for name, server in servers.items()
        }

    def _tell_nginx(self, now_s: float) -> None:
        down = left_out(self._pool)
        if self._servers:
            self._write(down)
        if self._reload_due and now_s - self._reloaded_s >= _RELOAD_S:
            self._reloaded_s = now_s
            self._reload(down)

    def _write(self, down: set[str]) -> None:
        text = marked(self._text, down)
        try:
            if self._nginx.mark(self._text, text):
                self._reload_due = True
                self._text = text
                self._servers = {name: replace(server, down=name in down) for name, server in self._servers.items()}
            self._reload_due |= self._nginx.tell(serves=bool(serving(self._pool)))
        except (OSError, UnicodeError) as error:
            self._notice("write", f"nginx cannot be told who serves ({error}); tried again until it can")
            return
        self._said.pop("write", None)

    def _reload(self, down: set[str]) -> None:
        """Tell nginx, and again each second until the signal has arrived."""
        try:
            arrived = self._nginx.reload()
        except OSError as error:
            self._notice("reload", f"nginx cannot be told to reload ({error}); tried again until it can")
            return
        self._said.pop("reload", None)
        if arrived:
            self._reload_due = False
            _say(reload="nginx", left_out=sorted(down))

    def _notice(self, about: str, text: str) -> None:
        """Say what is wrong, once for as long as it is."""
        if self._said.get(about) != text:
            self._said[about] = text
            _say(notice=text)

    def _cut_off(self, name: str) -> None:
        if not self._may_cut:
            return
        try:
            ended = kernel.cut_off(self._addresses[name], self._servers[name].port)
        except (kernel.NotAllowedError, OSError) as error:
            self._may_cut = False
            _say(notice=f"connections to a silent worker cannot be ended ({error}); nginx's own timeout remains")
            return
        if ended:
            _say(worker=name, ended_connections=ended)

    def _under_way(self, name: str) -> int | None:
        try:
            return kernel.under_way(self._addresses[name], self._servers[name].port)
        except OSError:
            return None


def _numeric(server: Server) -> str:
    try:
        return str(socket.getaddrinfo(server.address, server.port, type=socket.SOCK_STREAM)[0][4][0])
    except OSError:
        return server.address


def _iso(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def _say(**what: object) -> None:
    sys.stdout.write(json.dumps({"time": _iso(time.time()), **what}) + "\n")
    sys.stdout.flush()
