"""The client's own thread: what kills it, who waits in it, signals, and a client that is forgotten."""

from __future__ import annotations

import _thread
import asyncio
import contextlib
import gc
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future, as_completed, wait
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.peers import await_workers, peer, wait_until
from tests.system.installation import environment
from zmws import AsyncClient, Client, JobFailed, JobTimeout, Refused, WorkerBase, ZmwsError
from zmws.client import connection
from zmws.core.options import ServiceOptions
from zmws.line import thread
from zmws.testing import RunningBroker
from zmws.testing.fixtures import BrokerFactory, WorkerFactory

LOUD = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # the thread says so


class Echo(WorkerBase):
    """Gives back what it was given; says so before."""

    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        self.job.partial("soon")
        if params == "fail":
            raise ValueError("failed")
        return params


@pytest.fixture
def zmws_broker(zmws_broker_factory: BrokerFactory) -> RunningBroker:
    """Its services are known without a worker; nobody serves SLOW."""
    services = {name: ServiceOptions() for name in ("ECHO", "SLOW")}
    return zmws_broker_factory(heartbeat_interval_s=0.5, services=services)


@pytest.fixture
def client(zmws_client: Client, zmws_worker: WorkerFactory) -> Client:
    """A client, and a worker of ECHO."""
    zmws_worker(Echo)
    return zmws_client


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


# ---------------------------------------------------------------- signals

SIGNALS = """
import faulthandler, signal, sys, threading
from concurrent.futures import wait
from zmws import Client
faulthandler.dump_traceback_later(80, exit=True)
endpoint, rounds = sys.argv[1], int(sys.argv[2])
handled = depth = fresh = 0
client = None

def on_alarm(*_):
    global handled, depth, fresh
    if depth > 3:
        return
    depth += 1
    if client is not None:
        job = client.submit_future("ECHO", 1)
        assert job.result(60).id
        assert client.call("ECHO", 2, timeout=60) == 2
        handled += 1
    depth -= 1
    signal.setitimer(signal.ITIMER_REAL, 0.001)

signal.signal(signal.SIGALRM, on_alarm)
signal.setitimer(signal.ITIMER_REAL, 0.001)
for n in range(rounds):
    if client is None or n % 10 == 0:
        gone, client = client, None
        if gone is not None:
            gone.close()
        client = Client(endpoint)  # so that its thread begins under signals too
    flying = [client.call_future("ECHO", n) for _ in range(3)]
    heard = []
    for one in flying:
        one.add_done_callback(lambda done: heard.append(done.result()))
    assert [one.result(60) for one in flying] == [n] * 3
    assert client.submit("ECHO", n).status()["id"]
signal.setitimer(signal.ITIMER_REAL, 0)
client.close()
print(handled)
"""


