"""How it is, over time and for what cause: zmws.series, .mark, .failures and .why (docs/protocol.md).

Rule: what is older than memory is read beside the writes, as lists are, and bounded as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from zmws.core.desk.lists import Lists
from zmws.core.dispatch import why_waits
from zmws.core.figures import BUCKETS, COUNTED
from zmws.core.held import Held
from zmws.core.job import STORED, Job, iso
from zmws.core.question import Question, known_service
from zmws.core.reasons import REASONS
from zmws.core.series import ALL, COLUMNS, GAUGES, HISTOGRAMS, OTHER, SECONDS_KEPT, Series, added, shares_of
from zmws.core.service import Service
from zmws.core.states import RUNNING, SCHEDULED, WAITING
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
        question.answer(200, {"at": iso(write.at), "text": write.text, "service": write.service}, write)

    def series(self, question: Question) -> None:
        """zmws.series: the figures of a service, or of all together, in steps of time."""
        asked, turn = question.asked, self._turn
        name = asked.get("service")
        if name not in (None, OTHER) and known_service(self._held, question) is None:
            return None
        step = STEPS[asked["step"]]
        end = turn.steady if "before" not in asked else asked["before"] - turn.lead
        before = _up(min(end, turn.steady), step)
        since = before - POINTS[asked["step"]] * step
        if "since" in asked:
            since = int(asked["since"] - turn.lead) // step * step
        points = max(0, (before - since) // step)
        if points > POINTS_MAX:
            text = f"that is {points} points, and there are at most {POINTS_MAX} in one answer"
            return question.refuse(400, "bad_request", f"{text}: ask for longer steps, or for less")
        asked["_since"], asked["_before"] = since, before
        read = ReadSeries(question, name, 0 if step == 1 else step, since, before, points + 1)
        self._lists.read(question, read)
        return None

    def series_loaded(self, question: Question, read: ReadSeries, rows: Rows) -> None:
        """Its figures and marks have been read."""
        asked, lead = question.asked, self._turn.lead
        step, since, before = STEPS[asked["step"]], asked["_since"], asked["_before"]
        count = max(0, (before - since) // step)
        found = self._seconds(read.service, since, count) if step == 1 else _by_time(rows, read.service)
        columns: dict[str, list[Any]] = {}
        figures = [found.get(since + n * step) for n in range(count)]
        for name in COLUMNS:
            values = [None if one is None else one.get(name, 0) for one in figures]
            if name in (*COUNTED, *GAUGES) or any(values):
                columns[name] = values
        known = [one for one in figures if one is not None]
        if step > 1:
            for name in HISTOGRAMS:
                for share in ("p50", "p95", "p99"):
                    columns[f"{name}_{share}"] = [
                        None if one is None else shares_of(_counts(one, name))[share] for one in figures
                    ]
            together = added(known)
        else:
            together = added(known)
            together |= self._of_minutes(read.service)
        answer = {
            "service": read.service,
            "step": step,
            "from": iso(since + lead),
            "before": iso(before + lead),
            "points": count,
            "figures": columns,
            "total": {name: value for name, value in together.items() if name not in HISTOGRAMS},
            "marks": [{**mark._asdict(), "at": iso(mark.at)} for mark in rows.marks],
        }
        for name in HISTOGRAMS[:2]:
            answer[name] = shares_of(_counts(together, name))
        question.answer(200, answer)

    def _track(self, name: str | None) -> Any:
        if name is None:
            return self._series.all
        service = self._held.services.get(name)
        return self._series.other if service is None else self._series.track_of(service)

    def _seconds(self, name: str | None, since: int, count: int) -> dict[int, dict[str, Any]]:
        """Lines of memory, by the second in which they began."""
        lines = list(self._track(name).lines)
        end = round(self._series.sampled)
        found = {}
        for back, line in enumerate(reversed(lines), 1):
            at = end - back
            if line is not None and since <= at < since + count:
                found[at] = dict(zip(COLUMNS, line, strict=True))
        return found

    def _of_minutes(self, name: str | None) -> dict[str, Any]:
        """Histograms beside figures by the second: those of the last day, about."""
        if name is None:
            return {}
        track = self._track(name)
        return {one: dict(enumerate(track.usual(one))) for one in ("wait", "run")}

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
        self._lists.read(question, ReadCauses(question, asked.get("service"), asked["limit"], cursor))

    def failures_loaded(self, question: Question, rows: Rows) -> None:
        """A page of causes has been read."""
        hour = int(self._turn.wall // 3600)
        told = [_cause_shown(cause, hour) for cause in rows.causes]
        last = rows.causes[-1] if rows.next is not None else None
        cursor = None if last is None else f"{last.last_at!r}/{last.cause}"
        question.answer(200, {"causes": told, "next": cursor})

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
        service = held.service_of(job.service)
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
                **_expected_end(job, ran_s, usual, turn.wall),
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
        for at, figures in sorted(_by_time(rows, service.name).items()):
            if at < first:
                clocks = tuple(float(figures.get(name, 0.0)) for name in REASONS)
                spans.append(Span(at, min(at + 60, first), clocks))
        since = first
        for n, line in enumerate(lines, 1):
            if line is not None:
                spans.append(Span(since, first + n, line[_FIRST_CLOCK : _FIRST_CLOCK + len(REASONS)]))
                since = first + n
        spans.append(Span(series.sampled, turn.steady, track.clocks_since(service.clocks.shown(turn.steady))))
        return spans


_FIRST_CLOCK = COLUMNS.index(REASONS[0])


def _up(time: float, step: int) -> int:
    return -int(-time // step) * step


def _by_time(rows: Rows, name: str | None) -> dict[int, dict[str, Any]]:
    """The figures of a service by the time at which their step began. Where there are those of all, and none
    of it, nothing was."""
    found: dict[int, dict[str, Any]] = {}
    for at, service, figures in rows.series:
        if service == (name or ALL):
            found[at] = figures
        else:
            found.setdefault(at, {})
    return found


def _counts(figures: dict[str, Any], name: str) -> list[float]:
    counts = [0.0] * BUCKETS
    for index, count in figures.get(name, {}).items():
        counts[int(index)] = count
    return counts


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
    """When a running job will have ended: by its progress, else by how long such a job runs usually."""
    left_s: float | None = None
    by: str | None = None
    if ran_s is not None and job.progress_at is not None and job.progress and job.started_at is not None:
        if job.progress_at > job.started_at:
            left_s = (job.progress_at - job.started_at) / job.progress - ran_s
            by = "progress"
    elif ran_s is not None and usual is not None and usual["run"]["p50"] is not None:
        left_s, by = usual["run"]["p50"] - ran_s, "usual"
    if left_s is None:
        return {"left_s": None, "left_by": None}
    return {"left_s": round(max(0.0, left_s), 3), "left_by": by}
