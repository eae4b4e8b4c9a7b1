"""Starting one detached process: as whom, and what is said where that cannot be."""

from __future__ import annotations

import os
import pwd
from dataclasses import replace
from pathlib import Path

import pytest

from tests.peers import wait_until
from tests.supervisor.folder import TWO, installation_in
from zmws.errors import ZmwsError
from zmws.supervisor.children import Children
from zmws.supervisor.processes import Installation, Process

# They outlive whoever has started them: that is what they are for.
pytestmark = [
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]
TELLS = 'umask 0; echo "$(id -u) $(id -G) $HOME $USER" > "$1.new"; mv "$1.new" "$1"'


def made_in(folder: Path) -> Installation:
    made = installation_in(folder, TWO)
    made.run_dir.mkdir()
    made.logs_dir.mkdir()
    return made


def process(made: Installation, told: Path, **settings: object) -> Process:
    worker = replace(made.settings.workers[0], **settings)  # type: ignore[arg-type]
    return Process("a_00", "worker", ["/bin/sh", "-c", TELLS, "sh", str(told)], "a", worker)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs a process as another user")
def test_root_starts_a_process_as_another_user_with_nothing_left_of_root(tmp_path: Path) -> None:
    nobody, told = pwd.getpwnam("nobody"), tmp_path / "told" / "by"
    told.parent.mkdir()
    os.chown(told.parent, nobody.pw_uid, nobody.pw_gid)
    for folder in (tmp_path, *tmp_path.parents[:3]):
        folder.chmod(folder.stat().st_mode | 0o011)
    made = made_in(tmp_path)
    Children(made).start(process(made, told, user="nobody"), os.environ)
    wait_until(told.exists)
    groups = " ".join(map(str, os.getgrouplist("nobody", nobody.pw_gid)))
    assert told.read_text().split("\n")[0] == f"{nobody.pw_uid} {groups} {nobody.pw_dir} nobody"
    assert told.stat().st_uid == nobody.pw_uid


def test_who_is_not_root_is_told_that_he_cannot(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = made_in(tmp_path)
    monkeypatch.setattr(os, "geteuid", lambda: pwd.getpwnam("nobody").pw_uid)
    with pytest.raises(ZmwsError, match="cannot start a_00 as the user root: only root can"):
        Children(made).start(process(made, tmp_path / "told", user="root"), os.environ)
    assert not (made.run_dir / "a_00.pid").exists()

    def refused(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "setpriority", refused)
    with pytest.raises(ZmwsError, match="cannot start a_00: priority = -5: only root may raise it"):
        Children(made).start(process(made, tmp_path / "told", priority=-5), os.environ)
    assert made.running() == {}


def test_who_is_that_user_already_needs_not_be_root(tmp_path: Path) -> None:
    made, told = made_in(tmp_path), tmp_path / "told"
    Children(made).start(process(made, told, user=pwd.getpwuid(os.geteuid()).pw_name), os.environ)
    wait_until(told.exists)
    assert told.read_text().split()[0] == str(os.geteuid())
