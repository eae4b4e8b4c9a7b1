"""Why a job waited, in seconds per reason, and why it waits now, in words.

Rule 1: a job's waits are what its states say; while it waited, its service's clocks (reasons.py) say why.
Rule 2: the seconds add up to the time from its creation to its last start, or to now. What no clock tells is
        `starting` (it was being stored, read or handed over), or `unknown` where there are no figures (the
        broker was down, or the time is longer ago than they are kept).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, NamedTuple

from zmws.core.job import Job, iso
from zmws.core.reasons import (
    MAX_RUNNING,
    NO_WORKER,
    PAUSED,
    RATE,
    READING,
    REASONS,
    SUSPECT,
)
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.states import SCHEDULED, WAITING

SCHEDULED_UNTIL, BACKOFF, STARTING, UNKNOWN = "scheduled", "backoff", "starting", "unknown"
NOT_KEPT = "not_kept"  # the service has no clocks of its own
FORGOTTEN = "forgotten"  # a time of which the states are kept no more
# For people.
REASONS_TOLD = {
    "paused": "the service was paused",
    "no_worker": "no worker was connected",
    "max_running": "max_running was reached",
    "rate": "the rate was used up",
    "slots": "all slots were taken",
    "suspect": "its worker had died with it: it waited for one with nothing else in hand",
    "reading": "its page of a long backlog was being read",
    "scheduled": "it was scheduled for later",
    "backoff": "it waited for its next attempt",
    "starting": "it was being stored and handed over",
    "unknown": "nobody knows: the broker was down, or that is too long ago",
    "not_kept": "it is not kept: there are more services than series_services_max",
}


class Span(NamedTuple):
    """A time in which the clocks of a service went on by so much. Steady seconds; `known_s`: for so many of
    them the broker was there, nobody knows when."""

    since: float
    until: float
    clocks: tuple[float, ...]
    known_s: float


class Wait(NamedTuple):
    """A time in which a job waited, or was scheduled. Steady seconds; `attempt`: how many it had had."""

    state: str
    since: float
    until: float
    attempt: int


def waits_of(job: Job, now: float, ahead: float) -> list[Wait]:
    """When it waited, up to steady `now`. `ahead`: of the wall, which its states go by, before the steady
    clock. A wall that was set back meanwhile makes no wait shorter than nothing."""
    waits = []
    states = [(at - ahead, state, attempt) for _, at, state, attempt in job.states]
    ends = [at for at, *_ in states[1:]] + [now]
    if job.states and job.states[0][0] > 1 and states[0][0] > job.created_at - ahead:
        waits.append(Wait(FORGOTTEN, job.created_at - ahead, states[0][0], 0))
    for (since, state, attempt), until in zip(states, ends, strict=True):
        if state in (WAITING, SCHEDULED) and until > since:
            waits.append(Wait(state, since, until, attempt))
    return waits


def seconds_of(waits: Iterable[Wait], spans: list[Span]) -> dict[str, float]:
    """How long it waited for each reason; `spans` in the order of time, without overlaps."""
    told: dict[str, float] = {}
    ends = [span.until for span in spans]
    for wait in waits:
        if wait.state == SCHEDULED:
            reason = BACKOFF if wait.attempt else SCHEDULED_UNTIL
            told[reason] = told.get(reason, 0.0) + wait.until - wait.since
            continue
        if wait.state == FORGOTTEN:
            told[UNKNOWN] = told.get(UNKNOWN, 0.0) + wait.until - wait.since
            continue
        known = explained = 0.0
        for span in spans[bisect_right(ends, wait.since) :]:
            if span.since >= wait.until:
                break
            overlap = min(wait.until, span.until) - max(wait.since, span.since)
            if overlap <= 0:
                continue
            total = sum(span.clocks)
            share = min(1.0, overlap / total) if total else 0.0
            # What is not explained was rather while the broker was down, as long as it was.
            down_s = span.until - span.since - span.known_s
            known += overlap - min(down_s, overlap - total * share)
            for name, seconds in zip(REASONS, span.clocks, strict=True):
                if seconds:
                    told[name] = told.get(name, 0.0) + seconds * share
                    explained += seconds * share
        told[STARTING] = told.get(STARTING, 0.0) + max(0.0, known - explained)
        told[UNKNOWN] = told.get(UNKNOWN, 0.0) + max(0.0, wait.until - wait.since - known)
    return {name: seconds for name, seconds in told.items() if seconds > 0}


def why_it_waits(job: Job, service: Service, reason: int, lead: float) -> dict[str, Any]:
    """Why a job that waits or is scheduled does not run now, and what would change that. `reason`: of its
    service; `lead`: turn.lead."""
    if job.state == SCHEDULED:
        at = iso(job.ready_at + (0.0 if job.by_wall else lead))
        if job.attempt:
            error = (job.attempts[-1] if job.attempts else {}).get("error", {})
            text = f"attempt {job.attempt} failed ({error.get('code', '?')}): it is tried again at {at}"
            return {"reason": BACKOFF, "text": text, "next": None, "at": at}
        return {"reason": SCHEDULED_UNTIL, "text": f"it is scheduled for {at}", "next": None, "at": at}
    if job.id in service.parked:
        reason = SUSPECT
    name = REASONS[reason] if reason >= 0 else STARTING
    text, advice = in_words(service, reason)
    return {"reason": name, "text": text, "next": advice, "at": None}


def in_words(service: Service, reason: int) -> tuple[str, str | None]:
    """Why jobs of a service wait, and what would change that."""
    name = service.name
    if reason == PAUSED:
        return f"{name} is paused", f"zmws resume {name}"
    if reason == NO_WORKER:
        return f"no worker of {name} is connected", "start one: zmws start --workers, or zmws worker FILE"
    if reason == MAX_RUNNING:
        limit = service.options.max_running
        text = f"max_running of {name} is {limit}, and {len(service.running)} of its jobs run"
        return text, f"zmws limit {name} --max-running N"
    if reason == RATE:
        text = f"{name} may start {service.options.rate:g} jobs a second (rate)"
        return text, f"zmws limit {name} --rate N"
    if reason == SUSPECT:
        text = (
            "a worker died with it: it waits for one with nothing in hand, so that it can take no other along"
        )
        return text, None
    if reason == READING:
        return "it stands in a long backlog, of which the next page is being read", None
    if reason < 0:
        return "it is about to be handed over", None
    return _slots_in_words(service), "more copies: zmws scale, or count in [[workers]]; or slots"


def _slots_in_words(service: Service) -> str:
    sessions = [taker for taker in service.ring.workers if isinstance(taker, Session)]
    slots = sum(session.slots for session in sessions)
    odd: dict[str, int] = {}
    for session in sessions:
        state = session.state()
        if state not in ("idle", "busy"):
            odd[state] = odd.get(state, 0) + 1
    text = f"all slots of its {len(sessions)} workers are taken ({slots})"
    if len(sessions) == 1:
        text = f"all slots of its one worker are taken ({slots})"
    more = ", ".join(f"{count} {state}" for state, count in sorted(odd.items()))
    return f"{text}; of these workers {more}" if more else text
