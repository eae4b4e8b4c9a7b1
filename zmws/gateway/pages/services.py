"""/ui/services and one of them: counts, figures, limits, what is next; pause, resume, purge, forget."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.responses import Response

from zmws.core.options import LIMITS
from zmws.gateway.desk import Visitor
from zmws.gateway.looks import PATIENCE_S, or_none, patiently, within
from zmws.gateway.pages import plots
from zmws.gateway.pages.confirm import confirm, is_confirmed
from zmws.gateway.pages.forms import form_of, number_of, own_path
from zmws.gateway.pages.frame import answer, go_on, service_path
from zmws.gateway.pages.rows import causes_shown, job_row, urgency, with_sparks
from zmws.gateway.problems import Problem

SHOWN = 40  # on a page
_SORTS = {
    "urgency": "what needs a look",
    "name": "name",
    "waiting": "waiting",
    "failed": "failed",
    "oldest": "oldest",
}
_PLOTS_FRESH_S = {"second": 1.0, "minute": 60.0, "hour": 600.0}
_PEEKED, _CAUSES = 8, 5


async def page(visitor: Visitor) -> Response:
    """GET /ui/services?q=&sort=&page=."""
    query = visitor.request.query_params
    rows = await visitor.desk.looks.ask("zmws.services")
    text, sort = query.get("q", ""), query.get("sort", "urgency")
    found = [row for row in rows if text.lower() in row["service"].lower()]
    found.sort(key=_KEYS.get(sort, urgency))
    last = max(1, -(-len(found) // SHOWN))
    at = min(last, _page_number(query.get("page", "1")))
    shown = found[(at - 1) * SHOWN : at * SHOWN]
    values = {
        "title": "Services",
        "current": "/ui/services",
        "live": "",
        "services": await with_sparks(visitor, shown),
        "count": len(rows),
        "found": len(found),
        "q": text,
        "sort": sort if sort in _SORTS else "urgency",
        "sorts": _SORTS,
        "page": at,
        "pages": last,
    }
    return answer(visitor, "services.html", values)


_KEYS: Mapping[str, Any] = {
    "name": lambda row: row["service"],
    "waiting": lambda row: -row["waiting"],
    "failed": lambda row: -row["failed"],
    "oldest": lambda row: -(row["oldest_s"] or 0.0),
}


def _page_number(text: str) -> int:
    return max(1, int(text)) if text.isascii() and text.isdigit() and len(text) < 7 else 1


async def show(visitor: Visitor) -> Response:
    """GET /ui/services/NAME?range=."""
    name, looks = visitor.path["name"], visitor.desk.looks
    chosen = visitor.request.query_params.get("range", "10m")
    chosen = chosen if chosen in plots.RANGES else "10m"
    _, step, back_s = plots.RANGES[chosen]
    more = "run_s,ran" if step == "second" else "run_p50,run_p95"
    figures = f"complete,failed,oldest_s,waiting,running,{more}"
    told, row, next_jobs, causes, warnings = await asyncio.gather(
        or_none(looks.ask("zmws.series", _series(name, step, back_s, figures), _PLOTS_FRESH_S[step])),
        looks.ask("zmws.service", {"service": name}),
        or_none(looks.ask("zmws.peek", {"service": name, "limit": _PEEKED})),
        or_none(looks.ask("zmws.failures", {"service": name, "limit": 3 * _CAUSES})),
        or_none(looks.ask("zmws.warnings")),
    )
    shown = []
    if told is not None and told["service"] == name:
        shown = [plots.ends(told), plots.oldest(told), plots.load(told), plots.times(told)]
    values = {
        "title": name,
        "current": "/ui/services",
        "live": "",
        "row": row,
        "plots": shown,
        "ranges": plots.RANGES,
        "range": chosen,
        "next_jobs": [job_row(job) for job in (next_jobs or {}).get("jobs", ())],
        "causes": causes_shown(causes)[:_CAUSES],
        "warnings": [one for one in warnings or () if one["service"] == name],
        "known": _known(row),
        "limits": {limit: row["options"].get(limit) for limit in LIMITS},
        "options": {key: one for key, one in row["options"].items() if key not in LIMITS},
    }
    return answer(visitor, "service.html", values)


def _series(name: str, step: str, back_s: int, figures: str) -> dict[str, Any]:
    asked: dict[str, Any] = {"service": name, "step": step, "figures": figures}
    return asked | (plots.since(back_s) if step == "hour" else {})


# ---------------------------------------------------------------- act


async def pause(visitor: Visitor) -> Response:
    """POST /ui/services/NAME/pause."""
    return await _act(visitor, "zmws.pause", "paused")


async def resume(visitor: Visitor) -> Response:
    """POST /ui/services/NAME/resume."""
    return await _act(visitor, "zmws.resume", "resumed")


async def _act(visitor: Visitor, service: str, told: str) -> Response:
    name = visitor.path["name"]
    form = await form_of(visitor)
    await patiently(visitor.ask(service, {"service": name}))
    return go_on(visitor, own_path(form.get("back"), service_path(name)), told)


async def limits(visitor: Visitor) -> Response:
    """POST /ui/services/NAME/limits: a field that is empty is as configured."""
    name, form = visitor.path["name"], await form_of(visitor)
    question: dict[str, Any] = {limit: number_of(form, limit) for limit in LIMITS if limit in form}
    row = await patiently(visitor.ask("zmws.service", {"service": name}))
    if form.get("known", _known(row)) != _known(row):
        raise Problem(412, "changed", f"the limits of {name} are {_known(row)} by now")
    await patiently(visitor.ask("zmws.limit", {"service": name, **question, "version": row["version"]}))
    return go_on(visitor, service_path(name), "limits")


def _known(row: dict[str, Any]) -> str:
    """The limits that the form of a page is of, in words."""
    options = row["options"]
    return ", ".join(f"{limit} {(options.get(limit) or {}).get('value')}" for limit in LIMITS)


async def purge(visitor: Visitor) -> Response:
    """POST /ui/services/NAME/purge: all that waits, after the count was confirmed."""
    name, form = visitor.path["name"], await form_of(visitor)
    row = await patiently(visitor.ask("zmws.service", {"service": name}))
    count = row["waiting"] + row["scheduled"]
    if not count:
        raise Problem(409, "not_possible", f"no job of {name} waits, so there is nothing to purge")
    if not is_confirmed(form, count):
        jobs = "1 waiting or scheduled job" if count == 1 else f"{count:,} waiting and scheduled jobs"
        text = f"Cancel {jobs} of {name}?"
        return confirm(visitor, text, "Purge", form, count, service_path(name))
    done = await within(visitor.ask("zmws.purge", {"service": name}, 600.0), PATIENCE_S)
    at = service_path(name)
    return go_on(visitor, at, "goes_on") if done is None else go_on(visitor, at, "purged", done["count"])


async def forget(visitor: Visitor) -> Response:
    """POST /ui/services/NAME/forget."""
    await patiently(visitor.ask("zmws.forget", {"service": visitor.path["name"]}))
    return go_on(visitor, "/ui/services", "forgotten")
