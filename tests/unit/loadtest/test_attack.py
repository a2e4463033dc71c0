"""A quick look at a service: `loadtest attack`, alone and by several clients."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from loadtest.cli import main
from loadtest.errors import LoadtestError
from loadtest.generate import together
from loadtest.generate.attack import Attack, read_payloads, table
from loadtest.generate.clocks import Reading
from loadtest.generate.images import PHOTO
from loadtest.generate.limits import Limits
from loadtest.generate.member import bodies_of, offsets_of
from loadtest.generate.merged import merge, run_together
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample, Trial, read_trial
from loadtest.generate.together import Member

RATE_HZ, SECONDS = 60.0, 0.6
LOAD = ["--rate", str(RATE_HZ), "--duration", str(SECONDS), str(PHOTO)]

# What a shell starts in the background ignores Ctrl-C, and so would what a test starts there.
IN_FRONT = (
    "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
    "from loadtest.cli import main; sys.exit(main(sys.argv[1:]))"
)


def due(trial: Trial) -> list[float]:
    return sorted(sample.scheduled_s for sample in trial.samples)


@pytest.fixture(scope="module")
def wanted() -> list[float]:
    """When requests of LOAD are due."""
    return list(Attack("http://127.0.0.1", read_payloads([PHOTO]), RATE_HZ, SECONDS).offsets())


def test_one_table_says_what_came_back(
    serve: Callable[..., str], tmp_path: Path, wanted: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "look.jsonl.gz"
    target = serve("--workers", "2", "--policy", "round_robin")
    assert main(["attack", target, *LOAD, "--save", str(kept)]) == 0
    printed = capsys.readouterr()
    text = printed.out
    trial = read_trial(kept)
    assert trial.damage is None
    assert trial.header["asked_hz"] == RATE_HZ
    assert due(trial) == pytest.approx(wanted, abs=1e-6)
    assert {sample.image for sample in trial.samples} == {"photo.jpg"}
    count = len(wanted)
    assert f"{count} sent, {count} answered, 0 failed" in text
    assert "60/s asked" in text
    assert f"worker1 {count - count // 2}, worker2 {count // 2}" in text
    assert "p99 –" in text  # 36 answers say nothing of it
    assert re.search(r"p50 [\d.]+ ms", text)
    assert re.search(r"lag +p50 [\d.]+ ms, p99 –, max [\d.]+ ms", text)
    assert f"samples: {kept}" in text
    assert "errors" not in text
    assert "\x1b" not in printed.err  # nobody looks: there is no view
    assert main(["attack", target, *LOAD, "--save", str(kept)]) == 1
    assert "samples are never overwritten" in capsys.readouterr().err


def test_refusals_and_the_limit_behind_them_are_told(
    serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = serve("--service-ms", "100", "--max-conns", "1")
    assert main(["attack", target, "--constant", "--rate", "100", "--duration", "0.3", str(PHOTO)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    refused, of = map(int, re.search(r"refused (\d+) of (\d+) requests", text).groups())  # type: ignore[union-attr]
    assert 20 <= refused < of == 30
    assert f"({refused} busy); its limits: 1 requests at a time for each process of a worker" in text
    assert f"429 busy {refused}" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["http://127.0.0.1:9", str(PHOTO)], "does not answer"),
        (["127.0.0.1:8080", str(PHOTO)], "is no address"),
        (["http://127.0.0.1:9", "--rate", "0", str(PHOTO)], "--rate 0.0 is impossible; give more than 0"),
        (["http://127.0.0.1:9", "--duration", "nan", str(PHOTO)], "--duration nan is not a number"),
        (["http://127.0.0.1:9", "--clients", "65", str(PHOTO)], "--clients 65 is impossible; give 0 to 64"),
        (["http://127.0.0.1:9", "notes.txt"], "notes.txt is no photograph by its name"),
        (["http://127.0.0.1:9", "nosuch.jpg"], "cannot read the photograph nosuch.jpg: No such file"),
    ],
)
def test_what_cannot_be_sent_is_one_message(words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["attack", *words]) == (2 if says.startswith("--") else 1)
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1


def test_an_interrupted_look_says_what_it_saw(serve: Callable[..., str], tmp_path: Path) -> None:
    kept = tmp_path / "look.jsonl.gz"
    words = ["attack", serve(), "--rate", "100", "--duration", "600", str(PHOTO), "--save", str(kept)]
    command = [sys.executable, "-c", IN_FRONT, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        while not (kept.exists() and read_some(kept)):
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, error = process.communicate()
    assert process.returncode == 0, error
    assert b"incomplete" in out
    assert re.search(rb"requests +\d+ sent", out)
    assert b"Traceback" not in error


def read_some(path: Path) -> bool:
    try:
        return bool(read_trial(path).samples)
    except Exception:  # its first line is not there yet
        return False


@pytest.mark.parametrize(
    ("clients", "warned"),
    [
        pytest.param([], "60", id="this-host"),
        pytest.param(["--clients", "2"], "60", id="two-of-this-host"),
        pytest.param(["--client", "ssh c1 python", "--client", "ssh c2 python"], None, id="two-hosts"),
        pytest.param(["--clients", "2", "--client", "ssh c1 python"], "40", id="most-of-this-host"),
    ],
)
def test_an_address_s_limit_is_held_against_what_each_host_sends(
    clients: list[str],
    warned: str | None,
    serve: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sent(*_: object, **__: object) -> Trial:
        return Trial(Path("t"), {"asked_hz": RATE_HZ}, (), None, None)

    monkeypatch.setattr("loadtest.generate.attack.limits_of", lambda _: Limits(address_rate_hz=35))
    monkeypatch.setattr("loadtest.generate.attack.run_attack", sent)
    monkeypatch.setattr("loadtest.generate.merged.run_together", sent)
    main(["attack", serve(), *LOAD, *clients])
    said = capsys.readouterr().err
    assert said == "" if warned is None else f"one address sends {warned} requests a second and the balancer" in said


@pytest.mark.slow
def test_several_clients_send_together_what_one_would_send(
    serve: Callable[..., str], tmp_path: Path, wanted: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    """Of one of them the clock is five seconds ahead: it begins at the same moment, and its times are put right."""
    kept = tmp_path / "look.jsonl.gz"
    ahead = client(tmp_path / "ahead.py", "time.time = lambda: really() + 5")
    both = ["--clients", "1", "--client", ahead]
    code = main(["attack", serve("--workers", "2"), *LOAD, *both, "--save", str(kept)])
    printed = capsys.readouterr()
    assert code == 0, printed.err
    trial = read_trial(kept)
    assert trial.damage is None
    assert [sample.seq for sample in trial.samples] == list(range(len(wanted)))
    one, other = trial.header["clients"]
    assert other["ahead_s"] == pytest.approx(5, abs=0.1)
    # as far as clocks can be told; every request is there, and in its place
    error_s = one["error_s"] + other["error_s"] + 1e-4
    assert due(trial) == pytest.approx([offset - wanted[0] + due(trial)[0] for offset in wanted], abs=2 * error_s)
    assert f"{len(wanted)} sent, {len(wanted)} answered" in printed.out
    assert trial.footer is not None
    assert trial.footer["steal"] is not None  # what their hosts did is there


@pytest.mark.slow
def test_clients_whose_clocks_are_too_far_apart_keep_their_samples(
    serve: Callable[..., str], tmp_path: Path, wanted: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "look.jsonl.gz"
    wrong = client(tmp_path / "wrong.py", "time.time = lambda: really() - 7200")
    assert main(["attack", serve(), *LOAD, "--clients", "1", "--client", wrong, "--save", str(kept)]) == 1
    error = capsys.readouterr().err
    assert "the clock of client 2" in error
    assert "7200 s behind this machine's: set it" in error
    parts = sorted(tmp_path.glob("look.client*.jsonl.gz"))
    assert [str(part) in error for part in parts] == [True, True]
    assert sum(len(read_trial(part).samples) for part in parts) == len(wanted)
    assert not kept.exists()


@pytest.mark.long
def test_what_the_others_sent_is_kept_when_a_client_dies(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It greets first, which is no message; and a file of an earlier look is left as it is."""
    kept = tmp_path / "look.jsonl.gz"
    earlier = tmp_path / "look.client1.jsonl.gz"
    earlier.write_bytes(b"earlier")
    end = "import os, threading\nprint('Welcome', flush=True)\nthreading.Timer(4, os._exit, [3]).start()"
    dies = client(tmp_path / "dies.py", end)
    load = ["--rate", "20", "--duration", "8", str(PHOTO)]
    assert main(["attack", serve(), *load, "--clients", "1", "--client", dies, "--save", str(kept)]) == 1
    error = capsys.readouterr().err
    assert "ended before its load did" in error
    assert str(tmp_path / "look.client1-2.jsonl.gz") in error
    assert len(read_trial(tmp_path / "look.client1-2.jsonl.gz").samples) > 20
    assert earlier.read_bytes() == b"earlier"


