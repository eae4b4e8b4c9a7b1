"""The ends of logs, and what comes after."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest

from tests.supervisor.folder import TWO, installation_in
from zmws.errors import SettingsError
from zmws.supervisor.logs import Log, follow, last_lines, logs_of, seek_last_lines


def test_the_last_lines_of_a_log(tmp_path: Path) -> None:
    log = tmp_path / "log.txt"
    assert last_lines(log, 3) == []
    log.write_text("".join(f"{n} {'x' * 3000}\n" for n in range(50)) + "end")
    assert [line[:2] for line in last_lines(log, 3)] == ["48", "49", "en"]
    assert len(last_lines(log, 100)) == 51
    assert last_lines(log, 0) == []
    begin = log.stat().st_size - 3
    assert last_lines(log, 3, begin) == ["end"]
    assert last_lines(log, 3, begin + 3) == []
    assert [line[:2] for line in last_lines(log, 3, begin + 4)] == ["48", "49", "en"], "it was cut meanwhile"
    with log.open("rb") as file:
        seek_last_lines(file, 1)
        assert file.read() == b""


def test_a_log_is_read_on_as_it_grows_and_anew_when_it_was_cut(tmp_path: Path) -> None:
    file = tmp_path / "log.txt"
    file.write_bytes(b"one\ntwo\n")
    with contextlib.closing(Log(file)) as log:
        assert log.last_lines(1) == ["two"] and log.grown() == ""
        with file.open("ab") as more:
            more.write("thré".encode()[:-1])
        assert log.grown() == "thr", "half a character waits for its rest"
        with file.open("ab") as more:
            more.write("é".encode()[1:])
        assert next(follow([log])) == "é"
        file.write_bytes(b"new\n")
        assert log.grown() == "new\n"


def test_the_logs_of_all_copies_are_found_and_of_nobody_none(tmp_path: Path) -> None:
    made = installation_in(tmp_path, TWO)
    made.logs_dir.mkdir()
    with pytest.raises(SettingsError, match=r"no log of 'a' in .*; there are none"):
        logs_of(made, "a")
    for name in ("a_00", "a_01", "old"):
        made.log_file(name).touch()
    assert list(logs_of(made, "a")) == ["a_00", "a_01"] and list(logs_of(made, "a_01")) == ["a_01"]
    assert list(logs_of(made, "old")) == ["old"], "the settings no longer name it"
    with pytest.raises(SettingsError, match="did you mean 'old'"):
        logs_of(made, "oldd")
