"""Where a worker stands with its broker, and the one table of moves.

        connect               hear
AWAY -----------> GREETING --------> REGISTERED
 ^ ^                |   |              |   |
 | |      lose      |   |    lose      |   |
 | +----------------+---|--------------+   |
 |                      |     dismiss      |
 |  retire              +---------+--------+
 +------------- DISMISSED <-------+                 connect: DISMISSED --> GREETING
                                   leave: AWAY, GREETING, REGISTERED, DISMISSED --> STOPPED
"""

from __future__ import annotations

from enum import Enum


class State(Enum):
    """Where a worker stands with its broker."""

    AWAY = "no connection; the next is made at its time"
    GREETING = "READY is said, or will be when the handshake is through; nothing was heard yet"
    REGISTERED = "a broker has answered"
    DISMISSED = "cancelled, then disconnected: it comes back when work() has returned"
    STOPPED = "it has left"


AWAY, GREETING, REGISTERED, DISMISSED, STOPPED = State

TRANSITIONS: dict[State, dict[str, State]] = {
    AWAY: {"connect": GREETING, "leave": STOPPED},
    GREETING: {"hear": REGISTERED, "lose": AWAY, "dismiss": DISMISSED, "leave": STOPPED},
    REGISTERED: {"lose": AWAY, "dismiss": DISMISSED, "leave": STOPPED},
    # retire: it is stopping, and registers no more
    DISMISSED: {"connect": GREETING, "retire": AWAY, "leave": STOPPED},
    STOPPED: {},
}
OPEN = (GREETING, REGISTERED)  # there is a socket
