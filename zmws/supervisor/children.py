"""The processes that a supervisor has started, and those that it has taken over from the one before it.

Rule 1: none is left that nobody has noted in run/.
Rule 2: a child is known by its number until it is waited for, and only here it is; one that was taken over is
        no child, and is known by a descriptor of it (pidfd), which no other process can come to have.
Rule 3: this process is a subreaper: what a worker has started and left is handed down to it, and waited for.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from zmws.errors import ZmwsError
from zmws.settings import missing
from zmws.supervisor.logs import last_lines
from zmws.supervisor.pidfile import Identity, PidFile, runs
from zmws.supervisor.processes import Installation, Process
from zmws.supervisor.sessions import MARK, end_group, end_left

_END_S = 5.0  # for a process that could not be recorded
_LEFT_S = 0.3  # what has been killed is gone by then, or the system is busy with it
_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_OF_THIS_PROCESS = ("NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID")  # sd_notify(3)


@dataclass(slots=True)
class _Life:
    """A process, and where its part of the log begins. `child`: none of one that was taken over; `pidfd`: of
    such a one, where the system has them."""

    identity: Identity
    log_from: int
    child: subprocess.Popen[bytes] | None = None
    pidfd: int | None = None


@dataclass(frozen=True, slots=True)
class Gone:
    """A process has ended. `code`: as Popen.returncode has it, None where nobody can know; `meant_it`: it has
    left by its own design, and is not a job's code that has ended it; `was_ready`: the broker knew it."""

    name: str
    code: int | None
    peak_bytes: int | None
    meant_it: bool = True
    was_ready: bool = False


