"""The workers of a fake broker, and what it has sent them (in_process.py)."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from zmws.wire import mdp
from zmws.wire.messages import Heartbeat, Peer, WorkerRequest
from zmws.work import WorkerBase
from zmws.work.declared import Declared


@dataclass(eq=False)
class Crew:
    """The workers of one class: as many objects as jobs of it run within each other, one where it can be.

    All is called under the broker's lock.
    """

    name: str
    service: str
    peer: Peer
    found: Declared
    make: Callable[[], WorkerBase]
    given: WorkerBase | None  # the only one, where an object was given
    free: list[WorkerBase] = field(default_factory=list)
    running: int = 0
    requests: deque[WorkerRequest] = field(default_factory=deque)  # to be run next
    cancelled: set[bytes] = field(default_factory=set)

    def receive(self, frames: list[bytes]) -> None:
        """What the broker sent."""
        message = mdp.decode_at_worker(frames)
        if isinstance(message, WorkerRequest):
            self.requests.append(message)
        elif isinstance(message, Heartbeat):
            for word in message.frames:
                if word.startswith(b"CANCEL "):
                    self.cancelled.add(word.removeprefix(b"CANCEL "))

    def spare(self) -> WorkerBase | None:
        """Who can run the next job; None if one is to be made for it."""
        return self.given or (self.free.pop() if self.free else None)

    def over(self, worker: WorkerBase | None) -> None:
        """A job is over. `worker`: who ran it, if one could be made."""
        self.running -= 1
        if worker is not None and self.given is None:
            self.free.append(worker)
