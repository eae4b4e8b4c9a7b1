"""What an exception that left `work()` is told as. Its class is the user's code: whatever it does when it is
looked at, the attempt has failed with something that can be read, and the worker goes on."""

from __future__ import annotations

import math
import os
import re
import sysconfig
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from zmws.errors import BadParams, BadResult
from zmws.wire.causes import cause_of
from zmws.work.raised import Fail, Retry

TRACEBACK_MAX = 20_000  # characters of a traceback that are kept: the end, where the fault is

_TEXT_MAX = 5_000  # of these the exception's own text; the whole of it is told beside

# A frame of a traceback: what stands before it (in an exception group bars), its file.
_FRAME = re.compile(r'^([ |]*)  File "(.+?)", line ', re.MULTILINE)
_FOLDERS = (
    Path(__file__).parent.parent,
    Path(traceback.__file__).parent,
    *(sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")),
)
_NOT_OWN = tuple(f"{folder}{os.sep}" for folder in _FOLDERS)
# Also a user's own, Debian's, and those of an environment around this one.
_PACKAGES = tuple(f"{os.sep}{name}{os.sep}" for name in ("site-packages", "dist-packages"))


def is_a(fault: BaseException, kind: type[BaseException] | tuple[type[BaseException], ...]) -> bool:
    """As isinstance, which would ask the fault itself for its class."""
    return issubclass(type(fault), kind)


def encode_fault(fault: BaseException) -> dict[str, Any]:
    """ERROR of an exception that left `work()`."""
    name = _text(lambda: type(fault).__name__, "") or "exception"
    said = _text(lambda: str(fault), f"{name}, whose text cannot be shown")
    trace = _text(lambda: marked("".join(traceback.format_exception(fault))), "")
    if not trace:
        # Where it was raised can always be told, and its own text is not asked for again.
        where = _text(lambda: "".join(traceback.format_tb(_trace_of(fault))), "")
        trace = f"Traceback (most recent call last):\n{where}{name}: {said}\n"
    if len(said) > _TEXT_MAX:
        trace = trace.replace(said, f"{said[:_TEXT_MAX]} ...")  # else no frame would be left of it
    told: dict[str, Any] = {
        "code": "job_failed",
        "error": said[:TRACEBACK_MAX] or name,
        "type": name,
        "traceback": trace[-TRACEBACK_MAX:],
    }
    if is_a(fault, BadResult):
        told["code"] = "bad_result"
    told["cause"] = cause_of(told)._asdict()
    return told


def asked_of(fault: BaseException) -> dict[str, Any] | None:
    """What the exception itself says of the next attempt: `retry`, `delay` and `count` of an ERROR; None: it
    leaves that to others."""
    if is_a(fault, (BadResult, Fail)):
        return {"retry": False}
    return _asked_of(fault) if is_a(fault, Retry) else None


def exceptions_of(fault: BaseException) -> tuple[BaseException, ...] | None:
    """The exceptions of a group, None if it is none."""
    if not is_a(fault, BaseExceptionGroup):
        return None
    found: tuple[BaseException, ...] = _group(fault)
    return found


def bad_params(wrong: BadParams | Fail) -> dict[str, Any]:
    """ERROR of parameters that work() cannot take."""
    said = _text(lambda: str(wrong), "bad parameters")[:TRACEBACK_MAX]
    return {"code": "bad_params", "error": said or "bad parameters", "retry": False}


def _asked_of(fault: Any) -> dict[str, Any]:
    """What a Retry asks for; nothing, if its class is the author's and keeps that from being read."""
    asked: dict[str, Any] = {}
    try:
        if fault.delay is not None and math.isfinite(fault.delay):
            asked["delay"] = float(fault.delay)
        if not fault.count:
            asked["count"] = False
    except BaseException:  # it is looked at, not run
        return {}
    return asked


def marked(trace: str) -> str:
    """With `>` before each frame that is in a file of the author's own: neither of zmws, nor of Python, nor
    of an installed package."""

    def mark(found: re.Match[str]) -> str:
        return f'{found[1]}{"> " if is_own(found[2]) else "  "}File "{found[2]}", line '

    return _FRAME.sub(mark, trace)


def is_own(file: str) -> bool:
    """Whether a file is the author's: neither of zmws, nor of Python, nor of an installed package."""
    return not file.startswith((*_NOT_OWN, "<")) and not any(part in file for part in _PACKAGES)


# Past whatever the fault's own class makes of its attributes.
_trace_of = vars(BaseException)["__traceback__"].__get__
_group = vars(BaseExceptionGroup)["exceptions"].__get__


def _text(made: Callable[[], str], otherwise: str) -> str:
    """A text that the user's code makes, fit to be sent; `otherwise` if it fails."""
    try:
        return str.encode(made(), "utf-8", "replace").decode()
    except BaseException:  # even SystemExit: it is looked at, not run
        return otherwise
