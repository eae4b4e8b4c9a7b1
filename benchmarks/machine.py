"""The machine that a benchmark ran on, as a reader of its figures wants to know it."""

from __future__ import annotations

import contextlib
import datetime
import os
import platform
from dataclasses import dataclass
from pathlib import Path


@dataclass
class Machine:
    date: str
    cpu: str
    cores: int
    system: str
    python: str


def this_machine() -> Machine:
    return Machine(
        date=datetime.date.today().isoformat(),
        cpu=_cpu_model(),
        cores=os.cpu_count() or 1,
        system=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
    )


def _cpu_model() -> str:
    """What /proc says; the architecture where it says nothing."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or platform.machine()
