"""Pid files: `run/NAME.pid` holds the number alone, `run/NAME.json` when that process began, so that a
number the system has used again is not taken for ours."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path


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

    def write(self, pid: int) -> None:
        """Note a process that was just started. Raises OSError."""
        self._about.write_text(json.dumps({"pid": pid, "began": began(pid)}) + "\n")
        self._pid.write_text(f"{pid}\n")

    def running(self) -> int | None:
        """The process's number if it still runs and is ours, else None."""
        try:
            pid = int(self._pid.read_text())
            about = json.loads(self._about.read_text())
        except (OSError, ValueError):
            return None
        # A number of 0 or below would signal whole groups of processes.
        now = began(pid) if pid > 0 else None
        return pid if now is not None and about == {"pid": pid, "began": now} else None

    def remove(self) -> None:
        """Forget it."""
        for file in (self._pid, self._about):
            with contextlib.suppress(FileNotFoundError):
                file.unlink()


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
    """Signal a process, which may have ended by now."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
