"""zmws.work.run: what has come and finds no slot has not begun, and can be taken back."""

from __future__ import annotations

import threading
import time
from typing import Any

from tests.peers import wait_until
from zmws import WorkerBase
from zmws.dialog.worker_actions import Lies, StartJob
from zmws.wire.messages import WorkerRequest
from zmws.work.run import Run


class Gated(WorkerBase):
    """Two at once, and jobs ahead."""

    service_name = "GATED"
    concurrency = 2
    prefetch = 4

    def __init__(self) -> None:
        self.gate, self.begun = threading.Event(), list[str]()

    def work(self, job_id: str, params: Any) -> None:
        self.begun.append(job_id)
        assert self.gate.wait(20)


def test_jobs_ahead_wait_for_a_slot_unbegun_and_go_back_when_they_have_lain() -> None:
    worker = Gated()
    run = Run([(worker, None)], ["tcp://127.0.0.1:1"], handle_signals=False)
    run._worked_at["GATED"], line = time.monotonic(), run.line
    for name in "abcd":
        token = f"{name}/1/x".encode()
        line.dialog.holding[token] = None
        line.act(StartJob(WorkerRequest(token, "", b'{"id": "%s"}' % name.encode(), (b"",))))
    serving = threading.Thread(target=run._serve)
    serving.start()
    try:
        wait_until(lambda: len(worker.begun) == 2 and len(run._put_off) == 2)
        line.act(Lies((b"d/1/x",)))
        assert sorted(worker.begun) == ["a", "b"] and list(line._unbegun) == [b"c/1/x"]
        worker.gate.set()
        wait_until(lambda: len(worker.begun) == 3)
    finally:
        worker.gate.set()
        line.ending(None)
        serving.join(20)
        run._slots.close(5.0)
        line.close()
    assert worker.begun[2] == "c", "what was taken back does not begin"
