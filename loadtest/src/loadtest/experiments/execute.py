"""Run the cells of one deployment level: describe, calibrate, then every trial that is not there yet."""

import asyncio
import datetime
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.errors import LoadtestError
from loadtest.experiments.calibration import Capacity, estimate, from_facts
from loadtest.experiments.cells import Cell, Level, trial_seed
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.payloads import Bodies
from loadtest.experiments.progress import Reporter
from loadtest.experiments.provenance import client_facts, differences, machine_signature, source_state
from loadtest.experiments.validity import invalid_because
from loadtest.generate import arrivals
from loadtest.generate.client import Client
from loadtest.generate.recorder import Recorder, read_trial
from loadtest.generate.runner import Effort, Runner, raise_file_limit

_SETTLE_S = 15.0
# Processes of the model before may still answer for a moment, so so many right answers in a row are wanted.
_SAME_ANSWERS_A_WORKER = 2


def now_utc() -> str:
    """The time as provenance states it."""
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds")


def run_level(
    folder: RunFolder,
    level: Level,
    target: str,
    facts: dict[str, Any],
    images: Path | None,
    *,
    bars: bool | None = None,
) -> int:
    """Run what is missing of a level against a service that is deployed as the level says.

    Args:
        folder: The run; complete trials in it are kept, incomplete ones set aside and run again.
        level: The level.
        target: Address of the service.
        facts: What is known of the deployment, for the provenance.
        images: Folder of labelled images, where the design needs them.
        bars: Draw progress bars; None: where standard error is a terminal.

    Returns:
        The number of trials that were run now.

    Raises:
        LoadtestError: The service is down, is another or is deployed differently, or samples can no longer be written.
    """
    trials = folder.design.trials(level)
    missing = [
        (cell, number) for cell, number in trials if not folder.is_complete(folder.trial_path(level, cell, number))
    ]
    raise_file_limit()
    bodies = Bodies(folder.design, images)
    try:
        with Reporter(len(missing), terminal=bars) as reporter:
            if len(missing) < len(trials):
                reporter.say(f"{level.id}: {len(trials) - len(missing)} of {len(trials)} trials are there already")
            asyncio.run(_Session(folder, level, target, facts, bodies, reporter).run(missing))
    finally:
        bodies.close()
    return len(missing)


