"""The worker's side of MDP, without a socket."""

from __future__ import annotations

from zmws.core.worker_dialog import Open, Transmit, WorkerDialog


class Life:
    """A dialog on a clock of its own."""

    def __init__(self, *brokers: str) -> None:
        self.dialog = WorkerDialog("E", "w", brokers, lambda: 0.5)
        self.now = 0.0
        self.opened: list[str] = []
        self.sent: list[list[bytes]] = []
        self.dialog.start(self.now)
        self.take()

    def take(self) -> None:
        for action in self.dialog.take():
            if isinstance(action, Open):
                self.opened.append(action.endpoint)
            elif isinstance(action, Transmit):
                self.sent.append(action.frames)

    def pass_time(self, seconds: float) -> None:
        end = self.now + seconds
        while (due := self.dialog.next_deadline()) is not None and due <= end:
            self.now = max(self.now, due)
            self.dialog.tick(self.now)
            self.take()
        self.now = end


def test_a_broker_that_hangs_has_a_limit_and_the_next_is_tried() -> None:
    life = Life("tcp://hangs:1", "tcp://here:2")
    life.pass_time(7.0)
    assert life.opened == ["tcp://hangs:1", "tcp://here:2"]


def test_a_broker_that_is_restarted_is_tried_quickly_again() -> None:
    life = Life("tcp://here:1", "tcp://there:2")
    life.dialog.connected(life.now)
    life.dialog.receive(life.now, [b"MDPW02", b"\x05"])
    life.pass_time(4.0)
    life.dialog.disconnected(life.now)
    life.pass_time(0.3)
    assert life.opened[:2] == ["tcp://here:1"] * 2
