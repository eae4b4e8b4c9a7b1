"""Where chance comes from: job ids, nonces, jitter. The core is handed these and draws nothing itself."""

from __future__ import annotations

import os
import random
import time

from zmws.core.turn import Suppliers


def new_id() -> str:
    """A UUIDv7 (RFC 9562 section 5.7): sorts by time, 74 random bits."""
    milliseconds = time.time_ns() // 1_000_000
    noise = int.from_bytes(os.urandom(10), "big")
    value = milliseconds << 80 | 7 << 76 | (noise >> 68) << 64 | 2 << 62 | noise & (1 << 62) - 1
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_nonces: list[str] = []


def nonce() -> str:
    """64 random bits from the operating system, in hex. Drawn in blocks: a system call for each
    would cost a job more than the rest of its token."""
    if not _nonces:
        block = os.urandom(8 * 512).hex()
        _nonces.extend(block[n : n + 16] for n in range(0, len(block), 16))
    return _nonces.pop()


def suppliers() -> Suppliers:
    """The real ones, for a broker process."""
    return Suppliers(new_id=new_id, nonce=nonce, jitter=random.random)
