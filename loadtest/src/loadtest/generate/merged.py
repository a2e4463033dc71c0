"""What several clients recorded, merged as one trial by this machine's clock."""

import asyncio
import contextlib
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from loadtest.errors import LoadtestError
from loadtest.experiments.validity import HOST
from loadtest.generate.attack import Attack
from loadtest.generate.clocks import Clock, compare, refuse_apart
from loadtest.generate.recorder import Recorder
from loadtest.generate.samples import Sample, Trial, read_trial, trial_of
from loadtest.generate.together import Member, send_together
from loadtest.generate.view import View


def run_together(attack: Attack, save: Path | None, *, commands: Sequence[str], terminal: bool) -> Trial:
    """Let several clients send a load and return what they recorded, also where the user has interrupted it.

    Args:
        attack: What is sent.
        save: Where the merged samples are kept; None: nowhere.
        commands: For each client what starts Python there.
        terminal: Draw a live view on standard error.

    Raises:
        LoadtestError: A client does not start or ends too soon, or the file cannot be written; or the samples do not
            merge, and the message says where those of each client are kept.
    """
    if save and save.exists():
        raise LoadtestError(f"{save} exists and samples are never overwritten; choose another file")
    if save and not save.absolute().parent.is_dir():
        raise LoadtestError(f"cannot create {save}: there is no folder {save.parent}")
    whole = False
    failed: LoadtestError | None = None
    members: list[Member] = []
    with View() if terminal else contextlib.nullcontext() as view, contextlib.suppress(KeyboardInterrupt):
        if view:
            view.begin(attack.target, asked_hz=attack.rate_hz, length_s=attack.duration_s)
        try:
            asyncio.run(send_together(attack, commands, members, view))
            whole = True
        except LoadtestError as error:
            failed = error
    if failed:
        raise _with_samples(failed, members, save)
    if not members or not all(member.data for member in members):
        raise LoadtestError("nothing was recorded: the load was interrupted before it began")
    with tempfile.TemporaryDirectory(prefix="loadtest-") as folder:
        path = save or Path(folder) / "attack.jsonl.gz"
        try:
            return merge(members, attack, path, whole=whole)
        except LoadtestError as error:
            raise _with_samples(error, members, save) from error


def merge(members: Sequence[Member], attack: Attack, path: Path, *, whole: bool = True) -> Trial:
    """Merge what several clients recorded into a new file; that of an interrupted load (not `whole`) has no end mark.

    Raises:
        LoadtestError: Samples are not whole, clocks are too far apart, or the file exists.
    """
    trials = [trial_of(member.data, Path(member.name)) for member in members]
    if damaged := [f"{trial.path}: {trial.damage}" for trial in trials if trial.damage]:
        raise LoadtestError(f"samples are not whole: {'; '.join(damaged)}")
    clocks = [compare(member.readings) for member in members]
    for member, clock in zip(members, clocks, strict=True):
        refuse_apart(member.name, clock)
    every = list(zip(members, trials, clocks, strict=True))
    start_s = min(clock.here(member.origin_s) for member, _, clock in every)
    moved = [
        _moved(sample, clock, member.origin_s, start_s) for member, trial, clock in every for sample in trial.samples
    ]
    moved.sort(key=lambda sample: sample.scheduled_s)
    told = [
        {"name": member.name, "ahead_s": round(clock.ahead_s, 6), "error_s": round(clock.error_s, 6)}
        for member, _, clock in every
    ]
    recorder = Recorder(path, attack.header() | {"clients": told})
    for seq, sample in enumerate(moved):
        recorder.add(replace(sample, seq=seq))
    recorder.close(_footer(trials, moved) if whole else None)
    return read_trial(path)


def _with_samples(error: LoadtestError, members: Sequence[Member], save: Path | None) -> LoadtestError:
    """The same error, which says where the samples of each client are kept; there may be none."""
    kept = _keep([member for member in members if member.data], save)
    return LoadtestError(f"{error}. The samples of each are kept in {', '.join(map(str, kept))}") if kept else error


def _keep(members: Sequence[Member], save: Path | None) -> list[Path]:
    if not members:
        return []
    beside = save or Path(tempfile.mkdtemp(prefix="loadtest-")) / "attack.jsonl.gz"
    stem = beside.name.removesuffix(".gz").removesuffix(".jsonl")
    kept = []
    for number, member in enumerate(members, start=1):
        names = (f"{stem}.client{number}{again}.jsonl.gz" for again in ("", *(f"-{count}" for count in range(2, 1000))))
        path = next(path for name in names if not (path := beside.with_name(name)).exists())
        try:
            with path.open("xb") as file:
                file.write(member.data)
        except OSError as error:
            raise LoadtestError(f"cannot keep samples in {path}: {error.strerror}") from error
        kept.append(path)
    return kept


def _moved(sample: Sample, clock: Clock, origin_s: float, start_s: float) -> Sample:
    due_s = clock.here(origin_s + sample.scheduled_s) - start_s
    sent_s = due_s + sample.lag_s
    return replace(sample, scheduled_s=due_s, sent_s=sent_s, done_s=sent_s + sample.service_s)


def _footer(trials: Sequence[Trial], samples: Sequence[Sample]) -> dict[str, Any]:
    footers = [trial.footer or {} for trial in trials]
    peak = now = 0
    for _, change in sorted([(one.sent_s, 1) for one in samples] + [(one.done_s, -1) for one in samples]):
        now += change
        peak = max(peak, now)
    wall_s = max([one.done_s for one in samples], default=0.0) or 1e-9
    return {
        "wall_s": round(wall_s, 6),
        # Of the busiest client: each has a core of its own.
        "cpu_share": max(footer["cpu_share"] for footer in footers),
        "spin_share": max(footer["spin_share"] for footer in footers),
        "peak_in_flight": peak,
        "mean_in_flight": round(sum(one.service_s for one in samples) / wall_s, 6),
        "not_sent": sum(footer["not_sent"] for footer in footers),
        **{name: _worst(footers, name) for name in HOST},
    }


def _worst(footers: Sequence[dict[str, Any]], name: str) -> float | None:
    """What the host did that was disturbed most; None where no client knows it."""
    return max((footer[name] for footer in footers if footer.get(name) is not None), default=None)