def test_a_folder_that_is_missing_is_told_before_the_load(tmp_path: Path) -> None:
    attack = Attack("http://127.0.0.1:9", read_payloads([PHOTO]), RATE_HZ, SECONDS)
    with pytest.raises(LoadtestError, match="there is no folder"):
        run_together(attack, tmp_path / "none" / "look.jsonl.gz", commands=["/nosuch/python"], terminal=False)


def test_clients_send_the_photographs_of_one_at_its_moments() -> None:
    photos = tuple(replace(read_payloads([PHOTO])[0], key=str(number)) for number in range(5))
    attack = Attack("http://127.0.0.1", photos, RATE_HZ, SECONDS)
    alone = list(zip(attack.offsets(), (one.key for one in attack.bodies()), strict=False))
    parts = [
        pair
        for part in range(3)
        for pair in zip(offsets_of(attack, part, 3), (one.key for one in bodies_of(attack, part, 3)), strict=False)
    ]
    assert sorted(parts) == alone


def test_what_disturbed_one_of_several_clients_most_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hosts: list[dict[str, Any]] = [{"others": 0.01, "steal": 0.3}, {"others": 0.2, "steal": None, "link": None}]
    members = []
    for number, host in enumerate(hosts):
        part = tmp_path / f"part{number}.jsonl.gz"
        recorder = Recorder(part, {"asked_hz": 1})
        recorder.add(Sample(0, 0.1, 0.1, 0.2, 200, "worker1", None))
        recorder.close({"cpu_share": 0.1, "spin_share": 0.0, "not_sent": 0, **host})
        readings = [Reading(at, at + 0.0001, at + 0.0002) for at in map(float, range(10))]
        none: Any = None
        members.append(Member(f"client {number}", none, readings=readings, data=part.read_bytes()))
    attack = Attack("http://127.0.0.1:9", read_payloads([PHOTO]), RATE_HZ, SECONDS)
    trial = merge(members, attack, tmp_path / "look.jsonl.gz")
    assert trial.footer is not None
    assert {name: trial.footer[name] for name in ("others", "steal", "link", "resent")} == {
        "others": 0.2,
        "steal": 0.3,
        "link": None,
        "resent": None,
    }
    Console(width=300).print(table(trial, None))
    said = capsys.readouterr().out
    assert "other programs used 20.0% of the processor time of the client's host, limit 5.0%" in said
    assert "the hypervisor kept 30.0%" in said


