"""What a command writes, to standard output and to standard error.

Rule 1: every text comes out. What a stream's encoding does not have is written as JSON escapes it, \\u20ac:
        that is JSON still, and can be read elsewhere.
Rule 2: standard output is only the answer; notes for a person go to standard error, and if nobody takes
        those, the command goes on.
Rule 3: an answer is written at once, so that nothing is left to be written when the command has ended.
"""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import TextIO

from zmws.errors import ZmwsError

ESCAPED = "zmws.escaped"


def set_up() -> None:
    """Rule 1, for all that this process writes."""
    codecs.register_error(ESCAPED, _escaped)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=ESCAPED)


def echo(text: str = "", end: str = "\n") -> None:
    """Write a part of the answer. Raises BrokenPipeError if the reader has gone, and ZmwsError."""
    if sys.stdout is not None:  # a shell's >&- leaves none
        _write(sys.stdout, text + end)


def echo_bytes(value: bytes) -> None:
    """Write bytes as they are. Raises as `echo`."""
    if sys.stdout is None:
        return
    try:
        sys.stdout.flush()
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    except OSError as fault:
        raise _said(fault) from fault


def say(text: str) -> None:
    """A note for a person."""
    if sys.stderr is None:
        return
    try:
        sys.stderr.write(text + "\n")
        sys.stderr.flush()
    except OSError:
        give_up(sys.stderr)


def give_up(stream: TextIO | None) -> None:
    """Nobody takes what is written there. Python would try again at its exit, and complain."""
    if stream is not None:
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, stream.fileno())
        os.close(nothing)


def can_show(text: str) -> bool:
    """Whether standard output has these characters."""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "ascii")
    except UnicodeEncodeError:
        return False
    return True


def has_colours() -> bool:
    """Whether standard output is a terminal, and nobody has said that it is to have none (NO_COLOR)."""
    return sys.stdout is not None and sys.stdout.isatty() and not os.environ.get("NO_COLOR")


def painted(text: str, colour: int) -> str:
    """The text in a colour of a terminal (ECMA-48, SGR)."""
    return f"\x1b[{colour}m{text}\x1b[0m"


def _write(stream: TextIO, text: str) -> None:
    try:
        stream.write(text)
        stream.flush()
    except OSError as fault:
        raise _said(fault) from fault


def _said(fault: OSError) -> Exception:
    """A full disk behind `> file` is said as such; that a reader has gone is nothing to be told."""
    if isinstance(fault, BrokenPipeError):
        return fault
    give_up(sys.stdout)
    return ZmwsError(f"the answer cannot be written: {fault.strerror}")


def _escaped(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeEncodeError):
        raise fault
    units = fault.object[fault.start : fault.end].encode("utf-16-be", "surrogatepass")
    escapes = [f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2)]
    return "".join(escapes), fault.end
