"""Whether something has changed, for all open pages.

Rule: one pulse a gateway, while any page is open: it asks `zmws.stats` each second, and compares.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from zmws.errors import ZmwsError
from zmws.gateway.looks import Looks
from zmws.gateway.problems import Problem

PULSE_S = 1.0  # between two looks at the broker
TICK_S = 10.0  # an open page is looked at anew at least so often: its plots move on
# What of zmws.stats says that something has changed. Sizes and times always do.
_MARKS = (
    "counters",
    "workers",
    "services",
    "memory_jobs",
    "stored_jobs_held",
    "store_is_full",
    "totals",
    "started_at",
)


class Pulse:
    """The one pulse."""

    def __init__(self, looks: Looks, closing: asyncio.Event) -> None:
        self._looks, self._closing = looks, closing
        self._pages = 0
        self._task: asyncio.Task[None] | None = None
        self._marks: Any = None
        self.here = True  # the broker answers
        self.number = 0  # rises with each change
        self.changed = asyncio.Event()

    def enter(self) -> None:
        """A page is open; `leave` has to follow."""
        self._pages += 1
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    def leave(self) -> None:
        """It is closed."""
        self._pages -= 1
        if not self._pages and self._task is not None:
            self._task.cancel()
            self._task = None  # whoever comes in this very turn starts another

    async def _run(self) -> None:
        ticked = time.monotonic()
        while not self._closing.is_set():
            await self._look()
            if time.monotonic() - ticked >= TICK_S:
                ticked = time.monotonic()
                self._tell()
            await asyncio.sleep(PULSE_S)

    async def _look(self) -> None:
        try:
            async with asyncio.timeout(5 * PULSE_S):
                stats = await self._looks.ask("zmws.stats", fresh_s=0.5 * PULSE_S)
        except (ZmwsError, Problem, TimeoutError):
            here, marks = False, None
        else:
            here, marks = True, {name: stats[name] for name in _MARKS}
        if here != self.here or (here and marks != self._marks):
            first = self._marks is None and here == self.here
            self.here, self._marks = here, marks if here else self._marks
            if not first:
                self._tell()

    def _tell(self) -> None:
        self.number += 1
        self._looks.clear()
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
