"""A day of a broker, with failures, pauses, limits, lost workers and one restart: what its figures say of
each minute is what the records of its jobs say, without a job or a second that is missing."""

from __future__ import annotations

import heapq
import itertools
import json
import random
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.stage import WALL_AT_START, Scene
from zmws.core.figures import BOUNDS_S, COUNTED
from zmws.core.job import Job
from zmws.core.options import service_options
from zmws.core.reads import ReadJob, ReadSeries
from zmws.core.reasons import REASONS
from zmws.core.series import ALL
from zmws.core.states import FINAL_STATES, RUNNING, WAITING
from zmws.store.sqlite.memory import MemoryStore

DAY_S = 86_400.0
JOBS = 3_000
DOWN_S = 90.0  # that the broker is down
SERVICES = {"A": {}, "B": {"max_running": 2}, "C": {"rate": 0.02}, "P": {}}
WORKERS = {"V": {"A": 3, "B": 2}, "W": {"B": 1, "C": 3}, "X": {"P": 1}, "Y": {"A": 1, "P": 1}}
LIMITS = {"heartbeat_interval_s": 600.0, "probe_interval_s": 3600.0}
BEAT_S, LOOK_S = 400.0, 19.0

States = tuple[tuple[int, float, str, int], ...]
Figures = defaultdict[str, defaultdict[int, Counter[str]]]  # by service and the minute's begin


