"""A worker's dialog and a client's joined to a broker's node, without a socket: what one takes out goes into
the other, and what comes of a job is right at both ends."""

from __future__ import annotations

import json
from typing import Any

from tests.clocked import Clocked
from tests.stage import Stage
from zmws.core.options import ServiceOptions
from zmws.dialog.actions import Dialog
from zmws.dialog.client import Answered, ClientDialog, Unanswered
from zmws.dialog.worker import WorkerDialog
from zmws.dialog.worker_actions import CancelJob, StartJob, Stopped
from zmws.dialog.worker_states import State

VALUE = (b"PARAM-JSON: 5",)


class End(Clocked):
    """A dialog with a name at the broker; each connection has another one."""

    def __init__(self, socket: str, dialog: Dialog) -> None:
        super().__init__(dialog)
        self.socket, self.connections, self.done = socket, 0, list[Any]()

    @property
    def name(self) -> str:
        return f"{self.socket}-{self.connections}"

    def on_action(self, action: Any) -> None:
        self.done.append(action)


class Joined:
    """One of each, and a broker."""

    def __init__(self) -> None:
        self.stage = Stage()
        self.stage.services["E"] = ServiceOptions()
        self.worker_dialog = WorkerDialog("E", "w", ["broker"], lambda: 0.5)
        self.client_dialog = ClientDialog(["broker"])
        self.worker, self.client = End("worker", self.worker_dialog), End("client", self.client_dialog)
        self.ends = (self.worker, self.client)
        self.reachable = True
        self.asked = 0

    @property
    def now(self) -> float:
        return self.stage.now

    def run(self) -> None:
        """Carry everything to where it goes, until nothing moves any more."""
        moved = True
        while moved:
            moved = False
            for end in self.ends:
                end.take()
                if end.opened:
                    end.opened.clear()
                    end.connections += 1
                    moved = True
                    if self.reachable:
                        end.driven.connected(self.now)
                        end.take()
                    else:
                        end.sent.clear()
                        end.driven.disconnected(self.now)
                out, end.sent = end.sent, []
                moved |= bool(out)
                for frames in out if self.reachable else ():
                    self.stage.receive(end.socket, end.name, frames)
                for frames in self.stage.sent.pop(end.name, []):
                    end.driven.receive(self.now, frames)
                    moved = True

    def pass_time(self, seconds: float) -> None:
        until = self.now + seconds
        while self.now < until:
            due = [at for end in self.ends if (at := end.driven.next_deadline()) is not None]
            self.stage.pass_time(max(0.01, min([*due, until]) - self.now))
            for end in self.ends:
                end.driven.tick(self.now)
            self.run()

    def cut(self) -> None:
        """Every connection breaks."""
        for end in self.ends:
            self.stage.unreach(end.name, "gone")
            end.driven.disconnected(self.now)
        self.run()

    # ------------------------------------------------------------ what the two do

    def register(self) -> None:
        self.worker_dialog.start(self.now)
        self.run()
        assert self.worker_dialog.state is State.REGISTERED

    def ask(self, service: str, sync: bool, body: Any = None, timeout_s: float | None = None) -> bytes:
        frames = (json.dumps(body).encode(),) if body is not None else ()
        self.asked += 1
        options = {"id": f"mine-{self.asked}"} if service == "E" else {}  # so that a repeat is the same job
        number = self.client_dialog.request(self.now, service, sync, options, frames, timeout_s)
        self.run()
        return number

    def answers(self, number: bytes) -> list[tuple[str, tuple[bytes, ...]]]:
        """What the client has got for a request."""
        for one in self.client.done:
            assert isinstance(one, (Answered, Unanswered))
            assert not isinstance(one, Unanswered) or one.number != number, one
        return [
            (one.reply.kind, one.reply.body)
            for one in self.client.done
            if isinstance(one, Answered) and one.number == number
        ]

    def tokens(self) -> list[bytes]:
        """The attempts that the worker was told to start."""
        return [one.request.token for one in self.worker.done if isinstance(one, StartJob)]

    def job(self, job_id: str) -> dict[str, Any]:
        """The record of a job, as the client is told."""
        ((_, (status, record)),) = self.answers(self.ask("zmws.job", False, {"id": job_id}))
        assert status == b"200"
        return json.loads(record)

    def submit(self) -> str:
        ((kind, body),) = self.answers(self.ask("E", False))
        assert kind == "accepted"
        return body[0].decode().split(" ")[1]

    def say(self, *body: bytes) -> None:
        self.worker_dialog.partial(self.now, self.tokens()[-1], body)
        self.run()

    def end(self, *body: bytes) -> None:
        self.worker_dialog.final(self.now, self.tokens()[-1], body)
        self.run()


def test_a_call_brings_its_partial_results_and_its_result() -> None:
    joined = Joined()
    joined.register()
    number = joined.ask("E", True)
    joined.say(b"CONT", *VALUE)
    assert joined.answers(number) == [("partial", VALUE)]
    joined.end(b"COMPLETE", *VALUE)
    assert joined.answers(number) == [("partial", VALUE), ("final", VALUE)]