def test_an_interrupted_load_of_several_clients_is_not_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each client ends its own part well when it is told to stop."""
    part = tmp_path / "part.jsonl.gz"
    recorder = Recorder(part, {"asked_hz": 1})
    recorder.add(Sample(0, 0.1, 0.1, 0.2, 200, "worker1", None))
    recorder.close({"cpu_share": 0.1, "spin_share": 0.0, "not_sent": 0})

    async def interrupted(_: object, __: object, members: list[Member], ___: object) -> None:
        readings = [Reading(at, at + 0.0001, at + 0.0002) for at in map(float, range(10))]
        none: Any = None
        members += [Member(name, none, readings=readings, data=part.read_bytes()) for name in ("one", "other")]
        raise KeyboardInterrupt

    monkeypatch.setattr("loadtest.generate.merged.send_together", interrupted)
    attack = Attack("http://127.0.0.1:9", read_payloads([PHOTO]), RATE_HZ, SECONDS)
    trial = run_together(attack, tmp_path / "look.jsonl.gz", commands=["python"] * 2, terminal=False)
    assert len(trial.samples) == 2
    assert trial.damage is not None


def test_a_client_that_does_not_start_is_one_message(
    serve: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    target = serve()
    assert main(["attack", target, *LOAD, "--client", "/nosuch/python"]) == 1
    assert "client 1 does not start: /nosuch/python: No such file" in capsys.readouterr().err
    assert main(["attack", target, *LOAD, "--client", "false"]) == 1
    assert "client 1 (false) does not start; its reason stands above" in capsys.readouterr().err


@pytest.mark.parametrize("before", ["", '{"ready": true}\n'], ids=["at-the-start", "during-the-load"])
@pytest.mark.parametrize("says", ["{", '{"glimpse": 1}', '{"asked": null, "clock": 0}', '{"hello": 1}'])
def test_a_client_that_says_what_no_client_says_ends_the_load(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str], before: str, says: str
) -> None:
    """It never ends by itself."""
    silly = tmp_path / "silly.py"
    silly.write_text(f"import time\nprint({before + says!r}, flush=True)\ntime.sleep(3600)\n")
    assert main(["attack", serve(), *LOAD, "--client", f"{sys.executable} {silly}"]) == 1
    assert (
        capsys.readouterr().err == f"loadtest: client 1 ({sys.executable} {silly}) says what no client says: {says}\n"
    )


@pytest.mark.slow
def test_a_client_that_never_ends_is_not_waited_for(
    serve: Callable[..., str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(together, "_ENDS_S", 0.2)
    silent = tmp_path / "silent.py"
    silent.write_text("import time\nprint('{\"ready\": true}', flush=True)\ntime.sleep(3600)\n")
    both = ["--clients", "1", "--client", f"{sys.executable} {silent}", "--timeout", "1"]
    assert main(["attack", serve(), *LOAD, *both, "--save", str(tmp_path / "look.jsonl.gz")]) == 1
    error = capsys.readouterr().err
    assert f"client 2 ({sys.executable} {silent}) does not end, though its load has" in error
    assert str(tmp_path / "look.client1.jsonl.gz") in error  # what the other has sent is kept


def client(script: Path, clock: str) -> str:
    """What starts a client whose clock is another: a Python that changes its own before it does as it is told."""
    script.write_text(
        "import runpy, sys, time\nreally = time.time\n" + clock + "\n"
        'sys.argv = sys.argv[1:]\nassert sys.argv[0] == "-m"\nrunpy.run_module(sys.argv[1], run_name="__main__")\n'
    )
    return f"{sys.executable} {script}"


@pytest.mark.slow
def test_a_terminal_gets_a_live_view(serve: Callable[..., str]) -> None:
    ours, theirs = os.openpty()
    words = [
        sys.executable,
        "-m",
        "loadtest",
        "attack",
        serve("--service-ms", "5"),
        "--rate",
        "50",
        "--duration",
        "1.5",
    ]
    shown = b""
    with subprocess.Popen(
        [*words, str(PHOTO)], stdout=subprocess.PIPE, stderr=theirs, env={**os.environ, "TERM": "xterm"}
    ) as process:
        os.close(theirs)
        while True:
            try:
                block = os.read(ours, 65536)
            except OSError:  # nobody has the other end any more
                break
            if not block:
                break
            shown += block
        os.close(ours)
        assert process.stdout is not None
        out = process.stdout.read()
    assert process.returncode == 0
    text = re.sub(rb"\x1b\[[\d;?]*[A-Za-z]", b"", shown)
    for word in (b"in flight", b"asked", b"answered", b"lag p99", b"errors", b"s left"):
        assert word in text
    assert b"\x1b" not in out  # the table goes elsewhere
    assert json.dumps(out.decode()).count("sent") == 1
