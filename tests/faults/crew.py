"""Runs tasks in forked processes, a few at a time, and leaves none behind.

The process that forks has imported pytest and the libraries, but nothing of the product: so a child begins
at once, and imports the product with its fault.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import selectors
import shutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

MEMORY_MAX = 4 << 30  # a fault may make a loop that eats memory
PR_SET_PDEATHSIG = 1


class Task(Protocol):
    """`work` runs in the child, the rest here. The child is killed when it says nothing for `patience_s`,
    and as soon as `over`."""

    patience_s: float
    over: bool

    def work(self, folder: Path, send: Callable[[dict[str, Any]], None]) -> None: ...

    def heard(self, message: dict[str, Any]) -> None: ...

    def ended(self, hung: bool, output: str) -> None: ...


class _Child:
    def __init__(self, task: Task, folder: Path) -> None:
        self.task = task
        self.folder = folder
        folder.mkdir()
        sys.stdout.flush()
        sys.stderr.flush()
        self.pipe, writer = os.pipe()
        parent = os.getpid()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.pipe)
            _in_child(task, folder, writer, parent)
        os.close(writer)
        with contextlib.suppress(OSError):
            os.setpgid(self.pid, self.pid)  # the child does it too: whoever is first
        os.set_blocking(self.pipe, False)
        self._rest = b""
        self.deadline = time.monotonic() + task.patience_s

    def read(self) -> bool:
        """Hands on what has come; False when the child is done."""
        while True:
            try:
                data = os.read(self.pipe, 1 << 20)
            except BlockingIOError:
                return True
            if not data:
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self.task.heard(json.loads(line))
                self.deadline = time.monotonic() + self.task.patience_s
                if self.task.over:
                    return False

    def end(self) -> str:
        """Kills what is left of it, and gives what it has printed."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self.pipe)
        output = self.folder / "output"
        text = output.read_text(errors="replace") if output.exists() else ""
        shutil.rmtree(self.folder, ignore_errors=True)
        return text


def run(next_task: Callable[[], Task | None], jobs: int, folder: Path) -> None:
    """Runs what `next_task` gives until it gives None and nothing is under way."""
    children: dict[int, _Child] = {}
    number = 0
    with selectors.DefaultSelector() as selector:
        try:
            while True:
                while len(children) < jobs and (task := next_task()) is not None:
                    number += 1
                    child = _Child(task, folder / str(number))
                    children[child.pipe] = child
                    selector.register(child.pipe, selectors.EVENT_READ)
                if not children:
                    return
                soonest = min(child.deadline for child in children.values())
                ready = {key.fd for key, _ in selector.select(max(0.0, soonest - time.monotonic()))}
                for pipe, child in list(children.items()):
                    hung = pipe not in ready and child.deadline <= time.monotonic()
                    if hung or (pipe in ready and not child.read()):
                        selector.unregister(pipe)
                        del children[pipe]
                        child.task.ended(hung, child.end())
        finally:
            for child in children.values():
                child.end()


def _in_child(task: Task, folder: Path, writer: int, parent: int) -> None:
    code = 1
    try:
        os.setpgid(0, 0)
        with contextlib.suppress(OSError, AttributeError):  # a system without it has none
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            return
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX, resource.RLIM_INFINITY))
        _redirect(folder / "output")
        task.work(folder, lambda message: _write(writer, json.dumps(message).encode() + b"\n"))
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        # No cleaning up: what is to be done at the parent's end is not done here.
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _redirect(output: Path) -> None:
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    with output.open("wb") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)


def _write(pipe: int, data: bytes) -> None:
    while data:
        data = data[os.write(pipe, data) :]
