"""Pid files: `run/NAME.pid` holds a process's number alone, for other programs.

`run/NAME.json` holds when that process began too, so that a number the system has used again is not taken for
ours, and in which folder it was noted: in a copy of an installation the original's processes are not ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zmws.supervisor.vitals import began_before

NOTED_BESIDE = "~"  # NAME~new, NAME~old: while one takes the place of another; no worker's name has it
_EXITING = 0x4  # PF_EXITING, of the flags in /proc/PID/stat

Identity = tuple[int, str]  # its number, and when it began


@dataclass(frozen=True, slots=True)
class PidFile:
    """Where one process's number lies."""

    folder: Path
    name: str

    @property
    def _pid(self) -> Path:
        return self.folder / f"{self.name}.pid"

    @property
    def _about(self) -> Path:
        return self.folder / f"{self.name}.json"

    @property
    def mark(self) -> str:
        """What the process carries in its environment, and all that it starts: that copy it was, is, or will
        be, whatever it is noted as now."""
        return str(self.folder / f"{self.name.partition(NOTED_BESIDE)[0]}.pid")

    def write(self, pid: int, code: Path | None = None) -> None:
        """Note a process that was just started. `code`: the file that it runs. Raises OSError; then nothing
        is noted."""
        new = self._about.with_suffix(".new")
        try:
            about = {"pid": pid, "began": began(pid), "folder": self._place()}
            if code is not None:
                about["code"] = _version_of(code)
            for file, text in ((self._about, json.dumps(about)), (self._pid, str(pid))):
                new.write_text(f"{text}\n")
                new.replace(file)  # whole, or not at all: somebody may be reading it
        except OSError:
            for file in (new, self._pid, self._about):
                with contextlib.suppress(OSError):
                    file.unlink()
            raise

    def is_there(self) -> bool:
        """Whether anything is noted."""
        return self._about.exists() or self._pid.exists()

    def noted(self) -> int | None:
        """The number that is noted, whatever has become of its process; None if there is none."""
        try:
            pid = int(self._told().get("pid") or self._pid.read_text())
        except (OSError, ValueError, TypeError):
            return None
        return pid if pid > 0 else None  # 0 or below would signal whole groups of processes

    def noted_at(self) -> float | None:
        """When it was noted, in seconds since 1970; None if there is none, or it was noted elsewhere."""
        if self._is_copy():
            return None
        for file in (self._pid, self._about):
            with contextlib.suppress(OSError):
                return file.stat().st_mtime
        return None

    def running(self) -> int | None:
        """The process's number if it still runs and is ours, else None."""
        identity = self.identity()
        return identity[0] if identity is not None and runs(identity) else None

    def identity(self) -> Identity | None:
        """The process that is noted, for `runs`; None where it cannot be told from others."""
        pid, told = self.noted(), self._told()
        if pid is None or told.get("pid") != pid or self._is_copy():
            return None
        return pid, str(told.get("began"))

    def rename(self, to: str) -> None:
        """Note the process under another name. Raises OSError."""
        other = PidFile(self.folder, to)
        self._about.replace(other._about)
        self._pid.replace(other._pid)

    def runs_older(self, code: Path) -> bool:
        """Whether the process that is noted runs another version of its file than there is now. Of one that
        was noted by an earlier version of zmws it is known whether the file was changed since."""
        pid, version = self.running(), _version_of(code)
        if pid is None or version is None:
            return False
        told = self._told()
        return bool(told["code"] != version) if "code" in told else began_before(pid, code)

    def note(self, **more: bool | int) -> None:
        """Note more of the process: `ready` (the broker knows it), `stops` (it was told to), `leaves` (its
        exit code, if it leaves by its own design). Raises OSError."""
        new = self._about.with_suffix(
            f".{os.getpid()}"
        )  # it and the supervisor may both have something to note
        new.write_text(json.dumps({**self._told(), **more}) + "\n")
        new.replace(self._about)

    def was_noted(self, what: str) -> bool | int | None:
        """What was noted so of the process."""
        found = self._told().get(what)
        return found if isinstance(found, (bool, int)) else None

    def _told(self) -> dict[str, Any]:
        try:
            told = json.loads(self._about.read_text())
        except (OSError, ValueError):
            return {}
        return told if isinstance(told, dict) else {}

    def _place(self) -> list[int]:
        """What tells this folder from its copies, and stays when it is moved."""
        there = self.folder.stat()
        return [there.st_dev, there.st_ino]

    def _is_copy(self) -> bool:
        """Whether this was noted in another folder, and copied with it. Earlier versions do not tell."""
        try:
            return bool(self._told().get("folder", self._place()) != self._place())
        except OSError:
            return False

    def remove(self) -> None:
        """Forget it. Raises OSError."""
        for file in (self._pid, self._about):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


def leave_note(mark: str | None, code: int, removes: bool) -> None:
    """For a process that ends by its own design. `mark`: its PidFile.mark, None if nobody has noted it;
    `removes`: it was stopped, or sent away, and has not died; else its exit code is noted."""
    path = Path(mark or "")
    own = PidFile(path.parent, path.stem)
    # What a worker's code starts carries the worker's mark.
    if mark and own.running() == os.getpid():
        with contextlib.suppress(OSError):
            own.remove() if removes else own.note(leaves=code)


def ready_note(mark: str | None) -> None:
    """For a process that the broker knows now: it may end before anybody has seen that."""
    path = Path(mark or "")
    own = PidFile(path.parent, path.stem)
    if mark and own.running() == os.getpid():
        with contextlib.suppress(OSError):
            own.note(ready=True)


def _version_of(code: Path) -> list[int] | None:
    """What tells a file from what it was, or from another that a link leads to now."""
    try:
        there = code.stat()
    except OSError:
        return None
    return [there.st_dev, there.st_ino, there.st_mtime_ns, there.st_size]


def runs(identity: Identity) -> bool:
    """Whether that very process runs."""
    pid, since = identity
    return began(pid) == since


def is_ending(pid: int) -> bool:
    """Whether a process was killed a moment ago and has not gone yet. (Linux tells; elsewhere: false.)"""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    pending = re.findall(r"^(?:Sig|Shd)Pnd:\s*([0-9a-f]+)$", status, re.MULTILINE)
    killed = any(int(mask, 16) >> (signal.SIGKILL - 1) & 1 for mask in pending)
    return killed or bool(int(fields[6]) & _EXITING)


def began(pid: int) -> str | None:
    """When a process began, in the system's own words; None if there is no such process."""
    stat = Path(f"/proc/{pid}/stat")
    try:
        # After the name in brackets, which may hold anything: state is field 3, the start field 22.
        fields = stat.read_text().rpartition(")")[2].split()
    except OSError:
        return None if Path("/proc/self/stat").exists() else _began_by_ps(pid)
    # A zombie has ended; only its parent has not looked yet.
    return None if fields[0] in "ZX" else fields[19]


def _began_by_ps(pid: int) -> str | None:
    asked = ["ps", "-o", "lstart=", "-p", str(pid)]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def send_signal(pid: int, number: signal.Signals) -> None:
    """Signal a process, which may have ended by now. Raises PermissionError."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
