"""Where chance comes from: job ids, nonces, jitter, a secret. The core is handed these and draws nothing."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zmws.core.turn import Calendar, Suppliers

_random_hex: list[str] = []


def _random_20() -> str:
    """80 random bits of the operating system in hex. Drawn in blocks: a system call for each would
    cost a job more than the rest of its id."""
    try:
        return _random_hex.pop()
    except IndexError:  # and not "if empty": another thread may take the last one in between
        block = os.urandom(10 * 512).hex()
        _random_hex.extend(block[n : n + 20] for n in range(20, len(block), 20))
        return block[:20]


# A child process that draws on its parent's block would draw the parent's ids.
os.register_at_fork(after_in_child=_random_hex.clear)


def new_id() -> str:
    """A UUIDv7 (RFC 9562 section 5.7): sorts by time, 74 random bits."""
    when, chance = f"{time.time_ns() // 1_000_000:012x}", _random_20()
    variant = "89ab"[int(chance[3], 16) & 3]
    return f"{when[:8]}-{when[8:]}-7{chance[:3]}-{variant}{chance[4:7]}-{chance[7:19]}"


def nonce() -> str:
    """64 random bits, in hex."""
    return _random_20()[:16]


def suppliers(calendar: Calendar) -> Suppliers:
    """The real ones, for a broker process. `calendar`: zmws.cron."""
    from zmws.core.turn import Suppliers  # not at the top: a client needs an id, and none of the core

    return Suppliers(
        new_id=new_id, nonce=nonce, jitter=random.random, secret=os.urandom(32), calendar=calendar
    )
