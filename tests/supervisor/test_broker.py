"""Whose the broker at an installation's address is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from tests.supervisor.folder import TWO, installation_in
from zmws.supervisor.broker import look, unnoted
from zmws.supervisor.pidfile import PidFile
from zmws.supervisor.processes import Installation
from zmws.supervisor.status import descriptors_of, status
from zmws.testing import RunningBroker


def _at(folder: Path, client: str) -> Installation:
    """An installation whose broker would be at this address."""
    made = installation_in(folder, TWO)
    made.run_dir.mkdir()
    broker = replace(made.settings.broker, client=client, worker="ipc://*", news="ipc://*", mdp="")
    return Installation(replace(made.settings, broker=broker))


def test_a_broker_of_another_folder_is_not_ours(tmp_path: Path, zmws_broker: RunningBroker) -> None:
    there = look(_at(tmp_path, zmws_broker.client))
    assert (there.what, there.pid, there.stats) == ("another", os.getpid(), None)


def test_the_process_that_is_noted_is_ours_though_the_folder_was_moved(
    tmp_path: Path, zmws_broker: RunningBroker
) -> None:
    made = _at(tmp_path, zmws_broker.client)
    PidFile(made.run_dir, "broker").write(os.getpid())
    there = look(made)
    assert there.what == "ours" and there.stats is not None and there.stats["pid"] == os.getpid()
    assert unnoted(made) is None


def test_nobody_there_is_told_from_one_that_runs_and_is_silent(tmp_path: Path) -> None:
    made = _at(tmp_path, f"ipc://{tmp_path}/nobody")
    assert (look(made).what, look(made).pid) == ("absent", None)
    PidFile(made.run_dir, "broker").write(os.getpid())
    silent = look(made)
    assert (silent.what, silent.pid) == ("silent", os.getpid()) and "nobody" in silent.fault
    assert status(made).out_of_descriptors is None


def test_how_many_descriptors_a_process_has_in_use_is_seen_from_outside() -> None:
    before = descriptors_of(os.getpid())
    assert before is not None and 0 < before[0] < before[1]
    with Path(os.devnull).open():
        assert descriptors_of(os.getpid()) == (before[0] + 1, before[1])
    assert descriptors_of(2**22 + 1) is None