def test_a_call_of_a_job_that_fails_is_told_why() -> None:
    joined = Joined()
    joined.register()
    number = joined.ask("E", True)
    joined.end(b"FAIL", b'PARAM-JSON: {"code": "job_failed", "error": "no"}')
    ((kind, (error,)),) = joined.answers(number)
    assert kind == "failed" and json.loads(error.removeprefix(b"PARAM-JSON: "))["error"] == "no"


def test_a_job_waits_for_a_worker_and_its_result_is_forgotten_there_when_it_is_on_disk() -> None:
    joined = Joined()
    job_id = joined.submit()
    assert joined.job(job_id)["state"] == "waiting"
    joined.register()
    assert joined.job(job_id)["state"] == "running"
    joined.say(b"PROGRESS", b'{"done": 0.5, "text": "half"}')
    joined.end(b"COMPLETE", *VALUE)
    record = joined.job(job_id)
    assert (record["state"], record["result"], record["attempt"]) == ("complete", 5, 1)
    assert len(joined.worker_dialog.unconfirmed) == 1
    joined.pass_time(10.0)
    assert joined.worker_dialog.unconfirmed == {}, "DONE came with a heartbeat"
    assert joined.worker_dialog.state is State.REGISTERED and len(joined.tokens()) == 1


def test_a_job_goes_on_through_a_cut_of_all_connections() -> None:
    joined = Joined()
    joined.register()
    job_id, number = joined.submit(), joined.ask("E", True)
    joined.cut()
    joined.pass_time(0.5)
    assert joined.worker.connections == joined.client.connections == 2
    joined.end(b"COMPLETE", *VALUE)
    record = joined.job(job_id)
    assert (record["state"], record["attempt"], record["result"]) == ("complete", 1, 5)
    joined.end(b"COMPLETE", *VALUE)
    assert [kind for kind, _ in joined.answers(number)] == ["final"], "the client has asked again"
    assert len(joined.tokens()) == 2


def test_a_result_that_came_up_while_cut_off_is_taken_after_the_reconnection() -> None:
    joined = Joined()
    joined.register()
    job_id = joined.submit()
    joined.reachable = False
    joined.cut()
    joined.end(b"COMPLETE", *VALUE)
    joined.pass_time(0.3)
    joined.reachable = True
    joined.pass_time(1.0)
    record = joined.job(job_id)
    assert (record["state"], record["attempt"], record["result"]) == ("complete", 1, 5)


def test_a_broker_that_is_killed_and_restarted_lets_the_worker_go_on() -> None:
    joined = Joined()
    joined.register()
    job_id = joined.submit()
    joined.stage.restart()
    joined.cut()
    joined.pass_time(0.5)
    assert joined.worker_dialog.state is State.REGISTERED
    joined.end(b"COMPLETE", *VALUE)
    record = joined.job(job_id)
    assert (record["state"], record["attempt"], record["result"]) == ("complete", 1, 5)


def test_a_cancel_reaches_the_worker_and_its_result_is_nobodys() -> None:
    joined = Joined()
    joined.register()
    job_id = joined.submit()
    joined.ask("zmws.cancel", False, {"id": job_id})
    assert [one.token for one in joined.worker.done if isinstance(one, CancelJob)] == joined.tokens()
    joined.end(b"COMPLETE", *VALUE)
    assert joined.job(job_id)["state"] == "cancelled"
    joined.pass_time(10.0)
    assert joined.worker_dialog.unconfirmed == {}
    joined.submit()
    assert len(joined.tokens()) == 2, "it is given the next"


def test_a_worker_that_is_to_leave_ends_its_job_has_it_confirmed_and_is_gone() -> None:
    joined = Joined()
    joined.register()
    job_id, waiting = joined.submit(), joined.submit()
    joined.worker_dialog.stop(joined.now)
    joined.run()
    joined.end(b"COMPLETE", *VALUE)
    joined.pass_time(0.1)
    assert joined.worker.done[-1] == Stopped(0)
    assert joined.job(job_id)["state"] == "complete" and joined.job(waiting)["state"] == "waiting"
    ((_, (_, rows)),) = joined.answers(joined.ask("zmws.workers", False, {}))
    assert json.loads(rows) == []


def test_a_worker_that_goes_silent_has_its_job_given_to_another_attempt() -> None:
    joined = Joined()
    joined.register()
    job_id = joined.submit()
    joined.ends = (joined.client,)  # nothing of the worker's moves any more
    joined.stage.unreach(joined.worker.name, "gone")
    joined.pass_time(60.0)
    assert joined.job(job_id)["state"] in ("waiting", "scheduled")
    joined.ends = (joined.worker, joined.client)
    joined.worker_dialog.disconnected(joined.now)
    joined.pass_time(1.0)
    joined.end(b"COMPLETE", b"PARAM-JSON: 1")
    joined.pass_time(10.0)
    assert len(joined.tokens()) == 2 and joined.job(job_id)["state"] == "running"
    joined.end(b"COMPLETE", b"PARAM-JSON: 2")
    record = joined.job(job_id)
    assert (record["state"], record["attempt"], record["result"]) == ("complete", 2, 2)
