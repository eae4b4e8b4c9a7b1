"""/ui/jobs: lists of jobs by filters, searches, and what is done to all that a filter names; the jump box."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

from starlette.responses import Response

from zmws.core.question import FILTER_KEYS
from zmws.core.states import FINAL_STATES, REVIVABLE, STATES
from zmws.core.table import ID_PATTERN
from zmws.errors import Refused
from zmws.gateway.desk import Visitor
from zmws.gateway.looks import PATIENCE_S, patiently, within
from zmws.gateway.pages.confirm import confirm, is_confirmed
from zmws.gateway.pages.forms import form_of, own_path, time_of
from zmws.gateway.pages.frame import answer, go_on, service_path
from zmws.gateway.pages.rows import job_row
from zmws.gateway.problems import Problem

SHOWN = 50  # on a page
_TEXTS = {
    "service": "service",
    "state": "state",
    "group": "group",
    "cause": "cause",
    "batch": "batch",
    "chain": "chain",
    "parent": "parent",
    "submitter": "submitter",
    "since": "made since",
    "before": "made before",
    "q": "text",
}
_MANY_S = 600.0
UNKNOWN = 999_999_999  # jobs: more than could be counted in time
_VERBS = {
    "cancel": ("Cancel", "many_cancelled", tuple(one for one in STATES if one not in FINAL_STATES)),
    "retry": ("Retry", "many_retried", REVIVABLE),
    "delete": ("Delete", "many_deleted", tuple(FINAL_STATES)),
}
_JUMP = re.compile(r'(\w+):("[^"]*"|\S+)')
# What the jump box takes before a colon, and the filter that it is.
_JUMPS = {
    "service": "service",
    "state": "state",
    "group": "group",
    "cause": "cause",
    "batch": "batch",
    "chain": "chain",
    "parent": "parent",
    "submitter": "submitter",
    "error": "q",
    "text": "q",
}


async def page(visitor: Visitor) -> Response:
    """GET /ui/jobs?service=&state=&group=&cause=&batch=&chain=&parent=&submitter=&since=&before=&q=."""
    query = visitor.request.query_params
    where = _where(query)
    in_memory = query.get("memory") == "1"
    fault = None
    try:
        times: dict[str, str] = {
            name: time_of(name, where[name]) for name in ("since", "before") if name in where
        }
    except Problem as wrong:
        fault, times = str(wrong), {}
        where = {name: one for name, one in where.items() if name not in ("since", "before")}
    question: dict[str, Any] = {**where, **times, "limit": SHOWN}
    if cursor := query.get("cursor"):
        question["cursor"] = cursor
    if in_memory:
        question["memory"] = True
    if "q" in question and not visitor.who.may(()):
        question["places"] = "names"  # what a mask hides is not to be found out by searching for it
    found = await patiently(visitor.ask("zmws.jobs", question))
    values = {
        "title": "Jobs",
        "fault": fault,
        "current": "/ui/jobs",
        "live": "" if not cursor else None,  # who pages back does not want the page to move
        "jobs": [job_row(one) for one in found["jobs"]],
        "next": found["next"],
        "cursor": cursor,
        "looked": found.get("looked"),
        "looked_to": found.get("looked_to"),
        "where": where,
        "chips": [
            (name, _TEXTS[name], text, _without(where, name, in_memory)) for name, text in where.items()
        ],
        "memory": in_memory,
        "states": STATES,
        "verbs": [] if in_memory or "q" in where else _verbs(where),
    }
    return answer(visitor, "jobs.html", values)


def _where(given: Any) -> dict[str, str]:
    """The filters that are given. Spaces may be part of a group and of a text that is searched for."""
    texts = {name: given.get(name, "") for name in _TEXTS}
    texts |= {name: texts[name].strip() for name in _TEXTS if name not in ("group", "q")}
    return {name: text for name, text in texts.items() if text}


def _without(where: dict[str, str], name: str, in_memory: bool) -> dict[str, str]:
    rest = {key: text for key, text in where.items() if key != name}
    return {**rest, "memory": "1"} if in_memory else rest


def _verbs(where: dict[str, str]) -> list[tuple[str, str]]:
    """What can be done to all jobs of this filter; without any filter it would be to every job there is."""
    state = where.get("state")
    if not where:
        return []
    return [(verb, text) for verb, (text, _, states) in _VERBS.items() if state is None or state in states]


async def act(visitor: Visitor) -> Response:
    """POST /ui/many/VERB: all that a filter names, after the exact count was confirmed."""
    verb, form = visitor.path["verb"], await form_of(visitor)
    if verb not in _VERBS:
        raise Problem(404, "no_such_page", f"jobs can be {', '.join(_VERBS)}, and not {verb[:40]!a}")
    text, told, _ = _VERBS[verb]
    where = {name: one for name in FILTER_KEYS if (one := form.get(name, ""))}
    if not where:
        raise Problem(400, "bad_request", "a filter must name the jobs that are meant")
    back = own_path(form.get("back"), "/ui/jobs")
    said = ", ".join(f"{_TEXTS[name]} {one}" for name, one in where.items())
    where |= {name: time_of(name, where[name]) for name in ("since", "before") if name in where}
    # Those that are there now are meant, and not what comes while somebody reads.
    where.setdefault("before", datetime.now(UTC).isoformat())
    counting = visitor.ask(f"zmws.{verb}", {**where, "dry_run": True}, _MANY_S)
    counted = await within(counting, PATIENCE_S)
    count = UNKNOWN if counted is None else counted["count"]
    if not count:
        raise Problem(409, "not_possible", f"there is no job to {verb} ({said})")
    if not is_confirmed(form, count):
        jobs = "1 job" if count == 1 else f"{count:,} jobs" if count != UNKNOWN else "very many jobs"
        fields, note = {**form, **where, "back": back}, f"Those with {said}."
        return confirm(visitor, f"{text} {jobs}?", f"{text} {jobs}", fields, count, back, note)
    done = await within(visitor.ask(f"zmws.{verb}", where, _MANY_S), PATIENCE_S)
    return go_on(visitor, back, "goes_on") if done is None else go_on(visitor, back, told, done["count"])


async def find(visitor: Visitor) -> Response:
    """GET /ui/find?q=: the job of that id, the service of that name, else jobs with this text. `service:EMAIL
    error:Timeout` are filters."""
    text = visitor.request.query_params.get("q", "").strip()
    if not text:
        return go_on(visitor, "/ui/jobs")
    filters: dict[str, str] = {}

    def take(found: re.Match[str]) -> str:
        name = _JUMPS.get(found[1].lower())
        if name is None:
            return found[0]
        filters[name] = found[2].strip('"')
        return ""

    rest = _JUMP.sub(take, text).strip()
    if filters:
        if rest:
            filters["q"] = f"{filters['q']} {rest}" if "q" in filters else rest
        return go_on(visitor, "/ui/jobs", None, None, **filters)
    if ID_PATTERN.match(text) and text not in (".", ".."):
        try:
            await patiently(visitor.ask("zmws.job", {"id": text}))
            return go_on(visitor, f"/ui/jobs/{text}")
        except Refused:
            pass
    rows = await visitor.desk.looks.ask("zmws.services")
    same = next((row["service"] for row in rows if row["service"].lower() == text.lower()), None)
    if same is not None:
        return go_on(visitor, service_path(same))
    return go_on(visitor, "/ui/jobs", q=text)
