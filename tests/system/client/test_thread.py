"""The client's own thread: what kills it, and who waits in it."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, as_completed, wait
from typing import Any

import pytest

from zmws import Client, ZmwsError
from zmws.line import thread
from zmws.testing import RunningBroker

LOUD = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the thread says so


# ---------------------------------------------------------------- what kills it


def is_failure(why: BaseException | None) -> bool:
    return (
        isinstance(why, ZmwsError)
        and "connection has failed" in str(why)
        and "broken" in str(why)
        and isinstance(why.__cause__, TypeError)
    )


@LOUD
def test_a_fault_in_the_thread_answers_whoever_asked_and_whoever_asks_later(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    flying = client.call_future("SLOW", 1)
    client.stats()  # so that it has left
    held, go = threading.Event(), threading.Event()

    def holds(_: object) -> None:
        held.set()
        assert go.wait(10)

    def breaks(*_: object) -> bytes:
        raise TypeError("broken")

    first = client.ask_future("zmws.stats")
    first.add_done_callback(holds)
    assert held.wait(10)  # the thread stands still, so that these wait in the queue together
    monkeypatch.setattr(client._connection.dialog, "request", breaks)
    popped, queued = client.call_future("ECHO", 1), client.submit_future("ECHO", 2)
    go.set()
    for future in (flying, popped, queued):
        assert is_failure(future.exception(10)), future
    for ask in (
        client.stats,
        lambda: client.submit("ECHO", 1),
        lambda: client.submit_many([{"service": "ECHO"}]),
    ):
        with pytest.raises(ZmwsError) as why:
            ask()
        assert is_failure(why.value)
    client.close()


@LOUD
def test_a_thread_that_cannot_begin_answers_too(
    zmws_broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks() -> None:
        raise TypeError("broken")

    monkeypatch.setattr(thread.zmq, "Context", breaks)
    with zmws_broker.connect() as client:
        future = client.call_future("ECHO", 1)
        assert is_failure(future.exception(10))


def test_a_callback_that_wants_to_exit_leaves_the_thread_alone(client: Client) -> None:
    def leave(_: Future[Any]) -> None:
        sys.exit(3)

    future = client.call_future("ECHO", 1)
    future.add_done_callback(leave)
    assert future.result(10) == 1
    assert client.call("ECHO", 2, timeout=10) == 2


# ---------------------------------------------------------------- who waits in it


def in_callback(client: Client, step: Callable[[], Any]) -> Any:
    """What `step` returns or raises in a done-callback, in the client's own thread."""
    told: Future[Any] = Future()

    def tell(_: Future[Any]) -> None:
        try:
            told.set_result(step())
        except BaseException as fault:
            told.set_result(fault)

    # It takes its time, so that `tell` is added before the answer is there.
    client.ask_future("zmws.lease", {"service": "SLOW", "lease": "l", "wait": 0.3}).add_done_callback(tell)
    return told.result(10)


WAITS: dict[str, Callable[[Client], Any]] = {
    "call": lambda client: client.call("ECHO", 1),
    "submit": lambda client: client.submit("ECHO", 1),
    "submit_many": lambda client: client.submit_many({"service": "ECHO"} for _ in range(2_500)),
    "ask": lambda client: client.stats(),
    "jobs": lambda client: list(client.jobs()),
    "lease": lambda client: client.lease("ECHO"),
    "purge": lambda client: client.purge("SLOW"),
    "result": lambda client: client.job("some").result(),
    "status": lambda client: client.job("some").status(),
    "events": lambda client: list(client.job("some").events()),
    "cancel": lambda client: client.job("some").cancel(),
    "future": lambda client: client.call_future("ECHO", 1).result(),
    "exception": lambda client: client.submit_future("ECHO", 1).exception(5),
}


@pytest.mark.parametrize("wait", WAITS.values(), ids=WAITS)
def test_to_wait_in_the_clients_own_thread_is_refused_at_once(
    client: Client, wait: Callable[[Client], Any]
) -> None:
    why = in_callback(client, lambda: wait(client))
    assert isinstance(why, ZmwsError) and "own thread" in str(why) and "_future" in str(why), why
    assert client.call("ECHO", 2, timeout=10) == 2


def test_what_was_refused_there_was_never_asked(client: Client) -> None:
    for name in ("call", "submit", "submit_many"):
        in_callback(client, lambda name=name: WAITS[name](client))
    assert client.submit("ECHO", 1).result(10) == 1
    (row,) = [row for row in client.services() if row["service"] == "ECHO"]
    assert (row["complete"], row["calls_complete"]) == (1, 0)


def test_to_wait_in_on_partial_fails_that_call_alone(client: Client) -> None:
    with pytest.raises(ZmwsError, match="own thread"):
        client.call("ECHO", 1, on_partial=lambda _: client.call("ECHO", 2))
    assert client.call("ECHO", 3, timeout=10) == 3


def test_more_can_be_asked_there_without_waiting(client: Client, zmws_broker: RunningBroker) -> None:
    more: Future[Any] = in_callback(client, lambda: client.submit_future("ECHO", 2))
    assert more.result(10).result(10) == 2
    with zmws_broker.connect() as other:
        assert in_callback(client, lambda: other.call("ECHO", 3, timeout=10)) == 3
    done = client.call_future("ECHO", 4)
    assert done.result(10) == 4
    assert in_callback(client, done.result) == 4
    waiting = client.call_future("SLOW")
    assert isinstance(in_callback(client, lambda: waiting.result(0)), TimeoutError)
    in_callback(client, client.close)
    assert isinstance(waiting.exception(10), ZmwsError)


def test_a_lease_that_could_not_be_ended_there_is_not_over(client: Client) -> None:
    client.submit("SLOW", 1)
    lease = client.lease("SLOW", wait=10)
    assert lease is not None
    for end in (lease.complete, lease.release, lambda: lease.fail("no")):
        assert isinstance(in_callback(client, end), ZmwsError) and not lease.reported
    lease.complete(2)
    assert lease.reported and client.job(lease.id).result(10) == 2


def test_its_futures_can_be_waited_for_as_any_other(client: Client) -> None:
    asked = [client.call_future("ECHO", n) for n in range(20)]
    assert {one.result() for one in as_completed(asked, 10)} == set(range(20))
    cancelled, answered = client.call_future("SLOW"), client.call_future("ECHO", 1)
    assert cancelled.cancel() and cancelled.cancelled() and not answered.running()
    assert wait([cancelled, answered], 10).not_done == set()
    with pytest.raises(CancelledError):
        cancelled.result()
    with pytest.raises(CancelledError):
        cancelled.exception()
    heard: list[Any] = []
    answered.add_done_callback(heard.append)
    assert heard == [answered]
