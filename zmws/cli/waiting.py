"""A note for whoever waits for a job that cannot be accepted now, or that nobody can begin."""

from __future__ import annotations

import concurrent.futures
import contextlib
import threading
from collections.abc import Callable
from typing import Any

from zmws.cli.output import say
from zmws.client.synchronous import Client
from zmws.errors import ZmwsError

PATIENCE_S = 2.0  # most answers are there by then
ANSWER_S = 5.0


class WaitNote:
    """While it is open: says once, after a while, that the broker waits for its store, or that a service has
    no worker or is paused."""

    def __init__(
        self, client: Client, service: str, say: Callable[[str], None] = say, for_result: bool = True
    ) -> None:
        """`say`: writes a note for a person. `for_result`: whether somebody waits for more than the id."""
        self._client = client
        self._service = service
        self._say = say
        self._for_result = for_result
        self._over = False
        self._timer = threading.Timer(PATIENCE_S, self._look)
        self._timer.daemon = True

    def __enter__(self) -> WaitNote:
        self._timer.start()
        return self

    def __exit__(self, *_: Any) -> None:
        self._over = True
        self._timer.cancel()

    def _look(self) -> None:
        with contextlib.suppress(
            ZmwsError, concurrent.futures.TimeoutError, concurrent.futures.CancelledError
        ):
            stats = self._client.answer_future("zmws.stats", {}).result(ANSWER_S)
            if self._over:
                return
            if stats.get("store_waits_for"):
                self._say(
                    f"zmws: the broker accepts nothing now, its commits wait: {stats['store_waits_for']}"
                )
                return
            if not self._for_result:
                return
            rows = self._client.answer_future("zmws.services", {}).result(ANSWER_S)
            row = next((row for row in rows if row["service"] == self._service), None)
            if row is None or self._over:
                return
            if not row["workers"]:
                self._say(f"zmws: {self._service} has no worker; the job waits until one comes (Ctrl-C ends)")
            elif row["paused"]:
                self._say(f"zmws: {self._service} is paused; the job waits until it is resumed (Ctrl-C ends)")
