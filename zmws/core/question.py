"""A question to a service inside the broker, and how it is answered (docs/protocol.md, `zmws.*`).

Rule: the answer is a status of three digits and one JSON frame; from 400 on the JSON is an ERROR.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from zmws.core.job import STATES, Caller
from zmws.core.messages import Answer
from zmws.core.turn import Turn
from zmws.core.writes import Filter, Write

FILTER_KEYS = ("service", "state", "group", "since", "before")


@dataclass(slots=True)
class Question:
    """Who asked what: comes back with a read."""

    turn: Turn
    caller: Caller
    service: str
    asked: Any

    def answer(self, status: int, body: Any, after: Write | None = None) -> None:
        """The answer leaves as soon as `after` is on disk."""
        frames = (str(status).encode(), json.dumps(body, default=str).encode())
        self.turn.send(self.caller.peer, Answer(self.service, frames, self.caller.reply_to), after)

    def refuse(self, status: int, code: str, text: str, after: Write | None = None) -> None:
        """An ERROR; `code` is one word of docs/errors.md."""
        self.answer(status, {"code": code, "error": text}, after)

    def filter(self) -> Filter | None:
        """The filter that is asked for; None if it was refused."""
        asked = self.asked
        since, before = _moment(asked.get("since")), _moment(asked.get("before"))
        fault = None
        if asked.get("state") is not None and asked["state"] not in STATES:
            fault = f"'state' must be one of {', '.join(STATES)}"
        elif since is False or before is False:
            fault = "'since' and 'before' must be ISO 8601 times with zone"
        for name in ("service", "group"):
            value = asked.get(name)
            if value is not None and not (isinstance(value, str) and value.isprintable()):
                fault = f"'{name}' must be a printable text"
        if fault is not None:
            self.refuse(400, "bad_request", fault)
            return None
        return Filter(
            asked.get("service"), asked.get("state"), asked.get("group"), since or None, before or None
        )


def question_body(body: tuple[bytes, ...]) -> Any:
    """The JSON of a question: an object where there is no frame, None where it is not JSON."""
    frames = [frame for frame in body if frame]
    if not frames:
        return {}
    if len(frames) > 1:
        return None
    frame = frames[0].removeprefix(b"PARAM-JSON: ").removeprefix(b"JSON-PARAM: ")
    try:
        return json.loads(frame)
    except (ValueError, RecursionError):
        return None


def is_seconds(value: object, most: float) -> bool:
    """Whether this is a number of seconds from 0 to `most`."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= most


def _moment(value: object) -> float | bool | None:
    """Wall seconds of an ISO 8601 time with zone; None for none, False for a wrong one."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value) if isinstance(value, str) else None
        return moment.timestamp() if moment is not None and moment.tzinfo is not None else False
    except (ValueError, OverflowError):
        return False