class Children:
    """Those of one installation, by the names of the copies."""

    def __init__(self, installation: Installation) -> None:
        self._of = installation
        self._lives: dict[str, _Life] = {}
        self._closing: list[int] = []
        self._missed: set[str] = set()  # whose note was not there at the last look

    def pid(self, name: str) -> int | None:
        """The number of its process, None if there is none."""
        life = self._lives.get(name)
        return None if life is None else life.identity[0]

    def start(self, process: Process, environ: Mapping[str, str], noted_as: str | None = None) -> int:
        """Start one detached process; its number. Raises ZmwsError; then it does not run. `noted_as`: the
        name that it has in run/, if not its own."""
        check_present(process)
        name = noted_as or process.name
        file = PidFile(self._of.run_dir, name)
        given = process.worker
        user: dict[str, Any] = {}
        environment = {key: text for key, text in environ.items() if key not in _OF_THIS_PROCESS}
        environment["PYTHONUNBUFFERED"] = "1"
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
            try:
                if given is not None and given.priority is not None:
                    os.setpriority(os.PRIO_PROCESS, child.pid, given.priority)
                file.write(child.pid, given.file if given is not None else None)
            except BaseException:
                self._end_unrecorded(child, file)
                raise
        except UnicodeEncodeError as wrong:
            raise ZmwsError(
                f"cannot start {process.name}: its env or command is not {wrong.encoding}"
            ) from None
        except ValueError as wrong:  # a null byte
            raise ZmwsError(f"cannot start {process.name}: {wrong}") from None
        except OSError as wrong:
            priority = given.priority if given is not None else None
            if priority is not None and isinstance(wrong, PermissionError) and wrong.filename is None:
                text = f"priority = {priority}: only root may raise it"
                raise ZmwsError(f"cannot start {process.name}: {text}") from None
            where = wrong.filename or self._of.run_dir  # a full disk tells no name
            raise ZmwsError(f"cannot start {process.name}: {wrong.strerror}: {where}") from None
        self._lives[name] = _Life(file.identity() or (child.pid, ""), log_from, child)
        return child.pid

    def adopt(self, name: str) -> int | None:
        """Take over the process that is noted under this name, if it runs; its number."""
        identity = PidFile(self._of.run_dir, name).identity()
        if identity is None:
            return None
        pidfd = None
        with contextlib.suppress(OSError, AttributeError):  # an old kernel, another system: it is looked at
            pidfd = os.pidfd_open(identity[0])
        if not runs(identity):  # looked at behind the descriptor: now the two are of one process
            if pidfd is not None:
                os.close(pidfd)
            return None
        self._lives[name] = _Life(identity, 0, pidfd=pidfd)
        return identity[0]

    def rename(self, name: str, to: str) -> None:
        """A process is noted under another name. Raises OSError."""
        PidFile(self._of.run_dir, name).rename(to)
        self._lives[to] = self._lives.pop(name)

    def closing(self) -> list[int]:
        """Descriptors of processes that have ended: whoever watches them is to stop, and to close them. Until
        then no other may come to have such a number."""
        closing, self._closing = self._closing, []
        return closing

    def descriptors(self) -> list[int]:
        """They become readable when a process ends that is no child of this one."""
        return [life.pidfd for life in self._lives.values() if life.pidfd is not None]

    def note_again(self) -> None:
        """Note those anew that somebody has removed the note of. Raises OSError."""
        missed, self._missed = self._missed, set()
        for name, life in self._lives.items():
            file = PidFile(self._of.run_dir, name)
            if file.is_there() or not runs(life.identity):
                continue
            if name in missed:
                file.write(life.identity[0])
            else:
                self._missed.add(name)  # who ends well removes it himself, a little before he has gone

    def is_to_be_looked_at(self) -> bool:
        """Whether the end of one is only seen by looking."""
        return any(life.child is None and life.pidfd is None for life in self._lives.values())

    def signal(self, name: str, number: signal.Signals) -> None:
        """Signal a process; SIGKILL goes to its whole group. Raises PermissionError."""
        life = self._lives.get(name)
        if life is None:
            return
        with contextlib.suppress(ProcessLookupError):
            if life.pidfd is not None:
                signal.pidfd_send_signal(life.pidfd, number)
            elif life.child is None and not runs(life.identity):
                return
            if number == signal.SIGKILL:
                end_group(life.identity[0])
            elif life.pidfd is None:
                os.kill(life.identity[0], number)

    def gone(self) -> list[Gone]:
        """Those that have ended since the last time; also others' that were left to this process are waited
        for."""
        found = []
        by_pid = {life.identity[0]: name for name, life in self._lives.items() if life.child is not None}
        while True:
            try:
                pid, status, used = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                break
            name = by_pid.get(pid)
            if name is not None:
                code = os.waitstatus_to_exitcode(status)
                child = self._lives[name].child
                assert child is not None
                child.returncode = code  # it has been waited for
                peak = used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
                file = PidFile(self._of.run_dir, name)
                is_noted = file.noted() == pid
                meant_it = not is_noted or file.was_noted("leaves") is not None
                was_ready = bool(is_noted and file.was_noted("ready"))
                found.append(Gone(name, code, peak, meant_it, was_ready))
        for name, life in self._lives.items():
            if life.child is None and self._has_gone(life):
                # Who ends well removes what is noted of it, and who leaves to be started anew says so.
                file = PidFile(self._of.run_dir, name)
                well = file.noted() != life.identity[0]
                left_with = file.was_noted("leaves")
                is_ready = well or bool(file.was_noted("ready"))
                found.append(Gone(name, 0 if well else left_with, None, was_ready=is_ready))
        return found

    def forget(self, name: str, ends_what_is_left: bool) -> int:
        """One that has ended is waited for no more; how many were ended of those that it had started. What is
        noted of it stays: should this process die now, the next one is to know that the other has died."""
        life = self._lives.pop(name)
        if life.pidfd is not None:
            self._closing.append(life.pidfd)
        file = PidFile(self._of.run_dir, name)
        return end_left(life.identity[0], file.mark, _LEFT_S) if ends_what_is_left else 0

    def unnote(self, name: str) -> None:
        """It is not to run any more. Raises ZmwsError."""
        try:
            PidFile(self._of.run_dir, name).remove()
        except OSError as wrong:
            raise ZmwsError(f"cannot remove {wrong.filename}: {wrong.strerror}") from None

    def log_from(self, name: str) -> int:
        """Where the part of its log begins that this process has written."""
        life = self._lives.get(name)
        return 0 if life is None else life.log_from

    @staticmethod
    def _has_gone(life: _Life) -> bool:
        if life.pidfd is None:
            return not runs(life.identity)
        poll = select.poll()
        poll.register(life.pidfd, select.POLLIN)
        return bool(poll.poll(0))

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


def check_present(process: Process) -> None:
    """What it takes to start this is there. Raises ZmwsError."""
    if process.worker is not None and (what := missing(process.worker)) is not None:
        raise ZmwsError(f"cannot start {process.name}: {what}")


def become_subreaper() -> None:
    """Let the descendants of this process that lose their parent become its children. (Linux.)"""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def what_it_wrote(installation: Installation, process: str, log_from: int) -> str:
    """The end of its log, to be put behind what happened to it."""
    file = installation.log_file(process)
    lines = last_lines(file, 8, log_from)
    if not lines:
        return f"; it wrote nothing to {file}"
    return f"; the end of {file}:" + "".join(f"\n  {line}" for line in lines)


def how(code: int) -> str:
    """How a process has ended, as Popen.returncode has it: to be put behind its name."""
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"  # a real-time one


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
