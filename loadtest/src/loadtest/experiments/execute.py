"""Run the cells of one deployment level: describe, calibrate, then every trial that is not there yet."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from loadtest.analyse.laws import law_of
from loadtest.errors import LoadtestError
from loadtest.experiments.awake import PoolWatch, need_all_awake, watch_of
from loadtest.experiments.calibration import Capacity, estimate, from_facts, with_regimes
from loadtest.experiments.cells import Cell, Level, trial_seed
from loadtest.experiments.folder import RunFolder, write_json
from loadtest.experiments.host import HostWatch
from loadtest.experiments.loads import closed_loops, legacy_seed, load_of, mean_rate, open_loops, warnings_ahead
from loadtest.experiments.payloads import Bodies
from loadtest.experiments.precision import Watch, told
from loadtest.experiments.progress import Reporter, outcome
from loadtest.experiments.record import batch_of, begin_record, keep_images, now_utc, wait_until_as_asked
from loadtest.experiments.validity import disturbed_by, invalid_because, unmeasured
from loadtest.generate import punctual
from loadtest.generate.client import Client
from loadtest.generate.effort import raise_file_limit
from loadtest.generate.limits import Limits, limits_of, refusals
from loadtest.generate.payload import Payload
from loadtest.generate.recording import Load, record_load
from loadtest.generate.samples import Sample, read_trial


def run_level(
    folder: RunFolder,
    level: Level,
    target: str,
    facts: dict[str, Any],
    images: Path | None,
    *,
    dirty: bool = False,
    bars: bool | None = None,
) -> int:
    """Run what is missing of a level against a service that is deployed as the level says.

    Args:
        folder: The run; complete trials in it are kept, incomplete ones set aside and run again.
        level: The level.
        target: Address of the service.
        facts: What is known of the deployment, for the provenance.
        images: Folder of labelled images, where the design needs them.
        dirty: Measure what is in no commit, whatever the design says.
        bars: Draw progress bars; None: where standard error is a terminal.

    Returns:
        The number of trials that were run now.

    Raises:
        LoadtestError: The service is down, is another or is deployed differently, the checkout has changes or is at
            another commit, or samples can no longer be written.
    """
    trials = folder.design.trials(level)
    missing = [
        (cell, number) for cell, number in trials if not folder.is_complete(folder.trial_path(level, cell, number))
    ]
    raise_file_limit()
    bodies = Bodies(folder.design, images, folder.path / "traces")
    try:
        with Reporter(len(missing), terminal=bars) as reporter:
            if len(missing) < len(trials):
                reporter.say(f"{level.id}: {len(trials) - len(missing)} of {len(trials)} trials are there already")
            session = _Session(folder, level, target, facts, bodies, reporter, dirty or folder.design.dirty)
            punctual.run(session.run(missing))
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
    dirty: bool

    async def run(self, missing: list[tuple[Cell, int]]) -> None:
        async with self._client() as client:
            described = await wait_until_as_asked(client, self.level, self.facts)
        record = begin_record(self.folder, self.level, described, self.facts, dirty=self.dirty)
        limits = limits_of(described["status"])
        if not missing:
            return
        await self._warm_up()
        for cell in self.folder.design.cells:
            self.bodies.prepare(cell)
        images = {cell.images_id: self.bodies.facts(cell) for cell in self.folder.design.cells}
        keep_images(self.folder, self.level, record, images)
        capacities = await self._capacities(record, described)
        record["capacity"] = {key: capacity.facts() for key, capacity in capacities.items()}
        write_json(self.folder.level_path(self.level), record)
        for warning in warnings_ahead(self.folder.design.cells_at(self.level), capacities, limits):
            self.reporter.say(warning)
        for cell, repetition in missing:
            await self._trial(cell, repetition, capacities.get(cell.images_id), limits)

    def _client(self, *, answers: bool = False) -> Client:
        return Client(
            self.target,
            timeout_s=self.folder.design.client["timeout_s"],
            keep_alive=self.folder.design.client["keep_alive"],
            want_answer=answers,
        )

    async def _warm_up(self) -> None:
        cell = self.folder.design.cells[0]
        stream = self.bodies.stream(cell, np.random.default_rng(0))
        async with self._client() as client:
            last = None
            for payload in islice(stream, self.folder.design.client["warmup_requests"]):
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
        closed = closed_loops(settings, workers)
        alone, full = [await self._calibration(cell, kind, load) for kind, load in closed.items()]
        try:
            capacity = estimate(alone, full, batch_of(self.level, described))
        except LoadtestError as error:
            for kind in closed:  # --resume would read them again
                self.folder.set_aside(self.folder.calibration_path(self.level, cell.images_id, kind))
            raise LoadtestError(f"{error}, then run the same command with --resume") from error
        opened = open_loops(settings, capacity.capacity_hz)
        if opened:
            capacity = with_regimes(
                capacity, *[await self._calibration(cell, kind, load) for kind, load in opened.items()]
            )
        self.reporter.say(f"{self.level.id}, {cell.images_id}: {capacity.text()}")
        return capacity

    async def _calibration(self, cell: Cell, kind: str, load: Load) -> tuple[Sample, ...]:
        path = self.folder.calibration_path(self.level, cell.images_id, kind)
        if not self.folder.is_complete(path):
            need_all_awake(self.level)
            header = {"calibration": kind, "level": self.level.id, "images": cell.images_id, "begun": now_utc()}
            self.reporter.begin(f"calibration, {kind}, {cell.images_id}", None)
            await self._record_load(path, header, cell, self.bodies.stream(cell, np.random.default_rng(1)), load)
        trial = read_trial(path)
        for reason in disturbed_by(trial.footer or {}, self.folder.design.validity):
            self.reporter.say(f"do not trust {path.name}, nor the loads and the theory made of it: {reason}")
        return trial.samples

    async def _trial(self, cell: Cell, repetition: int, capacity: Capacity | None, limits: Limits | None) -> None:
        seed = trial_seed(self.folder.design.seed, cell, repetition)
        times, pictures, pauses = seed.spawn(3)
        rate_hz = cell.rate(capacity.capacity_hz if capacity else None)
        length_s = cell.length_s(rate_hz) if cell.open_loop and rate_hz is not None else cell.given_s
        asked_hz = rate_hz if rate_hz is None or length_s is None else mean_rate(cell, rate_hz, length_s)
        header = {
            "level": self.level.id,
            "cell": cell.id,
            "repetition": repetition,
            "seed": list(seed.entropy) if isinstance(seed.entropy, list) else seed.entropy,
            "asked_hz": asked_hz,
            "duration_s": length_s,
            "begun": now_utc(),
        }
        name = f"{self.level.id} {cell.id} r{repetition}"
        expected = cell.requests if asked_hz is None or length_s is None else round(asked_hz * length_s)
        expected = self.bodies.count if cell.every_image else expected
        self.reporter.begin(name, expected, asked_hz=asked_hz, length_s=length_s)
        path = self.folder.trial_path(self.level, cell, repetition)
        load = load_of(
            cell,
            self.folder.path / "traces",
            rate_hz=rate_hz,
            length_s=length_s,
            rng=np.random.default_rng(times),
            legacy=np.random.RandomState(legacy_seed(pauses)),
        )
        asked = self.folder.design.precision if cell.may_end_early else None
        until = None if asked is None else Watch(asked, cell.warmup_s)
        payloads = self.bodies.of_trial(cell, np.random.default_rng(pictures))
        pool = await watch_of(self.level, self._client)
        await self._record_load(path, header, cell, payloads, load, until=until, pool=pool)
        trial = read_trial(path)
        if trial.samples and not any(sample.ok for sample in trial.samples):
            aside, last = self.folder.set_aside(path), trial.samples[-1].error
            raise LoadtestError(
                f"no request of {name} was answered ({last}); its samples are kept in {aside}. Look at the service, "
                "then run the same command with --resume"
            )
        law = law_of(self.folder, self.level, self.folder.read_level(self.level) or {}, cell)  # as the summary does
        service_s = law.service_s if law else None
        reasons = invalid_because(trial.samples, trial.footer, service_s, self.folder.design.validity)
        reasons += unmeasured(trial.samples, cell.warmup_s)
        note = outcome(trial.samples)
        note += f"; {refused}" if (refused := refusals(trial.samples, limits)) else ""
        note += f"; {told(until.facts())}" if until is not None else ""
        self.reporter.trial_done(name, note + "".join(f"; INVALID: {reason}" for reason in reasons))

    async def _record_load(
        self,
        path: Path,
        header: dict[str, Any],
        cell: Cell,
        payloads: Iterator[Payload],
        load: Load,
        *,
        until: Watch | None = None,
        pool: PoolWatch | None = None,
    ) -> None:
        self.folder.make_room(path)
        load = load if pool is None else pool.over(load)
        host = HostWatch(self.target, self.reporter.processes)
        async with self._client(answers=cell.every_image) as client:
            await record_load(
                client,
                path,
                header,
                payloads,
                load if until is None else until.over(load),
                more=lambda: (
                    host.facts()
                    | ({} if until is None else {"precision": until.facts()})
                    | ({} if pool is None else pool.facts())
                ),
                seen=None if until is None else until.seen,
                max_in_flight=self.folder.design.client["max_in_flight"],
                watch=self.reporter.watch,
            )
