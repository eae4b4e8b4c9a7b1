"""The options of a job and of a service: names, ranges, defaults (docs/options.md).

Rule 1: one table, read by the broker (`OPTS-JSON`), the settings file (`[services.NAME]`) and the
        command line, so that a name or a range stands nowhere twice.
Rule 2: a refusal names the option, the value and the range.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import datetime
from difflib import get_close_matches
from typing import Any, Literal

from zmws.errors import BadJson, OptionError
from zmws.wire.values import json_in

ID_PATTERN = re.compile(r"[A-Za-z0-9._:-]{1,128}\Z")
YEAR_S = 366 * 86400.0
KEY_BYTES_MAX = 255
YEAR_END = 9000  # a time that is put off, or shown in another zone, must still be one


@dataclass(frozen=True, slots=True)
class Spec:
    """One option: how its value is checked, and what to say when it is wrong."""

    kind: Literal["int", "seconds", "number", "text", "id", "time", "choice", "bool", "ageing"]
    help: str
    low: float = 0
    high: float = YEAR_S
    choices: tuple[str, ...] = ()
    above_low: bool = False  # the bound itself is not allowed


JOB_OPTIONS: dict[str, Spec] = {
    "id": Spec("id", "the caller's own job id; submitting it twice is one job"),
    "priority": Spec("int", "-1000..1000; higher runs sooner", -1000, 1000),
    "delay": Spec("seconds", "seconds from now before it may start"),
    "at": Spec("time", "ISO 8601 time with zone before which it may not start"),
    "ttr": Spec("seconds", "time to run, seconds per attempt", 0, above_low=True),
    "retries": Spec("int", "how many failures it may survive", 0, 1_000_000),
    "backoff": Spec("seconds", "seconds before retry n (from 0): backoff * 2**n, at most 1 h"),
    "expires": Spec("seconds", "seconds in which it must have started", 0, above_low=True),
    "unique": Spec("text", "key: one unfinished job of the service with this key"),
    "keep": Spec("seconds", "seconds that record and result are kept after the end"),
    "durability": Spec(
        "choice", "'disk' or 'memory': what the acknowledgement stands for", choices=("disk", "memory")
    ),
    "group": Spec("text", "fairness key: groups with waiting jobs take turns"),
}

SERVICE_ONLY_OPTIONS: dict[str, Spec] = {
    "ageing": Spec("ageing", "seconds of head start a point of priority gives, or 'off': strict"),
    "max_running": Spec("int", "how many of its jobs may run at once", 1, 1_000_000),
    "rate": Spec("number", "job starts per second", 0, 1_000_000, above_low=True),
    "max_waiting": Spec("int", "waiting jobs beyond which new ones are refused", 1, 1_000_000_000),
    "paused": Spec("bool", "true: its jobs wait until the service is resumed"),
}

# What a job's own options make no sense of as a service's default.
_OF_ONE_JOB = {"id", "at", "unique", "group"}
SERVICE_OPTIONS: dict[str, Spec] = {
    **{name: spec for name, spec in JOB_OPTIONS.items() if name not in _OF_ONE_JOB},
    **SERVICE_ONLY_OPTIONS,
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
    ageing: float | None = 60.0  # None: off, strict priority
    max_running: int | None = None
    rate: float | None = None
    max_waiting: int | None = None
    paused: bool = False


KEEP_S = {"complete": 86400.0, "cancelled": 86400.0, "expired": 86400.0, "failed": 2592000.0}
BACKOFF_S_MAX = 3600.0
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
        spec = JOB_OPTIONS.get(name)
        if spec is None:
            raise OptionError(name, _no_such("option of a job", name, JOB_OPTIONS))
        if value is not None:
            setattr(options, name, checked(name, spec, value))
    if options.delay is not None and options.at is not None:
        raise OptionError("at", "give 'delay' or 'at', not both")
    return options


def service_options(given: Mapping[str, Any]) -> ServiceOptions:
    """Checked options of a `[services.NAME]` table. Raises OptionError."""
    options = ServiceOptions()
    for name, value in given.items():
        spec = SERVICE_OPTIONS.get(name)
        if spec is None:
            raise OptionError(name, _no_such("option of a service", name, SERVICE_OPTIONS))
        setattr(options, name, checked(name, spec, value))
    if options.expires is not None and options.delay >= options.expires:
        text = (
            f"its jobs can only expire: 'delay' is {options.delay:g} s, and 'expires' {options.expires:g} s"
        )
        raise OptionError("expires", text)
    return options


def checked(name: str, spec: Spec, value: Any) -> Any:
    """`value` in the type the option has, or OptionError that names option, value and range."""
    kind = spec.kind
    if kind == "id":
        if isinstance(value, str) and ID_PATTERN.match(value):
            return value
        raise _wrong(name, value, "1 to 128 characters of A-Z a-z 0-9 . _ : -")
    if kind in ("seconds", "number", "int"):
        return _checked_number(name, spec, value)
    if kind == "text":
        # A lone surrogate passes json.loads, and could be neither stored nor sent.
        if isinstance(value, str) and value.isprintable() and 0 < len(value.encode()) <= KEY_BYTES_MAX:
            return value
        raise _wrong(name, value, f"a printable text of 1 to {KEY_BYTES_MAX} bytes")
    if kind == "choice":
        if isinstance(value, str) and value in spec.choices:
            return value
        raise _wrong(name, value, "one of " + ", ".join(spec.choices))
    if kind == "bool":
        if isinstance(value, bool):
            return value
        raise _wrong(name, value, "true or false")
    if kind == "ageing":
        if value == "off":
            return None
        if _is_number(value) and 0 < value <= YEAR_S:
            return float(value)
        raise _wrong(name, value, "a number of seconds above 0, or 'off'")
    assert kind == "time", kind
    return _checked_time(name, value)


def _checked_number(name: str, spec: Spec, value: Any) -> int | float:
    unit = "seconds " if spec.kind == "seconds" else ""
    whole = "a whole number" if spec.kind == "int" else "a number"
    low = f"above {spec.low:g}" if spec.above_low else f"from {spec.low:g}"
    expected = f"{whole} of {unit}{low} to {spec.high:.0f}" if unit else f"{whole} {low} to {spec.high:.0f}"
    if not _is_number(value) or (spec.kind == "int" and value != int(value)):
        raise _wrong(name, value, expected)
    if not spec.low <= value <= spec.high or (spec.above_low and value == spec.low):
        raise _wrong(name, value, expected)
    return int(value) if spec.kind == "int" else float(value)


def _checked_time(name: str, value: Any) -> float:
    expected = "an ISO 8601 time with its zone, such as 2027-01-31T08:00:00Z"
    if not isinstance(value, str):
        raise _wrong(name, value, expected)
    try:
        moment = datetime.fromisoformat(value)
        if moment.tzinfo is None:
            raise _wrong(name, value, expected)
        if moment.year >= YEAR_END:
            raise _wrong(name, value, f"{expected}, before the year {YEAR_END}")
        return moment.timestamp()
    except (ValueError, OverflowError):
        raise _wrong(name, value, expected) from None


def _is_number(value: Any) -> bool:
    # NaN and the infinities pass json.loads and isinstance; they compare false or break arithmetic.
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) < 1e18


def _wrong(name: str, value: Any, expected: str) -> OptionError:
    try:
        shown = json.dumps(value, default=str)
    except (RecursionError, ValueError):  # nested too deep, or a number of thousands of digits
        shown = "something that cannot be shown"
    if len(shown) > 80:
        shown = shown[:77] + "..."
    return OptionError(name, f"option '{name}' is {shown}, but must be {expected}")


def _no_such(what: str, name: str, known: Mapping[str, Spec]) -> str:
    # To compare takes the longer the longer the name is, and whoever asks waits for it.
    near = get_close_matches(name[:40], known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else f"; there are {', '.join(known)}"
    return f"'{name[:80]}' is no {what}{hint}"


assert {f.name for f in fields(JobOptions)} == set(JOB_OPTIONS)
assert {f.name for f in fields(ServiceOptions)} == set(SERVICE_OPTIONS)
