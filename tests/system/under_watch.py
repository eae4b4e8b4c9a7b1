"""A broker with small limits, an honest worker and an honest client, and a look at its memory."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from tests.peers import BrokerProcess, await_workers, broker_process, report, worker_process

MIB = 1024 * 1024
GROWTH_BYTES_MAX = 128 * MIB  # what is queued under the limits of SETTINGS, and what the heap loses to it

ECHO = """
service_name = "ECHO"
def work(self, job_id, params):
    return params
"""

# Bounds so small that what is kept on purpose is filled during the warm-up.
SETTINGS = """
[broker]
services_max = 500
waiting_memory_max = 100
memory_keep = 1.0
memory_keep_bytes_max = "1 MiB"
message_bytes_max = "1 MiB"
outbox_bytes_max = "1 MiB"
sessions_max = 100
waits_max = 100
[store]
memory_ended_max = 100
memory_bytes_max = "4 MiB"
[services.ECHO]
[services.FUZZ]
max_waiting = 100
"""


class Honest:
    """Calls without end from a thread; what went wrong, and how long the longest took."""

    def __init__(self, broker: BrokerProcess) -> None:
        self.broker = broker
        self.client = broker.connect()
        self.calls = 0
        self.longest_s = 0.0
        self.longest_s_max = 1.0
        self.fault: BaseException | None = None
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._call_on)

    def _call_on(self) -> None:
        try:
            while not self._over.is_set():
                begun_at = time.monotonic()
                assert self.client.call("ECHO", {"n": self.calls}, timeout=10) == {"n": self.calls}
                self.longest_s = max(self.longest_s, time.monotonic() - begun_at)
                self.calls += 1
                self._over.wait(0.005)
        except BaseException as fault:
            self.fault = fault

    def begin(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(15)
        assert not self._thread.is_alive()
        self.client.close()

    def check(self) -> None:
        """Everything that must hold at the end."""
        assert self.fault is None, repr(self.fault)
        assert self.calls > 0
        assert self.longest_s < self.longest_s_max, f"a call took {self.longest_s:.2f} s"
        self.broker.check()


@contextlib.contextmanager
def under_watch(folder: Path, toml: str = SETTINGS) -> Iterator[tuple[BrokerProcess, Honest]]:
    """A broker, a worker and an honest caller; at the end all that must hold is checked."""
    with ExitStack() as stack:
        broker = stack.enter_context(broker_process(folder, toml=toml))
        stack.enter_context(worker_process(folder, broker.worker, ECHO))
        honest = Honest(broker)
        since = await_workers(honest.client, 1, "ECHO")[0]["since"]
        honest.begin()
        try:
            yield broker, honest
            broker.check()
            with broker.connect() as client:
                still = await_workers(client, 1, "ECHO", 5)
        finally:
            honest.end()
        honest.check()
        assert [w["since"] for w in still] == [since], "the honest worker was turned away"
        report(f"{honest.calls} honest calls, the longest {honest.longest_s * 1000:.0f} ms")