class Day:
    """What happens, and to whom."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.scene = scene = Scene(MemoryStore(), LIMITS)
        scene.services.update({name: service_options(given) for name, given in SERVICES.items()})
        self.names: list[str] = []
        self.memory: dict[str, Job] = {}
        self.down: tuple[float, float] = (0.0, 0.0)
        self._hands: defaultdict[str, set[bytes]] = defaultdict(set)
        self._lives: Counter[str] = Counter()
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def at(self, when: float, what: Callable[[], None]) -> None:
        """Let it happen, so many seconds after the start."""
        heapq.heappush(self._events, (when, next(self._order), what))

    @property
    def now(self) -> float:
        """Seconds since the start."""
        return self.scene.now - 1000.0

    def run(self) -> None:
        """All of it."""
        draw, scene = self.random, self.scene
        for name in WORKERS:
            self.at(0.37, lambda name=name: self._comes(name))
            for n in range(int(DAY_S / BEAT_S)):
                self.at(n * BEAT_S + 9.83, lambda name=name: self._beats(name))
        rushes = [draw.uniform(0.0, DAY_S * 0.9) for _ in range(6)]
        for n in range(JOBS):
            when = draw.uniform(1.0, DAY_S * 0.95)
            if draw.random() < 0.3:
                when = draw.choice(rushes) + draw.uniform(0.0, 300.0)
            self.at(when, lambda n=n: self._submits(f"j{n}"))
        for _ in range(60):
            when, name = draw.uniform(0.0, DAY_S * 0.95), draw.choice(list(WORKERS))
            self.at(when, lambda name=name: self._is_lost(name))
        for service, since in (("P", 20_000.2), ("A", 50_000.7), ("P", 60_000.4)):
            self.at(since, lambda name=service: scene.ask("zmws.pause", service=name))
            self.at(since + 3_000.3, lambda name=service: scene.ask("zmws.resume", service=name))
        self.at(40_000.61, self._restarts)
        for n in range(int(DAY_S / LOOK_S)):
            self.at(n * LOOK_S + 0.71, lambda: None)
        while self._events:
            when, _, what = heapq.heappop(self._events)
            scene.pass_time(max(0.0, when - self.now))
            what()
            self._take_up()
        scene.pass_time(7.3)
        scene.node.stop()
        scene.settle()

    # ------------------------------------------------------------ jobs

    def _submits(self, job_id: str) -> None:
        draw = self.random
        options: dict[str, Any] = {"retries": draw.choice((0, 1, 3)), "backoff": 3.3}
        if draw.random() < 0.15:
            options["durability"] = "memory"
        else:
            options["keep"] = 10 * DAY_S
        if draw.random() < 0.1:
            options["delay"] = draw.uniform(1.0, 500.0)
        elif draw.random() < 0.05:
            options["expires"] = draw.uniform(5.0, 500.0)
        self.scene.submit(job_id, draw.choice("AABCP"), **options)
        self.names.append(job_id)
        if "durability" in options:
            self.memory[job_id] = self.scene.core.held.memory[job_id]
        if draw.random() < 0.05:
            cancel = lambda: self.scene.ask("zmws.cancel", id=job_id)  # noqa: E731
            self.at(self.now + draw.uniform(0.0, 60.0), cancel)

    # ------------------------------------------------------------ workers

    def _comes(self, name: str) -> None:
        """A process of it begins, or comes back to a broker that was started anew."""
        slots = {service: {"slots": count} for service, count in WORKERS[name].items()}
        holding = [token.decode() for token in sorted(self._hands[name])]
        worker_id = f"{name.lower()}-{self._lives[name]}"
        all_slots = sum(WORKERS[name].values())
        self.scene.ready(
            name, next(iter(slots)), id=worker_id, services=slots, slots=all_slots, holding=holding
        )

    def _beats(self, name: str) -> None:
        held = b" ".join(sorted(self._hands[name]))
        self.scene.beat(name, *([b"HOLDS " + held] if held else []))

    def _is_lost(self, name: str) -> None:
        """kill -9, and another process in its place."""
        self._hands[name].clear()
        self._lives[name] += 1
        self._comes(name)

    def _restarts(self) -> None:
        """The broker stops in order, and is started anew a while later."""
        scene = self.scene
        scene.node.stop()
        scene.settle()
        self.down = (self.now, self.now + DOWN_S)
        scene.now += DOWN_S
        scene.restart()
        for name in WORKERS:
            self.at(self.now + 2.3, lambda name=name: self._comes(name))

    def _take_up(self) -> None:
        """Who was sent something begins, and will end."""
        for name in WORKERS:
            for frames in self.scene.requests(name):
                token, life = frames[2], self._lives[name]
                self._hands[name].add(token)
                took = min(400.0, self.random.expovariate(1 / 20.0))
                self.at(self.now + took, lambda n=name, t=token, at=life: self._ends(n, t, at))

    def _ends(self, name: str, token: bytes, life: int) -> None:
        if life != self._lives[name]:
            return
        self._hands[name].discard(token)
        if self.random.random() < 0.15:
            said = {"code": "job_failed", "error": f"bad luck {self.random.randint(0, 99)}"}
            self.scene.final(name, token, b"FAIL", b"PARAM-JSON: " + json.dumps(said).encode())
        else:
            self.scene.final(name, token)

    # ------------------------------------------------------------ what the records say

    def records(self) -> Iterable[tuple[str, States, tuple[dict[str, Any], ...]]]:
        """Service, states and attempts of each job."""
        for job_id in self.names:
            if job_id in self.memory:
                job = self.memory[job_id]
                yield job.service, job.states, job.attempts
            else:
                (row,) = self.scene.store.read(ReadJob("day", job_id, whole=False)).rows
                yield row["service"], row["states"], row["attempts"]

    def counted(self) -> Figures:
        """The records' own count, by the service and the minute."""
        found: Figures = defaultdict(lambda: defaultdict(Counter))
        for service, states, attempts in self.records():
            for name in (service, ALL):
                _count(found[name], states, attempts)
        return found

    def told(self, name: str, step: int) -> dict[int, dict[str, Any]]:
        """The rows in the store."""
        rows = self.scene.store.read(ReadSeries("day", name or None, step, 0.0, 1e12, 10_000)).series
        return {at: figures for at, service, figures in rows if service == name}

    def waited_s(self, service: str) -> float:
        """How long anything of it waited, while there was a broker."""
        start, (stopped, restarted) = WALL_AT_START, self.down
        spans: list[tuple[float, float]] = []
        for name, states, _ in self.records():
            if name != service:
                continue
            ends = [at for _, at, *_ in states[1:]]
            for (_, since, state, _), until in itertools.zip_longest(states, ends, fillvalue=start + stopped):
                if state == WAITING:
                    spans.append((since - start, until - start))
        waited, last = 0.0, 0.0
        for since, until in sorted(spans):
            since = max(since, last)
            if until > since:
                waited += until - since - max(0.0, min(until, restarted) - max(since, stopped))
                last = until
        return waited


