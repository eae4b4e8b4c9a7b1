"""How it is, over time and for what cause: zmws.series, .mark, .failures and .why (docs/protocol.md).

Rule: what is older than memory is read beside the writes, as lists are, and bounded as they are.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import partial
from typing import Any

from zmws.core.desk.lists import Lists
from zmws.core.desk.series_page import NAMES, SeriesPage, by_time
from zmws.core.dispatch import why_waits
from zmws.core.figures import BOUNDS_S, COUNTED, OTHER, Figures
from zmws.core.held import Held
from zmws.core.host import HOST_GAUGES
from zmws.core.job import STORED, Job, iso
from zmws.core.question import Question, known_service
from zmws.core.reasons import REASONS
from zmws.core.series import ALL, CLOCKS, COLUMNS, GAUGES, SECONDS_KEPT, TIMES, Line, Series, Track
from zmws.core.service import Service
from zmws.core.states import RUNNING, SCHEDULED, WAITING
from zmws.core.table import no_such
from zmws.core.turn import Turn
from zmws.core.why import Span, seconds_of, waits_of, why_it_waits
from zmws.core.writes import Cause, ReadAhead, ReadCauses, ReadJob, ReadSeries, Rows, job_of

STEPS = {"second": 1, "minute": 60, "hour": 3600}
POINTS_MAX = 3_000  # of one answer
POINTS = {"second": SECONDS_KEPT, "minute": 1_440, "hour": 2_160}  # where nothing is asked for
AHEAD_MAX = 10_000  # jobs before another are counted up to here
FAILURE_HOURS = 24


@dataclass(slots=True)
class Inquiry:
    """Who wants to know why a job waits, and the job, as soon as it is known: comes back with a read."""

    question: Question
    job: Job | None = None


class Insight:
    """Answers about how it is."""

    def __init__(self, turn: Turn, held: Held, series: Series, lists: Lists) -> None:
        self._turn = turn
        self._held = held
        self._series = series
        self._lists = lists

    # ------------------------------------------------------------ figures over time

    def mark(self, question: Question) -> None:
        """zmws.mark: something happened, such as a deploy, that is to be seen beside the figures."""
        asked = question.asked
        if "service" in asked and known_service(self._held, question) is None:
            return
        write = self._series.mark("mark", asked["text"], asked.get("service"), asked.get("by"))
        question.answer(
            200, {"at": iso(write.at + self._turn.lead), "text": write.text, "service": write.service}, write
        )

    def series(self, question: Question) -> None:
        """zmws.series: the figures of a service, or of all together, in steps of time."""
        asked, turn = question.asked, self._turn
        name = asked.get("service")
        if name not in (None, OTHER) and known_service(self._held, question) is None:
            return None
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
        usual = {one: track.usual(one) for one in ("wait", "run")} if name is not None else {}
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
        job, turn = inquiry.job, self._turn
        assert job is not None, inquiry
        since = job.created_at - (turn.wall - turn.steady) - 60.0
        since = max(since, turn.steady - turn.limits.series_minutes_keep_s)
        key = (job.rank, job.number) if job.state == WAITING and job.kind == STORED else None
        read = ReadAhead(inquiry, job.service, job.group, key, since, AHEAD_MAX)
        self._lists.read(inquiry.question, read)

    def why_loaded(self, inquiry: Inquiry, rows: Rows) -> None:
        """How many are before it, and the figures of its time, have been read."""
        turn, held, question = self._turn, self._held, inquiry.question
        assert inquiry.job is not None, inquiry
        job = held.find(inquiry.job.id) or inquiry.job
        # Who looks makes none: it may be known no more, while its last memory jobs are kept.
        service = held.services.get(job.service) or Service(job.service)
        lead, steady = turn.lead, turn.steady
        until = steady if job.ended_at is None else steady - (turn.wall - job.ended_at)
        waits = waits_of(job, until, turn.wall - steady)
        seconds = seconds_of(waits, self._spans(service, rows))
        now: dict[str, Any] | None = None
        ahead: dict[str, Any] | None = None
        if job.state in (WAITING, SCHEDULED):
            now = why_it_waits(job, service, why_waits(service, turn.now), lead)
        if job.state == WAITING:
            count = rows.next or 0
            groups = len(service.ready) - (job.group in service.ready)
            ahead = {"jobs": count, "at_least": count >= AHEAD_MAX, "groups": groups}
        usual = self._series.usual(service)
        ran_s = (
            None if job.started_at is None or job.state != RUNNING else max(0.0, turn.wall - job.started_at)
        )
        question.answer(
            200,
            {
                "id": job.id,
                "service": job.service,
                "state": job.state,
                "attempt": job.attempt,
                "now": now,
                "ahead": ahead,
                "waited_s": round(sum(wait.until - wait.since for wait in waits), 3),
                "reasons": [
                    {"reason": name, "seconds": round(value, 3)}
                    for name, value in sorted(seconds.items(), key=lambda one: -one[1])
                ],
                "running_s": None if ran_s is None else round(ran_s, 3),
                "progress": job.progress,
                "usual": usual,
                **_expected_end(job, ran_s, usual),
            },
        )

    def _spans(self, service: Service, rows: Rows) -> list[Span]:
        """How the clocks of a service went on, as far back as there are figures."""
        series, turn = self._series, self._turn
        if service.clocks is None:
            return []
        track = series.track_of(service)
        lines = list(track.lines)
        first = series.sampled - len(lines)
        spans = []
        there = {at: figures.get("seconds", 60) for at, name, figures in rows.series if name == ALL}
        for at, figures in sorted(by_time(rows, service.name).items()):
            if at < first:
                clocks = [float(figures.get(name, 0.0)) for name in CLOCKS]
                if first < at + 60 and at != series.minute:
                    clocks = _less(clocks, lines[: math.ceil(at + 60 - first)])
                until = min(at + 60.0, first)
                known_s = there.get(at, 60) - (0.0 if at == series.minute else at + 60 - until)
                spans.append(Span(at, until, tuple(clocks), min(until - at, max(0.0, known_s))))
        since = first
        for n, line in enumerate(lines, 1):
            if line is not None:
                clocks_then = line[_FIRST_CLOCK : _FIRST_CLOCK + len(REASONS)]
                spans.append(Span(since, first + n, clocks_then, first + n - since))
                since = first + n
        now = track.clocks_since(service.clocks.shown(turn.steady))
        spans.append(Span(series.sampled, turn.steady, now, turn.steady - series.sampled))
        return spans


_FIRST_CLOCK = COLUMNS.index(CLOCKS[0])


def _less(clocks: list[float], lines: list[Line | None]) -> list[float]:
    """What a minute has of the clocks beside the seconds of it that memory has."""
    for line in lines:
        if line is not None:
            for index, seconds in enumerate(line[_FIRST_CLOCK : _FIRST_CLOCK + len(REASONS)]):
                clocks[index] = max(0.0, clocks[index] - seconds)
    return clocks


def _up(time: float, step: int) -> int:
    return -int(-time // step) * step


def _counted(name: str, figures: Figures) -> dict[str, Any]:
    histograms = {"wait": figures.wait, "run": figures.run}
    return {
        "service": name,
        **dict(zip(COUNTED, figures.counts(), strict=True)),
        "workers_started": figures.workers_started,
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


def _expected_end(job: Job, ran_s: float | None, usual: dict[str, Any] | None) -> dict[str, Any]:
    """When a running job will have ended: by its progress, else by how long such a job runs usually."""
    left_s: float | None = None
    by: str | None = None
    # An attempt before may have said more.
    own = job.progress_at is not None and job.started_at is not None and job.progress_at >= job.started_at
    if ran_s is not None and job.progress and own:
        left_s, by = ran_s * (1 - job.progress) / job.progress, "progress"
    elif ran_s is not None and usual is not None and usual["run"]["p50"] is not None:
        left_s, by = usual["run"]["p50"] - ran_s, "usual"
    if left_s is None:
        return {"left_s": None, "left_by": None}
    return {"left_s": round(max(0.0, left_s), 3), "left_by": by}