def test_a_signal_handler_may_ask_and_wait_at_any_moment(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    ran = subprocess.run(
        [sys.executable, "-c", SIGNALS, zmws_broker.client, "1000"],
        capture_output=True, text=True, check=False, timeout=100, env=environment(),
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) > 1_000


def interrupted(at: int, step: Callable[[], Any], handler: Callable[[], Any]) -> bool:
    """Run `step`, and `handler` before the line `at` of our code in it; false if it has fewer."""
    ours = (str(Path(connection.__file__).parent), str(Path(thread.__file__).parent))
    lines = 0

    def trace(frame: Any, event: str, _: Any) -> Any:
        nonlocal lines
        if not frame.f_code.co_filename.startswith(ours):
            return None
        if event == "line":
            lines += 1
            if lines == at:
                sys.settrace(None)
                handler()
        return trace

    sys.settrace(trace)
    try:
        step()
    finally:
        sys.settrace(None)
    return lines >= at


def test_a_signal_handler_may_ask_and_wait_before_each_line_of_a_request(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory
) -> None:
    zmws_worker(Echo)
    at, more = 0, True
    while more:
        at += 1
        with zmws_broker.connect() as client:
            call = partial(client.call, "ECHO", timeout=10)
            more = interrupted(at, partial(call, 1), partial(call, 2))
    assert at > 50


@pytest.mark.parametrize("begun", [True, False])
def test_a_signal_handler_may_close_or_ask_before_each_line_of_close(
    zmws_broker: RunningBroker, begun: bool
) -> None:
    def ask(client: Client) -> None:
        with contextlib.suppress(ZmwsError):  # it is closed, or is being so
            client.call("SLOW", timeout=0.01)

    for handler in (Client.close, ask):
        at, more = 0, True
        while more:
            at += 1
            client = zmws_broker.connect()
            flying = client.call_future("SLOW") if begun else None
            more = interrupted(at, client.close, partial(handler, client))
            assert flying is None or isinstance(flying.exception(10), ZmwsError)
        assert at > 5


def test_a_handler_may_wait_while_a_future_is_held(client: Client) -> None:
    asked = client.call_future("SLOW", 1, timeout=0.2)
    with asked._condition:  # as a caller has it that a signal interrupts there
        assert client.call("ECHO", 1, timeout=10) == 1
        wait_until(asked.done)
        assert client.call("ECHO", 2, timeout=10) == 2
    with pytest.raises(JobTimeout):
        asked.result(10)


# ---------------------------------------------------------------- a client that is forgotten


def tasks() -> int:
    return len(list(Path("/proc/self/task").iterdir()))


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.fixture
def nothing_left(zmws_broker: RunningBroker, zmws_worker: WorkerFactory) -> Iterator[None]:
    """Whatever the test forgets is gone without the garbage collector."""
    zmws_worker(Echo)
    with zmws_broker.connect() as other:
        await_workers(other, 1)
    gc.collect()
    gc.disable()
    before = settled()
    try:
        yield
        wait_until(lambda: tasks() <= before[0], 10, f"{before[0]} threads")
        wait_until(lambda: descriptors() <= before[1], 10, f"{before[1]} descriptors")
    finally:
        gc.enable()


def settled() -> tuple[int, int]:
    """Threads and descriptors, when they stay the same for a while."""
    last, same = (tasks(), descriptors()), 0

    def still() -> bool:
        nonlocal last, same
        now = (tasks(), descriptors())
        same = same + 1 if now == last else 0
        last = now
        return same > 20

    wait_until(still)
    return last


USES: dict[str, Callable[[Client], Any]] = {
    "nothing": lambda client: None,
    "call": lambda client: client.call("ECHO", 1, on_partial=lambda _: None),
    "submit": lambda client: client.submit("ECHO", 1).result(10),
    "events": lambda client: list(client.submit("ECHO", 1).events(timeout=10)),
    "submit_many": lambda client: [job.result(10) for job in client.submit_many([{"service": "ECHO"}] * 3)],
    "failed_call": lambda client: client.call("ECHO", "fail"),
    "failed_job": lambda client: client.submit("ECHO", "fail", retries=0).result(10),
    "timeout": lambda client: client.call("SLOW", timeout=0.05),
    "unended": lambda client: client.submit("SLOW").wait(0.05),
    "no_job": lambda client: client.job("nobody").cancel(),
    "refused": lambda client: client.submit("NOBODY"),
    "lease": lambda client: client.submit("SLOW") and client.lease("SLOW", wait=5).release(),
    "dead_lease": lambda client: client.submit("SLOW") and twice(client.lease("SLOW", wait=5)),
    "cancelled": lambda client: client.call_future("SLOW").cancel(),
    "iterated": lambda client: next(iter(client.jobs()), None),
}


def twice(lease: Any) -> None:
    with lease:
        lease.release()
        lease.reported = False  # so that the block reports once more, and is refused


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_a_client_that_is_forgotten_ends(
    nothing_left: None, zmws_broker: RunningBroker, use: Callable[[Client], Any]
) -> None:
    client = zmws_broker.connect()
    client.stats()
    with contextlib.suppress(JobFailed, JobTimeout, Refused):
        use(client)
    del client


def test_an_async_client_that_is_forgotten_ends(nothing_left: None, zmws_broker: RunningBroker) -> None:
    async def ask() -> None:
        client = AsyncClient(zmws_broker.client)
        assert await client.call("ECHO", 1) == 1
        job = await client.submit("ECHO", 2)
        assert await job.result(10) == 2
        assert [event["kind"] async for event in job.events(timeout=10)]
        assert len(await client.submit_many([{"service": "ECHO"}])) == 1
        for wrong in (
            lambda: client.call("ECHO", "fail"),
            lambda: client.submit("NOBODY"),
            lambda: client.job("nobody").cancel(),
            lambda: client.job("nobody").wait(1),
        ):
            try:
                await wrong()
            except (JobFailed, Refused):
                continue
            raise AssertionError("it was not refused")

    asyncio.run(asyncio.wait_for(ask(), 20))


def test_a_request_in_flight_keeps_a_forgotten_client_until_it_is_answered(
    nothing_left: None, zmws_broker: RunningBroker
) -> None:
    with peer(zmws_broker.worker) as worker:
        future = zmws_broker.connect().call_future("SLOW", 1)
        worker.send_multipart([b"MDPW02", b"\x01", b"SLOW"])
        token = worker.recv_multipart()[2]
        assert not future.done()
        worker.send_multipart([b"MDPW02", b"\x04", token, b"", b"result"])
        assert future.result(10) == b"result"


@pytest.mark.parametrize(
    "end", ["pass", "client.close()", "del client", "future.cancel()", "del future, client"]
)
def test_a_client_does_not_hold_up_the_end_of_its_program(zmws_broker: RunningBroker, end: str) -> None:
    program = (
        "import sys\nfrom zmws import Client\nclient = Client(sys.argv[1])\n"
        f"future = client.call_future('SLOW')\nclient.stats()\n{end}\nprint('end')"
    )
    ran = subprocess.run(
        [sys.executable, "-c", program, zmws_broker.client],
        capture_output=True, text=True, check=False, timeout=20, env=environment(),
    )  # fmt: skip
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "end\n", ""), ran