@dataclass(frozen=True, slots=True)
class _Session:
    """One process's work on one level."""

    folder: RunFolder
    level: Level
    target: str
    facts: dict[str, Any]
    bodies: Bodies
    reporter: Reporter

    async def run(self, missing: list[tuple[Cell, int]]) -> None:
        async with self._client() as client:
            described = await self._wait_until_as_asked(client)
        record = self._record(described)
        if not missing:
            return
        await self._warm_up()
        for cell in self.folder.design.cells:
            self.bodies.prepare(cell)
        capacities = await self._capacities(record, described)
        self._keep_record(record, capacities)
        for cell, repetition in missing:
            await self._trial(cell, repetition, capacities.get(cell.images_id))

    def _client(self, *, answers: bool = False) -> Client:
        return Client(
            self.target,
            timeout_s=self.folder.design.client["timeout_s"],
            keep_alive=self.folder.design.client["keep_alive"],
            want_answer=answers,
        )

    async def _wait_until_as_asked(self, client: Client) -> dict[str, Any]:
        """A reload takes a moment to reach every process, so a wrong answer is asked for again, and a right one too."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + _SETTLE_S
        right = 0
        while True:
            described = await client.describe()
            wrong = self._unlike(described)
            right = 0 if wrong else right + 1
            workers = (described["status"] or {}).get("workers") or [1]
            if right > (0 if self.level.model is None else _SAME_ANSWERS_A_WORKER * len(workers)):
                return described
            if not wrong:
                continue
            if loop.time() > deadline:
                raise LoadtestError(
                    f"the service is not deployed as the level {self.level.id} says: {'; '.join(wrong)}. "
                    "`make experiment` sets it up; by hand: make deploy MODEL=… POLICY=… ARGS='-e balancer_pool_size=…'"
                )
            await asyncio.sleep(0.5)

    def _unlike(self, described: dict[str, Any]) -> list[str]:
        status = described["status"] or {}
        wrong = []
        if self.level.policy is not None and status.get("policy") != self.level.policy:
            wrong.append(f"its balancing policy is {status.get('policy')}, not {self.level.policy}")
        pool = len(status.get("workers") or [])
        if self.level.pool_size is not None and pool != self.level.pool_size:
            wrong.append(f"its pool has {pool} workers, not {self.level.pool_size}")
        model = described["version"]["model"].get("name")
        # A bundle's name leaves out what is usual: lite0-224 is called lite0.
        wanted = (self.facts.get("model") or {}).get("name", self.level.model)
        if self.level.model is not None and model != wanted:
            wrong.append(f"its model is {model}, not {wanted}")
        return wrong

    def _record(self, described: dict[str, Any]) -> dict[str, Any]:
        now = {
            "level": self.level.id,
            "begun": now_utc(),
            "client": client_facts(),
            "source": source_state(),
            "facts": self.facts,
            "version": described["version"],
            "status": described["status"],
        }
        before = self.folder.read_level(self.level)
        if before is None:
            others = [other for other in self.folder.measured_levels() if other != self.level]
            same_model = [other for other in others if other.model == self.level.model]
            before = self.folder.read_level((same_model or others)[0]) if others else None
            self._refuse_others(now, before, "was begun", models=bool(same_model))
            return now
        self._refuse_others(now, before, "was begun")
        before.setdefault("continued", []).append({"at": now["begun"], "source": now["source"]})
        return before

    def _refuse_others(
        self, now: dict[str, Any], before: dict[str, Any] | None, when: str, *, models: bool = True
    ) -> None:
        if before is None:
            return
        unlike = differences(machine_signature(before, models=models), machine_signature(now, models=models))
        if unlike:
            raise LoadtestError(
                f"{self.folder.path.name} {when} on other machines or with another model "
                f"({'; '.join(unlike)}); samples of unlike machines do not merge: begin a new run"
            )

    def _keep_record(self, record: dict[str, Any], capacities: dict[str, Capacity]) -> None:
        record["capacity"] = {key: capacity.facts() for key, capacity in sorted(capacities.items())}
        record["images"] = {
            cell.images_id: self.bodies.facts(cell)
            for cell in sorted(self.folder.design.cells, key=lambda one: one.images_id)
        }
        write_json(self.folder.level_path(self.level), record)

    async def _warm_up(self) -> None:
        cell = self.folder.design.cells[0]
        stream = self.bodies.stream(cell, np.random.default_rng(0))
        async with self._client() as client:
            last = None
            for _ in range(self.folder.design.client["warmup_requests"]):
                payload = next(stream, None)
                if payload is None:
                    return
                last = await client.predict(payload)
        if last is not None and last.error is not None:
            raise LoadtestError(
                f"the service answers warm-up requests with {last.error!r} (status {last.status}); "
                "look at its log, then run the same command again"
            )

    async def _capacities(self, record: dict[str, Any], described: dict[str, Any]) -> dict[str, Capacity]:
        known = {key: from_facts(facts) for key, facts in record.get("capacity", {}).items()}
        for cell in self.folder.design.cells:
            if cell.arrivals != "closed" and cell.images_id not in known:
                known[cell.images_id] = await self._calibrate(cell, described)
        return known

    async def _calibrate(self, cell: Cell, described: dict[str, Any]) -> Capacity:
        settings = self.folder.design.calibration
        workers = len((described["status"] or {}).get("workers") or [1])
        users = settings["in_flight_per_worker"] * workers
        paths = {
            kind: self.folder.calibration_path(self.level, cell.images_id, kind) for kind in ("unloaded", "saturated")
        }
        loads: dict[str, Callable[[Runner], Coroutine[Any, Any, Effort]]] = {
            "unloaded": lambda runner: runner.closed_loop(1, requests=settings["unloaded_requests"]),
            "saturated": lambda runner: runner.closed_loop(users, duration_s=settings["saturated_s"]),
        }
        for kind, path in paths.items():
            if not self.folder.is_complete(path):
                header = {"calibration": kind, "level": self.level.id, "images": cell.images_id, "begun": now_utc()}
                self.reporter.begin(f"calibration, {kind}, {cell.images_id}", None)
                await self._record_load(path, header, cell, np.random.default_rng(1), loads[kind])
        capacity = estimate(read_trial(paths["unloaded"]).samples, read_trial(paths["saturated"]).samples)
        self.reporter.say(
            f"{self.level.id}, {cell.images_id}: {capacity.capacity_hz:.1f} answers/s, service time "
            f"{capacity.service_s * 1e3:.1f} ms, c² {capacity.cv2:.2f} (by {capacity.how})"
        )
        return capacity

    async def _trial(self, cell: Cell, repetition: int, capacity: Capacity | None) -> None:
        seed = trial_seed(self.folder.design.seed, cell, repetition)
        times, pictures, pauses = seed.spawn(3)
        rate_hz = cell.rate(capacity.capacity_hz if capacity else None)
        length_s = cell.length_s(rate_hz) if cell.open_loop and rate_hz is not None else cell.duration_s
        header = {
            "level": self.level.id,
            "cell": cell.id,
            "repetition": repetition,
            "seed": list(seed.entropy) if isinstance(seed.entropy, list) else seed.entropy,
            "asked_hz": rate_hz,
            "duration_s": length_s,
            "begun": now_utc(),
        }
        name = f"{self.level.id} {cell.id} r{repetition}"
        expected = cell.requests if rate_hz is None or length_s is None else round(rate_hz * length_s)
        self.reporter.begin(name, self.bodies.count if cell.every_image else expected)
        path = self.folder.trial_path(self.level, cell, repetition)
        load = _load(cell, rate_hz, length_s, np.random.default_rng(times), np.random.RandomState(_legacy(pauses)))
        await self._record_load(path, header, cell, np.random.default_rng(pictures), load)
        trial = read_trial(path)
        good = [sample for sample in trial.samples if sample.ok]
        if not good:
            aside = self.folder.set_aside(path)
            last = trial.samples[-1].error if trial.samples else "nothing was sent"
            raise LoadtestError(
                f"no request of {name} was answered ({last}); its samples are kept in {aside}. Look at the service, "
                "then run the same command with --resume"
            )
        reasons = invalid_because(
            trial.samples, trial.footer, capacity.service_s if capacity else None, self.folder.design.validity
        )
        mean_ms = float(np.mean([sample.response_s for sample in good])) * 1e3
        note = f"n {len(trial.samples)}, errors {len(trial.samples) - len(good)}, mean {mean_ms:.1f} ms"
        self.reporter.trial_done(name, note + "".join(f"; INVALID: {reason}" for reason in reasons))

    async def _record_load(
        self,
        path: Path,
        header: dict[str, Any],
        cell: Cell,
        rng: np.random.Generator,
        load: Callable[[Runner], Coroutine[Any, Any, Effort]],
    ) -> None:
        self.folder.set_aside(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise LoadtestError(f"cannot write {path.parent}: {error.strerror}") from error
        recorder = Recorder(path, header)
        effort: Effort | None = None
        try:
            async with self._client(answers=cell.every_image) as client:
                effort = await load(
                    Runner(
                        client,
                        recorder,
                        self.bodies.stream(cell, rng),
                        max_in_flight=self.folder.design.client["max_in_flight"],
                        progress=self.reporter.requests,
                    )
                )
        finally:
            recorder.close(None if effort is None else effort.facts())


def _load(
    cell: Cell, rate_hz: float | None, length_s: float | None, rng: np.random.Generator, legacy: np.random.RandomState
) -> Callable[[Runner], Coroutine[Any, Any, Effort]]:
    if cell.arrivals == "closed":
        assert cell.in_flight is not None
        users, requests = cell.in_flight, cell.requests
        # each image once: the stream of images ends the loop
        endless = None if requests is not None or cell.duration_s is not None else 10**9
        return lambda runner: runner.closed_loop(users, requests=requests or endless, duration_s=cell.duration_s)
    if cell.arrivals == "original":
        assert cell.interval_s is not None
        assert cell.requests is not None
        assert cell.measured_every is not None
        pauses, count, every = arrivals.original_pauses(cell.interval_s, legacy), cell.requests, cell.measured_every
        return lambda runner: runner.original_loop(pauses, count, every)
    if cell.arrivals == "trace":
        assert cell.trace is not None
        offsets = arrivals.trace(Path(cell.trace), cell.duration_s)
    else:
        assert rate_hz is not None
        assert length_s is not None
        if cell.arrivals == "constant":
            offsets = arrivals.constant(rate_hz, length_s)
        elif cell.arrivals == "jittered":
            offsets = arrivals.jittered(rate_hz, length_s, rng, 0.5 if cell.jitter is None else cell.jitter)
        else:
            offsets = arrivals.poisson(rate_hz, length_s, rng)
    return lambda runner: runner.open_loop(offsets)


def _legacy(seed: np.random.SeedSequence) -> int:
    return int(seed.generate_state(1)[0])
