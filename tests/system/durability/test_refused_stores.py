"""A store that cannot be opened is refused in a line, and left as it is."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from pathlib import Path

from tests.peers import BrokerProcess, skip_unless_possible
from tests.system.disks import NotPossible, small_disk
from tests.system.installation import run
from tests.system.lasting import lasting_broker, patient, workers
from tests.system.load import SERVICE


def set_newer(store: Path) -> None:
    with contextlib.closing(sqlite3.connect(store)) as file:
        file.execute("PRAGMA user_version = 999")


def damage(store: Path) -> None:
    with store.open("r+b") as file:
        file.seek(2 * 4096)
        file.write(b"\xa5" * (store.stat().st_size - 3 * 4096))


def cut_short(store: Path) -> None:
    with store.open("r+b") as file:
        file.truncate(50)


def empty(store: Path) -> None:
    with store.open("r+b") as file:
        file.truncate(0)


def refused_start(broker: BrokerProcess, *more: str) -> str:
    """`zmws broker` once more: the one line that it ends with."""
    ended = run(*broker.arguments, *more, cwd=broker.folder)
    lines = (ended.out + ended.err).strip().splitlines()
    assert ended.code != 0 and len(lines) == 1, (ended.code, lines)
    return lines[0]


def test_a_file_that_cannot_be_used_is_refused_in_a_line_and_left_as_it_is(tmp_path: Path) -> None:
    store, whole = tmp_path / "var" / "zmws.db", tmp_path / "whole"
    with lasting_broker(tmp_path, "[services.PILE]") as broker:
        with patient(broker) as client:
            client.submit_many({"service": "PILE", "params": "x" * 1000} for _ in range(100))
        assert broker.stop() == 0
        shutil.copy(store, whole)
        for spoil, told in (
            (set_newer, "run the newer zmws"),
            (damage, "put back a backup"),
            (cut_short, "put back a backup"),
            (empty, "put back a backup"),
        ):
            shutil.copy(whole, store)
            spoil(store)
            before = store.read_bytes()
            line = refused_start(broker)
            assert str(store) in line and told in line, line
            assert store.read_bytes() == before
            beside = {one.name for one in store.parent.iterdir()}
            assert beside <= {"zmws.db", "zmws.db.lock", "zmws.db.reserve"}, beside
        # `zmws check` tells of it too, and of the whole one that there is nothing.
        config = ("-c", str(tmp_path / "etc" / "zmws.toml"))
        assert run("check", *config, cwd=tmp_path).code == 1
        shutil.copy(whole, store)
        assert run("check", *config, cwd=tmp_path).code == 0
        broker.start()
        broker.await_ready()
        assert broker.stop() == 0


def test_a_second_broker_on_the_same_store_is_refused_and_the_first_goes_on(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    other = [f"--{name}=tcp://127.0.0.1:*" for name in ("client", "worker", "news", "mdp")]
    line = refused_start(broker, *other)
    assert f"in use by another broker (process {broker.pid})" in line
    with workers(tmp_path, broker), patient(broker) as client:
        assert client.submit(SERVICE, {}).result(10)
    # A lock that its holder took along into its death is none.
    broker.restart()
    assert broker.stop() == 0


def test_a_folder_that_cannot_be_written_to_is_refused_in_a_line(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.touch()
    line = refused_start(lasting_broker(tmp_path, f'url = "sqlite:{in_the_way}/zmws.db"'))
    assert "is no folder" in line and str(in_the_way) in line


def test_a_store_on_a_disk_that_is_not_mounted_is_refused_in_a_line(tmp_path: Path) -> None:
    broker = lasting_broker(tmp_path, 'url = "sqlite:disk/zmws.db"')
    line = refused_start(broker)
    assert f"{tmp_path}/disk: there is no such folder" in line and "mount that first" in line
    (tmp_path / "disk").mkdir()
    with broker:
        assert "there was no store; made a new one" in broker.said()
        assert broker.stop() == 0


def test_a_disk_that_is_read_only_is_refused_in_a_line(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(tmp_path / "disk", 1, read_only=True))
        except NotPossible as reason:
            skip_unless_possible(False, str(reason), reason.refused)
            raise
        line = refused_start(lasting_broker(tmp_path, f'url = "sqlite:{disk}/zmws.db"'))
    assert str(disk) in line
