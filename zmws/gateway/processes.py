"""The processes of the installation, as the gateway sees and steers them: by the supervisor that keeps it.

Rule 1: only a gateway that a supervisor keeps can do that, and only with that supervisor
        (run/supervisor.sock).
Rule 2: the gateway does not stop itself: nobody could start it again from here.
Rule 3: the supervisor is asked in a thread: what it does may take a minute, and nobody else waits for it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import time
from collections.abc import Mapping
from typing import Any

from zmws.core.table import no_such
from zmws.errors import ZmwsError
from zmws.gateway.problems import Problem
from zmws.settings import Settings
from zmws.settings.table import COPIES_MAX
from zmws.supervisor.door import Asked
from zmws.supervisor.logs import Log
from zmws.supervisor.processes import BROKER, GATEWAY, SUPERVISOR, Installation
from zmws.supervisor.start import whole_command
from zmws.supervisor.status import Disk, disk_of, kept_by_supervisor
from zmws.supervisor.vitals import vitals

LOG_LINES = 300
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]")  # ECMA-48, of terminals
_READY_S = 30.0
_FRESH_S = 1.0  # an answer of the supervisor is shared for so long
_LINE_CHARS_MAX = 1_000  # of a log
Rows = list[dict[str, Any]]


class Processes:
    """Those of one installation."""

    def __init__(self, settings: Settings) -> None:
        self._installation = Installation(settings)
        self._last: tuple[float, asyncio.Future[Any]] | None = None  # when, and what is answered

    async def rows(self) -> Rows | None:
        """A row a process, as `zmws status` has it, with `memory_bytes`, `uptime_s` and `part`; None where no
        supervisor keeps this gateway. Raises Problem where that does not answer."""
        now = time.monotonic()
        if self._last is None or (self._last[1].done() and now - self._last[0] > _FRESH_S):
            asked = asyncio.ensure_future(asyncio.to_thread(kept_by_supervisor, self._installation))
            asked.add_done_callback(lambda done: done.cancelled() or done.exception())
            self._last = now, asked
        try:
            told = await asyncio.shield(self._last[1])
        except ZmwsError as wrong:
            raise Problem(503, "no_answer", str(wrong)) from None
        copies: Rows = [] if told is None else told["copies"]
        ours = {os.getpid(), os.getppid()}
        if not any(row["name"] == GATEWAY and row["pid"] in ours for row in copies):
            return None
        return [{**row, **_vitals(row["pid"]), "part": _part(row["name"])} for row in copies]

    async def disk(self) -> Disk | None:
        """What the store takes up here; None where it is in memory."""
        return await asyncio.to_thread(disk_of, self._installation)

    async def act(self, verb: str, name: str, count: int = 0) -> None:
        """`start`, `stop` or `restart` a process or a worker by its name, or `scale` a worker. Returns when
        it is done. Raises Problem where that cannot be done."""
        rows = await self.rows()
        if rows is None:
            raise Problem(409, "not_possible", "no supervisor keeps this gateway, so it steers no processes")
        names = {row["name"] for row in rows} | {row["group"] for row in rows}
        if name not in names and not (verb in ("start", "scale") and name in self._workers()):
            raise _unknown(name, names)
        if name == GATEWAY:
            text = "the gateway is what you look at; 'zmws restart gateway' does it"
            raise Problem(409, "not_possible", text)
        if verb == "scale" and not 0 <= count <= COPIES_MAX:
            raise Problem(400, "bad_request", f"there may be 0 to {COPIES_MAX} copies")
        try:
            if verb in ("stop", "restart"):
                await self._carry_out({"verb": "stop", **_these(name), "wait_s": None})
            if verb in ("start", "restart"):
                _check(await self._carry_out({"verb": "start", **_these(name), "timeout_s": _READY_S}))
            if verb == "scale":
                asked = {"verb": "scale", "counts": {name: count}, "timeout_s": _READY_S}
                _check(await self._carry_out(asked))
        finally:
            self._last = None  # who looks sees what was done

    def _workers(self) -> set[str]:
        return {worker.name for worker in self._installation.settings.workers}

    async def _carry_out(self, command: Mapping[str, Any]) -> dict[str, Any]:
        return await asyncio.to_thread(self._asked, whole_command(self._installation, command))

    def _asked(self, command: Mapping[str, Any]) -> dict[str, Any]:
        """In a thread."""
        try:
            with contextlib.closing(Asked(self._installation.run_dir, command)) as asked:
                for answer in asked.answers():
                    if "error" in answer:
                        raise Problem(409, "not_possible", str(answer["error"]))
                    if "done" in answer:
                        done: dict[str, Any] = answer["done"]
                        return done
        except ZmwsError as wrong:
            raise Problem(503, "no_answer", str(wrong)) from None
        raise AssertionError("the last answer is done, or an error")

    async def log(self, name: str) -> list[str]:
        """The last lines that a process has written. Raises Problem for one that there is not."""
        known = {row["name"] for row in await self.rows() or ()} | {SUPERVISOR}
        if name not in known:
            raise _unknown(name, known)
        return await asyncio.to_thread(self._last_lines, name)

    def _last_lines(self, name: str) -> list[str]:
        try:
            with contextlib.closing(Log(self._installation.log_file(name))) as log:
                return [_COLOURS.sub("", line)[:_LINE_CHARS_MAX] for line in log.last_lines(LOG_LINES)]
        except OSError:
            return []


def _these(name: str) -> dict[str, Any]:
    return {"servers": False, "workers": False, "names": [name]}


def _unknown(name: str, known: set[str]) -> Problem:
    return Problem(404, "unknown_process", no_such(name, "process of this installation", sorted(known)))


def _check(done: Mapping[str, Any]) -> None:
    if failed := done["failed"]:
        text = "; ".join(f"{name} {why}" for name, why in failed.items())
        raise Problem(409, "not_possible", text)


def _part(name: str) -> str:
    return name if name in (BROKER, GATEWAY) else "worker"


def _vitals(pid: int | None) -> dict[str, Any]:
    found = None if pid is None else vitals(pid)
    if found is None:
        return {"memory_bytes": None, "uptime_s": None, "cpu_s": None}
    return {"memory_bytes": found.memory_bytes, "uptime_s": found.uptime_s, "cpu_s": found.cpu_s}
