"""A worker of ours by the wire alone: several slots, several services (docs/protocol.md)."""

from __future__ import annotations

import json

from tests.simulation.broker import SimBroker
from tests.simulation.invariants import Watcher
from tests.simulation.our_worker import OurWorker, is_poison
from tests.simulation.world import Link, World
from zmws.core.tokens import job_id_of
from zmws.wire import mdp
from zmws.wire.messages import WorkerRequest

Body = tuple[bytes, ...]
JOB_JSON = b"JOB-JSON: "


class _Process:
    """One life of it: what is gone with `kill -9`."""

    def __init__(self, worker_id: str) -> None:
        self.id = worker_id
        self.holding: dict[bytes, Body] = {}  # begun, not begun yet, or hung
        self.begun: set[bytes] = set()
        self.drained = False
        self.unconfirmed: dict[bytes, Body] = {}  # FINALs that the broker may not have on disk


class SimSlotsWorker(OurWorker):
    """Runs up to `slots` jobs at once, and says every word that the extensions have."""

    def __init__(
        self,
        world: World,
        broker: SimBroker,
        watcher: Watcher,
        name: str,
        services: dict[str, int],
        slots: int,
        misfortune: float,
    ) -> None:
        super().__init__(world, broker, watcher, name)
        self.services, self.slots, self.misfortune = services, slots, misfortune
        self.slots_told = slots
        self._life = _Process("")
        self._registered: Link | None = None  # the connection over which it has said READY
        self.begin()

    @property
    def process(self) -> object:
        return self._life

    @property
    def worker_id(self) -> str:
        return self._life.id

    @property
    def tokens(self) -> set[bytes]:
        return set(self._life.holding)

    @property
    def unconfirmed(self) -> dict[bytes, Body]:
        return self._life.unconfirmed

    def begin(self) -> None:
        self.running, self.lives, self.slots_told = True, self.lives + 1, self.slots
        self._life = _Process(f"{self.name}.{self.lives}")
        self.open()
        self._beat(self._life)

    def _charged(self) -> set[bytes]:
        given = {token for session in self._sessions() for token in session.holding}
        retries = self.watcher.hands.retries
        return {t for t in given if len(given) == 1 or retries.get(job_id_of(t) or "", 0) == 0}

    # ------------------------------------------------------------ its connection

    def connected(self) -> None:
        life, self._registered = self._life, self.link
        told = {
            "zmws": 1,
            "id": life.id,
            "slots": self.slots,
            "services": {name: self._offer(most) for name, most in self.services.items()},
            "holding": [token.decode() for token in life.holding],
            "finished": [token.decode() for token in life.unconfirmed],
        }
        self._send(mdp.W_READY, next(iter(self.services)).encode(), json.dumps(told).encode())
        self.slots_told = self.slots
        for token, body in life.unconfirmed.items():
            self._send(mdp.W_FINAL, token, b"", *body)

    def _offer(self, most: int) -> dict[str, object]:
        """How many jobs of a service it takes, and perhaps the options of its jobs. (What the configuration
        gives, as `ttr`, goes before them.)"""
        choice = self.world.random.choice
        if self.world.chance(0.5):
            return {"slots": most}
        some = {"retries": choice((6, 9)), "keep": choice((4, 20.0)), "priority": choice((-3, 3)), "ttr": 0.5}
        return {"slots": most, "defaults": {name: some[name] for name in some if self.world.chance(0.5)}}

    def lost(self) -> None:
        link = self.link
        self.world.after(0.1, lambda: self.open() if self.running and self.link is link else None)

    def go_on(self) -> None:
        self._send(mdp.W_HEARTBEAT)

    def _send(self, *frames: bytes) -> None:
        if self.link is not None and self.link is self._registered:
            self.link.send_to_broker([mdp.MDPW02, *frames])

    def _beat(self, life: _Process) -> None:
        """A HEARTBEAT each second, with what there is to say."""
        if self._life is not life or not self.running:
            return
        if not self.frozen and life.drained and not life.holding and not life.unconfirmed:
            return self._leave()
        if not self.frozen:
            frames = [b"HOLDS " + b" ".join(life.holding)] if life.holding else []
            if self.slots_told != self.slots:
                self.slots_told = self.slots
                frames.append(b"SLOTS %d" % self.slots)
            elif self.world.now < 30.0 and self.world.chance(0.03):
                self.slots_told = self.world.random.randrange(self.slots)
                frames.append(b"SLOTS %d" % self.slots_told)
            if life.unconfirmed and (life.drained or self.world.chance(0.1)):
                frames.append(b"CONFIRM " + b" ".join(life.unconfirmed))
            self._send(mdp.W_HEARTBEAT, *frames)
        self.world.after(1.0, lambda: self._beat(life))

    def _leave(self) -> None:
        """It was drained, and holds nothing any more; whoever watches over it starts it anew."""
        self.world.say(f"{self.name} leaves")
        self._send(mdp.W_DISCONNECT)
        self.running = False
        if self.link is not None:
            self.link.break_off()
        self.world.after(0.5, self.begin)

    # ------------------------------------------------------------ what comes

    def received(self, frames: list[bytes]) -> None:
        command = frames[1]
        if command == mdp.W_REQUEST:
            self._request(frames)
        elif command == mdp.W_DISCONNECT:
            self.open()
        elif command == mdp.W_HEARTBEAT:
            for frame in frames[2:]:
                word, *tokens = frame.split()
                if word == b"DONE":
                    self.watcher.told_done(tokens, self.broker.disk)
                    for token in tokens:
                        self._life.unconfirmed.pop(token, None)
                elif word == b"DRAIN":
                    self._life.drained = True
                elif word == b"CANCEL":
                    self._drop(tokens[0])
                elif word == b"STACK" and tokens[0] in self._life.holding:
                    self._send(mdp.W_PARTIAL, tokens[0], b"", b"STACK", b"at " + tokens[0])

    def _request(self, frames: list[bytes]) -> None:
        world, life, token = self.world, self._life, frames[2]
        assert token not in life.holding, f"{token!r} was given twice"
        told, body = json.loads(frames[4].removeprefix(JOB_JSON)), tuple(frames[5:])
        assert told["service"] in self.services, f"{self.name} does not serve {told['service']}"
        life.holding[token] = body
        # Some lie for a moment, and some of these are never begun.
        lies = world.random.choice((0.0, 0.0, 0.02, 0.3))
        released = world.chance(0.12)

        def go() -> None:
            if self._life is not life or not self.running or token not in life.holding:
                return
            if self.frozen:
                world.after(0.2, go)
            elif released:
                del life.holding[token]
                self._send(mdp.W_HEARTBEAT, b"RELEASE " + token)
            else:
                self._work(life, token, told, body)

        world.after(lies, go)

    def _drop(self, token: bytes) -> None:
        """It is told to drop a job: it may do so at once, or go on."""
        life = self._life
        if token not in life.holding or self.world.chance(0.2):
            return
        del life.holding[token]
        if token in life.begun:
            self.watcher.may_have_failed(token)  # a crash may undo what it was dropped for
            self._final(life, token, _failure({"code": "cancelled", "error": "dropped"}))
        else:
            self._send(mdp.W_HEARTBEAT, b"RELEASE " + token)

    # ------------------------------------------------------------ work

    def _work(self, life: _Process, token: bytes, told: dict[str, object], body: Body) -> None:
        world, random = self.world, self.world.random
        life.begun.add(token)
        request = WorkerRequest(token, str(told["service"]), b"", body)
        self.watcher.began(self.name, request, world)
        if is_poison(body):
            world.after(0.05, lambda: self.crash() if self._life is life else None)
            return
        if world.chance(0.3):
            self._send(mdp.W_PARTIAL, token, b"", b"PROGRESS", b'{"done": 0.5}')
            self._send(mdp.W_PARTIAL, token, b"", b"CONT", b"PARAM-JSON: 1")
        if world.chance(0.4):
            self._send(mdp.W_PARTIAL, token, b"", b"SAVE", json.dumps(token.decode()).encode())
        bad = world.chance(self.misfortune)
        takes = random.choice((0.0, 0.01, 0.1, 0.5, 2.0, 4.0))
        if world.chance(0.01):
            takes = random.uniform(25.0, 45.0)
            self.watcher.may_have_failed(token)  # past its `ttr`

        def end() -> None:
            if self._life is not life or not self.running or token not in life.holding:
                return
            if self.frozen:
                world.after(0.2, end)
                return
            del life.holding[token]
            if not bad:
                return self._final(life, token, (b"COMPLETE", *body))
            self.watcher.may_have_failed(token)
            said: dict[str, object] = {"code": "job_failed", "error": "bad luck"}
            if world.chance(0.3):
                said["delay"] = random.choice((0.2, 3.0))
                self.watcher.clocks.delays[token] = float(str(said["delay"]))
            return self._final(life, token, _failure(said))

        world.after(takes, end)

    def _final(self, life: _Process, token: bytes, body: Body) -> None:
        life.unconfirmed[token] = body
        self._send(mdp.W_FINAL, token, b"", *body)


def _failure(said: dict[str, object]) -> Body:
    return (b"FAIL", mdp.PARAM_JSON + json.dumps(said).encode())
