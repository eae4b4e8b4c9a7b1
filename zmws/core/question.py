"""A question to a service inside the broker, and how it is answered (docs/protocol.md, `zmws.*`).

Rule: the answer is a status of three digits and one JSON frame; from 400 on the JSON is an ERROR.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from zmws.core.asks import Asks
from zmws.core.held import Held
from zmws.core.job import Caller, Pending
from zmws.core.reads import Filter
from zmws.core.rows import KeyRow
from zmws.core.service import Service
from zmws.core.turn import Turn
from zmws.core.user import name_in, public_of
from zmws.core.writes import Write
from zmws.wire.messages import Answer

FILTER_KEYS = (
    *("service", "state", "group", "since", "before", "cause", "parent", "chain", "batch", "submitter"),
)


class Asker(NamedTuple):
    """Somebody: his public key, "" where nobody was asked for one; and for whom he says that he asks."""

    public: str
    by: str

    def is_of(self, row: KeyRow) -> bool:
        """Whether he is, or asks for, the bearer of this key or token."""
        return row.proof == self.public or (bool(self.by) and name_in(self.by) == row.name)


@dataclass(slots=True)
class Question:
    """Who asked what: comes back with a read."""

    turn: Turn
    caller: Caller
    service: str
    asked: Any
    asks: Asks | None = None  # it may be asked again, under its `ask`
    audited: Callable[[Question, int, Any], Write | None] | None = None  # somebody acts (desk/audit.py)

    def answer(self, status: int, body: Any, after: Pending | None = None) -> None:
        """The answer leaves as soon as `after` is on disk."""
        if self.audited is not None:
            after = self.audited(self, status, body) or after  # it is behind all writes before it
        frames = (str(status).encode(), json.dumps(body, default=str).encode())
        if self.asks is not None:
            return self.asks.answer(self.ask_key, frames, after)
        return self.turn.send(self.caller.peer, Answer(self.service, frames, self.caller.reply_to), after)

    @property
    def ask_key(self) -> str:
        """Under which a question that may be asked again is kept: for each asker his own."""
        ask, (public, by) = str(self.asked["ask"]), self.asker
        return f"{ask} {public} {by}" if public or by else ask

    @property
    def asker(self) -> Asker:
        """Who asks, as far as that is known."""
        return Asker(public_of(self.caller.peer[2]), str(self.asked.get("by") or ""))

    def answer_made(self, frame: bytes, after: Pending | None = None) -> None:
        """200, with JSON that has been made; it leaves as soon as `after` is on disk."""
        answer = Answer(self.service, (b"200", frame), self.caller.reply_to)
        self.turn.send(self.caller.peer, answer, after)

    def refuse(self, status: int, code: str, text: str, after: Pending | None = None) -> None:
        """An ERROR; `code` is one word of docs/errors.md."""
        self.answer(status, {"code": code, "error": text}, after)

    def safely(self, step: Callable[[Question], None]) -> None:
        """Answer it, in what changes nothing: a fault in that is the asker's 500, and no more."""
        try:
            step(self)
        except Exception as fault:
            self.broke(fault)

    def broke(self, fault: Exception) -> None:
        """Answering it has failed, by our own fault: the asker is told, and the log where."""
        self.turn.counters["questions_broken"] += 1
        self.turn.note("error", f"answering {self.service} failed: {_where(fault)}")
        self.refuse(500, "broker_fault", "the broker failed to answer this; its log says where")

    def filter(self) -> Filter:
        """The filter that is asked for."""
        asked = self.asked
        return Filter(*(asked.get(key) for key in FILTER_KEYS))


def known_service(held: Held, question: Question) -> Service | None:
    """The service that a question names; None if there is none, and that is answered."""
    name: str = question.asked["service"]
    service = held.services.get(name)
    if service is None or not service.registered:
        text = f"no worker ever registered the service '{name}' and no configuration names it"
        question.refuse(404, "unknown_service", text)
        return None
    return service


def _where(fault: Exception) -> str:
    """What went wrong, and in which places."""
    places = []
    trace = fault.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_name} ({code.co_filename.rpartition('/')[2]}:{trace.tb_lineno})")
        trace = trace.tb_next
    return f"{type(fault).__name__}: {str(fault)[:500]}, in {', '.join(places[-8:])}"
