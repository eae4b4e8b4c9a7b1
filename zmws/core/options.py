"""The options of a job and of a service: names, ranges, defaults (docs/options.md).

Rule: one table, read by the broker (`OPTS-JSON`), the settings file (`[services.NAME]`) and the command
line, so that a name or a range stands nowhere twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from zmws.core.table import YEAR_END, Row, Unfit, checked, no_such
from zmws.errors import BadJson, OptionError
from zmws.wire import names
from zmws.wire.values import json_in


def _service_name(value: Any) -> str:
    fault = "the name of a service" if not isinstance(value, str) else names.service_name_fault(value, False)
    if fault is None and names.is_reserved(value):
        fault = "the name of a service that workers serve"
    if fault is not None:
        raise ValueError(fault)
    return str(value)


JOB_OPTIONS: dict[str, Row] = {
    "id": Row("id", "the caller's own job id; submitting it twice is one job"),
    "priority": Row("whole", "-1000..1000; higher runs sooner", -1000, 1000),
    "delay": Row("seconds", "seconds from now before it may start"),
    "at": Row("time", "ISO 8601 time with zone before which it may not start", high=YEAR_END),
    "ttr": Row("seconds", "time to run, seconds per attempt", above_low=True),
    "retries": Row("whole", "how many failures it may survive", 0, 1_000_000),
    "backoff": Row("seconds", "seconds before retry n (from 0): backoff * 2**n, at most 1 h"),
    "expires": Row("seconds", "seconds in which it must have started", above_low=True),
    "unique": Row("key", "key: one unfinished job of the service with this key"),
    "keep": Row("seconds", "seconds that record and result are kept after the end"),
    "durability": Row(
        "choice", "'disk' or 'memory': what the acknowledgement stands for", choices=("disk", "memory")
    ),
    "group": Row("key", "fairness key: groups with waiting jobs take turns"),
    "meta": Row("object", "a JSON object of the caller's own, which its worker and its record show"),
    "batch": Row("id", "the open batch of which it is a member"),
    "on_complete": Row(
        "parsed", "service that is given a job with the record when it completes", parse=_service_name
    ),
    "on_failed": Row("parsed", "the same when it fails or expires", parse=_service_name),
}

# For who may speak for others (docs/security.md), as the gateway does; nobody else has to know of it.
_SPEAKER = {"by": Row("word", "the name of the key or token for which it is submitted")}
_ACCEPTED = {**JOB_OPTIONS, **_SPEAKER}

SERVICE_ONLY_OPTIONS: dict[str, Row] = {
    "ageing": Row(
        "seconds",
        "seconds of head start a point of priority gives, or 'off': strict",
        above_low=True,
        word="off",
    ),
    "max_running": Row("whole", "how many of its jobs may run at once", 1, 1_000_000),
    "rate": Row("number", "job starts per second", 0, 1_000_000, above_low=True),
    "max_waiting": Row("whole", "waiting jobs beyond which new ones are refused", 1, 1_000_000_000),
    "paused": Row("flag", "true: its jobs wait until the service is resumed"),
}

# What a job's own options make no sense of as a service's default.
_OF_ONE_JOB = {"id", "at", "unique", "group", "meta", "batch"}
SERVICE_OPTIONS: dict[str, Row] = {
    **{name: row for name, row in JOB_OPTIONS.items() if name not in _OF_ONE_JOB},
    **SERVICE_ONLY_OPTIONS,
}

# What an operator may set at run time (zmws.limit); it goes before the configuration.
LIMITS: dict[str, Row] = {name: SERVICE_ONLY_OPTIONS[name] for name in ("max_running", "rate", "max_waiting")}

# What a worker may tell in READY of the jobs of a service it serves. What an acknowledgement is worth, when a
# job may start and how many may run is not for a worker to say.
WORKER_OPTIONS: dict[str, Row] = {
    name: JOB_OPTIONS[name] for name in ("retries", "ttr", "backoff", "expires", "keep", "priority")
}


@dataclass(slots=True)
class JobOptions:
    """Checked options of one job. None: not given, so the service's or the default holds."""

    id: str | None = None
    priority: int | None = None
    delay: float | None = None
    at: float | None = None  # wall time, seconds since 1970
    ttr: float | None = None
    retries: int | None = None
    backoff: float | None = None
    expires: float | None = None
    unique: str | None = None
    keep: float | None = None
    durability: str | None = None
    group: str | None = None
    meta: dict[str, Any] | None = None
    batch: str | None = None
    on_complete: str | None = None
    on_failed: str | None = None
    by: str | None = None


