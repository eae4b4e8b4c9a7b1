"""/ui/schedules, one of them, and a form for a new one; pause, resume, run, remove."""

from __future__ import annotations

import re
from typing import Any

from starlette.responses import Response

from zmws.core.schedule import MISSED, OVERLAP, SCHEDULE
from zmws.cron import cron_fault, zone_fault
from zmws.errors import ZmwsError
from zmws.gateway.desk import Visitor, by_of
from zmws.gateway.lateness import late_s
from zmws.gateway.looks import patiently
from zmws.gateway.masks import has_secrets, schedule_for_viewers, schedule_masked
from zmws.gateway.pages.confirm import confirm, is_confirmed
from zmws.gateway.pages.forms import (
    Form,
    fault_of,
    form_of,
    number_of,
    option_in,
    own_path,
    params_in,
    time_of,
)
from zmws.gateway.pages.frame import answer, go_on
from zmws.gateway.pages.shown import TEXT_MAX, pretty
from zmws.gateway.pages.when import in_words, next_times
from zmws.gateway.problems import Problem

SHOWN = 100  # on a page
LATE_S = 60.0  # a job that began so late is marked
NEW = "/ui/new-schedule"  # no schedule's name, and so no other page
OPTIONS = ("priority", "ttr", "retries", "expires", "keep", "group", "on_complete", "on_failed")
_HINTS = {
    "priority": "-1000 to 1000; higher goes first",
    "ttr": "seconds that an attempt may take",
    "retries": "how many failures it may survive",
    "expires": "seconds in which it must have started",
    "keep": "seconds that its record is kept after its end",
    "group": "groups take turns",
    "on_complete": "a service that is told of it when it completes",
    "on_failed": "the same when it fails or expires",
}
MISSED_WORDS = {
    "once": "once, when the broker is back",
    "none": "not at all",
    "all": "all of them",
}
OVERLAP_WORDS = {
    "allow": "it begins all the same",
    "skip": "that time is left out",
    "cancel": "the one before is cancelled",
}
assert set(MISSED_WORDS) == set(MISSED) and set(OVERLAP_WORDS) == set(OVERLAP)
_FIELD = re.compile(r"'(?:options\.)?(\w+)'")


async def page(visitor: Visitor) -> Response:
    """GET /ui/schedules?q=."""
    text = visitor.request.query_params.get("q", "")
    rows = (await visitor.desk.looks.ask("zmws.schedules"))["schedules"]
    found = [row for row in rows if text.lower() in f"{row['name']} {row['service']}".lower()]
    values = {
        "title": "Schedules",
        "current": "/ui/schedules",
        "live": "",
        "schedules": [_shown(row) for row in found[:SHOWN]],
        "count": len(rows),
        "more": max(0, len(found) - SHOWN),
        "q": text,
        "new": NEW,
        "missed": MISSED_WORDS,
    }
    return answer(visitor, "schedules.html", values)


def _shown(row: dict[str, Any]) -> dict[str, Any]:
    """A row with when it fires in words, and how late its last job began or is by now."""
    late = late_s(row)
    return {**row, "words": in_words(row), "late_s": late, "is_late": late is not None and late >= LATE_S}


async def show(visitor: Visitor) -> Response:
    """GET /ui/schedules/NAME?reveal=1."""
    name = visitor.path["name"]
    row = (await visitor.desk.looks.ask("zmws.schedules", {"name": name}))["schedules"][0]
    secret = has_secrets([row["params"], row["options"]])
    reveals = visitor.request.query_params.get("reveal") == "1" and visitor.who.may(())
    if reveals and secret:
        visitor.desk.tell("reveal", name, by_of(visitor.who))
    seen = schedule_for_viewers(row) if visitor.is_masked else schedule_masked(row)
    seen = row if reveals else seen
    values = {
        "title": f"Schedule {name}",
        "current": "/ui/schedules",
        "live": None if reveals else "",
        "row": _shown(seen),
        "times": next_times(row),
        "params": None if seen["params"] is None else pretty(seen["params"])[:TEXT_MAX],
        "secret": secret,
        "reveals": reveals,
        "missed": MISSED_WORDS,
        "overlap": OVERLAP_WORDS,
    }
    return answer(visitor, "schedule.html", values)


# ---------------------------------------------------------------- a new one


async def new(visitor: Visitor) -> Response:
    """GET /ui/new-schedule?service=."""
    service = visitor.request.query_params.get("service", "")
    return await _form(visitor, {"service": service}, None, "")


async def _form(
    visitor: Visitor, form: Form, fault: str | None, field: str, times: list[str] | None = None
) -> Response:
    rows = await visitor.desk.looks.ask("zmws.services")
    values = {
        "title": "New schedule",
        "current": "/ui/schedules",
        "form": form,
        "fault": fault,
        "field": field,
        "times": times,
        "services": [row["service"] for row in rows],
        "missed": MISSED_WORDS,
        "overlap": OVERLAP_WORDS,
        "options": [(name, _HINTS[name], form.get(name, "")) for name in OPTIONS],
        "opened": any(form.get(name) for name in OPTIONS),
        "action": NEW,
    }
    return answer(visitor, "schedule_form.html", values, 400 if fault else 200)


