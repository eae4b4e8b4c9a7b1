"""The names of services, and the tokens of attempts: what may stand in a frame, and what it means.

Rule: a name with a prefix (`JOB: `, `SYNC-`) means the service without it, but on `mdp`, where all names are
taken to the letter (RFC 7, RFC 18).
"""

from __future__ import annotations

from functools import lru_cache

from zmws.errors import ProtocolError

SERVICE_BYTES_MAX = 255
_NAME_CUT = SERVICE_BYTES_MAX + len("JOB: SYNC-") + 1
TOKEN_BYTES_MAX = 255  # an id of 128, an attempt, a nonce
_RESERVED = ("mmi.", "zmws.", "SERVER-")


def service_name_fault(name: str, strict: bool = False) -> str | None:
    """What is wrong with a service's name, or None (docs/protocol.md, Sockets). `strict`: to the letter of
    RFC 7 and 18, which know no prefixes, and no text replies that would make a space ambiguous."""
    if not name:
        return "the service name is empty"
    if not name.isprintable():
        return "the service name is not printable"
    if len(name.encode()) > SERVICE_BYTES_MAX:
        return f"the service name is longer than {SERVICE_BYTES_MAX} bytes"
    if strict:
        return None
    if name.startswith(("SYNC-", "JOB:")):
        return f"the service name '{name}' begins with a prefix that means something else"
    if any(c in name for c in " []/"):
        return f"the service name '{name}' holds a space, '[', ']' or '/'"
    return None


def is_reserved(name: str) -> bool:
    """Whether only the broker itself may answer for this name."""
    return name.startswith(_RESERVED)


def service_text(frame: bytes) -> str:
    try:
        text = frame.decode()
    except UnicodeDecodeError:
        raise ProtocolError("bad_service", "a service name that is not UTF-8") from None
    # What is too long stays so when its prefixes are gone, and is refused for it, but not echoed whole.
    return text[:_NAME_CUT]


def service_and_mode(frame: bytes, to_the_letter: bool) -> tuple[str, bool]:
    """The name without its prefixes, and whether the request is synchronous. To the letter, as the RFCs
    have it: there are no prefixes, and every request is."""
    # The same few names come again and again; a frame too long for a name must not be kept.
    return (_known_name if len(frame) <= _NAME_CUT else _parsed_name)(frame, to_the_letter)


def _parsed_name(frame: bytes, to_the_letter: bool) -> tuple[str, bool]:
    name = service_text(frame)
    if to_the_letter:
        return name, True
    if name.startswith("JOB:"):
        name = name[4:].removeprefix(" ")
    if name.startswith("SYNC-"):
        return name[5:], True
    return name, False


_known_name = lru_cache(maxsize=4_096)(_parsed_name)


def bad_token(token: bytes) -> ProtocolError:
    # A token is echoed and remembered, so one that cannot be ours goes no further.
    return ProtocolError("bad_token", f"a token of {len(token)} bytes")