@dataclass(slots=True)
class ServiceOptions:
    """What holds for a service's jobs where they say nothing themselves. Times in seconds."""

    priority: int = 0
    delay: float = 0.0
    ttr: float = 3600.0
    retries: int = 3
    backoff: float = 2.0
    expires: float | None = None
    keep: float | None = None  # None: KEEP_S, by the state it ended in
    durability: str = "disk"
    on_complete: str | None = None
    on_failed: str | None = None
    ageing: float | None = 60.0  # None: off, strict priority
    max_running: int | None = None
    rate: float | None = None
    max_waiting: int | None = None
    paused: bool = False
    # Which of these were given, and so go before what a worker tells; None: those that are not the default.
    given: frozenset[str] | None = field(default=None, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.given is None:
            self.given = frozenset(name for name, value in _DEFAULTS.items() if getattr(self, name) != value)

    def values(self) -> dict[str, Any]:
        """The options by name."""
        return {name: getattr(self, name) for name in SERVICE_OPTIONS}

    def gives(self, name: str) -> bool:
        """Whether somebody gave this option."""
        return self.given is not None and name in self.given


_DEFAULTS: dict[str, Any] = {f.name: f.default for f in fields(ServiceOptions) if f.name in SERVICE_OPTIONS}
KEEP_S = {"complete": 86400.0, "cancelled": 86400.0, "expired": 86400.0, "failed": 2592000.0}
BACKOFF_S_MAX = 3600.0
OF_SCHEDULES = "cron:"  # so begin the ids and unique keys of their jobs
NO_OPTIONS = JobOptions()


def job_options(frame: bytes | None) -> JobOptions:
    """The options of an `OPTS-JSON:` frame's body. Raises OptionError."""
    if frame is None:
        return NO_OPTIONS
    try:
        given = json_in(frame)
    except BadJson as wrong:
        raise OptionError("OPTS-JSON", f"OPTS-JSON is not JSON: {wrong}") from None
    return job_options_of(given)


def job_options_of(given: object) -> JobOptions:
    """Checked options of a JSON object. Raises OptionError."""
    if not isinstance(given, dict):
        raise OptionError("OPTS-JSON", 'OPTS-JSON must be a JSON object, such as {"retries": 5}')
    options = JobOptions()
    for name, value in given.items():
        row = _ACCEPTED.get(name)
        if row is None:
            raise OptionError(name, no_such(name, "option of a job", JOB_OPTIONS))
        if value is not None:
            setattr(options, name, option(name, row, value))
    if options.delay is not None and options.at is not None:
        raise OptionError("at", "give 'delay' or 'at', not both")
    for name in ("id", "unique"):
        if str(getattr(options, name)).startswith(OF_SCHEDULES):
            raise OptionError(name, f"option '{name}': what begins with '{OF_SCHEDULES}' is for schedules")
    return options


def service_options(given: Mapping[str, Any]) -> ServiceOptions:
    """Checked options of a `[services.NAME]` table. Raises OptionError."""
    options = ServiceOptions()
    for name, value in given.items():
        if name not in SERVICE_OPTIONS:
            raise OptionError(name, no_such(name, "option of a service", SERVICE_OPTIONS))
        setattr(options, name, option(name, SERVICE_OPTIONS[name], value))
    options.given = frozenset(given)
    _can_start(options)
    return options


def worker_options(given: object) -> dict[str, Any]:
    """Checked `defaults` of a READY; null is not given. Raises OptionError."""
    if not isinstance(given, dict):
        raise OptionError("defaults", "'defaults' must be a JSON object, such as {\"retries\": 5}")
    told: dict[str, Any] = {}
    for name, value in given.items():
        if name in SERVICE_OPTIONS and name not in WORKER_OPTIONS:
            text = f"option '{name}' is not for a worker to give: that may be {', '.join(WORKER_OPTIONS)}"
            raise OptionError(name, text)
        if name not in WORKER_OPTIONS:
            raise OptionError(name, no_such(name, "option that a worker gives", WORKER_OPTIONS))
        if value is not None:
            told[name] = option(name, WORKER_OPTIONS[name], value)
    return told


def with_defaults(configured: ServiceOptions, told: Mapping[str, Any]) -> ServiceOptions:
    """The options of a service whose worker tells these: what the configuration gives goes before them.
    Raises OptionError where both together let no job start."""
    behind = {name: value for name, value in told.items() if not configured.gives(name)}
    options = replace(configured, **behind)
    _can_start(options)
    return options


def _can_start(options: ServiceOptions) -> None:
    if options.expires is not None and options.delay >= options.expires:
        text = (
            f"its jobs can only expire: 'delay' is {options.delay:g} s, and 'expires' {options.expires:g} s"
        )
        raise OptionError("expires", text)


def option(name: str, row: Row, value: Any) -> Any:
    """The value in the type the option has. Raises OptionError."""
    try:
        return checked(f"option '{name}'", row, value)
    except Unfit as wrong:
        raise OptionError(name, str(wrong)) from None


assert {f.name for f in fields(JobOptions)} == set(_ACCEPTED)
assert set(_DEFAULTS) == set(SERVICE_OPTIONS)
