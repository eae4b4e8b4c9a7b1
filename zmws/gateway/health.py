"""/healthz, /readyz and /metrics (docs/http.md, Health)."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from typing import Any

from starlette.responses import PlainTextResponse, Response

from zmws.errors import ZmwsError
from zmws.gateway.desk import Visitor, json_answer
from zmws.gateway.problems import Problem

SERVICES_MAX = 200  # that have lines of their own; the rest is `other`
PATIENCE_S = 1.5  # with the broker: whoever asks how it is waits no longer
_KIND = "text/plain; version=0.0.4; charset=utf-8"
_COUNTS = ("waiting", "scheduled", "running", "failed", "complete", "workers", "idle")


async def healthz(visitor: Visitor) -> Response:
    """This process answers."""
    return json_answer({"status": "ok"})


async def readyz(visitor: Visitor) -> Response:
    """The broker answers too, and takes jobs; else 503."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            stats = await visitor.ask("zmws.stats")
    except (ZmwsError, TimeoutError) as fault:
        raise Problem(503, "no_broker", str(fault) or "the broker does not answer") from None
    if stats["store_is_full"]:
        raise Problem(503, "disk_full", "the broker takes no new jobs: its store is full")
    if stats["store_waits_for"]:
        raise Problem(503, "store_waits", f"the broker's commits wait for {stats['store_waits_for']}")
    return json_answer({"status": "ready", "broker": stats["version"]})


async def metrics(visitor: Visitor) -> Response:
    """What zmws.stats and zmws.services know, as Prometheus reads it (text format 0.0.4)."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            stats, rows = await visitor.ask("zmws.stats"), await visitor.ask("zmws.services")
    except (ZmwsError, TimeoutError):
        text = "".join(_family("zmws_broker_up", "gauge", "Whether the broker answers.", [({}, 0)]))
        return PlainTextResponse(text, media_type=_KIND)
    text = "".join(_lines(stats, _bounded(rows), visitor))
    return PlainTextResponse(text, headers={"cache-control": "no-store"}, media_type=_KIND)


def _bounded(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The busiest services, and the rest as one."""
    if len(rows) <= SERVICES_MAX:
        return rows
    rows = sorted(rows, key=lambda row: row["waiting"] + row["running"] + row["complete"], reverse=True)
    kept = [row for row in rows[: SERVICES_MAX - 1] if row["service"] != "other"]
    rest = [row for row in rows if row not in kept]
    names = (*_COUNTS, "calls_complete", "calls_failed")
    other: dict[str, Any] = {name: sum(row[name] for row in rest) for name in names}
    ages = [row["oldest_s"] for row in rest if row["oldest_s"] is not None]
    return [*kept, {**other, "service": "other", "oldest_s": max(ages, default=None), "paused": False}]


def _lines(stats: dict[str, Any], rows: list[dict[str, Any]], visitor: Visitor) -> Iterable[str]:
    yield from _family("zmws_broker_up", "gauge", "Whether the broker answers.", [({}, 1)])
    yield from _family("zmws_broker_info", "gauge", "What it is.", [({"version": stats["version"]}, 1)])
    for name, text in _GAUGES.items():
        yield from _family(f"zmws_{name}", "gauge", text, [({}, stats[name])])
    of_state = [
        ({"service": row["service"], "state": name}, row[name]) for row in rows for name in _COUNTS[:5]
    ]
    yield from _family("zmws_jobs", "gauge", "Jobs by service and state, as records are kept.", of_state)
    for name, text in (("workers", "Workers of a service."), ("idle", "Workers that could take a job.")):
        yield from _family(
            f"zmws_service_{name}", "gauge", text, [({"service": r["service"]}, r[name]) for r in rows]
        )
    ages = [({"service": row["service"]}, row["oldest_s"] or 0) for row in rows]
    yield from _family("zmws_oldest_waiting_seconds", "gauge", "How long the oldest job has waited.", ages)
    paused = [({"service": row["service"]}, int(row["paused"])) for row in rows]
    yield from _family("zmws_service_paused", "gauge", "Whether it is paused.", paused)
    calls = [
        ({"service": row["service"], "end": end}, row[f"calls_{end}"])
        for row in rows
        for end in ("complete", "failed")
    ]
    yield from _family("zmws_calls_total", "counter", "Calls and memory jobs that ended.", calls)
    counters = [({"name": name}, value) for name, value in stats["counters"].items()]
    yield from _family("zmws_events_total", "counter", "What the broker has counted, by name.", counters)
    streams = visitor.desk.streams
    yield from _family(
        "zmws_gateway_streams", "gauge", "Streams and requests that wait here.", [({}, streams)]
    )


_GAUGES = {
    "uptime_s": "Seconds since the broker started.",
    "workers": "Workers that are connected.",
    "services": "Services that are known.",
    "memory_jobs": "Memory jobs that are held.",
    "stored_jobs_held": "Stored jobs that are held in memory.",
    "waits": "Requests that wait for the end or an event of a job.",
    "strict_held_bytes": "Bytes of strict requests that are kept until there is room.",
    "descriptors": "Descriptors in use.",
    "descriptors_max": "Descriptors allowed.",
    "store_is_full": "Whether new jobs are refused for lack of room.",
}


def _family(name: str, kind: str, text: str, values: list[tuple[dict[str, str], Any]]) -> Iterable[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    for labels, value in values:
        shown = ",".join(f'{label}="{_escaped(said)}"' for label, said in labels.items())
        number = int(value) if isinstance(value, bool) else value
        yield f"{name}{{{shown}}} {number}\n" if shown else f"{name} {number}\n"


def _escaped(text: str) -> str:
    return re.sub(r'[\\"]', r"\\\g<0>", text).replace("\n", "\\n")
