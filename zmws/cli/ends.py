"""How a command ends: one line on standard error, the exit code of the README, and with --json the ERROR."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from zmws.cli.output import give_up, say
from zmws.errors import (
    BadValue,
    BrokerUnreachable,
    JobFailed,
    JobTimeout,
    Refused,
    SettingsError,
    StoreError,
    ZmwsError,
)

FAILED, USAGE, NO_BROKER, REFUSED, TIMED_OUT = 1, 2, 3, 4, 124
INTERRUPTED, NO_READER = 130, 141  # as a shell shows SIGINT and SIGPIPE


def zmws() -> str:
    """What to type to run this program again: `bin/zmws` from a checkout, else `zmws`."""
    own = Path(sys.prefix).parent / "bin" / "zmws"
    if Path(sys.prefix).name != ".venv" or not own.is_file():
        return "zmws"
    try:
        short = os.path.relpath(own)
    except OSError:
        return str(own)
    return short if len(short) < len(str(own)) else str(own)


def ended_by(fault: BaseException, as_json: bool = False) -> int:
    """Say what went wrong, with `as_json` print its ERROR; the exit code. Raises what is our own fault."""
    if isinstance(fault, BrokenPipeError):
        give_up(sys.stdout)  # whoever read the answer has seen enough
        return NO_READER
    if isinstance(fault, (KeyboardInterrupt, click.Abort)):
        say("zmws: interrupted")
        return INTERRUPTED
    if isinstance(fault, click.ClickException):
        fault.show()
        return fault.exit_code
    if not isinstance(fault, ZmwsError):
        raise fault
    text, code = _told(fault)
    say(f"zmws: {text}")
    if as_json:
        from zmws.cli.tables import show_json

        show_json(error_shown(fault))
    return code


def _told(fault: ZmwsError) -> tuple[str, int]:
    """What a person is told, and the exit code."""
    if isinstance(fault, BrokerUnreachable):
        if fault.reason and not fault.maybe_accepted:
            return str(fault), NO_BROKER  # there is one, and it says why not
        hint = "the job may have been accepted" if fault.maybe_accepted else f"'{zmws()} start' starts one"
        return f"{fault} ({hint})", NO_BROKER
    if isinstance(fault, JobTimeout):
        return str(fault), TIMED_OUT
    if isinstance(fault, JobFailed):
        return (f"the job failed: {named(fault)}" if fault.code == "job_failed" else str(fault)), FAILED
    if isinstance(fault, Refused):
        hint = f" ('{zmws()} services' lists those there are)" if fault.code == "unknown_service" else ""
        return f"refused ({fault.code}): {fault}{hint}", REFUSED
    return str(fault), USAGE if isinstance(fault, SettingsError) else FAILED


def named(fault: ZmwsError) -> str:
    """The text of an error, behind the type of the worker's exception where there was one."""
    from zmws.cli.tables import plain

    return plain(f"{fault.type}: {fault}" if isinstance(fault, JobFailed) and fault.type else str(fault))


def error_shown(fault: ZmwsError) -> dict[str, Any]:
    """An error for programs: the ERROR of docs/errors.md, and the job's `id` where there is a job."""
    shown: dict[str, Any] = {"code": _code(fault), "error": str(fault)}
    if isinstance(fault, BrokerUnreachable):
        shown["maybe_accepted"] = fault.maybe_accepted
    elif isinstance(fault, (JobFailed, JobTimeout)):
        names = ("type", "traceback", "attempts") if isinstance(fault, JobFailed) else ()
        shown |= {name: value for name in names if (value := getattr(fault, name)) is not None}
        if fault.job_id is not None:
            shown["id"] = fault.job_id
    return shown


def _code(fault: ZmwsError) -> str:
    """One word of docs/errors.md."""
    if isinstance(fault, (Refused, JobFailed, JobTimeout)):
        return fault.code
    for kind, code in _CODES.items():
        if isinstance(fault, kind):
            return code
    return "command_failed"


_CODES: dict[type[ZmwsError], str] = {
    BrokerUnreachable: "no_broker",
    SettingsError: "bad_settings",
    StoreError: "store_failed",
    BadValue: "bad_value",
}
