"""A worker of ours with one job at a time: the shipped dialogue, and work that takes a while and comes out
somehow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from tests.simulation.broker import SimBroker
from tests.simulation.invariants import Watcher
from tests.simulation.kin import Expected, items_in
from tests.simulation.our_worker import OurWorker, is_poison
from tests.simulation.world import World
from zmws.core.tokens import job_id_of
from zmws.dialog.actions import Open, Transmit
from zmws.dialog.worker import DialogSettings, WorkerDialog
from zmws.dialog.worker_actions import CancelJob, Hangs, Lies, StartJob, Stopped
from zmws.wire import mdp
from zmws.wire.messages import WorkerRequest
from zmws.wire.values import JOBS_JSON


class SimWorker(OurWorker):
    """A worker of ours: the shipped dialogue, and work that takes a while and comes out somehow."""

    def __init__(
        self, world: World, broker: SimBroker, watcher: Watcher, name: str, service: str, misfortune: float
    ) -> None:
        super().__init__(world, broker, watcher, name)
        self.service, self.misfortune = service, misfortune
        self._tick_at: float | None = None
        self.may_hang = True
        self.begin()

    def begin(self) -> None:
        """A new process."""
        self.running, self.lives, self._tick_at = True, self.lives + 1, None
        self.dialog = self.dialogue()
        self.dialog.start(self.world.now)
        self.act()

    def dialogue(self) -> WorkerDialog:
        return WorkerDialog(
            self.service,
            f"{self.name}.{self.lives}",
            ["broker"],
            self.world.random.random,
            settings=DialogSettings(heartbeat_interval_s=1.0, leave_s=3.0),
        )

    room = 1  # jobs that it may have in hand

    @property
    def process(self) -> object:
        return self.dialog

    @property
    def worker_id(self) -> str:
        return self.dialog.worker_id

    @property
    def tokens(self) -> set[bytes]:
        return set(self.dialog.holding)

    @property
    def unconfirmed(self) -> Iterable[bytes]:
        return self.dialog.unconfirmed

    def go_on(self) -> None:
        self._tick_at = None
        self.tick()

    def connected(self) -> None:
        self.dialog.connected(self.world.now)
        self.act()

    def received(self, frames: list[bytes]) -> None:
        for frame in frames:
            if frame.startswith(b"DONE ") and frames[0] == mdp.MDPW02:
                self.watcher.told_done(frame[5:].split(), self.broker.disk)
        if frames[1] == mdp.W_REQUEST:
            self.watcher.given(self.name, frames[2], set(self.dialog.holding), self.room)
        self.dialog.receive(self.world.now, frames)
        self.act()

    def lost(self) -> None:
        self.dialog.disconnected(self.world.now)
        self.act()

    def tick(self) -> None:
        self.dialog.tick(self.world.now)
        self.act()

    def act(self) -> None:
        for action in self.dialog.take():
            if isinstance(action, Open):
                self.open()
            elif isinstance(action, Transmit):
                if self.link is not None:
                    self.link.send_to_broker(action.frames)
            elif isinstance(action, StartJob):
                self.start_job(action.request)
            elif isinstance(action, (CancelJob, Lies)):
                self.act_on(action)
            elif isinstance(action, Hangs):
                self._on_hang()
            elif isinstance(action, Stopped):
                self._left(action)
                return
        due = self.dialog.next_deadline()
        if due is not None and (self._tick_at is None or due < self._tick_at):
            self._tick_at = due
            dialog = self.dialog

            def wake() -> None:
                if self.dialog is dialog and self._tick_at == due:
                    self._tick_at = None
                    if self.running and not self.frozen:
                        self.tick()

            self.world.after(due - self.world.now, wake)

    def start_job(self, request: WorkerRequest) -> None:
        self._work(request)

    def act_on(self, action: object) -> None:
        if isinstance(action, CancelJob):
            self.world.say(f"{self.name} is told to drop {action.token.decode()}")

    def takes_s(self) -> float:
        """How long a job takes."""
        return self.world.random.choice((0.0, 0.01, 0.1, 0.5, 2.0))

    def ended(self) -> None:
        """A job has ended."""

    def leave(self, within_s: float | None) -> None:
        """It is asked to stop, as by a deploy."""
        if self.running and not self.frozen:
            self.world.say(f"{self.name} is to leave within {within_s} s")
            self.dialog.stop(self.world.now, within_s)
            self.act()

    def _asks_for(self, token: bytes, items: list[dict[str, Any]]) -> tuple[bytes, ...]:
        """What is to follow, as FINAL has it."""
        if not items:
            return ()
        self.watcher.kin.said[token] = Expected([item.get("service", "") for item in items])
        return (JOBS_JSON + json.dumps(items).encode(),)

    def _on_hang(self) -> None:
        if self.world.chance(0.5):
            self.world.say(f"{self.name} hangs, and is started anew")
            self.dialog.abandon(self.world.now)
            self.act()

    def _left(self, action: Stopped) -> None:
        """The process ends; what it said last may still arrive."""
        self.world.say(f"{self.name} has left, and gives back {len(action.given_back)}")
        self.running = False
        once = self.watcher.hands.retries
        for token in action.given_back:
            if once.get(job_id_of(token) or "", 0) == 0:
                self.watcher.may_have_failed(token)  # it has begun, and is to run only once
        for token in self.unconfirmed:
            self.watcher.may_have_failed(token)  # the broker may not have it, and a crash undo it
        if self.link is None or not self.link.alive:
            for token in self._charged():
                self.watcher.may_have_failed(token)
        link = self.link
        self.world.after(1.0, lambda: link.break_off() if link is not None else None)
        self.world.after(self.world.random.uniform(1.0, 4.0), self.begin)

    def _work(self, request: WorkerRequest) -> None:
        random, dialog = self.world.random, self.dialog
        self.watcher.began(self.name, request, self.world)
        takes = self.takes_s()
        if self.may_hang and self.world.chance(0.02):
            # Past `ttr` and `cancel_grace`: until then it is shown as hung, and nothing else is given to it.
            self.may_hang = False
            takes = random.uniform(25.0, 45.0)
            self.watcher.may_have_failed(request.token)
        bad = self.world.chance(self.misfortune)
        if is_poison(request.body):
            self.world.after(0.05, lambda: self.crash() if self.dialog is dialog else None)
            return

        def end() -> None:
            if self.dialog is not dialog or not self.running:
                return
            if self.frozen:
                self.world.after(0.2, end)
                return
            if bad:
                self.watcher.may_have_failed(request.token)
                said = {"code": "job_failed", "error": "bad luck"}
                body: tuple[bytes, ...] = (b"FAIL", mdp.PARAM_JSON + json.dumps(said).encode())
            else:
                items = items_in(request.body)
                body = (b"COMPLETE", *request.body, *self._asks_for(request.token, items))
            dialog.final(self.world.now, request.token, body)
            self.act()
            self.ended()

        if self.world.chance(0.3):
            dialog.partial(self.world.now, request.token, (b"CONT", b"PARAM-JSON: 1"))
            dialog.partial(self.world.now, request.token, (b"PROGRESS", b'{"done": 0.5}'))
            self.act()
        self.world.after(takes, end)
