"""What is wrong, or will be, and what to do about it: zmws.warnings (docs/protocol.md).

Rule 1: a warning is one thing, in words, with a code for programs and the next step.
Rule 2: it is made of what memory knows; at most WARNINGS_MAX of a kind, the rest is counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from zmws.core.dispatch import why_waits
from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.question import Question
from zmws.core.series import COLUMNS, SECONDS_KEPT, Series, Track
from zmws.core.service import Service
from zmws.core.sessions import Sessions
from zmws.core.turn import Turn
from zmws.core.why import in_words

WARNINGS_MAX = 50  # of one kind
NO_WORKER_S = 5.0  # a job that has waited for so long without a worker of its service
OLD_S = 60.0  # an oldest job that is younger is no matter
GROWING_S = 120  # and has to have grown for so long, by half of that time at least
OPEN_S = 86_400.0  # a batch that nobody has closed in so long
DISK_H = 48.0  # a disk that will be full sooner
DISK_PARTS = 5  # of the last ten minutes, in each of which it has to have lost room
DISK_LOOK_S = 300  # by its rate over so long, at least
FLAPS = 5  # workers of a service that went without a word within ten minutes, and others were started
FAILING_MIN = 10  # ends within ten minutes, of which half or more have failed


@dataclass(slots=True)
class _Warning:
    code: str
    text: str
    next: str | None
    service: str | None = None
    worker: str | None = None
    job: str | None = None

    def told(self) -> dict[str, Any]:
        return {
            "code": self.code,
            "text": self.text,
            "next": self.next,
            "service": self.service,
            "worker": self.worker,
            "job": self.job,
        }


class Warnings:
    """Looks at everything, when it is asked."""

    def __init__(self, turn: Turn, held: Held, sessions: Sessions, series: Series, host: Host) -> None:
        self._turn = turn
        self._held = held
        self._sessions = sessions
        self._series = series
        self._host = host

    def answer(self, question: Question) -> None:
        """zmws.warnings."""
        rows: list[dict[str, Any]] = []
        for kind in (self._of_host(), self._of_batches(), self._of_services(), self._of_workers()):
            rows += _at_most(kind)
        question.answer(200, rows)

    # ------------------------------------------------------------ the host

    def _of_host(self) -> Iterator[_Warning]:
        host = self._host
        if host.store_is_full:
            yield _Warning(
                "disk_full",
                "new jobs are refused: the disk of the job store is full",
                "make room on it: it goes on by itself",
            )
        if host.store_waits_for:
            yield _Warning(
                "store_waits", f"nothing is accepted now, commits wait: {host.store_waits_for}", None
            )
        if host.insecure:
            yield _Warning(
                "insecure",
                f"others reach {', '.join(host.insecure)}, and nobody is asked who he is: who connects may "
                "do everything",
                "'zmws keys init' and a restart have peers prove who they are (docs/security.md)",
            )
        used, allowed = host.descriptors, host.descriptors_max
        if allowed and used * 100 >= allowed * host.descriptors_warn_percent:
            yield _Warning(
                "descriptors",
                f"{used} of {allowed} descriptors are in use, and each connection takes one",
                "'ulimit -n' before a start, or LimitNOFILE=, gives more",
            )
        hours = self._disk_hours()
        if hours is not None and hours < DISK_H and not host.store_is_full:
            yield _Warning(
                "disk_filling",
                f"the disk of the job store will be full in about {hours:.1f} hours, as it fills now",
                "make room, or keep records for less long (keep)",
            )

    def _disk_hours(self) -> float | None:
        """Until new jobs are refused, as the last ten minutes went; None: never, or nobody knows."""
        free = [line[_FREE] for line in self._series.all.lines if line is not None and line[_FREE]]
        if len(free) < DISK_LOOK_S:
            return None
        # One large file makes a step: a disk fills where each part of that time has less room than the last.
        part = len(free) // DISK_PARTS
        ends = [free[n * part] for n in range(DISK_PARTS)] + [free[-1]]
        lost_s = min(then - now for then, now in pairwise(ends)) / part
        left = free[-1] - self._host.free_bytes_min
        return max(0.0, left) / lost_s / 3600 if lost_s > 0 else None

    def _of_batches(self) -> Iterator[_Warning]:
        """Those that nobody has closed: their client died before, perhaps, and nothing follows from them."""
        known = self._held.open_batches
        old = [one.id for one in known.values() if self._turn.wall - one.created_at > OPEN_S]
        if old:
            count = f"{len(old)} of {len(known)} open batches"
            text = f"{count} have been open for more than a day; one is '{old[0]}'"
            step = "'zmws batch list --state open' tells them; close or cancel them"
            yield _Warning("batches_open", text, step)

    # ------------------------------------------------------------ services

    def _of_services(self) -> Iterator[_Warning]:
        for service in self._held.services.values():
            track = self._series.track_of(service) if service.clocks is not None else None
            if service.waiting_count:
                yield from self._waiting(service, track)
            if track is not None:
                yield from self._going_wrong(service, track)

    def _waiting(self, service: Service, track: Track | None) -> Iterator[_Warning]:
        name, count = service.name, _wait(service.waiting_count)
        oldest_s = self._series.oldest_s(service)
        if service.paused:
            yield _Warning("paused", f"{name} is paused, and {count}", f"zmws resume {name}", name)
        elif not (service.ring or service.ring.workers):
            if (oldest_s or 0.0) >= NO_WORKER_S:
                advice = "start one: zmws start --workers, or zmws worker FILE"
                yield _Warning("no_worker", f"{name} has no worker, and {count}", advice, name)
        elif track is not None and (grown_s := _growing(track)) is not None:
            text = f"the oldest job of {name} has waited {oldest_s or 0:.0f} s, {grown_s:.0f} s more than"
            why, next_step = in_words(service, why_waits(service, self._turn.now))
            yield _Warning("growing", f"{text} a few minutes ago: {why}", next_step, name)

    def _going_wrong(self, service: Service, track: Track) -> Iterator[_Warning]:
        lost, failed, complete = track.lately()
        if lost >= FLAPS:
            text = f"workers of {service.name} had to be started again {lost} times within ten minutes"
            advice = "zmws logs NAME says why they end, zmws status how"
            yield _Warning("flapping", text, advice, service.name)
        if failed + complete >= FAILING_MIN and failed >= complete:
            text = f"{failed} of the last {failed + complete} jobs of {service.name} have failed"
            yield _Warning("failing", text, f"zmws failures --service {service.name}", service.name)

    # ------------------------------------------------------------ workers

    def _of_workers(self) -> Iterator[_Warning]:
        for session in self._sessions.by_peer.values():
            state = session.state()
            if state not in _ODD:
                continue
            held = next((one.job_id for one in session.holding.values() if one.hung), None)
            held = held or next((one.job_id for one in session.holding.values()), None)
            text = f"worker {session.id} of {', '.join(session.service_names[:5])} {_ODD[state]}"
            text += f", with job {held}" if held else ""
            advice = f"zmws job stack {held} shows where it is" if held and state == "hung" else None
            yield _Warning(f"worker_{state}", text, advice, session.service_names[0], session.id, held)


_ODD = {
    "hung": "does not let go of a job that is over",
    "deaf": "does not hear what it is sent",
    "silent": "says nothing any more",
    "lost": "was cut off",
}
_OLDEST, _FREE = COLUMNS.index("oldest_s"), COLUMNS.index("free_bytes")


def _last(track: Track, column: int) -> float:
    line = track.lines[-1] if track.lines else None
    return 0.0 if line is None else line[column]


def _growing(track: Track) -> float | None:
    """By how much the age of the oldest job has grown in the last minutes, if it did nearly all the time."""
    lines = list(track.lines)[-SECONDS_KEPT // 2 :]
    now = _last(track, _OLDEST)
    if now < OLD_S or len(lines) < GROWING_S or lines[0] is None:
        return None
    grown_s = now - lines[0][_OLDEST]
    return grown_s if grown_s >= len(lines) / 2 else None


def _wait(count: int) -> str:
    return "one job waits" if count == 1 else f"{count:,} jobs wait"


def _at_most(found: Iterable[_Warning]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    more: dict[str, int] = {}
    for one in found:
        more[one.code] = more.get(one.code, 0) + 1
        if more[one.code] <= WARNINGS_MAX:
            rows.append(one.told())
    for code, count in more.items():
        if count > WARNINGS_MAX:
            rows.append(_Warning(code, f"and {count - WARNINGS_MAX} more like these", None).told())
    return rows
