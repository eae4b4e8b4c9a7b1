"""What a fake client has in place of a connection."""

from __future__ import annotations

import contextlib
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent import futures
from dataclasses import dataclass
from typing import Any

from zmws.client.answers import answer_of
from zmws.client.asked import Asked
from zmws.client.connection import Ask, Partial
from zmws.dialog.actions import Open, Transmit
from zmws.dialog.client import Answered, ClientDialog, ClientSettings, Unanswered
from zmws.errors import BadJson, BadParams, ZmwsError
from zmws.testing.in_process import NO_END_S, InProcess, Submitted
from zmws.wire import names, values
from zmws.wire.at_client import Reply

_OF_JOBS = ("zmws.wait", "zmws.events", "zmws.batch")  # who asks these may wait for what workers do
_NAMING = ("zmws.open", "zmws.schedule", "zmws.copy")  # these name services of jobs to come


@dataclass(slots=True)
class _Asked(Ask):
    """A request, and its last answer."""

    reply: Reply | None = None


class FakeConnection:
    """What a client has in place of a connection: any number of requests, each answered when `request`
    returns."""

    def __init__(self, broker: InProcess) -> None:
        self.dialog = ClientDialog(["the fake"], ClientSettings(connect_s=NO_END_S, repeat_s=NO_END_S))
        self._broker = broker
        self._in_flight: dict[bytes, _Asked] = {}
        self._closed = False
        self._number = broker.join(self)

    def request(
        self,
        service: str,
        sync: bool,
        options: dict[str, Any],
        body: tuple[bytes, ...],
        timeout_s: float | None,
        on_partial: Partial | None = None,
        takes_s: float = 0.0,
    ) -> Asked[Reply]:
        """As `Connection.request`; the future is done, but for what its callbacks do."""
        if self._closed:
            raise ZmwsError("this client is closed")
        broker = self._broker
        ask = _Asked(service, sync, options, body, timeout_s, Asked(), on_partial)
        with broker.lock:
            made = self._before(ask)
            ask.number = self.dialog.request(broker.now(), service, sync, options, body, timeout_s)
            self._in_flight[ask.number] = ask
            repeated = broker.node.broker.turn.counters["repeated_requests"]
            broker.flow()
            repeated = broker.node.broker.turn.counters["repeated_requests"] - repeated
            broker.submitted.extend(self._noted(made, ask, bool(repeated)))
        of_job = not names.is_reserved(service) or service in _OF_JOBS
        broker.bring()
        broker.await_answer(self, ask, works=of_job)
        if not ask.future.done():
            futures.wait([ask.future])  # another thread is just bringing it
        if broker.run_at_once and not broker.in_work:
            broker.work()
        return ask.future

    def close(self) -> None:
        """Nothing more is asked."""
        self._closed = True
        self._broker.leave(self._number)

    # ------------------------------------------------------------ what was submitted

    def _before(self, ask: _Asked) -> list[Submitted | None]:
        """The jobs that a request is to make; None for an item that is none: the broker says why."""
        if ask.service == "zmws.submit":
            items = values.json_in(ask.body[0].removeprefix(values.PARAM_JSON))
            items = (
                [item if isinstance(item, dict) else {} for item in items] if isinstance(items, list) else []
            )
            named = [name for item in items for name in _services_in(item)]
            made = [_submitted(item) for item in items]
        elif ask.service in _NAMING:
            asked = values.json_in(ask.body[0].removeprefix(values.PARAM_JSON))
            named = _services_in(asked) if isinstance(asked, dict) else []
            made = []
        elif names.is_reserved(ask.service):
            return []
        else:
            given = {name: value for name, value in ask.options.items() if name != "id"}
            params = values.decode_params(ask.body)
            made = [Submitted(ask.service, params, given, ask.options["id"], ask.sync)]
            named = [ask.service, *_services_in(ask.options)]
        if self._broker.takes_any_service:
            for name in named:
                self._broker.know(name)
        return made

    def _noted(self, made: list[Submitted | None], ask: _Asked, repeated: bool) -> list[Submitted]:
        """Those of them that were made. No worker has been at work yet: what has failed was refused."""
        reply = ask.reply
        if ask.service == "zmws.submit":
            told: list[dict[str, Any]] = []
            with contextlib.suppress(ZmwsError):  # all of it was refused, as the answer says
                told = answer_of(reply)[1] if reply is not None and reply.kind == "answer" else []
            found = []
            for one, verdict in zip(made, told, strict=False):
                if one is not None and _is_new(verdict):
                    one.id = verdict["id"]  # of one that gives none, the broker's
                    found.append(one)
            return found
        accepted = self.waits_for(ask) if ask.sync else reply is not None and reply.kind == "accepted"
        return [one for one in made if one] if accepted and not repeated else []

    # ------------------------------------------------------------ under the broker's lock

    def waits_for(self, ask: Ask) -> bool:
        """Whether there is no answer yet."""
        return ask.number in self._in_flight

    def fail(self, ask: Ask, fault: ZmwsError) -> None:
        """There will be none."""
        self.dialog.forget(ask.number)
        self._end(ask.number, fault=fault)

    def step(self, now: float) -> Iterable[list[bytes]]:
        """Do what the dialog wants done; the frames that are to be sent."""
        self.dialog.tick(now)
        actions = deque(self.dialog.take())
        while actions:
            action = actions.popleft()
            if isinstance(action, Open):
                self.dialog.connected(now)
                actions.extend(self.dialog.take())
            elif isinstance(action, Transmit):
                yield action.frames
            elif isinstance(action, Unanswered):
                self._end(action.number, fault=action.error)
            elif isinstance(action, Answered) and action.reply.kind == "partial":
                self._partial(action.number, action.reply)
            elif isinstance(action, Answered):
                self._end(action.number, action.reply)

    def receive(self, now: float, frames: list[bytes]) -> None:
        """What the broker sent."""
        self.dialog.receive(now, frames)

    def _end(self, number: bytes, reply: Reply | None = None, fault: BaseException | None = None) -> None:
        ask = self._in_flight.pop(number, None)
        if ask is not None:
            ask.reply = reply
            self._broker.tell(lambda: ask.future.settle(reply, fault))

    def _partial(self, number: bytes, reply: Reply) -> None:
        ask = self._in_flight.get(number)
        if ask is None or ask.on_partial is None:
            return
        on_partial = ask.on_partial

        def call() -> None:
            try:
                if not ask.future.done():
                    on_partial(reply.body)
            except BaseException as fault:
                # The caller's own code: this one call fails with it.
                with self._broker.lock:
                    self.dialog.forget(number)
                    self._in_flight.pop(number, None)
                ask.future.settle(fault=fault)

        self._broker.tell(call)


