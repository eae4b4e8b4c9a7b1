"""/ui/system: the processes of the installation, the broker, its store, and who did what."""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import Response

from zmws.gateway.desk import Visitor, log
from zmws.gateway.looks import or_none, patiently
from zmws.gateway.pages import plots
from zmws.gateway.pages.confirm import confirm, is_confirmed
from zmws.gateway.pages.forms import form_of, number_of
from zmws.gateway.pages.frame import answer, go_on
from zmws.gateway.pages.shown import size, span
from zmws.gateway.problems import Problem
from zmws.supervisor.processes import BROKER, SUPERVISOR

AUDIT_SHOWN = 30
_VERBS = {"start": "started", "stop": "stopped", "restart": "restarted", "scale": "scaled"}
_DONE_S = 5.0  # the broker is told of it


async def page(visitor: Visitor) -> Response:
    """GET /ui/system. It is there without a broker too: its process can be started here."""
    looks, desk = visitor.desk.looks, visitor.desk
    hangs, processes = None, None
    try:
        processes = await desk.processes.rows()
    except Problem as wrong:  # the supervisor hangs
        hangs = str(wrong)
    stats, warnings, told = await asyncio.gather(
        or_none(looks.ask("zmws.stats")),
        or_none(looks.ask("zmws.warnings")),
        or_none(looks.ask("zmws.series", {"step": "minute", "figures": _FIGURES}, 60.0)),
    )
    audit = None
    if visitor.who.may(()):
        audit = await or_none(looks.ask("zmws.audit", {"limit": AUDIT_SHOWN}))
    values = {
        "title": "System",
        "current": "/ui/system",
        "live": "",
        "stats": stats,
        "processes": processes,
        "groups": _groups(processes),
        "disk": await desk.processes.disk() if processes is not None else None,
        "hangs": hangs,
        "warnings": [one for one in warnings or () if one["service"] is None and one["worker"] is None],
        "plots": _plots(told),
        "audit": audit,
        "supervisor": SUPERVISOR,
        "broker": BROKER,
    }
    return answer(visitor, "system.html", values)


_FIGURES = "commit_p99,store_bytes,memory_bytes,free_bytes"


def _plots(told: dict[str, Any] | None) -> list[plots.Plot]:
    if told is None:
        return []
    figures = told["figures"]
    return [
        plots.plot(told, "Commits, 99 of 100 take less", [("running", "p99", figures["commit_p99"])], span),
        plots.plot(told, "The store's size", [("scheduled", "store", figures["store_bytes"])], _size),
    ]


def _size(count: float | None) -> str:
    return size(None if count is None else int(count))


def _groups(rows: list[dict[str, Any]] | None) -> dict[str, int]:
    """The workers that can be scaled, and how many copies of each are wanted."""
    found: dict[str, int] = {}
    for row in rows or ():
        if row["part"] == "worker":
            found[row["group"]] = found.get(row["group"], 0) + bool(row["wanted"])
    return found


async def log_page(visitor: Visitor) -> Response:
    """GET /ui/system/logs/NAME: its last lines."""
    name = visitor.path["name"]
    lines = await visitor.desk.processes.log(name)
    values = {
        "title": f"Log of {name}",
        "current": "/ui/system",
        "live": "",
        "name": name,
        "lines": lines,
    }
    return answer(visitor, "log.html", values)


async def act(visitor: Visitor) -> Response:
    """POST /ui/system/processes/NAME/VERB."""
    name, verb = visitor.path["name"], visitor.path["verb"]
    form = await form_of(visitor)
    if verb not in _VERBS:
        raise Problem(
            404, "no_such_page", f"a process can be told {', '.join(_VERBS)}, and not {verb[:40]!a}"
        )
    count = 0
    if verb == "scale":
        given = number_of(form, "count")
        if not isinstance(given, int):
            raise Problem(400, "bad_request", "say how many copies, a whole number")
        count = given
    if verb in ("stop", "restart") and name == BROKER and not is_confirmed(form, 1):
        note = "Jobs that run go on in their workers; until it is back nothing starts, and nobody can submit."
        return confirm(
            visitor, f"{verb.capitalize()} the broker?", verb.capitalize(), form, 1, "/ui/system", note
        )
    if verb in ("stop", "restart") and name == BROKER:
        await _tell(visitor, verb, name, count)
        await visitor.desk.processes.act(verb, name, count)
    else:
        await visitor.desk.processes.act(verb, name, count)
        await _tell(visitor, verb, name, count)
    return go_on(visitor, "/ui/system", _VERBS[verb])


async def _tell(visitor: Visitor, verb: str, name: str, count: int) -> None:
    """The broker keeps who did what; the log too, should there be no broker."""
    who = visitor.who.name or "anybody"
    log.info("%s %s by %s", verb, name if verb != "scale" else f"{name} to {count}", who)
    detail = {"detail": {"count": count}} if verb == "scale" else {}
    asked = visitor.ask("zmws.acted", {"verb": verb, "on": name, **detail})
    await or_none(asyncio.wait_for(asked, _DONE_S))


async def mark(visitor: Visitor) -> Response:
    """POST /ui/system/marks."""
    form = await form_of(visitor)
    text = form.get("text", "").strip()
    if not text:
        raise Problem(400, "bad_request", "say what is to be marked, such as 'deploy 1.4'")
    await patiently(visitor.ask("zmws.mark", {"text": text}))
    return go_on(visitor, "/ui/", "marked")
