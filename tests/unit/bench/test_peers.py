"""Which peers are known, and what a user reads when one cannot be had."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest
import yaml

from bench import __main__ as bench
from bench import lineup, processes
from bench.lineup import model_of
from bench.peers.known import PEERS, PLAIN_FLASK, PROCESSES, Peer, chosen
from bench.systems import serving
from deployed.checkout import REPOSITORY, CommandError
from deployed.local import Deployment
from imagerec_worker.bundle import BundleError
from loadtest.errors import LoadtestError
from tests.unit.worker.conftest import write_colour_bundle

PHOTO = Path(bench.__file__).parents[1] / "loadtest/photo.jpg"


def test_peers_are_named_with_commas_in_any_order_and_each_once() -> None:
    assert [peer.name for peer in chosen("litserve, mosec,,litserve")] == ["litserve", "mosec"]
    assert chosen("") == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ("mosec,fastpai", "there is no peer fastpai; did you mean fastapi?"),
        ("MOSEC", "there is no peer MOSEC; did you mean mosec?"),
        ("zzz", "there is no peer zzz. PEERS takes gunicorn, mosec, fastapi, litserve, keras, with"),
    ],
    ids=["slip", "capital", "far from all"],
)
def test_an_unknown_peer_is_refused_with_the_nearest_known_name(names: str, says: str) -> None:
    with pytest.raises(LoadtestError) as refused:
        chosen(names)
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--peers", "litserv"], "did you mean litserve?"),
        (["--model", "imagnet"], "there is no model imagnet (did you mean imagenet?)"),
        (["--model", "./nowhere"], "nowhere"),
        (["--redraw", "./nowhere"], "nowhere holds no recorded run of make bench"),
    ],
    ids=["peer", "model", "bundle", "record"],
)
def test_bad_input_gets_one_line_and_starts_nothing(
    options: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    before = processes.tree(os.getpid())
    assert bench.main([*options, *(["--record", str(tmp_path / "out")] if "--redraw" not in options else [])]) == 1
    said = capsys.readouterr().err
    assert says in said
    assert said.startswith("error: ")
    assert said.count("\n") == 1
    assert processes.tree(os.getpid()) == before
    assert not (tmp_path / "out").exists()


def test_every_peer_from_the_index_has_hashed_requirements_with_the_workers_versions() -> None:
    requirements = Path(bench.__file__).parents[3] / "requirements/peers"
    worker = Path(bench.__file__).parents[3] / "services/worker/requirements.txt"
    pins = {
        line.split(" ")[0] for line in worker.read_text().splitlines() if "==" in line and not line.startswith("pip==")
    }
    named = [peer for peer in PEERS.values() if peer.target.startswith(".venv-peers/")]
    assert {f"{peer.name}.txt" for peer in named} == {path.name for path in requirements.glob("*.txt")}
    for peer in named:
        text = (requirements / f"{peer.name}.txt").read_text()
        assert pins <= {line.split(" ")[0] for line in text.splitlines()}, peer.name
        assert text.count("==") <= text.count("--hash=sha256:")


def failing(program: str) -> Peer:
    return Peer("odd", "Odd", PLAIN_FLASK.forms, "", 1, lambda python, *_: [[str(python), "-c", program]], "odd")


def test_a_peer_that_does_not_start_is_told_with_its_last_words(tmp_path: Path) -> None:
    odd = failing("print('starting', flush=True); raise SystemExit('cannot load the network')")
    with (
        pytest.raises(LoadtestError, match=r"^Odd at 127\.0\.0\.1:\d+ does not serve: cannot load the network$"),
        serving(odd, odd.forms[0], tmp_path, tmp_path, PHOTO),
    ):
        pass


def test_a_port_that_somebody_took_is_refused_and_nothing_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr("bench.systems.free_ports", lambda _: [port])
        odd = failing(f"open({str(tmp_path / 'started')!r}, 'w')")
        with (
            pytest.raises(LoadtestError, match=rf"^127\.0\.0\.1:{port} is taken; end the program that listens there"),
            serving(odd, odd.forms[0], tmp_path, tmp_path, PHOTO),
        ):
            pass
    assert not (tmp_path / "started").exists()


def test_plain_flask_has_the_nginx_that_ours_has(tmp_path: Path) -> None:
    defaults = yaml.safe_load((REPOSITORY / "roles/balancer/defaults/main.yml").read_text())
    for peer, gunicorns in ((PLAIN_FLASK, PROCESSES), (PEERS["gunicorn"], 1)):
        commands = peer.commands(Path("python"), list(range(5000, 5000 + peer.ports)), tmp_path)
        workers = [int(words[words.index("--workers") + 1]) for words in commands[:-1]]
        assert workers == [PROCESSES // gunicorns] * gunicorns
        conf = (tmp_path / "nginx.conf").read_text()
        assert "worker_processes auto;" in conf
        assert f"client_body_buffer_size {defaults['balancer_body_buffer_bytes']};" in conf
        assert conf.count("server 127.0.0.1:") == gunicorns


@pytest.mark.parametrize(
    ("said", "told"),
    [("", None), ("lite0-192", "lite0-192"), ("lite0-float32", "lite0-float32"), ("imagenet", "imagenet")],
    ids=["none", "size", "number type", "plain name"],
)
def test_the_models_that_make_up_knows_are_known(said: str, told: str | None) -> None:
    assert model_of(said) == told
    assert model_of(said, "mirror") == (told or "imagenet")  # a mirror is of that one alone


def test_a_model_by_its_path_is_verified_and_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_colour_bundle(tmp_path / "colours")
    monkeypatch.chdir(tmp_path)
    assert model_of("./colours") == str(tmp_path / "colours")
    (tmp_path / "colours/model.tflite").write_bytes(b"damaged")
    with pytest.raises(BundleError):
        model_of("./colours")


def test_a_size_that_the_family_has_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.main(["--model", "lite0-17"]) == 1
    assert capsys.readouterr().err.startswith("error: there is no model lite0-17: lite0 is made for ")


def test_make_hands_on_the_mirror(tmp_path: Path) -> None:
    words = ["make", "-n", "-o", "setup-test", "bench", "MODEL=lite0", f"MODEL_MIRROR={tmp_path}"]
    said = subprocess.run(words, check=True, capture_output=True, text=True, cwd=REPOSITORY).stdout
    assert f"--mirror '{tmp_path}'" in said


class Stuck(Deployment):
    """A deployment that cannot be ended."""

    def make(self, target: str, *_: str, **__: object) -> subprocess.CompletedProcess[str]:
        """Fail, as a playbook does."""
        raise CommandError(f"make {target} failed with 2: many\nlines")


def test_a_deployment_that_does_not_end_is_told_and_loses_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lineup._down(Stuck(tmp_path, "http://127.0.0.1:1", {}, "lite0"))
    assert capsys.readouterr().err == f"make down failed for {tmp_path / 'inventory/local/hosts.yml'}: lines\n"
