"""How tests run attempts on an executor of any kind."""

from __future__ import annotations

import json
import threading
from typing import Any

from tests.peers import wait_until
from zmws import WorkerBase
from zmws.wire.messages import WorkerRequest
from zmws.wire.values import PARAM_JSON, value_of
from zmws.work.attempt import Final
from zmws.work.declared import Declared, declared
from zmws.work.executor import Executor
from zmws.work.job import JobInHand


class Ear:
    """Hears what jobs say."""

    def __init__(self) -> None:
        self.said: list[tuple[bytes, ...]] = []
        self.logged: list[tuple[bytes, bytes]] = []  # and of which token
        self.cancelled: set[bytes] = set()

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        self.said.append(body)
        if body[0] == b"LOG":
            self.logged.append((token, body[1]))

    def is_cancelled(self, token: bytes) -> bool:
        return token in self.cancelled

    def words(self, kind: bytes) -> list[bytes]:
        return [body[1] for body in self.said if body[0] == kind]


class Bench:
    """An executor, and the attempts on it."""

    def __init__(self, executor: Executor, worker: WorkerBase) -> None:
        self.executor, self.worker = executor, worker
        self.found: Declared = declared(worker)
        self.ear = Ear()
        self.finals: dict[str, Final] = {}
        self.released: list[str] = []  # jobs that have not begun, and go back
        self.threads: dict[str, int] = {}  # by which the end was told

    def start(self, params: Any = None, job_id: str = "i") -> JobInHand:
        body = PARAM_JSON + json.dumps(params).encode()
        told = json.dumps({"id": job_id, "attempt": 1, "ttr": 60}).encode()
        request = WorkerRequest(f"{job_id}/1/x".encode(), "", told, (body,))
        job = JobInHand(self.ear, request, self.found.service)

        def ended(final: Final | None) -> None:
            assert job_id not in self.finals and job_id not in self.released, "it ended twice"
            if final is None:
                return self.released.append(job_id)
            self.threads[job_id] = threading.get_ident()
            self.finals[job_id] = final
            return None

        self.executor.start(self.worker, self.found, job, request, ended)
        return job

    def end_of(self, job_id: str = "i") -> Final:
        wait_until(lambda: job_id in self.finals, 20, f"{job_id} to end")
        return self.finals.pop(job_id)

    def run(self, params: Any = None) -> Any:
        """The result of an attempt."""
        self.start(params)
        final = self.end_of()
        assert final.error is None, final.error
        return value_of(final.result)

    def fails(self, params: Any = None) -> dict[str, Any]:
        """How an attempt fails."""
        self.start(params)
        error = self.end_of().error
        assert error is not None
        return error
