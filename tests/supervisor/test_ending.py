"""A process that was killed a moment ago is waited for, and not taken for one that runs."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from zmws.supervisor import start
from zmws.supervisor.pidfile import is_ending

STATUS = "Name:\tx\nSigPnd:\t{mine}\nShdPnd:\t{shared}\nSigBlk:\t0000000000000100\n"


def told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: int, mine: str, shared: str) -> bool:
    """Whether a process is ending of which the system tells this."""
    (tmp_path / "stat").write_text(f"7 (a ) b) R 1 7 7 0 -1 {flags} 0 0")
    (tmp_path / "status").write_text(STATUS.format(mine=mine, shared=shared))
    monkeypatch.setattr("zmws.supervisor.pidfile.Path", lambda path: tmp_path / Path(path).name)
    return is_ending(7)


@pytest.mark.parametrize(
    ("flags", "mine", "shared", "ending"),
    [
        (0x400100, "0" * 16, "0" * 16, False),
        (0x400104, "0" * 16, "0" * 16, True),
        (0x400100, "0000000000000100", "0" * 16, True),
        (0x400100, "0" * 16, "0000000000000100", True),
        (0x400100, "0000000000004000", "0000000000000002", False),  # SIGTERM, SIGINT
    ],
)
def test_who_is_killed_or_on_its_way_out_is_ending(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, flags: int, mine: str, shared: str, ending: bool
) -> None:
    assert told(monkeypatch, tmp_path, flags, mine, shared) is ending


def test_who_runs_or_is_not_there_is_not_ending() -> None:
    assert not is_ending(os.getpid()) and not is_ending(2**22 + 1)


def test_a_start_waits_for_those_that_are_ending_but_not_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[dict[str, int]] = [{"broker": 7, "w": 8}, {"broker": 7, "w": 8}, {"w": 8}]
    installation: Any = SimpleNamespace(running=lambda: looks.pop(0))
    monkeypatch.setattr(start, "is_ending", lambda pid: pid == 7)
    start.await_ending(installation)
    assert looks == []
    monkeypatch.setattr(start, "_ENDING_S", 0.0)
    start.await_ending(SimpleNamespace(running=lambda: {"broker": 7}))  # type: ignore[arg-type]
