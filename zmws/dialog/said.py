"""What jobs in hand have said last, to be said again to a broker that may not have heard it: PROGRESS,
SAVE, and TOUCH with the seconds that are left of it. What else a job says is said once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

_AGAIN = (b"PROGRESS", b"SAVE")


class Said:
    """By token. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._last: dict[bytes, dict[bytes, tuple[bytes, ...]]] = {}  # by word
        self._touched: dict[bytes, float] = {}  # until when a TOUCH has extended a job's ttr

    def note(self, now: float, token: bytes, body: tuple[bytes, ...]) -> None:
        """A job says this."""
        word = body[0]
        if word in _AGAIN:
            self._last.setdefault(token, {})[word] = body
        elif word == b"TOUCH":
            self._touched[token] = now + float(body[1])

    def forget(self, token: bytes) -> None:
        """The job is not in hand any more."""
        self._last.pop(token, None)
        self._touched.pop(token, None)

    def again(self, now: float, tokens: Iterable[bytes]) -> Iterator[tuple[bytes, tuple[bytes, ...]]]:
        """What these jobs have said last, each with its token."""
        for token in tokens:
            for body in self._last.get(token, {}).values():
                yield token, body
            left_s = self._touched.get(token, now) - now
            if left_s > 0:
                yield token, (b"TOUCH", str(left_s).encode())
