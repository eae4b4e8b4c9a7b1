"""Questions that pages ask the broker: those of all who look at the same moment are one.

Rule 1: an answer is shared for a second (`FRESH_S`), so ten open pages ask as much as one. Figures that move
        slowly are shared for longer (`fresh_s`), and also over changes.
Rule 2: what may differ by who asks is not asked here, and nothing that changes anything.
Rule 3: a person does not wait for ever: after `PATIENCE_S` the page says that nobody answers.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Mapping
from typing import Any

from zmws.client.asynchronous import AsyncClient
from zmws.errors import ZmwsError
from zmws.gateway.problems import Problem

PATIENCE_S = 8.0
FRESH_S = 1.0
_KEPT_MAX = 500  # answers


class Looks:
    """What was asked lately, and the answers."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._asked: dict[tuple[str, str], tuple[float, asyncio.Future[Any]]] = {}
        self._slow: dict[tuple[str, str], tuple[float, asyncio.Future[Any]]] = {}

    async def ask(
        self,
        service: str,
        question: Mapping[str, Any] | None = None,
        fresh_s: float = FRESH_S,
        mark: str = "",
    ) -> Any:
        """The answer of a `zmws.*` service, at most so old, and for the same `mark`. Raises as Visitor.ask,
        and Problem when nobody answers in time."""
        key = service, json.dumps(question or {}, sort_keys=True) + mark
        now = time.monotonic()
        kept = self._asked if fresh_s <= FRESH_S else self._slow
        known = kept.get(key)
        if known is None or (known[1].done() and (now - known[0] > fresh_s or _is_bad(known[1]))):
            asked = asyncio.ensure_future(self._client.ask_status(service, dict(question or {}), 0.0))
            asked.add_done_callback(_seen)
            if len(kept) >= _KEPT_MAX:
                _forget(kept, now)
            known = kept[key] = now, asked
        told = await patiently(asyncio.shield(known[1]))
        return told[1]

    def clear(self) -> None:
        """Something has changed: whoever asks from now on is told how it is now."""
        self._asked.clear()


def _forget(kept: dict[tuple[str, str], tuple[float, asyncio.Future[Any]]], now: float) -> None:
    """Half of those that are not shared at this very moment, the oldest first."""
    old = [key for key, one in kept.items() if now - one[0] > FRESH_S and one[1].done()]
    for key in old[: _KEPT_MAX // 2]:
        del kept[key]


def _is_bad(asked: asyncio.Future[Any]) -> bool:
    return asked.done() and (asked.cancelled() or asked.exception() is not None)


def _seen(asked: asyncio.Future[Any]) -> None:
    """Nobody may wait for it any more: its fault is no news."""
    if not asked.cancelled():
        asked.exception()


async def patiently(asked: Awaitable[Any]) -> Any:
    """What is waited for. Raises Problem after `PATIENCE_S`."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            return await asked
    except TimeoutError:
        raise Problem(503, "no_broker", f"the broker has not answered within {PATIENCE_S:g} s") from None


async def or_none(asked: Awaitable[Any]) -> Any:
    """What a page can do without; None where it is refused, or nobody answers."""
    try:
        return await asked
    except (ZmwsError, Problem, TimeoutError):
        return None


_going_on: set[asyncio.Future[Any]] = set()


async def within(asked: Awaitable[Any], most_s: float) -> Any:
    """What is answered in time, else None: then it goes on, and nobody waits for it any more."""
    task = asyncio.ensure_future(asked)
    _going_on.add(task)
    task.add_done_callback(_going_on.discard)
    task.add_done_callback(_seen)
    done, _ = await asyncio.wait((task,), timeout=most_s)
    return await task if done else None
