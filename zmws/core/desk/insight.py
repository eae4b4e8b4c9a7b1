"""How it is, over time and for what cause: zmws.series, .mark, .failures, .why and .lanes (docs/protocol.md).

Rule: what is older than memory is read beside the writes, as lists are, and bounded as they are.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import partial
from typing import Any

from zmws.core.desk.lanes_page import IN_HAND_MAX, LaneShown, LanesPage
from zmws.core.desk.lists import Lists
from zmws.core.desk.permits import Permits
from zmws.core.desk.series_page import NAMES, SeriesPage
from zmws.core.desk.why_page import AHEAD_MAX, Figured, WhyPage
from zmws.core.dispatch import why_waits
from zmws.core.figures import BOUNDS_S, COUNTED, OTHER, Figures
from zmws.core.held import Held
from zmws.core.host import HOST_GAUGES
from zmws.core.job import STORED, Job, iso
from zmws.core.lane import STEP_S
from zmws.core.lanes import Laned, Lanes
from zmws.core.question import Question, known_service
from zmws.core.reads import ReadAhead, ReadCauses, ReadJob, ReadSeries, rendered
from zmws.core.rows import Cause, Rows, job_of
from zmws.core.series import GAUGES, SECONDS_KEPT, TIMES, Series, Track
from zmws.core.service import Service
from zmws.core.session import Session
from zmws.core.states import RUNNING, SCHEDULED, WAITING
from zmws.core.table import no_such
from zmws.core.turn import Turn
from zmws.core.why import waits_of, why_it_waits

STEPS = {"second": 1, "minute": 60, "hour": 3600}
POINTS_MAX = 3_000  # of one answer
MARKS_MAX = 100  # of zmws.lanes, the newest
POINTS = {"second": SECONDS_KEPT, "minute": 1_440, "hour": 2_160}  # where nothing is asked for
FAILURE_HOURS = 24
PROGRESS_MIN = 0.01  # less than that says nothing of the end


@dataclass(slots=True)
class Inquiry:
    """Who wants to know why a job waits, and the job, as soon as it is known: comes back with a read."""

    question: Question
    job: Job | None = None


class Insight:
    """Answers about how it is."""

    def __init__(
        self, turn: Turn, held: Held, series: Series, lanes: Lanes, lists: Lists, permits: Permits
    ) -> None:
        self._turn = turn
        self._held = held
        self._series = series
        self._lanes = lanes
        self._lists = lists
        self._permits = permits

    # ------------------------------------------------------------ figures over time

    def mark(self, question: Question) -> None:
        """zmws.mark: something happened, such as a deploy, that is to be seen beside the figures."""
        asked = question.asked
        if "service" in asked and known_service(self._held, question) is None:
            return
        if not asked["text"].strip():
            question.refuse(400, "bad_request", "'text' must say what happened")
            return
        write = self._series.mark("mark", asked["text"], asked.get("service"), asked.get("by"))
        question.answer(
            200, {"at": iso(write.at + self._turn.lead), "text": write.text, "service": write.service}, write
        )

    def series(self, question: Question) -> None:
        """zmws.series: the figures of a service, or of all together, in steps of time."""
        asked, turn = question.asked, self._turn
        name = asked.get("service")
        if name not in (None, OTHER):
            service = known_service(self._held, question)
            if service is None:
                return None
            if service.clocks is None:
                name = OTHER  # it has no figures of its own: the answer says so
        wanted = _wanted(asked.get("figures"), name is None)
        if isinstance(wanted, str):
            return question.refuse(400, "bad_request", wanted)
        step = STEPS[asked["step"]]
        # The second and the minute that are under way have no figures yet, an hour has those of its minutes.
        known = self._series.second if step == 1 else turn.steady - (60 if step == 60 else 0)
        before = _up(min(known, asked["before"] - turn.lead) if "before" in asked else known, step)
        since = before - POINTS[asked["step"]] * step
        given = "since" in asked
        if given:
            since = int(asked["since"] - turn.lead) // step * step
        points = max(0, (before - since) // step)
        if points > POINTS_MAX:
            text = f"that is {points} points, and there are at most {POINTS_MAX} in one answer"
            return question.refuse(400, "bad_request", f"{text}: ask for longer steps, or for less")
        until = before if "before" in asked else turn.steady + 1  # marks that were made just now, too
        track = self._track(name)
        lines = list(track.lines) if step == 1 else []
        usual = {one: self._series.usual_of(track, one) for one in ("wait", "run")} if step == 1 else {}
        page = SeriesPage(
            *(name, step, since if given else None, before, points, wanted, turn.lead, lines),
            *(self._series.second - len(lines), usual),
        )
        read = ReadSeries(
            *(question, name, 0 if step == 1 else step, since, until, points + 1), render=page.render
        )
        return self._lists.read(question, read)

    def _track(self, name: str | None) -> Track:
        if name is None:
            return self._series.all
        service = self._held.services.get(name)
        return self._series.other if service is None else self._series.track_of(service)

    def metrics(self, question: Question) -> None:
        """zmws.metrics: what is counted since the start, of each service that has figures of its own and of
        all others together, with histograms; and of commits."""
        series = self._series
        rows = [
            _counted(service.name, service.figures)
            for service in self._held.services.values()
            if service.clocks is not None and not service.forgotten
        ]
        others = sum(service.clocks is None for service in self._held.services.values())
        if others:
            rows.append(_counted(OTHER, self._held.other))
        commits = series.host.commits
        question.answer(
            200,
            {
                "bounds_s": BOUNDS_S,
                "services": rows,
                "commit": {"counts": commits.counts, "sum_s": round(commits.sum_s, 6)},
                "commit_writes": commits.writes,
            },
        )

    # ------------------------------------------------------------ what each worker did

    def lanes(self, question: Question) -> None:
        """zmws.lanes: what each worker did in the last minutes, also those that are gone."""
        asked, turn = question.asked, self._turn
        service, worker = asked.get("service"), asked.get("worker")
        if service is not None and known_service(self._held, question) is None:
            return
        since = turn.steady - turn.limits.lanes_s
        if "since" in asked:
            since = min(turn.steady, max(since, asked["since"] - turn.lead))
        known = [
            one
            for one in self._lanes.all()
            if (one.session is not None or one.gone_at >= since)
            and (service is None or service in one.services)
            and (worker is None or worker == one.id)
        ]
        without = [
            one
            for one in self._lanes.without
            if (service is None or service in one.service_names) and (worker is None or worker == one.id)
        ]
        if worker is not None and not known and not without:
            text = f"there is no worker '{worker}', nor was there in that time"
            return question.refuse(404, "unknown_worker", text)
        known.sort(key=_in_order)
        shown = known[: asked["limit"]]
        more = len(known) - len(shown) + len(without)
        lanes = [self._lane(one, since) for one in shown]
        page = LanesPage(turn.steady, since, turn.lead, max(asked["step"], STEP_S), lanes, more)
        read = ReadSeries(*(question, service, 0, since, turn.steady + 1, MARKS_MAX), render=page.render)
        return self._lists.read(question, read)

    def _lane(self, known: Laned, since: float) -> LaneShown:
        session, turn = known.session, self._turn
        told = {"worker": known.id, "host": known.host, "pid": known.pid, "services": known.services}
        told |= {"slots": known.slots if session is None else session.slots}
        told |= {"since": iso(known.registered_at)}
        told |= {"state": "gone" if session is None else session.state()}
        told |= {"gone_at": iso(known.gone_at + turn.lead) if session is None else None, "why": known.why}
        known.lane.forget(turn.steady)
        return LaneShown(told, known.lane.since(since), [] if session is None else _in_hand(session, turn))

    # ------------------------------------------------------------ causes

    def failures(self, question: Question) -> None:
        """zmws.failures: why jobs have failed, those that did so last first."""
        asked = question.asked
        if "service" in asked and known_service(self._held, question) is None:
            return
        cursor = _cause_cursor(asked.get("cursor"))
        if "cursor" in asked and cursor is None:
            question.refuse(400, "bad_request", "'cursor' is none that zmws.failures has given")
            return
        render = partial(_causes_page, int(self._turn.wall // 3600))
        read = ReadCauses(question, asked.get("service"), asked["limit"], cursor, render=render)
        self._lists.read(question, read)

    # ------------------------------------------------------------ why a job waits

    def why(self, question: Question) -> None:
        """zmws.why: why a job waits or waited, and how long such a job takes usually."""
        job = self._held.find(question.asked["id"])
        if job is None:
            self._turn.reads.append(ReadJob(Inquiry(question), question.asked["id"], whole=False))
        else:
            self._read_on(Inquiry(question, job))

    def job_loaded(self, inquiry: Inquiry, rows: Rows) -> None:
        """The record of the job."""
        job_id = inquiry.question.asked["id"]
        inquiry.job = self._held.find(job_id) or (job_of(rows.rows[0]) if rows.rows else None)
        if inquiry.job is None:
            text = f"there is no job '{job_id}', or its record has been forgotten"
            return inquiry.question.refuse(404, "unknown_job", text)
        return self._read_on(inquiry)

    def _read_on(self, inquiry: Inquiry) -> None:
        job, turn, held = inquiry.job, self._turn, self._held
        assert job is not None, inquiry
        # Who looks makes none: it may be known no more, while its last memory jobs are kept.
        service = held.services.get(job.service) or Service(job.service)
        ahead_of_steady = turn.wall - turn.steady
        until = turn.steady if job.ended_at is None else job.ended_at - ahead_of_steady
        waits = waits_of(job, until, ahead_of_steady)
        ran_s: float | None = None
        if job.state == RUNNING and job.started_at is not None:
            assignment = held.assignment_of(job)
            begun = None if assignment is None else assignment.begun
            ran_s = max(0.0, turn.wall - job.started_at if begun is None else turn.now - begun)
        now: dict[str, Any] | None = None
        if job.state in (WAITING, SCHEDULED):
            now = why_it_waits(job, service, why_waits(service, turn.now), turn.lead)
        counted = job.state == WAITING and job.kind == STORED
        usual = self._series.usual(service)
        told = {
            "id": job.id,
            "service": job.service,
            "state": job.state,
            "attempt": job.attempt,
            "at": iso(turn.wall),
            "now": now,
            "ahead": {"groups": len(service.ready) - (job.group in service.ready)} if counted else None,
            "waited_s": round(sum(wait.until - wait.since for wait in waits), 3),
            "running_s": None if ran_s is None else round(ran_s, 3),
            "progress": job.progress,
            "usual": usual,
            **_expected_end(job, ran_s, usual, turn.wall),
        }
        of_tenant = self._permits.group_of(inquiry.question) is not None
        page = WhyPage(told, waits, service.name, self._figured(service), counted, of_tenant)
        since = max(job.created_at - ahead_of_steady - 60.0, turn.steady - turn.limits.series_minutes_keep_s)
        key = (job.rank, job.number) if counted else None
        read = ReadAhead(inquiry, job.service, job.group, key, since, AHEAD_MAX, render=page.render)
        self._lists.read(inquiry.question, read)

    def why_loaded(self, inquiry: Inquiry, read: ReadAhead, rows: Rows) -> None:
        """How many are before it, and the figures of its time, have been read."""
        assert inquiry.job is not None, inquiry
        job = self._held.stored.get(inquiry.job.id)
        # What it says of the job may be on its way to the store.
        inquiry.question.answer_made(rendered(read, rows), None if job is None else job.last_write)

    def _figured(self, service: Service) -> Figured | None:
        series, turn = self._series, self._turn
        if service.clocks is None:
            return None
        track = series.track_of(service)
        since = track.clocks_since(service.clocks.shown(turn.steady))
        return Figured(list(track.lines), series.sampled, since, turn.steady, series.minute)


def _in_order(known: Laned) -> tuple[bool, float, str, str]:
    """Those that are here first, by service and id; then who went last."""
    return (known.session is None, -known.gone_at, known.services[0], known.id)


def _in_hand(session: Session, turn: Turn) -> list[tuple[float, str, str]]:
    """What a worker runs, the oldest first: since when by the steady clock, the service, the id."""
    found: list[tuple[float, str, str]] = []
    for assignment in session.holding.values():
        job = assignment.job
        if job is None or job.started_at is None or assignment.ahead:
            continue
        begun = assignment.begun
        ran_s = turn.wall - job.started_at if begun is None else turn.now - begun
        found.append((turn.steady - ran_s, job.service, job.id))
        if len(found) == IN_HAND_MAX:
            break
    return found


def _up(time: float, step: int) -> int:
    return -int(-time // step) * step


def _counted(name: str, figures: Figures) -> dict[str, Any]:
    histograms = {"wait": figures.wait, "run": figures.run}
    return {
        "service": name,
        **dict(zip(COUNTED, figures.counts(), strict=True)),
        "workers_started": figures.workers_started,
        "workers_lost": figures.workers_lost,
        **{which: {"counts": one.counts, "sum_s": round(one.sum_s, 6)} for which, one in histograms.items()},
    }


def _wanted(given: str | None, of_all: bool) -> tuple[str, ...] | str:
    """The names of figures that are asked for; a text: what is wrong with them."""
    if given is None:
        return (*COUNTED, *TIMES, *GAUGES, *(HOST_GAUGES if of_all else ()))
    wanted = tuple(name.strip() for name in given.split(","))
    for name in wanted:
        if name not in NAMES:
            return no_such(name, "figure", NAMES)
    return wanted


def _causes_page(hour: int, rows: Rows) -> bytes:
    """A page of zmws.failures; beside the loop."""
    last = rows.causes[-1] if rows.next is not None else None
    cursor = None if last is None else f"{last.last_at!r}/{last.cause}"
    return json.dumps({"causes": [_cause_shown(one, hour) for one in rows.causes], "next": cursor}).encode()


def _cause_cursor(given: str | None) -> tuple[float, str] | None:
    try:
        at, _, cause = (given or "").partition("/")
        return (float(at), cause) if cause else None
    except ValueError:
        return None


def _cause_shown(cause: Cause, hour: int) -> dict[str, Any]:
    first = hour - FAILURE_HOURS + 1
    return {
        "cause": cause.cause,
        "service": cause.service,
        "type": cause.type,
        "message": cause.message,
        "frame": cause.frame,
        "count": cause.failed,
        "total": cause.total,
        "first_at": iso(cause.first_at),
        "last_at": iso(cause.last_at),
        "last_job": cause.last_job,
        "trend": [cause.hours.get(first + n, 0) for n in range(FAILURE_HOURS)],
    }


def _expected_end(job: Job, ran_s: float | None, usual: dict[str, Any] | None, wall: float) -> dict[str, Any]:
    """When a running job will have ended: by its progress, if that tells something and was not wrong so far;
    else by how long such a job runs usually."""
    left_s = _by_progress(job, wall) if ran_s is not None else None
    if left_s is not None:
        return {"left_s": round(left_s, 3), "left_by": "progress"}
    if ran_s is not None and usual is not None and usual["run"]["p50"] is not None:
        return {"left_s": round(max(0.0, usual["run"]["p50"] - ran_s), 3), "left_by": "usual"}
    return {"left_s": None, "left_by": None}


def _by_progress(job: Job, wall: float) -> float | None:
    """Seconds that are left, at the pace it had when it said how far it is; None: that tells nothing."""
    done, at, since = job.progress, job.progress_at, job.started_at
    if done is None or at is None or since is None or done < PROGRESS_MIN or at < since:
        return None
    if done >= 1.0:
        return 0.0
    left_s = (at - since) * (1 - done) / done - (wall - at)
    return left_s if left_s > 0 else None
