"""What is counted of each service is what the jobs' own records say, and goes to the store, once.

Rule: counted by the life of the broker. Each state that a record is seen to have entered, and each attempt
      that is seen to have ended, is one; so is each job that is accepted. What a crash takes along is the
      minute under way, and what was not on disk: known here by the difference, and no more than that.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

from tests.simulation.lanes import Lanes
from tests.simulation.violation import demand
from tests.store.model import ModelStore
from zmws.core.broker import Broker
from zmws.core.figures import COUNTED
from zmws.core.job import Job
from zmws.core.series import ALL, COLUMNS, OTHER, Track
from zmws.core.states import FINAL_STATES, RUNNING
from zmws.core.writes import NEW, WITH_VERDICT, Counted, InsertJob, Verdict, Write, WriteSeries

NO_FAILURE = (None, "given_back", "cancelled")  # why an attempt may end that has not failed
EXACT = (*COUNTED, "wait", "run")  # what is compared; of the histograms how many there are in them
HISTOGRAMS = ("wait", "run")

Counts = Counter[str]  # by name of EXACT


class Figures:
    """Reads the records after each input, and what is written of it."""

    def __init__(self) -> None:
        self.lanes = Lanes()  # it is told of each attempt that ends
        self.lost: defaultdict[str, Counts] = defaultdict(Counter)  # with the lives that have crashed
        self.earlier: defaultdict[str, Counts] = defaultdict(Counter)  # counted by these
        self.restarted()

    def restarted(self) -> None:
        """A new life: it counts from nothing."""
        self._known: dict[tuple[str, str], tuple[Job | None, Any, Any]] = {}  # states and attempts, as seen
        self.counted: defaultdict[str, Counts] = defaultdict(Counter)  # by service with figures of its own
        self.written: defaultdict[str, Counts] = defaultdict(Counter)  # by this life
        self._ended = Counter[str]()  # attempts, of whatever end
        self._own: dict[str, bool] = {}  # services: whether they have figures of their own
        self.lanes.restarted()

    # ------------------------------------------------------------ what the records say

    def reported(self, core: Broker, writes: list[Write], verdicts: list[Verdict]) -> None:
        """The broker is about to be told that these are on disk: then their new jobs are accepted."""
        answers = iter(verdicts)
        for write in writes:
            verdict = next(answers) if isinstance(write, WITH_VERDICT) else None
            row = None
            if isinstance(write, InsertJob) and verdict is not None and verdict.verdict == NEW:
                row = write.row
            elif isinstance(verdict, Counted):
                row = verdict.concluded
            if row is not None:
                job_id = verdict.job_id if isinstance(write, InsertJob) else row["id"]
                self._known["stored", job_id] = (None, row["states"], ())
                self._of(core, row["service"])["submitted"] += 1

    def look(self, core: Broker, disk: ModelStore) -> None:
        """After an input: what the records of the jobs here have that they had not."""
        for job in core.held.memory.values():
            known = self._known.get(("memory", job.id))
            if known is None or known[0] is not job:
                self._of(core, job.service)["submitted"] += 1
                known = (job, (), ())
            self._compare(core, job, known)
        for job in core.held.stored.values():
            known = self._known.get(("stored", job.id))
            if known is None:  # an earlier life has made it: so far it is as the disk has it
                row = disk.rows[job.id]
                known = (None, row["states"], row["attempts"])
            self._compare(core, job, known)
        self.lanes.look(core)

    def _compare(self, core: Broker, job: Job, known: tuple[Job | None, Any, Any]) -> None:
        _, states, attempts = known
        self._known[job.kind, job.id] = (job, job.states, job.attempts)
        if job.states is states and job.attempts is attempts:
            return
        counts, last = self._of(core, job.service), states[-1][0] if states else 0
        for n, _, state, _ in job.states:
            if n > last and state == RUNNING:
                counts["started"] += 1
                counts["wait"] += 1
            elif n > last and state in FINAL_STATES:
                counts[state] += 1
        for attempt in job.attempts:
            if attempt not in attempts:
                self._ended[job.service] += 1
                self.lanes.ended(core, job, attempt)
                code = attempt.get("error", {}).get("code")
                counts["attempts_failed"] += code not in NO_FAILURE

    def _of(self, core: Broker, service: str) -> Counts:
        there = core.held.services.get(service)
        if there is not None:
            self._own[service] = there.clocks is not None
        return self.counted[service if self._own.get(service, True) else OTHER]

    # ------------------------------------------------------------ what is written

    def committed(self, writes: Iterable[Write]) -> None:
        """A batch is on disk."""
        for write in writes:
            if isinstance(write, WriteSeries):
                names = [name for name, _ in write.figures]
                demand(len(set(names)) == len(names), f"a service stands twice in a minute: {names}")
                for name, figures in write.figures:
                    _add(self.written[name], figures)

    def crashed(self, core: Broker) -> None:
        """This life is over: what it has counted and not written is lost."""
        if core.recovered:
            self.counted_right(core)
        for name in {*self.counted, *self.written}:
            self.lost[name] += self.counted[name]
            self.lost[name].subtract(self.written[name])
        self._close()

    def _close(self) -> None:
        for name, counts in self.counted.items():
            self.earlier[name] += counts
            self.earlier[ALL] += counts
        self.restarted()

    # ------------------------------------------------------------ comparisons

    def counted_right(self, core: Broker) -> None:
        """What the services count is what their records say; begun attempts alone have run."""
        self.lanes.compare(core)
        series, held = core.series, core.held
        figures = {name: one.figures for name, one in held.services.items() if one.clocks is not None}
        for name, one in {**figures, OTHER: held.other}.items():
            counts = self.counted[name]
            told = dict(zip(COUNTED, one.counts(), strict=True))
            for column, value in told.items():
                demand(value <= counts[column], f"{name}: {value} {column}, and {counts[column]} there were")
            waits, runs = sum(one.wait.counts), sum(one.run.counts)
            demand(waits == one.started, f"{name}: {one.started} starts, and {waits} waits of them")
            demand(runs == one.ran, f"{name}: {one.ran} attempts ran, and {runs} are in the histogram")
            demand(min(one.wait.sum_s, one.run.sum_s) >= 0.0, f"{name}: less than no time")
        tracks = {name: track for name, track in series.tracks.items() if name in figures}
        for name, track in {**tracks, OTHER: series.other}.items():
            for column in COUNTED:
                there = self.written[name][column] + in_memory(track)[column]
                most = self.counted[name][column]
                demand(there <= most, f"{name}: {there} {column} written and here, of {most}")

    def all_written(self, core: Broker, disk: ModelStore) -> None:
        """The broker has stopped: each has what was counted, this life's and those of earlier ones but for
        what is lost; and so has the sum of all."""
        for name, counts in self.counted.items():
            for column in (*COUNTED, "wait"):
                value = self.written[name][column]
                demand(value == counts[column], f"{name}: {value} {column} written, of {counts[column]}")
        for service, ended in self._ended.items():
            own = core.held.services.get(service)
            if own is None or own.clocks is None:
                continue
            ran = self.written[service]["run"]
            ahead = any(getattr(one, "prefetch", 0) for one in own.ring.workers)
            demand(ran <= ended and (ahead or ran == ended), f"{service}: {ran} ran, of {ended} that ended")
        self._whole_is_the_sum()
        lost = self.lost
        self.lost = defaultdict(Counter)
        self._close()
        for step in (60, 3600):
            stored: defaultdict[str, Counts] = defaultdict(Counter)
            for (name, each, _), figures in disk.figures.items():
                if each == step:
                    _add(stored[name], figures)
            for name, counts in self.earlier.items():
                for column in (*COUNTED, "wait"):
                    value, most = stored[name][column], counts[column]
                    if name != ALL:
                        text = f"{name}: {value} {column} in rows of {step} s, of {most}"
                        demand(value == most - lost[name][column], text)
        return None

    def _whole_is_the_sum(self) -> None:
        whole, parts = self.written[ALL], Counter[str]()
        for name, counts in self.written.items():
            if name != ALL:
                parts.update(counts)
        for column in EXACT:
            text = f"of all services there are {whole[column]} {column}, and {parts[column]} of each"
            demand(whole[column] == parts[column], text)


def in_memory(track: Track) -> Counts:
    """What a track has of COUNTED, and has not handed out for writing: of its minute, and since its last
    line."""
    minute = dict(zip(COLUMNS, track._minute, strict=True))
    sampled = dict(zip(COUNTED, track._sums, strict=False))
    now = dict(zip(COUNTED, track.figures.counts(), strict=True))
    return Counter({name: int(minute[name] + now[name] - sampled[name]) for name in COUNTED})


def _add(counts: Counts, figures: dict[str, Any]) -> None:
    for name in COUNTED:
        counts[name] += int(figures.get(name, 0))
    for name in HISTOGRAMS:
        counts[name] += sum(figures.get(name, {}).values())
