"""/metrics: how the broker is, as Prometheus reads it (text format 0.0.4; docs/monitoring.md).

Rule 1: names and labels are promises (etc/grafana.json and etc/alerts.yml stand on them): what is counted
        ends in `_total`, seconds in `_seconds`, bytes in `_bytes`.
Rule 2: labels are bounded: services with figures of their own (`series_services_max`), the rest is `other`;
        so are schedules; states, ends and codes are few.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from starlette.responses import PlainTextResponse, Response

from zmws.core.figures import OTHER
from zmws.errors import ZmwsError
from zmws.gateway.desk import Visitor
from zmws.gateway.lateness import late_s
from zmws.gateway.looks import or_none

PATIENCE_S = 1.5  # with the broker: whoever asks how it is waits no longer
_KIND = "text/plain; version=0.0.4; charset=utf-8"
_FRESH = {"cache-control": "no-store"}
_STATES = ("waiting", "scheduled", "running", "failed", "complete")
_COUNTS = (*_STATES, "workers", "idle")
_ENDS = ("complete", "failed", "cancelled", "expired")
# Told from the start, at 0: of a count that begins with 1 Prometheus does not see the first.
_REFUSED = ("bad_option", "disk_full", "id_conflict", "queue_full", "unknown_service")
_DROPS = (
    *("connections_cut_for_memory", "connections_cut_for_strict_requests", "news_dropped", "outbox_dropped"),
    *("out_of_descriptors", "strict_requests_dropped"),
)

_SCHEDULES = ("ends_untold", "schedules_fired", "schedules_missed", "schedules_skipped")
SCHEDULES_MAX = 200  # that have a line of their own
SCHEDULES_FRESH_S = 5.0  # the last job of each is read from the store

Labels = dict[str, str]
Values = Iterable[tuple[Labels, Any]]


async def page(visitor: Visitor) -> Response:
    """GET /metrics."""
    asked = ("zmws.stats", "zmws.services", "zmws.metrics", "zmws.workers")
    try:
        async with asyncio.timeout(PATIENCE_S):
            schedules = visitor.desk.looks.ask("zmws.schedules", None, SCHEDULES_FRESH_S)
            stats, rows, counted, workers, planned = await asyncio.gather(
                *map(visitor.ask, asked), or_none(schedules)
            )
    except (ZmwsError, TimeoutError):
        text = "".join(_family("zmws_broker_up", "gauge", "Whether the broker answers.", [({}, 0)]))
        return PlainTextResponse(text, headers=_FRESH, media_type=_KIND)
    named = {row["service"] for row in counted["services"]} - {OTHER}
    parts = (
        _of_broker(stats, visitor),
        _of_services(_bounded(rows, named)),
        _counted(counted),
        _of_workers(workers),
        _of_schedules([] if planned is None else planned["schedules"]),
        _events(stats["counters"]),
    )
    text = "".join(line for part in parts for line in part)
    return PlainTextResponse(text, headers=_FRESH, media_type=_KIND)


def _bounded(rows: list[dict[str, Any]], named: set[str]) -> list[dict[str, Any]]:
    """Those that have figures of their own, and the rest as one: so no count of it falls but by what is
    forgotten."""
    kept = [row for row in rows if row["service"] in named]
    rest = [row for row in rows if row["service"] not in named]
    if not rest:
        return kept
    names = (*_COUNTS, "calls_complete", "calls_failed")
    other: dict[str, Any] = {name: sum(row[name] for row in rest) for name in names}
    ages = [row["oldest_s"] for row in rest if row["oldest_s"] is not None]
    return [*kept, {**other, "service": OTHER, "oldest_s": max(ages, default=None), "paused": False}]


def _of_broker(stats: Mapping[str, Any], visitor: Visitor) -> Iterator[str]:
    yield from _family("zmws_broker_up", "gauge", "Whether the broker answers.", [({}, 1)])
    yield from _family(
        "zmws_broker_info", "gauge", "Which version the broker is.", [({"version": stats["version"]}, 1)]
    )
    for name, (key, text) in _GAUGES.items():
        yield from _family(f"zmws_{name}", "gauge", text, [({}, stats[key])])
    waits: Values = [({}, int(stats["store_waits_for"] is not None))]
    yield from _family("zmws_store_waits", "gauge", "Whether something keeps commits waiting.", waits)
    cpu: Values = [({}, stats["cpu_s"])]
    yield from _family(
        "zmws_broker_cpu_seconds_total", "counter", "Processor time of the broker's process.", cpu
    )
    streams: Values = [({}, visitor.desk.streams)]
    yield from _family(
        "zmws_gateway_streams", "gauge", "Event streams and requests that wait in the gateway.", streams
    )


_GAUGES = {
    "uptime_seconds": ("uptime_s", "Seconds since the broker started."),
    "workers": ("workers", "Workers that are connected."),
    "services": ("services", "Services that are known."),
    "memory_jobs": ("memory_jobs", "Memory jobs that are held."),
    "stored_jobs_held": ("stored_jobs_held", "Stored jobs that are held in memory."),
    "waits": ("waits", "Requests that wait for the end or an event of a job."),
    "strict_held_bytes": ("strict_held_bytes", "Bytes of strict requests that are kept until there is room."),
    "descriptors": ("descriptors", "Descriptors in use."),
    "descriptors_max": ("descriptors_max", "Descriptors allowed."),
    "store_is_full": ("store_is_full", "Whether new jobs are refused for lack of room."),
    "store_bytes": ("store_bytes", "Bytes that the store takes up."),
    "store_free_bytes": ("free_bytes", "Bytes that there is room for still; 0: unknown."),
    "store_free_bytes_min": ("free_bytes_min", "With fewer bytes of room new jobs are refused."),
    "broker_memory_bytes": ("memory_bytes", "Resident memory of the broker's process."),
}


def _of_services(rows: list[dict[str, Any]]) -> Iterator[str]:
    def of(name: str) -> Values:
        return [({"service": row["service"]}, row[name] or 0) for row in rows]

    states = [({"service": row["service"], "state": name}, row[name]) for row in rows for name in _STATES]
    yield from _family("zmws_jobs", "gauge", "Jobs by service and state, as records are kept.", states)
    yield from _family("zmws_service_workers", "gauge", "Workers of a service.", of("workers"))
    yield from _family("zmws_service_idle", "gauge", "Workers that could take a job.", of("idle"))
    yield from _family(
        "zmws_oldest_waiting_seconds",
        "gauge",
        "How long the oldest waiting job has waited; 0: none.",
        of("oldest_s"),
    )
    paused = [({"service": row["service"]}, int(row["paused"])) for row in rows]
    yield from _family("zmws_service_paused", "gauge", "Whether the service is paused.", paused)


def _counted(counted: Mapping[str, Any]) -> Iterator[str]:
    """What has been counted since the broker started."""
    rows, bounds = counted["services"], counted["bounds_s"]

    def of(name: str) -> Values:
        return [({"service": row["service"]}, row[name]) for row in rows]

    yield from _family("zmws_jobs_submitted_total", "counter", "Jobs that were accepted.", of("submitted"))
    yield from _family(
        "zmws_attempts_started_total", "counter", "Attempts that were begun, or sent ahead.", of("started")
    )
    yield from _family(
        "zmws_attempts_failed_total", "counter", "Attempts that have failed.", of("attempts_failed")
    )
    ends = [({"service": row["service"], "end": end}, row[end]) for row in rows for end in _ENDS]
    yield from _family("zmws_jobs_ended_total", "counter", "Jobs that have ended.", ends)
    yield from _family(
        "zmws_workers_started_total",
        "counter",
        "Processes of workers that were started.",
        of("workers_started"),
    )
    lost = of("workers_lost")
    yield from _family("zmws_workers_lost_total", "counter", "Workers that went without a word.", lost)
    for name, text in (("wait", "How long jobs waited for a worker."), ("run", "How long attempts ran.")):
        told = [({"service": row["service"]}, row[name]) for row in rows]
        yield from _histogram(f"zmws_job_{name}_seconds", text, bounds, told)
    commit: list[tuple[Labels, Any]] = [({}, counted["commit"])]
    yield from _histogram("zmws_commit_seconds", "How long commits of the store took.", bounds, commit)
    writes: Values = [({}, counted["commit_writes"])]
    yield from _family(
        "zmws_committed_writes_total", "counter", "Writes that commits of the store held.", writes
    )


def _of_workers(workers: list[dict[str, Any]]) -> Iterator[str]:
    states = dict.fromkeys(("idle", "busy", "draining", "silent", "hung", "deaf", "lost"), 0)
    for row in workers:
        states[row["state"]] = states.get(row["state"], 0) + 1
    told = [({"state": state}, count) for state, count in states.items()]
    yield from _family("zmws_sessions", "gauge", "Workers that are connected, by their state.", told)
    slots: Values = [({}, sum(row["slots"] for row in workers))]
    yield from _family("zmws_slots", "gauge", "Jobs that workers can do at once.", slots)


def _of_schedules(schedules: list[dict[str, Any]]) -> Iterator[str]:
    paused = sum(row["paused"] for row in schedules)
    states = [({"state": "active"}, len(schedules) - paused), ({"state": "paused"}, paused)]
    yield from _family("zmws_schedules", "gauge", "Schedules, by whether they are paused.", states)
    late = {row["name"]: late_s(row) or 0.0 for row in schedules}
    failed = {
        row["name"]: int(row["last"] is not None and row["last"]["state"] in _NOT_DONE) for row in schedules
    }
    yield from _family(
        "zmws_schedule_late_seconds",
        "gauge",
        "How late the last job of a schedule began, or is by now if nobody has begun it.",
        _by_schedule(late),
    )
    yield from _family(
        "zmws_schedule_failed",
        "gauge",
        "Whether the last job of a schedule has failed or expired.",
        _by_schedule(failed),
    )


_NOT_DONE = ("failed", "expired")


def _by_schedule(values: Mapping[str, float]) -> Values:
    """The first by name have lines of their own; of the rest the highest counts."""
    names = sorted(values)
    told: list[tuple[Labels, Any]] = [({"schedule": name}, values[name]) for name in names[:SCHEDULES_MAX]]
    rest = [values[name] for name in names[SCHEDULES_MAX:]]
    return [*told, ({"schedule": OTHER}, max(rest))] if rest else told


def _events(counters: Mapping[str, int]) -> Iterator[str]:
    """What the broker counts by name: refusals, drops, what was invalid."""
    refused = dict.fromkeys(_REFUSED, 0)
    for name, value in counters.items():
        if name.startswith("refused_"):
            refused[name.removeprefix("refused_")] = value
    by_code = [({"code": code}, value) for code, value in refused.items()]
    yield from _family("zmws_refused_total", "counter", "Requests that were refused, by code.", by_code)
    events = {**dict.fromkeys((*_DROPS, *_SCHEDULES), 0), **counters}
    told = [({"name": name}, value) for name, value in events.items()]
    yield from _family("zmws_events_total", "counter", "What the broker has counted, by name.", told)


def _family(name: str, kind: str, text: str, values: Values) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} {kind}\n"
    for labels, value in values:
        yield _line(name, labels, value)


def _histogram(
    name: str, text: str, bounds: Sequence[float], values: Iterable[tuple[Labels, Mapping[str, Any]]]
) -> Iterator[str]:
    yield f"# HELP {name} {text}\n# TYPE {name} histogram\n"
    for labels, told in values:
        total = 0
        for bound, count in zip((*bounds, None), told["counts"], strict=True):
            total += count
            edge = "+Inf" if bound is None else f"{bound:g}"
            yield _line(f"{name}_bucket", {**labels, "le": edge}, total)
        yield _line(f"{name}_sum", labels, told["sum_s"])
        yield _line(f"{name}_count", labels, total)


def _line(name: str, labels: Labels, value: Any) -> str:
    shown = ",".join(f'{label}="{_escaped(said)}"' for label, said in labels.items())
    number = int(value) if isinstance(value, bool) else value
    return f"{name}{{{shown}}} {number}\n" if shown else f"{name} {number}\n"


def _escaped(text: str) -> str:
    return re.sub(r'[\\"]', r"\\\g<0>", text).replace("\n", "\\n")
