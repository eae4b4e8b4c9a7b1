"""Figures over time: what each service did in every second of the last ten minutes, and rows a minute for the
store, which keeps them by the minute and by the hour.

Rule 1: `series_services_max` services have figures of their own, those that came first. All others count in
        one that is called `other`; so memory is bounded by that setting, however many services there are.
Rule 2: a row holds what happened in its second (COUNTED, times, clocks), and how it was at its end (GAUGES).
        Seconds go by the steady clock. One in which the process stood still has no row of its own: what
        happened in it stands in the next.
Rule 3: a minute goes to the store when it is over, and what there is of one when the broker stops. Figures of
        a minute or an hour are added up there; of gauges the greatest stays.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from typing import Any

from zmws.core.dispatch import why_waits
from zmws.core.figures import BUCKETS, COUNTED, OTHER, Figures, quantile
from zmws.core.held import Held
from zmws.core.host import COMMITS, HOST_GAUGES, Host
from zmws.core.reads import ReadUsual
from zmws.core.reasons import REASONS
from zmws.core.rows import Rows
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.sessions import Sessions
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.core.writes import WriteMark, WriteSeries

SAMPLE_S = 1.0
EARLY_S = 0.01  # so much, by a rounding error, a sample may come before its second is over
SECONDS_KEPT = 600
LATELY_MINUTES = 10
MARK_EACH_S = 5  # starts of workers within so many seconds are one mark
RATE_S = 60  # rates of zmws.stats are those of so many seconds
GROUPS_LOOKED_AT = 20  # of a service each second, for its oldest job; of one with more, in its turn
GROUPS_A_SECOND = 2_000  # of those with more, all together
USUAL_S = 86_400.0  # about so long the usual duration looks back
_FADES = 0.5 ** (60.0 / (USUAL_S / 2))  # in a minute

ALL = ""  # all services together
GAUGES = ("waiting", "running", "slots", "oldest_s")
TIMES = ("wait_s", "ran", "run_s", "workers_started")
CLOCKS = tuple(f"{name}_s" for name in REASONS)  # of them one is `slots`, as a gauge is
COLUMNS = (*COUNTED, *TIMES, *CLOCKS, *COMMITS, *GAUGES, *HOST_GAUGES)
HISTOGRAMS = ("wait", "run", "commit")
_GREATEST = frozenset((*GAUGES, *HOST_GAUGES))
_SUMS = len(COLUMNS) - len(GAUGES) - len(HOST_GAUGES)
_FIRST_CLOCK = COLUMNS.index(CLOCKS[0])

Line = tuple[float, ...]  # the values of COLUMNS
_NO_CLOCKS = (0,) * len(REASONS)
_NO_COMMITS = (0,) * len(COMMITS)
_NO_GAUGES = (0,) * len(HOST_GAUGES)
_NOTHING_NOW = (0,) * (len(COLUMNS) - _SUMS)


class Track:
    """What one service, or many together, did in each second."""

    def __init__(self, figures: Figures) -> None:
        self.figures = figures
        self.lines: deque[Line | None] = deque(maxlen=SECONDS_KEPT)  # the newest last
        self.usual_wait = [0.0] * BUCKETS  # of the last day, about: what is longer ago fades
        self.usual_run = [0.0] * BUCKETS
        # What some counts were at the end of each of the last minutes.
        self._minutes: deque[tuple[int, int, int]] = deque(maxlen=LATELY_MINUTES)
        self.workers_told = 0  # of `workers_started`, those of which there is a mark
        self._sums: Line = (0,) * _SUMS  # at the last sample
        self._minute: list[float] = [0] * len(COLUMNS)
        self._wait, self._run = [0] * BUCKETS, [0] * BUCKETS  # at the last minute; it may have counted before
        self._oldest_at: float | None = None

    def add(self, line: Line) -> None:
        """The line of a second."""
        last = self.lines[-1] if self.lines else None
        self.lines.append(last if line == last else line)  # most are like the one before
        minute = self._minute
        for index in range(_SUMS):
            minute[index] += line[index]
        for index in range(_SUMS, len(line)):
            minute[index] = max(minute[index], line[index])

    def since(self, clocks: Line, commits: Line) -> Line:
        """What was counted since this was asked last, by the sums of now."""
        figures = self.figures
        sums = (
            *figures.counts(),
            *(figures.wait.sum_s, figures.ran, figures.run.sum_s, figures.workers_started),
            *clocks,
            *commits,
        )
        before, self._sums = self._sums, sums
        # A 0 that is no float is the same object everywhere.
        return tuple([now - then or 0 for now, then in zip(sums, before, strict=True)])

    def clocks_since(self, clocks: Line) -> Line:
        """How the clocks went on since the last sample; they are to be counted still."""
        before = self._sums[_FIRST_CLOCK : _FIRST_CLOCK + len(REASONS)]
        return tuple([now - then for now, then in zip(clocks, before, strict=True)])

    def oldest_s(self, service: Service, steady: float, again: bool) -> float:
        """Seconds that the oldest waiting job has waited. Of many groups as at the last look, or `again`."""
        if not service.waiting_count:
            self._oldest_at = None
        elif again or len(service.ready) <= GROUPS_LOOKED_AT:
            oldest_s = service.oldest_s(steady)
            self._oldest_at = None if oldest_s is None else steady - oldest_s
        return 0.0 if self._oldest_at is None else max(0.0, steady - self._oldest_at)

    def minute_over(self) -> dict[str, Any]:
        """The figures of the minute, without what is 0; the next begins."""
        told: dict[str, Any] = {}
        for name, value in zip(COLUMNS, self._minute, strict=True):
            if value:
                told[name] = round(value, 6)
        self._minute = [0] * len(COLUMNS)
        self._minutes.append(self._some())
        figures = self.figures
        wait, self._wait = self._wait, list(figures.wait.counts)
        run, self._run = self._run, list(figures.run.counts)
        for name, usual, now, then in (
            ("wait", self.usual_wait, self._wait, wait),
            ("run", self.usual_run, self._run, run),
        ):
            if now != then:
                told[name] = {str(n): a - b for n, (a, b) in enumerate(zip(now, then, strict=True)) if a != b}
            for index in range(BUCKETS):
                usual[index] = usual[index] * _FADES + now[index] - then[index]
        return told

    def _some(self) -> tuple[int, int, int]:
        figures = self.figures
        return figures.workers_lost, figures.failed, figures.complete

    def lately(self) -> tuple[int, int, int]:
        """In the last ten minutes, about: workers that went without a word, jobs that have failed, and that
        are complete."""
        lost, failed, complete = self._some()
        then = self._minutes[0] if len(self._minutes) == LATELY_MINUTES else (0, 0, 0)
        return lost - then[0], failed - then[1], complete - then[2]

    def usual(self, name: str) -> list[float]:
        """How often how long jobs waited (`wait`) or ran (`run`), of the last day, about."""
        figures = self.figures
        if name == "wait":
            kept, now, then = self.usual_wait, figures.wait.counts, self._wait
        else:
            kept, now, then = self.usual_run, figures.run.counts, self._run
        return [usual + a - b for usual, a, b in zip(kept, now, then, strict=True)]


class Series:
    """One a broker."""

    def __init__(self, turn: Turn, held: Held, sessions: Sessions, host: Host) -> None:
        self.turn = turn
        self.held = held
        self._sessions = sessions
        self.host = host
        self.tracks: dict[str, Track] = {}  # of those services that have figures of their own
        self.other = Track(held.other)
        self.all = Track(Figures())
        self.totals: list[float] = [0] * len(COUNTED)  # of all since the start, as of the last sample
        self.sampled = 0.0  # the steady time of the last sample
        self._commit = [0] * BUCKETS  # at the last minute
        self.minute: int | None = None  # the one that is under way
        self._seconds = 0  # of it, as far as the broker was there
        self._turns: deque[str] = deque()  # services with many groups, to be looked at in turn
        self.each_second = Reminder[None](lambda _: self._on_sample())

    def start(self) -> None:
        """The broker has recovered: begin to sample, and ask for what the usual durations were."""
        turn = self.turn
        self.sampled = turn.steady
        self.mark("broker", f"the broker started, version {self.host.version or '?'}")
        turn.reads.append(ReadUsual("series", turn.steady - USUAL_S))
        self._plan()

    def recover(self, rows: Rows) -> None:
        """The hours of the last day, from the store."""
        now = self.turn.steady
        for at, name, figures in rows.series:
            service = self.held.services.get(name)
            if service is None or service.clocks is None:
                continue
            track, fades = self.track_of(service), 0.5 ** (max(0.0, now - at) / (USUAL_S / 2))
            for which, usual in (("wait", track.usual_wait), ("run", track.usual_run)):
                for index, count in figures.get(which, {}).items():
                    usual[int(index)] += count * fades

    def track_of(self, service: Service) -> Track:
        """Where its figures go: its own, or that of the others."""
        if service.clocks is None:
            return self.other
        track = self.tracks.get(service.name)
        if track is None or track.figures is not service.figures:
            track = self.tracks[service.name] = Track(service.figures)
        return track

    # ------------------------------------------------------------ samples

    def _on_sample(self) -> None:
        self._plan()
        self.sample()

    def _plan(self) -> None:
        """At whole seconds, so that lines may be told from each other by their number."""
        turn = self.turn
        left_s = SAMPLE_S - turn.steady % SAMPLE_S
        if left_s <= EARLY_S:
            left_s += SAMPLE_S
        turn.timers.add(turn.now + left_s, self.each_second, None)

    @property
    def second(self) -> int:
        """The steady second at which the last line ended; its sample may be late by most of the next."""
        return int(self.sampled + EARLY_S)

    def sample(self) -> None:
        """A line for each, of what was since the last."""
        steady = self.turn.steady
        if steady <= self.sampled:
            return
        before, self.minute = self.second, self.second // 60 * 60
        self.sampled = steady
        missing = min(SECONDS_KEPT, self.second - before - 1)
        self._seconds += 1 + missing
        again = self._whose_turn()
        waiting = running = 0
        oldest = 0.0
        sums: list[float] = [0] * _SUMS
        tracks = self.tracks
        for service in self.held.services.values():
            if service.clocks is None:
                waiting += service.waiting_count
                running += len(service.running)
                continue
            track = tracks.get(service.name) or self.track_of(service)
            line = self._line(track, service, steady, service.name in again)
            self._put(track, line, missing)
            for index in range(_SUMS):
                sums[index] += line[index]
        for name, (figures, clocks) in self.held.gone.items():
            track = tracks.get(name) or tracks.setdefault(name, Track(figures))
            line = (*track.since(clocks.shown(steady), _NO_COMMITS), *_NOTHING_NOW)
            self._put(track, line, missing)
            for index in range(_SUMS):
                sums[index] += line[index]
        others = self.other.since(_NO_CLOCKS, _NO_COMMITS)
        self._put(self.other, (*others, waiting, running, 0.0, 0.0, *_NO_GAUGES), missing)
        for track in tracks.values():
            line = track.lines[-1] or ()
            waiting += int(line[_SUMS])
            running += int(line[_SUMS + 1])
            oldest = max(oldest, line[_SUMS + 3])
        slots = sum([session.slots for session in self._sessions.by_peer.values()])
        commits = self.all.since(_NO_CLOCKS, self.host.commits.sums())[-len(COMMITS) :]
        both = [a + b for a, b in zip(sums, others, strict=True)]
        gauges = (waiting, running, slots, oldest, *self.host.gauges())
        together = (*both[: -len(COMMITS)], *commits, *gauges)
        self._put(self.all, together, missing)
        self.totals = [total + more for total, more in zip(self.totals, both[: len(COUNTED)], strict=True)]
        if self.second // 60 * 60 != self.minute:
            self._write(self.minute)
        if self.second % MARK_EACH_S == 0:
            self._mark_workers()

    def _whose_turn(self) -> set[str]:
        """Services with many groups whose oldest job is looked for now: to walk all groups of all of them
        each second would hold the loop up."""
        services, turns = self.held.services, self._turns
        if not turns:
            turns.extend([one.name for one in services.values() if len(one.ready) > GROUPS_LOOKED_AT])
        found: set[str] = set()
        left = GROUPS_A_SECOND
        while turns and left > 0:
            name = turns.popleft()
            service = services.get(name)
            if service is not None:
                found.add(name)
                left -= len(service.ready)
        return found

    def _line(self, track: Track, service: Service, steady: float, again: bool) -> Line:
        clocks = service.clocks
        assert clocks is not None, service.name
        clocks.turn_to(why_waits(service, self.turn.now), steady)
        sums = track.since(clocks.shown(steady), _NO_COMMITS)
        slots = sum([taker.slots for taker in service.ring.workers if isinstance(taker, Session)])
        oldest_s = track.oldest_s(service, steady, again)
        gauges = (service.waiting_count, len(service.running), slots, round(oldest_s, 3))
        return (*sums, *gauges, *_NO_GAUGES)

    def _put(self, track: Track, line: Line, missing: int) -> None:
        for _ in range(missing):
            track.lines.append(None)
        track.add(line)

    # ------------------------------------------------------------ minutes

    def stop(self) -> None:
        """The broker ends: what there is of the minute is written."""
        self.sample()
        if self.minute is not None:
            self._write(self.minute)
        self._mark_workers()

    def _write(self, minute: int) -> None:
        turn, limits = self.turn, self.turn.limits
        self.minute = None
        figures = []
        for name, track in list(self.tracks.items()):
            if told := track.minute_over():
                figures.append((name, told))
            if name in self.held.gone:
                self.held.is_written(name)
                del self.tracks[name]
        if told := self.other.minute_over():
            figures.append((OTHER, told))
        told = {"seconds": self._seconds, **self.all.minute_over()}
        self._seconds = 0
        for name in ("wait", "run"):
            total: Counter[str] = Counter()
            for _, one in figures:
                total.update(one.get(name, {}))
            if total:
                told[name] = dict(total)
        commit, self._commit = self._commit, list(self.host.commits.counts)
        if self._commit != commit:
            pairs = enumerate(zip(self._commit, commit, strict=True))
            told["commit"] = {str(n): a - b for n, (a, b) in pairs if a != b}
        figures.append((ALL, told))  # also if nothing was: there was a broker
        keep_from = turn.steady - limits.series_minutes_keep_s, turn.steady - limits.series_hours_keep_s
        turn.write_for(WriteSeries(minute, figures, *keep_from, size=300 * len(figures)), None)

    # ------------------------------------------------------------ marks

    def mark(self, kind: str, text: str, service: str | None = None, by: str | None = None) -> WriteMark:
        """Something happened that is to be seen beside the figures."""
        write = WriteMark(self.turn.steady, kind, text, service, by)
        self.turn.write_for(write, None)
        return write

    def _mark_workers(self) -> None:
        """Processes of workers that were started lately: one mark a service."""
        for name, track in (*self.tracks.items(), (OTHER, self.other)):
            count = track.figures.workers_started - track.workers_told
            track.workers_told += count
            if count:
                text = "a worker started" if count == 1 else f"{count} workers started"
                self.mark("worker", text, name)

    # ------------------------------------------------------------ what is asked

    def usual_of(self, track: Track, name: str) -> list[float]:
        """How often how long, as of a track; of all together their sum."""
        if track is not self.all:
            return track.usual(name)
        tracks = (self.other, *self.tracks.values())
        return [sum(counts) for counts in zip(*(one.usual(name) for one in tracks), strict=True)]

    def oldest_s(self, service: Service) -> float | None:
        """Seconds that its oldest job has waited; None: none waits. Of many groups as sampled lately."""
        if len(service.ready) <= GROUPS_LOOKED_AT or service.clocks is None:
            return service.oldest_s(self.turn.steady)
        return self.track_of(service).oldest_s(service, self.turn.steady, again=False)

    def rates(self) -> dict[str, float]:
        """How much a second there was of each of COUNTED, in the last minute."""
        lines = [line for line in list(self.all.lines)[-RATE_S:] if line is not None]
        seconds = max(1, min(RATE_S, len(self.all.lines)))
        return {name: round(sum([line[n] for line in lines]) / seconds, 3) for n, name in enumerate(COUNTED)}

    def usual(self, service: Service) -> dict[str, Any] | None:
        """How long its jobs wait and run, usually; None where it has no figures of its own."""
        if service.clocks is None:
            return None
        track = self.track_of(service)
        return {"wait": shares_of(track.usual("wait")), "run": shares_of(track.usual("run"))}


def shares_of(counts: Sequence[float]) -> dict[str, float | None]:
    """The median and what 95 and 99 of a hundred stay under, in seconds."""
    return {name: _rounded(quantile(counts, share)) for name, share in SHARES.items()}


SHARES = {"p50": 0.5, "p95": 0.95, "p99": 0.99}


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 6)


def added(figures: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Figures of several times as those of one: sums are added, of gauges the greatest stays."""
    total: dict[str, Any] = {}
    for one in figures:
        for name, value in one.items():
            if isinstance(value, dict):
                counts = total.setdefault(name, {})
                for index, count in value.items():
                    counts[index] = counts.get(index, 0) + count
            elif name in _GREATEST:
                if value > total.get(name, 0):
                    total[name] = value
            else:
                total[name] = total.get(name, 0) + value
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in total.items()}
