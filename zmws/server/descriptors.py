"""How many descriptors are in use: each connection takes one, and without a free one none is accepted.

libzmq's I/O thread then tries again and again without a pause. Its monitor would tell of each try
(ACCEPT_FAILED), hundreds of thousands a second: that holds up the loop, so the descriptors are counted.
"""

from __future__ import annotations

import logging
import resource
from pathlib import Path

TOLD_AGAIN_S = 60.0
_OPEN = Path("/proc/self/fd")

log = logging.getLogger("zmws.broker")


class DescriptorWatch:
    """What is in use of what this process may have; said in the log when it runs short."""

    def __init__(self, warn_percent: int) -> None:
        self._warn_percent = warn_percent
        self.limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        self.open = 0  # 0 also where the system does not tell
        self.times_out = 0  # how often there was none left
        self._out_told_at: float | None = None  # when it was said last that there is none
        self._warned = False

    def look(self, now: float) -> None:
        """Count them, and say what there is to say."""
        self.open = _count(self.limit)
        warn_at = self.limit * self._warn_percent // 100
        if self.open >= self.limit:
            self._out(now)
        elif self._out_told_at is not None and self.open < self.limit - self.limit // 20:
            # Well below, or each connection that is closed and taken would be told.
            self._out_told_at = None
            log.warning("there are descriptors again: %d of %d are in use", self.open, self.limit)
        if self.open >= warn_at and not self._warned:
            self._warned = True
            log.warning(
                "%d of %d descriptors are in use, and each connection takes one; 'ulimit -n' or LimitNOFILE= "
                "gives more (broker.descriptors_warn_percent)",
                self.open,
                self.limit,
            )
        elif self.open < warn_at - warn_at // 10:
            self._warned = False

    def _out(self, now: float) -> None:
        if self._out_told_at is None:
            self.times_out += 1
        elif now < self._out_told_at + TOLD_AGAIN_S:
            return
        self._out_told_at = now
        log.error(
            "out of descriptors: all %d are in use. Nobody who connects is accepted until some are closed, "
            "and a processor is kept busy with trying; 'ulimit -n' or LimitNOFILE= gives more",
            self.limit,
        )


def _count(limit: int) -> int:
    try:
        count = _OPEN.stat().st_size
        # Before Linux 6.2 it is 0, and they have to be listed, which takes one by itself.
        return count or len(list(_OPEN.iterdir())) - 1
    except FileNotFoundError:
        return 0  # no such thing here
    except OSError:
        return limit  # not even this one can be opened
