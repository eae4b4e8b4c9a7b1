"""Forks, debuggers, the end of the program: none is held up by a client."""

from __future__ import annotations

import _thread
import subprocess
import sys
from typing import Any

import pytest

from tests.system.installation import environment
from zmws import Client
from zmws.testing import RunningBroker

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


def printed(program: str, *args: str) -> str:
    """What a program prints that ends in time, and complains of nothing."""
    command = [sys.executable, "-c", program, *args]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=20, env=environment())
    assert ended.returncode == 0 and ended.stderr == "", ended.stderr
    return ended.stdout


@pytest.mark.parametrize("what", ["close", "ask"])
def test_a_client_that_is_used_while_the_program_ends_does_not_hold_it_up(
    zmws_broker: RunningBroker, what: str
) -> None:
    for _ in range(4):
        printed(EXIT, zmws_broker.client, what)


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
    assert printed(program, zmws_broker.client) == "0\n"


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
    assert printed(program, zmws_broker.client) == "True\n"


def test_a_debugger_that_wraps_the_start_of_threads_is_no_green_library(
    zmws_broker: RunningBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = _thread.start_new_thread

    def wrapped(*args: Any) -> int:
        return start(*args)

    monkeypatch.setattr(_thread, "start_new_thread", wrapped)
    with zmws_broker.connect() as client:
        assert client.ask("zmws.stats")


@pytest.mark.parametrize("broker", [[], 5, b"tcp://x:1", "tcp://*:5555", ["tcp://x:1", None]])
def test_what_is_no_endpoint_is_a_value_error(broker: Any) -> None:
    with pytest.raises(ValueError, match="endpoint"):
        Client(broker)


def test_a_coroutine_function_as_on_partial_is_refused(zmws_broker: RunningBroker) -> None:
    async def partial(value: Any) -> None: ...

    with zmws_broker.connect() as client, pytest.raises(TypeError, match="async def"):
        client.call("ECHO", on_partial=partial)
