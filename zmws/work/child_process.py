"""One child process, as its worker sees it (children.py has all of them; child.py is what runs in it)."""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from zmws.key_file import KeyFile
from zmws.wire.messages import WorkerRequest
from zmws.work.attempt import Final
from zmws.work.birth import Birth
from zmws.work.executor import Ended
from zmws.work.fault import marked
from zmws.work.job import JobInHand
from zmws.work.pipe import MARK, Pipe

READS_MAX = 16  # of a pipe at once, of 64 KiB each: there is more to do for who reads it
_TAIL_LINES = 40  # of what a child has printed, that are told of its death
_LINE_BYTES_MAX = 64 * 1024
_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<name>.*)$')


@dataclass(eq=False)
class Attempt:
    """One attempt at a job, and whom to tell its end."""

    job: JobInHand
    request: WorkerRequest
    ended: Ended


class ChildProcess:
    """Starts it, and keeps its descriptors. `birth`: what it is told first."""

    def __init__(self, birth: Birth) -> None:
        """Raises OSError where the system has no process or descriptor left."""
        with contextlib.ExitStack() as opened, contextlib.ExitStack() as of_the_child:
            ours, theirs = socket.socketpair()
            opened.callback(ours.close)
            of_the_child.callback(theirs.close)
            self.out, out_theirs = _pipe(opened, of_the_child)
            self.stacks, stacks_theirs = _pipe(opened, of_the_child)
            self._mark, mark_fd = _mark(opened, of_the_child)
            path = [folder or str(Path.cwd()) for folder in sys.path]
            code = (
                f"import sys; sys.path[:] = {path!r}; from zmws.work.child import main; "
                f"main({theirs.fileno()}, {stacks_theirs}, {mark_fd}, {os.getpid()})"
            )
            flags = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined]
            self._process = subprocess.Popen(
                [sys.executable, *flags, "-P", "-c", code],
                stdin=subprocess.DEVNULL,
                stdout=out_theirs,
                stderr=out_theirs,
                pass_fds=(theirs.fileno(), stacks_theirs, mark_fd),
                process_group=0,  # so that it can be killed with all that it has started
            )
            try:
                self.death = os.pidfd_open(self._process.pid)
            except OSError:
                self._process.kill()
                self._process.wait()
                raise
            opened.pop_all()  # from now on they are closed with the child
        self.pid = self._process.pid
        for fd in (self.out, self.stacks):
            os.set_blocking(fd, False)
        ours.setblocking(False)
        self.pipe = Pipe(ours)
        self.attempt: Attempt | None = None
        self._number = 0  # of the jobs it was given
        self.ready = False
        self.leaving = False
        self.kill_at: float | None = None  # it was told to drop its job, and has until then
        self.killed = False
        self.dropped = False  # it was told to drop a job: it is used no more, nor what that has started
        self.idling = False  # it is in idle()
        self.dying = False  # it has ended, or is about to: it is given nothing
        self._tail: deque[str] = deque(maxlen=_TAIL_LINES)
        self._rest = b""
        self.over: set[int] = set()  # of `out` and `stacks`: it has closed them
        self._stack = b""
        self.tell_stack: Callable[[str], None] | None = None  # it was asked where its code is
        self.pipe.send(birth)

    # ------------------------------------------------------------ signals

    def signal(self, number: int) -> None:
        """To the child alone."""
        with contextlib.suppress(OSError):
            os.kill(self.pid, number)

    def kill(self) -> None:
        """And all that it has started."""
        self.killed = True
        for kill in (os.killpg, os.kill):  # it may have left its group
            with contextlib.suppress(OSError):
                kill(self.pid, signal.SIGKILL)

    def kill_group(self) -> None:
        """What it has started alone; it has ended."""
        with contextlib.suppress(OSError):
            os.killpg(self.pid, signal.SIGKILL)

    def drop(self, grace_s: float) -> None:
        """It is to drop its job, and is told both ways: by the signal alone it might be somebody else who
        wants its end, which is for the worker to decide."""
        assert self.attempt is not None
        self.dropped = True
        self.kill_at = time.monotonic() + grace_s
        self.pipe.send(("drop", self.attempt.request.token))
        self.signal(signal.SIGTERM)

    def ask_stack(self, tell: Callable[[str], None]) -> None:
        """`tell` where its code is; also while that is in C."""
        self._stack, self.tell_stack = b"", tell
        self.signal(signal.SIGUSR1)

    # ------------------------------------------------------------ what it prints

    def printed(self) -> list[str]:
        """Whole lines of its standard output and error, since the last call; of READS_MAX reads."""
        lines: list[str] = []
        for _ in range(READS_MAX):
            if not (data := self._read(self.out)):
                break
            *whole, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _LINE_BYTES_MAX:
                whole, self._rest = [*whole, self._rest], b""
            lines += [line.decode("utf-8", "replace") for line in whole]
        self._tail.extend(lines)
        return lines

    @property
    def has_begun_a_line(self) -> bool:
        """Whether it has printed something that has no end of line."""
        return bool(self._rest)

    def last_of_line(self) -> list[str]:
        """What it has printed, and not ended the line: there is no more to come of it."""
        rest, self._rest = self._rest.decode("utf-8", "replace"), b""
        self._tail.extend([rest] if rest else [])
        return [rest] if rest else []

    def _read(self, fd: int) -> bytes:
        """What has come; nothing at the end, too, which `over` then knows of."""
        try:
            data = os.read(fd, 64 * 1024)
        except BlockingIOError:
            return b""
        if not data:
            self.over.add(fd)
        return data

    def read_stack(self) -> None:
        """Where its code is was written, or a part of it."""
        while data := self._read(self.stacks):
            self._stack += data

    def stack_is_told(self) -> None:
        """No more of it has come for a moment."""
        tell, self.tell_stack = self.tell_stack, None
        if tell is not None:
            tell(_as_python_has_it(self._stack.decode("utf-8", "replace")))

    # ------------------------------------------------------------ its end

    def begin(self, attempt: Attempt, bytes_max: int, client: tuple[str | None, KeyFile | None]) -> bool:
        """Give it a job. `client`: where its own client connects, by which key. False if the message could
        not go as a whole."""
        self.attempt, self.kill_at = attempt, None
        self._tail.clear()
        self._number += 1
        return self.pipe.send(("job", attempt.request, bytes_max, client, self._number))

    @property
    def has_begun(self) -> bool:
        """Whether it has begun to read the last job that it was given. It may have died before."""
        return bool(MARK.unpack_from(self._mark)[0] >= self._number)

    def reap(self) -> Final:
        """It has died; how a job that it ran has ended by that."""
        code, used = 0, None
        try:
            _, status, used = os.wait4(self.pid, 0)
        except ChildProcessError:  # the author's code has waited for all children, or ignores SIGCHLD
            how = "has ended; how cannot be told, for this worker's code ignores SIGCHLD, or waits itself"
        else:
            code = os.waitstatus_to_exitcode(status)
            how = f"ended with exit code {code}" if code >= 0 else f"was ended by {_name(-code)}"
        self._process.returncode = code
        if self.killed:
            how = "was killed, for it did not drop the job that was cancelled or past its ttr"
        elif code == -signal.SIGKILL:
            how += ", by somebody, or by the system for want of memory"
        peak = f"; it used up to {used.ru_maxrss / 1024:.0f} MiB" if used is not None else ""
        error = {"code": "job_failed", "type": "ChildDied", "error": f"the job's child process {how}{peak}"}
        if self._tail:
            error["traceback"] = marked("\n".join(("it printed last:", *self._tail)))
        return Final(error=error)

    def close(self) -> None:
        """Let go of its descriptors."""
        self.pipe.close()
        self._mark.close()
        for fd in (self.out, self.stacks, self.death):
            with contextlib.suppress(OSError):
                os.close(fd)


