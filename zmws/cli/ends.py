"""How a command ends: one line on standard error, and the exit code of DESIGN section 10."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import click

from zmws.errors import BrokerUnreachable, JobFailed, JobTimeout, Refused, SettingsError, ZmwsError

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


def say(text: str) -> None:
    """A note for a person: on standard error, so that standard output is only the answer."""
    click.echo(text, err=True)


def ended_by(fault: BaseException) -> int:
    """Say what went wrong; the exit code. Raises what is our own fault."""
    if isinstance(fault, BrokenPipeError):
        # Whoever read the answer has seen enough. Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NO_READER
    if isinstance(fault, (KeyboardInterrupt, click.Abort)):
        say("zmws: interrupted")
        return INTERRUPTED
    if isinstance(fault, click.ClickException):
        fault.show()
        return fault.exit_code
    if isinstance(fault, BrokerUnreachable):
        hint = "the job may have been accepted" if fault.maybe_accepted else f"'{zmws()} start' starts one"
        say(f"zmws: {fault} ({hint})")
        return NO_BROKER
    if isinstance(fault, JobTimeout):
        say(f"zmws: {fault}")
        return TIMED_OUT
    if isinstance(fault, JobFailed):
        kind = f"{fault.type}: " if fault.type else ""
        say(f"zmws: the job failed: {kind}{fault}" if fault.code == "job_failed" else f"zmws: {fault}")
        return FAILED
    if isinstance(fault, Refused):
        hint = f" ('{zmws()} services' lists those there are)" if fault.code == "unknown_service" else ""
        say(f"zmws: refused ({fault.code}): {fault}{hint}")
        return REFUSED
    if isinstance(fault, SettingsError):
        say(f"zmws: {fault}")
        return USAGE
    if isinstance(fault, ZmwsError):
        say(f"zmws: {fault}")
        return FAILED
    raise fault