async def add(visitor: Visitor) -> Response:
    """POST /ui/new-schedule: add it, or show its next times."""
    form = await form_of(visitor)
    field = ""
    try:
        asked = _asked(form)
        for name, text in (("cron", asked.get("cron")), ("zone", asked.get("zone"))):
            wrong = None if text is None else (cron_fault if name == "cron" else zone_fault)(text)
            if wrong is not None:
                field = name
                raise Problem(400, "bad_request", wrong)
        if form.get("show") == "times":
            return await _form(visitor, form, None, "", _times(asked))
        row = await patiently(visitor.ask("zmws.schedule", {**asked, "do": "add"}))
    except (Problem, ZmwsError) as wrong:
        if getattr(wrong, "code", "") == "exists":
            return await _form(visitor, form, str(wrong), "name")
        text = fault_of(wrong)
        named = _FIELD.search(text)
        if getattr(wrong, "code", "") == "unknown_service":
            field = "service"
        elif "are not JSON" in text:
            field = "params"
        return await _form(visitor, form, text, field or (named[1] if named else ""))
    return go_on(visitor, f"/ui/schedules/{row['name']}", "scheduled")


def _asked(form: Form) -> dict[str, Any]:
    """What the form asks for. Raises Problem."""
    asked: dict[str, Any] = {}
    for name in ("name", "service", "cron", "zone", "missed", "overlap"):
        if text := form.get(name, "").strip():
            asked[name] = text
    for name in ("every", "jitter"):
        if (value := number_of(form, name)) is not None:
            asked[name] = value
    if text := form.get("until", "").strip():
        asked["until"] = time_of("until", text)
    if (params := params_in(form.get("params", ""))) is not None:
        asked["params"] = params
    options = {name: value for name in OPTIONS if (value := option_in(form, name)) is not None}
    return asked | ({"options": options} if options else {})


def _times(asked: dict[str, Any]) -> list[str]:
    """The next times of what a form asks for. Raises Problem."""
    if ("cron" in asked) == ("every" in asked):
        raise Problem(400, "bad_request", "give 'cron' or 'every', one of the two")
    every = asked.get("every")
    if every is not None and every < SCHEDULE["every"].low:
        raise Problem(400, "bad_request", "'every' must be at least 1 second")
    row = {"every": every, "cron": asked.get("cron"), "zone": asked.get("zone", "UTC")}
    return next_times({**row, "until": asked.get("until"), "next_at": None})


# ---------------------------------------------------------------- act


async def pause(visitor: Visitor) -> Response:
    """POST /ui/schedules/NAME/pause."""
    return await _act(visitor, "pause", "schedule_paused")


async def resume(visitor: Visitor) -> Response:
    """POST /ui/schedules/NAME/resume."""
    return await _act(visitor, "resume", "schedule_resumed")


async def _act(visitor: Visitor, verb: str, told: str) -> Response:
    name, form = visitor.path["name"], await form_of(visitor)
    await patiently(visitor.ask("zmws.schedule", {"do": verb, "name": name}))
    return go_on(visitor, own_path(form.get("back"), f"/ui/schedules/{name}"), told)


async def run(visitor: Visitor) -> Response:
    """POST /ui/schedules/NAME/run, confirmed: its job, now."""
    name, form = visitor.path["name"], await form_of(visitor)
    if not is_confirmed(form, 1):
        row = await _row(visitor, name)
        note = f"It makes a {row['service']} job at once, beside those of its times."
        return confirm(visitor, f"Run {name} now?", "Run it", form, 1, f"/ui/schedules/{name}", note)
    told = await patiently(visitor.ask("zmws.schedule", {"do": "run", "name": name}))
    return go_on(visitor, f"/ui/jobs/{told['id']}", "submitted")


async def remove(visitor: Visitor) -> Response:
    """POST /ui/schedules/NAME/remove, confirmed."""
    name, form = visitor.path["name"], await form_of(visitor)
    if not is_confirmed(form, 1):
        row = await _row(visitor, name)
        note = f"It makes no more {row['service']} jobs. Those that it has made stay."
        return confirm(visitor, f"Remove {name}?", "Remove", form, 1, f"/ui/schedules/{name}", note)
    await patiently(visitor.ask("zmws.schedule", {"do": "remove", "name": name}))
    return go_on(visitor, "/ui/schedules", "schedule_removed")


async def _row(visitor: Visitor, name: str) -> dict[str, Any]:
    """Where there is none, that is what is told."""
    told = await patiently(visitor.ask("zmws.schedules", {"name": name}))
    row: dict[str, Any] = told["schedules"][0]
    return row
