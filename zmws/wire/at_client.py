"""The wire as our client has it: a native request out, a reply in. The rest of the codec is in mdp.py.

Rule: whoever only asks loads this, and none of what brokers and workers say to each other.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from zmws.errors import ProtocolError
from zmws.wire.values import OPTS_JSON

MDPC02 = b"MDPC02"
C_REQUEST, C_PARTIAL, C_FINAL = b"\x01", b"\x02", b"\x03"  # RFC 18, "MDP/Client"


@dataclass(slots=True)
class Reply:
    """An answer as our client reads it. `kind`: partial, final, accepted, failed or answer."""

    number: bytes
    kind: str
    body: tuple[bytes, ...]


def encode_request(
    number: bytes, service: str, sync: bool, options: dict[str, Any], body: tuple[bytes, ...]
) -> list[bytes]:
    """A native request under the envelope `number | ""`, which every answer brings back."""
    name = f"SYNC-{service}" if sync else service
    frames = [number, b"", MDPC02, C_REQUEST, name.encode()]
    if options:
        frames.append(OPTS_JSON + json.dumps(options).encode())
    frames.extend(body)
    return frames


def decode_at_client(frames: list[bytes]) -> Reply:
    """What a broker answered to a native request of ours. Raises ProtocolError."""
    if len(frames) < 5 or frames[1] != b"" or frames[2] != MDPC02:
        raise ProtocolError("no_command", "not a broker's answer to a native request")
    number, command, body = frames[0], frames[3], tuple(frames[5:])
    if command == C_PARTIAL:
        return Reply(number, "partial", body[1:])
    if command != C_FINAL:
        raise ProtocolError("bad_command", f"{command[:8]!r} is no command to a client")
    verb = body[0].partition(b": ")[0] if body else b""
    if verb == b"COMPLETE":
        return Reply(number, "final", body[1:])
    if verb == b"FAIL":
        return Reply(number, "failed", body[1:])
    if verb == b"JOB":
        return Reply(number, "accepted", body)
    return Reply(number, "answer", body)