def _minute(at: float) -> int:
    return int(at // 60) * 60


def _count(
    minutes: defaultdict[int, Counter[str]], states: States, attempts: Iterable[dict[str, Any]]
) -> None:
    minutes[_minute(states[0][1])]["submitted"] += 1
    for (_, since, _, _), (_, at, state, _) in itertools.pairwise(states):
        if state == RUNNING:
            minutes[_minute(at)]["started"] += 1
            minutes[_minute(at)][f"wait {bisect_left(BOUNDS_S, at - since)}"] += 1
        elif state in FINAL_STATES:
            minutes[_minute(at)][state] += 1
    for attempt in attempts:
        minute, took = minutes[_minute(attempt["ended_at"])], attempt["ended_at"] - attempt["started_at"]
        minute["ran"] += 1
        minute[f"run {bisect_left(BOUNDS_S, took)}"] += 1
        code = attempt.get("error", {}).get("code")
        minute["attempts_failed"] += code not in (None, "given_back", "cancelled")


def _flat(figures: dict[str, Any]) -> Counter[str]:
    """A row, as `_count` has it."""
    found = Counter({name: int(figures[name]) for name in (*COUNTED, "ran") if name in figures})
    for which in ("wait", "run"):
        found.update({f"{which} {index}": count for index, count in figures.get(which, {}).items()})
    return found


@pytest.fixture(scope="module")
def day() -> Day:
    """One that is over."""
    there = Day(seed=7)
    there.run()
    return there


def test_each_minute_of_each_service_has_just_what_the_records_of_its_jobs_say(day: Day) -> None:
    counted = day.counted()
    assert sum(minute["submitted"] for minute in counted[ALL].values()) == JOBS
    ends = Counter[str]()
    for minute in counted[ALL].values():
        ends.update(minute)
    for name in COUNTED:
        assert ends[name] > 10, f"too few are {name}, for a day that is to be like others: {ends[name]}"
    for service in (*SERVICES, ALL):
        told = {at: _flat(figures) for at, figures in day.told(service, 60).items()}
        for at in sorted({*told, *counted[service]}):
            assert told.get(at, Counter()) == counted[service].get(at, Counter()), (service, at)


def test_each_hour_has_just_what_its_minutes_have(day: Day) -> None:
    for service in (*SERVICES, ALL):
        hours: defaultdict[int, Counter[str]] = defaultdict(Counter)
        for at, figures in day.told(service, 60).items():
            hours[at // 3600 * 3600].update(_flat(figures))
        told = {at: _flat(figures) for at, figures in day.told(service, 3600).items()}
        assert told == {at: hours[at] for at in told} and len(told) == 25


def test_the_seconds_of_the_reasons_are_those_in_which_something_waited(day: Day) -> None:
    for service in SERVICES:
        told = Counter[str]()
        for figures in day.told(service, 60).values():
            told.update({name: figures.get(f"{name}_s", 0.0) for name in REASONS})
        assert sum(told.values()) == pytest.approx(day.waited_s(service), abs=0.01), (service, told)
        assert min(told.values()) >= 0.0
        must = {"A": {"slots", "paused"}, "B": {"max_running"}, "C": {"rate"}, "P": {"paused", "slots"}}
        assert must[service] <= {name for name, seconds in told.items() if seconds > 10.0}, service


def test_all_that_waited_is_told_why(day: Day) -> None:
    scene = day.scene
    scene.restart()
    explained = waited = 0.0
    for job_id in day.names[:: JOBS // 100]:
        if job_id in day.memory:
            continue
        told = scene.ask("zmws.why", id=job_id)[1]
        seconds = {one["reason"]: one["seconds"] for one in told["reasons"]}
        assert sum(seconds.values()) == pytest.approx(told["waited_s"], abs=0.005), (job_id, told)
        assert min(seconds.values(), default=0.0) >= 0.0
        waited += told["waited_s"]
        explained += told["waited_s"] - seconds.get("unknown", 0.0) - seconds.get("starting", 0.0)
    assert explained > 0.95 * waited > 1_000.0, "but for the time in which the broker was down"


def test_no_failed_job_is_without_its_cause_and_none_is_counted_twice(day: Day) -> None:
    causes = day.scene.ask("zmws.failures")[1]["causes"]
    failed = Counter[str]()
    for job_id in day.names:
        if job_id not in day.memory:
            (row,) = day.scene.store.read(ReadJob("day", job_id, whole=False)).rows
            failed[row["cause"]] += row["state"] == "failed"
            assert (row["cause"] is not None) == (row["state"] == "failed"), job_id
    assert {one["cause"]: one["count"] for one in causes} == {name: n for name, n in failed.items() if n}
    assert "bad luck #" in {one["message"] for one in causes}