def test_a_child_process_may_close_its_parents_client(zmws_broker: RunningBroker) -> None:
    program = (
        "import os, sys\nfrom zmws import Client\nclient = Client(sys.argv[1])\nclient.stats()\n"
        "if os.fork() == 0:\n    client.close()\n    os._exit(0)\n"
        "assert os.wait()[1] == 0\nclient.stats()\nprint('end')"
    )
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, zmws_broker.client],
        capture_output=True, text=True, check=False, timeout=20, env=environment(),
    )  # fmt: skip
    assert (ran.returncode, ran.stdout) == (0, "end\n"), ran


# ---------------------------------------------------------------- forks, debuggers, the end of the program

EXIT = """
import sys
from zmws import Client

class Repository:
    def __init__(self):
        self.client, self.what = Client(sys.argv[1]), sys.argv[2]
        self.client.ask("zmws.stats")
    def __del__(self):
        if self.what == "ask":
            try:
                self.client.ask("zmws.stats")
            except Exception as fault:
                print(type(fault).__name__)
        self.client.close()

repository = Repository()
"""


@pytest.mark.parametrize("what", ["close", "ask"])
def test_a_client_that_is_used_while_the_program_ends_does_not_hold_it_up(
    zmws_broker: RunningBroker, what: str
) -> None:
    for _ in range(4):
        command = [sys.executable, "-c", EXIT, zmws_broker.client, what]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment())
        assert ended.returncode == 0 and ended.stderr == "", ended.stderr


def test_close_does_not_wait_for_a_child_that_was_forked(zmws_broker: RunningBroker) -> None:
    program = """
import os, sys, time
from zmws import Client
client = Client(sys.argv[1])
client.ask("zmws.stats")
ours, theirs = os.pipe()
child = os.fork()
if not child:
    os.close(theirs)
    os.read(ours, 1)  # until the parent has closed its client
    os._exit(0)
client.close()
os.write(theirs, b"x")
print(os.waitpid(child, 0)[1])
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, zmws_broker.client],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(),
    )
    assert ended.stdout == "0\n", ended.stderr


def test_a_child_that_closes_its_copy_leaves_the_parents_client_alone(zmws_broker: RunningBroker) -> None:
    program = """
import os, sys
from zmws import Client
client = Client(sys.argv[1])
client.ask("zmws.stats")
child = os.fork()
if not child:
    client.close()
    os._exit(0)
os.waitpid(child, 0)
print(len(client.ask("zmws.stats")) > 0)
client.close()
"""
    ended = subprocess.run(
        [sys.executable, "-c", program, zmws_broker.client],
        capture_output=True,
        text=True,
        timeout=20,
        env=environment(),
    )
    assert ended.stdout == "True\n", ended.stderr


def test_a_debugger_that_wraps_the_start_of_threads_is_no_green_library(
    zmws_broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = _thread.start_new_thread

    def wrapped(*args: Any) -> int:
        return start(*args)

    monkeypatch.setattr(_thread, "start_new_thread", wrapped)
    with zmws_broker.connect() as client:
        assert client.ask("zmws.stats")


@pytest.mark.parametrize("broker", [[], None, 5, b"tcp://x:1", "tcp://*:5555", ["tcp://x:1", None]])
def test_what_is_no_endpoint_is_a_value_error(broker: Any) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Client(broker)


def test_a_coroutine_function_as_on_partial_is_refused(zmws_broker: RunningBroker) -> None:
    async def partial(value: Any) -> None: ...

    with zmws_broker.connect() as client, pytest.raises(TypeError, match="async def"):
        client.call("ECHO", on_partial=partial)
