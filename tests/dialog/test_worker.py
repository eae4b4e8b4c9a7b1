"""The worker's side of MDP, without a socket."""

from __future__ import annotations

from tests.clocked import Clocked
from zmws.dialog.worker import StartJob, Stopped, Transmit, WorkerDialog


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


def test_what_work_says_is_sent_at_once_while_the_broker_is_there() -> None:
    life = Life("tcp://here:1")
    life.dialog.connected(life.now)
    life.dialog.receive(life.now, [b"MDPW02", b"\x02", b"token", b"", b"JOB-JSON: {}"])
    life.take()
    life.sent.clear()

    life.dialog.partial(b"token", (b"LOG", b"text"))
    life.dialog.partial(b"of nobody", (b"LOG", b"text"))
    life.take()
    assert life.sent == [[b"MDPW02", b"\x03", b"token", b"", b"LOG", b"text"]]

    life.dialog.disconnected(life.now)
    life.dialog.partial(b"token", (b"LOG", b"nobody hears it"))
    life.take()
    assert len(life.sent) == 1


def test_the_broker_says_how_often_it_wants_to_hear_of_a_worker() -> None:
    life = Life("tcp://here:1")
    life.dialog.connected(life.now)
    told = b'{"interval": 0.25, "liveness": 7, "message_bytes_max": 99}'
    life.dialog.receive(life.now, [b"MDPW02", b"\x05", told])
    dialog = life.dialog
    assert (dialog.interval_s, dialog.liveness, dialog.message_bytes_max) == (0.25, 7, 99)
    assert dialog.next_deadline() == life.now + 0.25, "also the first heartbeat"

    nonsense = b'{"interval": 0, "liveness": 0, "message_bytes_max": 0}'
    texts = b'{"interval": "1", "liveness": "1", "message_bytes_max": "1"}'
    for told in (nonsense, texts, b"{}", b"{"):
        dialog.receive(life.now, [b"MDPW02", b"\x05", told])
    assert (dialog.interval_s, dialog.liveness, dialog.message_bytes_max) == (0.25, 7, 99)


def told_to_work(life: Life, token: bytes) -> list[bytes]:
    life.dialog.receive(life.now, [b"MDPW02", b"\x02", token, b"", b"JOB-JSON: {}"])
    return [action.request.token for action in life.dialog.take() if isinstance(action, StartJob)]


def test_a_second_job_at_once_is_not_begun() -> None:
    life = Life("tcp://here:1")
    life.dialog.connected(life.now)
    assert told_to_work(life, b"first") == [b"first"]
    assert told_to_work(life, b"first") == [], "the same again is no news"
    assert told_to_work(life, b"second") == []
    assert list(life.dialog.holding) == [b"first"]
    life.pass_time(1.0)
    ready = [frames for frames in life.sent if frames[1] == b"\x01"][-1]
    assert b"first" in ready[3] and b"second" not in ready[3], "coming back it names what it has"


def test_a_worker_that_is_stopped_finishes_its_job_and_leaves_when_that_is_confirmed() -> None:
    life = Life("tcp://here:1")
    life.dialog.connected(life.now)
    told_to_work(life, b"first")
    life.dialog.stop(life.now)
    assert told_to_work(life, b"second") == []
    life.dialog.final(life.now, b"first", (b"COMPLETE",))
    assert not life.dialog.stopped
    life.dialog.receive(life.now, [b"MDPW02", b"\x05", b"DONE first"])
    said = life.dialog.take()
    assert life.dialog.stopped and life.dialog.next_deadline() is None
    assert [action.frames for action in said if isinstance(action, Transmit)][-1] == [b"MDPW02", b"\x06"]
    assert said[-1] == Stopped(0)
