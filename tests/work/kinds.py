"""Workers for the tests of executors, at the top of a file, where a child process finds them."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import signal
import sys
import time
from typing import Any

from zmws import WorkerBase, worker


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


class Fails(Isolated):
    """Its setup() fails."""

    service_name = "FAILS"

    def setup(self) -> None:
        raise OSError("no database")


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
