"""zmws.work.stacks: where all threads are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from tests.peers import REPOSITORY
from zmws.work import stacks


def test_every_thread_is_told_by_name_with_its_stack() -> None:
    entered, leave = threading.Event(), threading.Event()

    def waits_here() -> None:
        entered.set()
        leave.wait()

    thread = threading.Thread(target=waits_here, name="the author's")
    thread.start()
    entered.wait()
    try:
        told = stacks.all_stacks()
    finally:
        leave.set()
        thread.join()
    assert "thread the author's:\n  File" in told and "in waits_here" in told
    assert "thread MainThread:\n" in told and "in test_every_thread_is_told" in told


def test_a_signal_writes_them_to_standard_error_and_the_process_goes_on() -> None:
    text = """
import os, signal, threading
from zmws.work import stacks

entered, leave = threading.Event(), threading.Event()

def waits():
    entered.set()
    leave.wait()

thread = threading.Thread(target=waits)
thread.start()
entered.wait()

def here():
    os.kill(os.getpid(), signal.SIGUSR1)

stacks.on_signal()
here()
leave.set()
thread.join()
print("goes on")
"""
    done = subprocess.run([sys.executable, "-c", text], cwd=REPOSITORY, capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("goes on\n", 0) and "in here" in done.stderr
    assert "in waits" in done.stderr


def test_without_a_standard_error_the_signal_is_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.getsignal(signal.SIGUSR1)
    for stream in (None, object()):
        monkeypatch.setattr(sys, "stderr", stream)
        stacks.on_signal()
    assert signal.getsignal(signal.SIGUSR1) is before and os.getpid()
