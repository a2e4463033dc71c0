"""The benchmark's way with a peer, for real: it is installed, answers as the network does, is measured and ends."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench import processes
from bench.alone import expected
from bench.peers.environment import install
from bench.peers.known import PEERS, PLAIN_FLASK, PROCESSES, Form, Peer
from bench.sender import CORES
from bench.systems import serving
from bench.trials import Load
from loadtest.errors import LoadtestError
from loadtest.generate.images import PHOTO
from tests.unit.worker.conftest import write_colour_bundle

pytestmark = pytest.mark.slow

CASES = [pytest.param(PLAIN_FLASK, form, id=f"flask, {form.name}") for form in PLAIN_FLASK.forms]
# These come from the package index, a minute each.
CASES += [
    pytest.param(PEERS[name], form, id=f"{name}, {form.name}", marks=pytest.mark.long)
    for name in ("mosec", "fastapi", "litserve")
    for form in PEERS[name].forms
]


@pytest.mark.parametrize(("peer", "form"), CASES)
def test_a_peer_is_measured_and_ends(peer: Peer, form: Form, tmp_path: Path) -> None:
    install(peer)
    bundle = write_colour_bundle(tmp_path / "colours")
    own = tmp_path / "own"
    own.mkdir()
    with serving(peer, form, bundle.path, own, PHOTO) as served:
        answers = expected(bundle, [PHOTO])[form.decoder]
        served.check(answers)
        with pytest.raises(LoadtestError, match="does not serve the same model"):
            served.check(dict.fromkeys(answers, "n99999999"))
        sent, spent = served.run([PHOTO], Load(users=2), 0, 0.5, 1)
        running = [pid for root in served.roots for pid in processes.tree(root)]
        assert processes.memory(served.roots).processes == len(running)
        if peer is PLAIN_FLASK:
            assert len(running) == 2 * PROCESSES + 1 + CORES  # gunicorns and their workers, nginx and its own
    assert {sample.status for sample in sent.samples} == {200}
    assert spent.all_s > 0
    assert (spent.nginx_s is not None) == (peer is PLAIN_FLASK)
    assert sent.cpu_s > 0
    # Python's resource tracker ends when it sees that its parent has.
    for _ in range(600):
        left = [pid for pid in running if Path(f"/proc/{pid}").exists()]
        if not left:
            break
        time.sleep(0.1)
    assert left == []
