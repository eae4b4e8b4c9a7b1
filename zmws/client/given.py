"""What a caller hands over, made ready to be sent: names of services, options, numbers of seconds.

Rule: what has passed here can be encoded. It is found out in the caller's thread and told by name; the
thread that sends has everybody's requests to carry.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from zmws.core.options import JOB_OPTIONS
from zmws.errors import OptionError, Refused
from zmws.wire import names

Seconds = float | timedelta


class Handle:
    """What a client gives for something that a broker has. Where the broker wants the id of such a thing, the
    handle itself may be given."""

    _stands_for: str  # the name of the option or of the filter
    id: str


_WIRE_ONLY = ("JOB:", "SYNC-")  # how the wire says whether the asker waits
_EXPECTED = {
    "time": "an ISO 8601 text or a datetime, with its zone",
    "seconds": "a number of seconds, or a timedelta",
    "whole": "a whole number",
    "id": "a text, or a UUID",
    "batch": "the id of a batch, or what Client.batch gives",
    "object": "a dict that JSON can hold",
}


def service_of(service: object) -> str:
    """The name of a service. Raises Refused (bad_service)."""
    if not isinstance(service, str):
        raise Refused("bad_service", f"a service is asked for by its name, a text, not by {_shown(service)}")
    name = service
    while name.startswith(_WIRE_ONLY):
        name = name.removeprefix("JOB:").lstrip().removeprefix("SYNC-")
    if name != service:
        raise Refused(
            "bad_service",
            f"{service!a} is the name with what a message says before it: write {name!a}; "
            "'call' waits for the result, and 'submit' does not",
        )
    fault = names.service_name_fault(name)
    if fault is not None:
        raise Refused("bad_service", fault)
    return name


def options_given(options: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a job that are given, as JSON has them. Raises OptionError.

    Ranges are the broker's to check, and names that it may know and we do not.
    """
    return {name: _option(name, value) for name, value in options.items() if value is not None}


def seconds(name: str, value: Any, endless: bool = False) -> float:
    """A number of seconds. `name`: of the argument; `endless`: it may be infinite. Raises OptionError."""
    if isinstance(value, timedelta):
        return value.total_seconds()
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            given = float(value)
            if math.isfinite(given) or (endless and given == math.inf):
                return given
    except OverflowError:
        pass  # it has hundreds of digits
    raise _wrong(name, value, _EXPECTED["seconds"])


def seconds_or_none(name: str, value: Any) -> float | None:
    """As `seconds`; None, and an endless time, is none."""
    given = None if value is None else seconds(name, value, endless=True)
    return None if given == math.inf else given


def filters_given(given: Mapping[str, Any]) -> dict[str, Any]:
    """A filter as the broker reads it, where datetimes and handles may be given."""
    return {name: _filter_value(name, value) for name, value in given.items()}


def _filter_value(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return value.id if isinstance(value, Handle) and value._stands_for == name else value


def time_given(name: str, value: Any) -> Any:
    """A datetime as the broker reads it; anything else as it is. `name`: of the argument. Raises
    OptionError."""
    if not isinstance(value, datetime):
        return value
    if value.utcoffset() is None:
        raise _wrong(name, value, "a datetime with its zone, such as datetime.now(timezone.utc)")
    return value.isoformat()


def _option(name: str, value: Any) -> Any:
    row = JOB_OPTIONS.get(name)
    kind = row.kind if row is not None else ""
    if kind == "time":
        value = time_given(name, value)
    if kind == "seconds" and isinstance(value, timedelta):
        return value.total_seconds()
    if kind == "id" and not isinstance(value, str):
        if isinstance(value, Handle) and value._stands_for == name:
            return value.id
        import uuid  # not at the top: `zmws call` needs none of it

        if isinstance(value, uuid.UUID):
            return str(value)
    try:
        if isinstance(value, dict) if kind == "object" else isinstance(value, (str, int, float)):
            json.dumps(value, allow_nan=False)
            return value
    except (TypeError, ValueError, RecursionError):
        pass  # NaN, an infinity, a number of thousands of digits, what is no JSON
    raise _wrong(name, value, _EXPECTED.get(name if name == "batch" else kind, "a text or a number"))


def _wrong(name: str, value: object, expected: str) -> OptionError:
    return OptionError(name, f"option '{name}' is {_shown(value)}, but must be {expected}")


def _shown(value: object) -> str:
    try:
        shown = ascii(value)
    except Exception:  # a number of thousands of digits, or an object that cannot say what it is
        shown = f"a {type(value).__name__} that cannot be shown"
    return shown if len(shown) <= 80 else shown[:77] + "..."
