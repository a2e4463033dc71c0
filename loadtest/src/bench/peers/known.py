"""The peers that can be named, and how each is started."""

from __future__ import annotations

import difflib
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from deployed.checkout import REPOSITORY
from loadtest.errors import LoadtestError

PROCESSES = len(os.sched_getaffinity(0))
_BALANCER = REPOSITORY / "roles/balancer/defaults/main.yml"
Command = list[str]
# From the peer's Python, free ports and an empty folder to its commands, one for each port. The first port answers, and
# its command is the last.
Commands = Callable[[Path, list[int], Path], list[Command]]


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
        described: What runs, in a few words; the page says it.
    """

    name: str
    title: str
    forms: tuple[Form, ...]
    target: str
    ports: int
    commands: Commands
    described: str

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
    """One gunicorn for each port after the first; they share the cores."""
    front, *workers = ports
    servers = " ".join(f"server 127.0.0.1:{port};" for port in workers)
    http = f"""upstream workers {{ random; {servers} }}
    server {{ listen 127.0.0.1:{front}; location / {{ proxy_pass http://workers; }} }}"""
    gunicorn = [str(python), "-m", "gunicorn", "--workers", str(PROCESSES // len(workers))]
    gunicorn += ["--worker-class", "gthread", "--threads", "4"]
    return [
        *([*gunicorn, "--bind", f"127.0.0.1:{port}", "bench.peers.flask_peer:app"] for port in workers),
        nginx(folder, http),
    ]


def _keras(python: Path, ports: list[int], _: Path) -> list[Command]:
    program = [str(python), str(Path(__file__).with_name("keras_peer.py"))]
    front, *servers = map(str, ports)
    return [*([*program, "server", port] for port in servers), [*program, "balancer", front, *servers]]


def nginx(folder: Path, http: str) -> Command:
    """Configure nginx with some upstreams and servers, all its files in a folder; return its command.

    It has a process for each core and keeps bodies in memory, as our balancer does; the rest is as nginx has it.
    """
    body_bytes = yaml.safe_load(_BALANCER.read_text())["balancer_body_buffer_bytes"]
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    (folder / "nginx.conf").write_text(f"""{"user root;" if os.geteuid() == 0 else ""}
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
events {{ }}
http {{
    access_log off;
    client_max_body_size 20m;
    client_body_buffer_size {body_bytes};
    {" ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)}
    {http}
}}
""")
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin") or "nginx"
    return [program, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "stderr"]


_RAW_OR_FORM = _forms(("/raw", False), ("/predict", True))
_NGINX = "nginx (`worker_processes auto`, our buffer for bodies, HTTP/1.0 to gunicorn, a connection for each request)"
PLAIN_FLASK = Peer(
    "flask",
    "plain Flask, nginx random",
    _RAW_OR_FORM,
    "",
    1 + PROCESSES,
    _flask,
    f"{_NGINX}, `random` between {PROCESSES} gunicorns, each of one `gthread` process with 4 threads",
)
PEERS = {
    peer.name: peer
    for peer in (
        Peer(
            "gunicorn",
            "plain Flask, one listener",
            _RAW_OR_FORM,
            "",
            2,
            _flask,
            f"{_NGINX}, one gunicorn of {PROCESSES} `gthread` processes with 4 threads each",
        ),
        Peer(
            "mosec",
            "mosec",
            _forms(*[("/inference", False)] * 2),
            ".venv-peers/mosec/.peer",
            1,
            _mosec,
            f"mosec, one stage of {PROCESSES} processes",
        ),
        Peer(
            "fastapi",
            "FastAPI and uvicorn",
            _RAW_OR_FORM,
            ".venv-peers/fastapi/.peer",
            1,
            _fastapi,
            f"uvicorn, {PROCESSES} processes; FastAPI's pool of threads",
        ),
        Peer(
            "litserve",
            "LitServe",
            _forms(*[("/predict", True)] * 2),
            ".venv-peers/litserve/.peer",
            1,
            _litserve,
            f"LitServe, {PROCESSES} processes that infer",
        ),
        Peer(
            "keras",
            "written like the course project",
            (Form("", "", "/submit", True),),
            ".venv-keras/.keras",
            3,
            _keras,
            "two Flask development servers, Keras `predict`; a third one forwards the form to one of them at random",
        ),
    )
}


def chosen(names: str) -> list[Peer]:
    """Return the peers of a list with commas, each once.

    Raises:
        LoadtestError: One of them is not known.
    """
    wanted = dict.fromkeys(name.strip() for name in names.split(",") if name.strip())
    for name in wanted:
        if name not in PEERS:
            near = difflib.get_close_matches(name.lower(), PEERS, 1)
            meant = f"; did you mean {near[0]}?" if near else "."
            raise LoadtestError(f"there is no peer {name}{meant} PEERS takes {', '.join(PEERS)}, with commas")
    return [PEERS[name] for name in wanted]
