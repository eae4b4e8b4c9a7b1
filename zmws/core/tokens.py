"""The token of an attempt: what a worker echoes, so that its result is taken once.

Rule: nobody but the broker makes one, and whoever reads one reads it from the right.
"""

from __future__ import annotations


def make_token(job_id: str, attempt: int, nonce: str) -> bytes:
    """`ID/ATTEMPT/NONCE`: printable ASCII, the address that a worker echoes (docs/protocol.md, Workers)."""
    return f"{job_id}/{attempt}/{nonce}".encode()


def job_id_of(token: bytes) -> str | None:
    """The job a token speaks of, parsed from the right; None if it is no token."""
    try:
        parts = token.decode("ascii").rsplit("/", 2)
    except UnicodeDecodeError:
        return None
    return parts[0] if len(parts) == 3 else None
