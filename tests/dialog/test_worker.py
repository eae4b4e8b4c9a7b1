"""The worker's side of MDP, without a socket."""

from __future__ import annotations

from tests.clocked import Clocked
from zmws.dialog.worker import WorkerDialog


class Life(Clocked):
    """A dialog that has started."""

    def __init__(self, *brokers: str) -> None:
        self.dialog = WorkerDialog("E", "w", brokers, lambda: 0.5)
        super().__init__(self.dialog)
        self.dialog.start(self.now)
        self.take()


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