def _services_in(asked: Mapping[str, Any]) -> list[str]:
    """The services that an item, a batch, a schedule or the options of a job name."""
    found = [
        asked[name] for name in ("service", "on_complete", "on_failed") if isinstance(asked.get(name), str)
    ]
    inner = [asked.get(name) for name in ("then", "failed", "options")]
    for one in (*inner, *_steps(asked)):
        found += _services_in(one) if isinstance(one, Mapping) else []
    return found


def _steps(item: Mapping[str, Any]) -> list[Any]:
    """The steps of a chain."""
    steps = item.get("chain")
    return steps if isinstance(steps, list) else []


def _submitted(item: Mapping[str, Any]) -> Submitted | None:
    """A job of zmws.submit, of a chain the first; None for what can be none."""
    given = dict(item)
    if steps := _steps(item):
        if not isinstance(steps[0], dict):
            return None
        given = {**item, **steps[0], "id": f"{item.get('id')}:1"}
    try:
        params = values.decode_params(values.frames_of(given, "params"))
    except (BadJson, BadParams):
        return None
    for name in ("params", "params_base64"):
        given.pop(name, None)
    service, job_id = given.pop("service", None), given.pop("id", "")
    return Submitted(str(service), params, given, str(job_id)) if service else None


def _is_new(verdict: Mapping[str, Any]) -> bool:
    return "code" not in verdict and not verdict.get("existing")
