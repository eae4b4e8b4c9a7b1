"""The states of a job, and the one table of its transitions.

                  due                 dispatch                complete
    scheduled ----------> waiting ----------------> running ------------> complete
        ^                  |   ^                    |  |  |
        |                  |   |     give_back      |  |  |   exhaust
        |                  |   +--------------------+  |  +-------------> failed
        |                  |          back_off         |
        +------------------|---------------------------+
     cancel: scheduled, waiting, running --> cancelled
     expire: scheduled, waiting          --> expired
     reject: scheduled, waiting          --> failed
     revive: failed, cancelled, expired  --> waiting

Rule: a state changes by `Job.move` alone (job.py), and only as TRANSITIONS says.
"""

from __future__ import annotations

SCHEDULED, WAITING, RUNNING = "scheduled", "waiting", "running"
COMPLETE, FAILED, CANCELLED, EXPIRED = "complete", "failed", "cancelled", "expired"
STATES = (SCHEDULED, WAITING, RUNNING, COMPLETE, FAILED, CANCELLED, EXPIRED)
FINAL_STATES = frozenset({COMPLETE, FAILED, CANCELLED, EXPIRED})

TRANSITIONS: dict[str, dict[str, str]] = {
    # reject: a step of a chain for which no parameters could be made
    SCHEDULED: {"due": WAITING, "cancel": CANCELLED, "expire": EXPIRED, "reject": FAILED},
    WAITING: {"dispatch": RUNNING, "cancel": CANCELLED, "expire": EXPIRED, "reject": FAILED},
    RUNNING: {
        "complete": COMPLETE,
        "give_back": WAITING,  # no failure: a restart, a drain, a job that never arrived
        "back_off": SCHEDULED,  # a failure that it survives
        "exhaust": FAILED,
        "cancel": CANCELLED,
    },
    FAILED: {"revive": WAITING},
    CANCELLED: {"revive": WAITING},
    EXPIRED: {"revive": WAITING},
    COMPLETE: {},
}
REVIVABLE = tuple(state for state in STATES if "revive" in TRANSITIONS[state])
