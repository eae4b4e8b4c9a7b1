"""What an exception that left `work()` is told as. Its class is the user's code: whatever it does when it is
looked at, the attempt has failed with something that can be read, and the worker goes on."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from zmws.errors import BadResult, BadValue
from zmws.wire.values import encode_value

TRACEBACK_MAX = 20_000  # characters of a traceback that are kept: the end, where the fault is


def is_a(fault: BaseException, kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """As isinstance, which would ask the fault itself for its class."""
    return issubclass(type(fault), kind)


def encode_fault(fault: BaseException) -> dict[str, Any]:
    """ERROR of an exception that left `work()`."""
    name = _text(lambda: type(fault).__name__, "exception")
    said = _text(lambda: str(fault), f"{name}, whose text cannot be shown")
    trace = _text(lambda: "".join(traceback.format_exception(fault)), "")
    if not trace:
        # Where it was raised can always be told, and its own text is not asked for again.
        where = _text(lambda: "".join(traceback.format_tb(_trace_of(fault))), "")
        trace = f"Traceback (most recent call last):\n{where}{name}: {said}\n"
    told: dict[str, Any] = {
        "code": "job_failed",
        "error": said[:TRACEBACK_MAX] or name,
        "type": name,
        "traceback": trace[-TRACEBACK_MAX:],
    }
    if is_a(fault, BadResult):
        told |= {"code": "bad_result", "retry": False}
    return told


def encode_result(value: Any, name: str) -> tuple[bytes, ...]:
    """A result or a partial one as frames; `name`: which. Raises BadResult."""
    try:
        return encode_value(value, name)
    except BadValue as wrong:
        raise BadResult(str(wrong)) from None


# Past whatever the fault's own class makes of its attributes.
_trace_of = vars(BaseException)["__traceback__"].__get__


def _text(made: Callable[[], str], otherwise: str) -> str:
    """A text that the user's code makes, fit to be sent; `otherwise` if it fails."""
    try:
        return str.encode(made(), "utf-8", "replace").decode()
    except BaseException:  # even SystemExit: it is looked at, not run
        return otherwise
