"""One worker for all that happens to workers: it notes what it does, and does what the job says.

Heartbeats are every 0.5 s here, three of them an expiry of 1.5 s. A worker writes what it does into a
file of notes, with times of the machine's one monotonic clock, which tests compare with their own.
"""

from __future__ import annotations

import json
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.peers import RunningProcess, wait_until, worker_process
from zmws.client import Client

INTERVAL_S = 0.5
LIVENESS = 3
EXPIRY_S = INTERVAL_S * LIVENESS

# One worker for all that happens here: it notes what it does, and does what the job says.
ACTOR = """
service_name = "ACT"
on_hung = "stay"

def note(self, what):
    line = {"what": what, "pid": os.getpid(), "attempt": self.job.attempt, "at": time.monotonic()}
    with open(self.notes, "a") as out:
        out.write(json.dumps(line) + "\\n")

def work(self, job_id, params):
    self.notes = params["notes"]
    self.note("begun")
    end = getattr(self, params["do"])(params)
    self.note("cancelled" if self.job.cancelled else "ended")
    return end

def nothing(self, params):
    return self.job.attempt

def until(self, params):
    while not os.path.exists(params["gate"]) and not self.job.cancelled:
        time.sleep(0.01)
    return self.job.attempt

def deaf_until(self, params):
    while not os.path.exists(params["gate"]):
        time.sleep(0.01)
    return self.job.attempt

def sleep(self, params):
    time.sleep(params["seconds"])
    return self.job.attempt

def spin(self, params):
    until = time.monotonic() + params["seconds"]
    while time.monotonic() < until:
        pass
    return self.job.attempt

def in_c(self, params):
    ctypes.PyDLL(None).usleep(int(params["seconds"] * 1e6))  # PyDLL keeps the interpreter's lock
    return self.job.attempt

def chat(self, params):
    while not os.path.exists(params["gate"]):
        self.job.partial("x" * 10_000)
        time.sleep(0.0001)
    return self.job.attempt

def die(self, params):
    os._exit(7)

def many(self, params):
    for n in range(params["count"]):
        self.job.partial("x" * 1_000)
    return params["count"]
"""


class Notes:
    """What the workers wrote down."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notes"
        self.gate = folder / "gate"

    def params(self, do: str, **more: Any) -> dict[str, Any]:
        """Parameters of a job for the actor."""
        return {"notes": str(self.path), "gate": str(self.gate), "do": do, **more}

    def open_gate(self) -> None:
        """Let the jobs that wait for the gate end."""
        self.gate.touch()

    def all(self, what: str) -> list[dict[str, Any]]:
        """The notes of one kind, in order."""
        text = self.path.read_text() if self.path.exists() else ""
        lines = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
        return [line for line in lines if line["what"] == what]

    def wait(self, what: str, count: int = 1, timeout_s: float = 10.0) -> list[dict[str, Any]]:
        """Until there are so many of one kind."""
        some = lambda: len(self.all(what)) >= count  # noqa: E731
        wait_until(some, timeout_s, f"{count} notes '{what}'")
        return self.all(what)


class Actors:
    """Worker processes by pid."""

    def __init__(self, stack: ExitStack, folder: Path, endpoint: str, count: int) -> None:
        self.by_pid: dict[int, RunningProcess] = {}
        for n in range(count):
            one = stack.enter_context(worker_process(folder, endpoint, ACTOR, f"actor-{n}"))
            self.by_pid[one.pid] = one

    def __getitem__(self, note: dict[str, Any]) -> RunningProcess:
        return self.by_pid[note["pid"]]


def worker_row(client: Client, pid: int) -> dict[str, Any] | None:
    return next((w for w in client.ask("zmws.workers") if w["pid"] == pid), None)
