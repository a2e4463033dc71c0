"""The peers that can be named, and how each is started."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from deployed.checkout import REPOSITORY

PROCESSES = len(os.sched_getaffinity(0))
Command = list[str]
# From the peer's Python, free ports and an empty folder to its commands, one for each port. The first port answers, and
# its command is the last.
Commands = Callable[[Path, list[int], Path], list[Command]]


class UnknownPeerError(ValueError):
    """There is no peer of this name; the message names the nearest one."""


@dataclass(frozen=True, slots=True)
class Form:
    """One way to run a peer.

    Attributes:
        name: What the page calls it.
        decoder: Of `bench.limit.DECODERS`; empty where the peer has a network of its own.
        path: Where photographs are sent to.
        form: Whether they are sent as the file of a form.
    """

    name: str
    decoder: str
    path: str
    form: bool


@dataclass(frozen=True, slots=True)
class Peer:
    """Another way to serve.

    Attributes:
        name: What `PEERS` calls it.
        title: What the page calls it.
        forms: Ways to run it.
        target: What `make` makes for its environment; empty for ours.
        ports: How many it needs.
        commands: Its processes.
    """

    name: str
    title: str
    forms: tuple[Form, ...]
    target: str
    ports: int
    commands: Commands

    @property
    def python(self) -> Path:
        """Of its environment."""
        return REPOSITORY / Path(self.target).parent / "bin/python" if self.target else Path(sys.executable)


def _forms(same: tuple[str, bool], documented: tuple[str, bool]) -> tuple[Form, ...]:
    return Form("the same decoder", "served", *same), Form("as documented, Pillow", "plain_pillow", *documented)


def _mosec(python: Path, ports: list[int], folder: Path) -> list[Command]:
    words = ["--address", "127.0.0.1", "--port", str(ports[0]), "--path", str(folder / "mosec")]
    return [[str(python), "-m", "bench.peers.mosec_peer", *words]]


def _fastapi(python: Path, ports: list[int], _: Path) -> list[Command]:
    words = ["--host", "127.0.0.1", "--port", str(ports[0]), "--workers", str(PROCESSES)]
    return [[str(python), "-m", "uvicorn", "bench.peers.fastapi_peer:app", *words]]


def _litserve(python: Path, ports: list[int], _: Path) -> list[Command]:
    return [[str(python), "-m", "bench.peers.litserve_peer", str(ports[0])]]


def _flask(python: Path, ports: list[int], folder: Path) -> list[Command]:
    front, *workers = ports
    (folder / "nginx.conf").write_text(_nginx_conf(folder, front, workers))
    gunicorn = [str(python), "-m", "gunicorn", "--worker-class", "gthread", "--threads", "4"]
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    return [
        *([*gunicorn, "--bind", f"127.0.0.1:{port}", "bench.peers.flask_peer:app"] for port in workers),
        [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"],
    ]


def _keras(python: Path, ports: list[int], _: Path) -> list[Command]:
    program = [str(python), str(Path(__file__).with_name("keras_peer.py"))]
    front, *servers = map(str, ports)
    return [*([*program, "server", port] for port in servers), [*program, "balancer", front, *servers]]


def _nginx_conf(folder: Path, front: int, workers: list[int]) -> str:
    """One server before workers chosen at random; else nginx's own settings, with its files in the folder."""
    servers = " ".join(f"server 127.0.0.1:{port};" for port in workers)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return f"""{"user root;" if os.geteuid() == 0 else ""}
daemon off;
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_max_body_size 20m;
    {" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)}
    upstream workers {{ random; {servers} }}
    server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://workers; }} }}
}}
"""


_RAW_OR_FORM = _forms(("/raw", False), ("/predict", True))
PLAIN_FLASK = Peer("flask", "plain Flask, gunicorn gthread, nginx random", _RAW_OR_FORM, "", 1 + PROCESSES, _flask)
PEERS = {
    peer.name: peer
    for peer in (
        Peer("mosec", "mosec", _forms(*[("/inference", False)] * 2), ".venv-peers/mosec/.peer", 1, _mosec),
        Peer("fastapi", "FastAPI and uvicorn", _RAW_OR_FORM, ".venv-peers/fastapi/.peer", 1, _fastapi),
        Peer("litserve", "LitServe", _forms(*[("/predict", True)] * 2), ".venv-peers/litserve/.peer", 1, _litserve),
        Peer(
            "keras",
            "the course project: Flask development servers, Keras `predict`, forwarding balancer",
            (Form("", "", "/submit", True),),
            ".venv-keras/.keras",
            3,
            _keras,
        ),
    )
}


def chosen(names: str) -> list[Peer]:
    """Return the peers of a list with commas, each once.

    Raises:
        UnknownPeerError: One of them is not known.
    """
    wanted = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    for name in wanted:
        if name not in PEERS:
            near = difflib.get_close_matches(name.lower(), PEERS, 1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise UnknownPeerError(f"there is no peer {name}{meant} PEERS takes {', '.join(PEERS)}, with commas")
    return [PEERS[name] for name in wanted]
