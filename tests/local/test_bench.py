"""The benchmark's way with a peer, for real: plain Flask starts, answers as the network does, is measured and ends."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import processes
from bench.alone import expected
from bench.peers.known import PLAIN_FLASK, PROCESSES, Form
from bench.sender import CORES
from bench.systems import NotServingError, serving
from bench.trials import Load
from loadtest.generate.images import PHOTO
from tests.unit.worker.conftest import write_colour_bundle


@pytest.mark.parametrize("form", PLAIN_FLASK.forms, ids=["our decoder", "as documented"])
def test_a_peer_is_measured_and_ends(form: Form, tmp_path: Path) -> None:
    bundle = write_colour_bundle(tmp_path / "colours")
    own = tmp_path / "own"
    own.mkdir()
    with serving(PLAIN_FLASK, form, bundle.path, own, PHOTO) as served:
        answers = expected(bundle, [PHOTO])[form.decoder]
        served.check(answers)
        with pytest.raises(NotServingError, match="does not serve the same model"):
            served.check(dict.fromkeys(answers, "n99999999"))
        sent, cpu_s = served.run([PHOTO], Load(users=2), 0, 0.5, 1)
        running = [pid for root in served.roots for pid in processes.tree(root)]
        assert processes.memory(served.roots).processes == len(running)
        assert len(running) == 2 * PROCESSES + 1 + CORES  # gunicorns and their workers, nginx and its own
    assert {sample.status for sample in sent.samples} == {200}
    assert cpu_s > 0
    assert sent.cpu_s > 0
    assert [pid for pid in running if Path(f"/proc/{pid}").exists()] == []
