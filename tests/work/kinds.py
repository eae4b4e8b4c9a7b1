"""Workers for the tests of executors, at the top of a file, where a child process finds them."""

from __future__ import annotations

import asyncio
import contextvars
import ctypes
import enum
import logging
import multiprocessing
import os
import resource
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

from zmws import WorkerBase, ZmwsError, worker


class Isolated(WorkerBase):
    """Does in a child what its parameters say."""

    service_name = "ISOLATED"
    isolate = True
    kill_grace = 0.2

    def setup(self) -> None:
        self.set_up_in = os.getpid()

    def work(self, job_id: str, params: Any) -> Any:
        how, *given = params
        return getattr(self, how)(*given)

    def tells(self) -> Any:
        """Where it runs, and of which job."""
        return [os.getpid(), self.set_up_in, self.job.id, self.job.attempt]

    def echo(self, value: Any) -> Any:
        return value

    def exits(self, code: int) -> None:
        os._exit(code)

    def leaves(self) -> None:
        sys.exit(3)

    def segfaults(self) -> None:
        sys.stdout.write("about to fault\n")
        sys.stdout.flush()
        ctypes.string_at(0)

    def kills_itself(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def raises(self) -> None:
        raise LookupError("nothing there")

    def says(self) -> None:
        self.job.progress(0.5, "half")
        self.job.save({"n": 1})
        logging.getLogger("author").warning("a word")

    def prints(self, text: str) -> None:
        sys.stdout.write(text)

    def waits(self) -> None:
        """Until it is dropped; then its `finally` has run."""
        try:
            self.job.progress(0.1)
            time.sleep(60)
        finally:
            self.job.log(f"cleaned up, cancelled: {self.job.cancelled}")

    def ignores(self) -> None:
        """It takes no notice of being dropped."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        self.job.progress(0.1)
        time.sleep(60)

    def starts_another(self) -> int:
        """A process of its own that goes on."""
        pid = os.fork()
        if pid == 0:
            time.sleep(60)
            os._exit(0)
        self.job.log(str(pid))
        time.sleep(60)
        return pid


class Late(Isolated):
    """Leaves a thread that enqueues when the attempt is over, and tells the next job what came of it."""

    service_name = "LATE"

    def work(self, job_id: str, params: Any) -> Any:
        job, went_on = self.job, threading.Event()
        job.enqueue("IN-TIME")
        if params == "last":
            self.go_on.set()
            self.left.join(20)
            return self.told

        def late() -> None:
            went_on.wait(20)
            for enqueue in (lambda: job.enqueue("LATE"), lambda: job.enqueue_chain([("LATE",)])):
                try:
                    enqueue()
                    self.told.append("taken")
                except ZmwsError as refused:
                    self.told.append(str(refused).partition(", ")[0])

        self.told: list[str] = []
        self.go_on, self.left = went_on, threading.Thread(target=late, daemon=True)
        self.left.start()
        if params == "fail":
            raise RuntimeError("failed")
        return None


class Fails(Isolated):
    """Its setup() fails."""

    service_name = "FAILS"

    def setup(self) -> None:
        raise OSError("no database")


class Tight(Isolated):
    """Its child has no memory for a large job: to read it is its end."""

    service_name = "TIGHT"

    def setup(self) -> None:
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + (8 << 20), used + (8 << 20)))


class Renewed(Isolated):
    """Starts its child anew after each job."""

    service_name = "RENEWED"
    max_jobs = 1


@worker("FUNCTION", isolate=True)
def function(word: str) -> list[Any]:
    """A function in a child."""
    return [word, os.getpid()]


class Needs(Isolated):
    """Cannot be made without an argument."""

    service_name = "NEEDS"

    def __init__(self, needed: str) -> None:
        self.needed = needed


class Waits(WorkerBase):
    """Coroutines that wait for each other."""

    service_name = "WAITS"
    concurrency = 10
    opened_in: asyncio.AbstractEventLoop

    async def setup(self) -> None:  # type: ignore[override]
        self.opened_in = asyncio.get_running_loop()
        self.here = 0

    async def work(self, job_id: str, params: Any) -> Any:
        assert asyncio.get_running_loop() is self.opened_in
        self.here += 1
        while self.here < params:
            await asyncio.sleep(0.001)
        return [self.job.id == job_id, self.here]


STATE = contextvars.ContextVar("state", default="none")


class Leaves(Isolated):
    """Leaves something behind."""

    service_name = "LEAVES"

    def idle(self) -> None:
        sys.stderr.write(f"idle in {os.getpid()}\n")
        time.sleep(0.3)

    def alarm(self) -> None:
        signal.signal(signal.SIGALRM, self.rings)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGUSR1, signal.SIG_DFL)

    def rings(self, number: int, frame: object) -> None:
        raise LookupError("a late alarm")

    def sleeps(self) -> str:
        self.job.progress(0.1)
        time.sleep(0.2)
        return "slept"

    def context(self) -> str:
        was = STATE.get()
        STATE.set("left")
        return was

    def leaves_its_group(self) -> None:
        os.setpgid(0, os.getpgid(os.getppid()))
        self.ignores()

    def redirects(self) -> None:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, 1)
        os.dup2(null, 2)

    def terminates(self) -> int | None:
        child = multiprocessing.get_context("fork").Process(target=time.sleep, args=(60,))
        child.start()
        child.terminate()
        child.join()
        return child.exitcode

    def prints_and_dies(self) -> None:
        sys.stdout.write("said before\nand half a line")
        os.kill(os.getpid(), signal.SIGKILL)

    def path(self) -> list[str]:
        return sys.path


class Once(Isolated):
    """Its setup() fails, once a file is there."""

    service_name = "ONCE"

    def setup(self) -> None:
        if Path(self.options["flag"]).exists():
            raise OSError("no database any more")


class Color(enum.Enum):
    """An option of the worker's own."""

    RED = 1
