"""Signal handlers that ask and wait, at any moment."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.peers import wait_until
from tests.system.client.echo import Echo
from tests.system.installation import environment
from zmws import Client, JobTimeout, ZmwsError
from zmws.client import connection
from zmws.line import thread
from zmws.testing import RunningBroker
from zmws.testing.fixtures import WorkerFactory

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
