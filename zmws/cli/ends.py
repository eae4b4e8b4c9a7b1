"""How a command ends: one line on standard error, and the exit code of DESIGN section 10."""

from __future__ import annotations

import os
import sys

import click

from zmws.errors import BrokerUnreachable, JobFailed, JobTimeout, Refused, SettingsError, ZmwsError

FAILED, USAGE, NO_BROKER, REFUSED, TIMED_OUT, INTERRUPTED = 1, 2, 3, 4, 124, 130


def say(text: str) -> None:
    """A note for a person: on standard error, so that standard output is only the answer."""
    click.echo(text, err=True)


def ended_by(fault: BaseException) -> int:
    """Say what went wrong; the exit code. Raises what is our own fault."""
    if isinstance(fault, BrokenPipeError):
        # Whoever read the answer has seen enough. Python would complain again at its exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return FAILED
    if isinstance(fault, (KeyboardInterrupt, click.Abort)):
        say("zmws: interrupted")
        return INTERRUPTED
    if isinstance(fault, click.ClickException):
        fault.show()
        return fault.exit_code
    if isinstance(fault, BrokerUnreachable):
        hint = "the job may have been accepted" if fault.maybe_accepted else "'zmws start' starts one"
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
        say(f"zmws: refused ({fault.code}): {fault}")
        return REFUSED
    if isinstance(fault, SettingsError):
        say(f"zmws: {fault}")
        return USAGE
    if isinstance(fault, ZmwsError):
        say(f"zmws: {fault}")
        return FAILED
    raise fault
