"""What the broker says while the supervisor waits for nobody: questions without
waiting, one look at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from zmws.client.synchronous import Client
from zmws.key_file import NO_KEY, KeyFile

_CONNECT_S = 1.0


@dataclass(frozen=True, slots=True)
class Look:
    """What the broker said: `stats`, None if it did not answer, and rows of zmws.workers and zmws.services.
    `took_s`: how long it took to know."""

    stats: dict[str, Any] | None
    workers: list[dict[str, Any]]
    services: list[dict[str, Any]]
    took_s: float


class Watch:
    """Looks at the broker. `wake` is called, from another thread, when there is something to take."""

    def __init__(self, wake: Callable[[], None]) -> None:
        self._wake = wake
        self._client: Client | None = None
        self._address = ""
        self._key: KeyFile | None = None
        self._asked: list[Future[tuple[int, Any]]] = []
        self._began = 0.0

    def turn_to(self, address: str, key: KeyFile | None) -> None:
        """From now on look at the broker there. `key`: who we are for it."""
        if (address, key) != (self._address, self._key):
            self.close()
            self._address, self._key = address, key

    @property
    def is_looking(self) -> bool:
        """A look has begun, and is not taken yet."""
        return bool(self._asked)

    def look(self, now: float, questions: Sequence[str]) -> None:
        """Begin to look. `questions`: zmws.stats first, then those whose answers are wanted."""
        if self._client is None:
            self._client = Client(self._address, connect_timeout=_CONNECT_S, key=self._key or NO_KEY)
        self._began = now
        self._asked = [self._client.ask_future(question) for question in questions]
        for one in self._asked:
            one.add_done_callback(lambda _: self._wake())

    def take(self, now: float) -> Look | None:
        """What was seen, if that is known by now."""
        if not self._asked or not all(one.done() for one in self._asked):
            return None
        told = [one.result() if one.exception() is None else (0, None) for one in self._asked]
        self._asked = []
        answers = [answer if status == 200 else None for status, answer in told] + [None, None]
        took_s = now - self._began
        if answers[0] is None:
            return Look(None, [], [], took_s)
        return Look(answers[0], answers[1] or [], answers[2] or [], took_s)

    def close(self) -> None:
        """Look no more."""
        if self._client is not None:
            self._client.close()
        self._client, self._asked = None, []
