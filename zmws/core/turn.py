"""What the parts of the state machine share within one turn: the time they are given, where chance and
ids come from, and what comes out. Nothing here decides anything.

Three clocks. `now` is for what happens between processes of machines that run: heartbeats, times to run,
waits. `steady` is for what a caller counts from his request on: delays, expiries, backoffs, how long a
record is kept. `wall` is for `at`, and for what people are shown.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from zmws.core.gate import Send
from zmws.core.job import MEMORY, Job, Pending
from zmws.core.limits import Limits
from zmws.core.reads import Read
from zmws.core.timers import Timers
from zmws.core.writes import Told, Write
from zmws.wire.messages import Link, Peer, ToWorker

NEWS_PEER: Peer = ("news", b"", "")
NOTE_GAP_S = 600.0
NOTES_KEPT = 1_000


@dataclass(slots=True)
class News:
    """What the news socket announces: a topic, and the JSON beside it."""

    topic: str
    body: dict[str, Any]


class Calendar(Protocol):
    """Knows dates and zones; `zmws/cron.py` is the one of the program."""

    def next_time(self, cron: str, zone: str, after: float) -> float | None:
        """The first wall time after `after` at which this fires in a zone; None: there is none."""

    def fault_of(self, cron: str, zone: str) -> str | None:
        """What is wrong with the two, None if nothing is."""


class NoCalendar:
    """For a broker that is given none."""

    def next_time(self, cron: str, zone: str, after: float) -> float | None:
        """None."""
        return None

    def fault_of(self, cron: str, zone: str) -> str | None:
        """What there is not."""
        return "this broker has no calendar; give 'every'"


_NO_CALENDAR = NoCalendar()


@dataclass(frozen=True, slots=True)
class Suppliers:
    """Chance and ids come from outside, so that a seed repeats a history exactly."""

    new_id: Callable[[], str]  # a job id
    nonce: Callable[[], str]  # 64 random bits, printable
    jitter: Callable[[], float]  # 0 <= x < 1
    secret: bytes  # up to 64 bytes that nobody outside knows; as long as one broker lives, the same
    calendar: Calendar = _NO_CALENDAR


class Turn:
    """Time in, output out."""

    def __init__(self, limits: Limits, suppliers: Suppliers) -> None:
        self.limits = limits
        self.suppliers = suppliers
        self.now = 0.0  # monotonic, seconds; stands still while the machine is suspended
        self.wall = 0.0  # seconds since 1970, as the system has them at the moment
        self.steady = 0.0  # seconds since 1970 as at the start; goes on during a suspend, no step moves it
        self.timers = Timers()  # by `now`
        self.wall_timers = Timers()
        self.steady_timers = Timers()
        self.counters: Counter[str] = Counter()
        self.news_wanted = True
        self.writes: list[Write] = []
        self.reads: list[Read] = []
        self.sends: list[Send] = []
        self.cuts: list[Peer] = []
        self.cut_keys: list[str] = []  # public keys
        self.woken: dict[str, None] = {}  # to be dispatched before the next input
        self.log: list[tuple[str, str]] = []
        self._noted: dict[str, float] = {}  # when something was noted last, the oldest first

    @property
    def lead(self) -> float:
        """How far the wall is ahead of the steady clock: what people are shown is the wall's."""
        lead = self.wall - self.steady
        return lead if abs(lead) > 1.0 else 0.0

    def next_deadline(self) -> float | None:
        """The time by `now` of the next reminder of any clock, None if there is none."""
        due = self.timers.next()
        for timers, time in ((self.steady_timers, self.steady), (self.wall_timers, self.wall)):
            at = timers.next()
            if at is not None and (due is None or at - time < due - self.now):
                due = self.now + (at - time)
        return due

    def remind(self) -> None:
        """Call what is due by any clock."""
        due = self.timers.due(self.now)
        due += self.steady_timers.due(self.steady)
        due += self.wall_timers.due(self.wall)
        for reminder, whom in due:
            reminder.call(whom)

    def wake(self, service: str) -> None:
        """A job, a taker or a limit of this service has changed: it is dispatched when the change is made."""
        self.woken[service] = None

    def write(self, write: Write, job: Job) -> None:
        """A write of a job; a memory job touches no store."""
        if job.kind != MEMORY:
            job.last_write = write
            write.job = job
            self.writes.append(write)

    def write_for(self, write: Write, told: Told | None) -> None:
        """A write that is of no job in memory; `told` is called with its verdict."""
        write.told = told
        self.writes.append(write)

    def send(self, peer: Peer, message: object, after: Pending | None = None) -> None:
        """A message leaves, as soon as `after` is on disk."""
        self.sends.append(Send(peer, message, after))

    def command(self, peer: Peer, message: ToWorker, link: Link) -> None:
        """A command leaves for a worker, at once."""
        self.sends.append(Send(peer, message, None, link))

    def news(self, topic: str, body: dict[str, Any], after: Pending | None = None) -> None:
        """An announcement, if anybody listens."""
        if self.news_wanted:
            self.sends.append(Send(NEWS_PEER, News(topic, body), after))

    def cut(self, peer: Peer) -> None:
        """This peer's connection is to be cut; the shell knows which that is."""
        self.cuts.append(peer)

    def cut_key(self, public: str) -> None:
        """All connections of this key are to be cut, and those of which nobody knows yet whose they are."""
        self.cut_keys.append(public)

    def note(self, level: str, text: str) -> None:
        """A line for the log: `info`, `warning` or `error`."""
        self.log.append((level, text))

    def note_rarely(self, key: str, level: str, text: str) -> None:
        """A line for the log, but for one key not more than one in NOTE_GAP_S: of what a program does again
        and again the counters tell how often."""
        noted = self._noted
        if self.now - noted.get(key, float("-inf")) < NOTE_GAP_S:
            return
        noted.pop(key, None)
        noted[key] = self.now
        if len(noted) > NOTES_KEPT:
            del noted[next(iter(noted))]
        self.note(level, text)

    def take(self) -> tuple[list[Write], list[Read], list[Send]]:
        """What has come out since the last call."""
        out = (self.writes, self.reads, self.sends)
        if self.writes:
            self.writes = []
        if self.reads:
            self.reads = []
        if self.sends:
            self.sends = []
        return out