def _mark(opened: contextlib.ExitStack, of_the_child: contextlib.ExitStack) -> tuple[mmap.mmap, int]:
    """Memory that is shared with the child, and its descriptor: there it notes which job it begins."""
    fd = os.memfd_create("zmws-mark", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    of_the_child.callback(os.close, fd)
    os.ftruncate(fd, MARK.size)
    fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK)  # or to read it could be the end of this process
    shared = mmap.mmap(fd, MARK.size)
    opened.callback(shared.close)
    return shared, fd


def _pipe(opened: contextlib.ExitStack, of_the_child: contextlib.ExitStack) -> tuple[int, int]:
    """A pipe: our end, to be read, and the child's."""
    ours, theirs = os.pipe()
    opened.callback(os.close, ours)
    of_the_child.callback(os.close, theirs)
    return ours, theirs


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _as_python_has_it(told: str) -> str:
    """What faulthandler writes (the innermost first, no source) in the order and form of a traceback."""
    frames = [found for line in told.splitlines() if (found := _FRAME.match(line))]
    lines = [f'  File "{one["file"]}", line {one["line"]}, in {one["name"]}\n' for one in reversed(frames)]
    own = [n for n, line in enumerate(lines) if f"{os.sep}inline.py" in line and line.endswith("in _work\n")]
    return marked("".join(lines[own[-1] + 1 :] if own else lines))
