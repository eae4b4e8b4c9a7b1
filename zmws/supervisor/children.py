"""Processes that this one has started: detached, each with its pid file and its log.

Rule: none is left that nobody has noted.
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
from dataclasses import dataclass
from typing import Any

from zmws.errors import ZmwsError
from zmws.supervisor.logs import last_lines
from zmws.supervisor.pidfile import PidFile
from zmws.supervisor.processes import Installation, Process
from zmws.supervisor.sessions import MARK, end_group, end_left

_END_S = 5.0  # for a process that could not be recorded


@dataclass(slots=True)
class _Life:
    """A process that this one has started, and where its part of the log begins."""

    child: subprocess.Popen[bytes]
    log_from: int


class Children:
    """Those of one installation."""

    def __init__(self, installation: Installation) -> None:
        self._of = installation
        self._lives: dict[str, _Life] = {}

    def start(self, process: Process) -> int:
        """Start one detached process; its number. Raises ZmwsError; then it does not run."""
        file = PidFile(self._of.run_dir, process.name)
        given = process.worker
        user: dict[str, Any] = {}
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        if given is not None:
            user = _user_of(process.name, given.user, environment) if given.user is not None else {}
            environment |= given.env
        try:
            with self._of.log_file(process.name).open("ab") as log:
                log_from = log.tell()
                child = subprocess.Popen(
                    process.command,
                    cwd=given.cwd if given is not None and given.cwd is not None else self._of.root,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    start_new_session=True,
                    env={**environment, MARK: file.mark},
                    **user,
                )
            self._lives[process.name] = _Life(child, log_from)
            try:
                if given is not None and given.priority is not None:
                    os.setpriority(os.PRIO_PROCESS, child.pid, given.priority)
                file.write(child.pid)
            except BaseException:
                self._end_unrecorded(child, file)
                raise
        except UnicodeEncodeError as wrong:
            raise ZmwsError(
                f"cannot start {process.name}: its env or command is not {wrong.encoding}"
            ) from None
        except OSError as wrong:
            priority = given.priority if given is not None else None
            if priority is not None and isinstance(wrong, PermissionError) and wrong.filename is None:
                text = f"priority = {priority}: only root may raise it"
                raise ZmwsError(f"cannot start {process.name}: {text}") from None
            where = wrong.filename or self._of.run_dir  # a full disk tells no name
            raise ZmwsError(f"cannot start {process.name}: {wrong.strerror}: {where}") from None
        return child.pid

    def raise_if_ended(self, name: str) -> None:
        """Raises ZmwsError if this one has ended: how, and what it wrote last."""
        code = self._lives[name].child.poll()
        if code is None:
            return
        how = f"ended at once with exit code {code}" if code >= 0 else f"was ended by {_signal_name(-code)}"
        raise ZmwsError(f"{name} {how}{self.what_it_wrote(name)}")

    def what_it_wrote(self, name: str) -> str:
        """The end of its log, to be put behind what happened to it."""
        lines = last_lines(self._of.log_file(name), 8, self._lives[name].log_from)
        if not lines:
            return f"; it wrote nothing to {self._of.log_file(name)}"
        return f"; the end of {self._of.log_file(name)}:" + "".join(f"\n  {line}" for line in lines)

    @staticmethod
    def _end_unrecorded(child: subprocess.Popen[bytes], file: PidFile) -> None:
        """Nobody would find it again: no pid file names it."""
        child.terminate()
        try:
            child.wait(_END_S)
        except subprocess.TimeoutExpired:
            end_group(child.pid)
            child.wait()
        end_left(child.pid, file.mark)


def _user_of(process: str, name: str, environment: dict[str, str]) -> dict[str, Any]:
    """How a process is started as another user; its environment is told, too. Raises ZmwsError."""
    try:
        there = pwd.getpwnam(name)
    except KeyError:
        raise ZmwsError(f"cannot start {process}: this machine knows no user '{name}'") from None
    if os.geteuid() == there.pw_uid:
        return {}
    if os.geteuid() != 0:
        raise ZmwsError(
            f"cannot start {process} as the user {name}: only root can; start it as root, or as {name}"
        )
    environment |= {"HOME": there.pw_dir, "USER": name, "LOGNAME": name}
    groups = os.getgrouplist(name, there.pw_gid)
    return {"user": there.pw_uid, "group": there.pw_gid, "extra_groups": groups}


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"  # a real-time one
