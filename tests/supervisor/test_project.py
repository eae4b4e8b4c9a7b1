"""zmws.supervisor.project: a new project, and nothing that is there is changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests import shipped
from zmws import settings
from zmws.errors import ZmwsError
from zmws.supervisor.project import FILES, make_project

SETTINGS = Path("etc", "zmws.toml")


def test_a_new_folder_gets_settings_a_worker_and_a_test(tmp_path: Path) -> None:
    root = tmp_path / "shop"
    done = make_project(root)
    assert (done.made, done.left_alone, done.above) == (list(FILES), [], None)
    known = settings.load(root / SETTINGS, environ={})
    assert [(one.name, one.file, one.count) for one in known.workers] == [
        ("hello", root / "workers/hello.py", 1)
    ]
    assert known.broker == settings.BrokerSettings()


def test_the_settings_are_those_that_are_explained_in_this_repository() -> None:
    new = (shipped.ROOT / "zmws" / "supervisor" / "new" / "zmws.toml.txt").read_text()
    mark = "\n[[workers]]\n"
    assert new.partition(mark)[0] == shipped.settings_text().partition(mark)[0]


def test_what_is_there_stays_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "hello.py").write_text("mine")
    (tmp_path / ".gitignore").symlink_to("nowhere")
    done = make_project(tmp_path)
    assert done.left_alone == [Path("workers", "hello.py"), Path(".gitignore")]
    assert (tmp_path / "workers" / "hello.py").read_text() == "mine"
    assert str((tmp_path / ".gitignore").readlink()) == "nowhere" and not (tmp_path / "nowhere").exists()


def test_a_project_is_refused_and_gets_nothing(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / SETTINGS).symlink_to("nowhere")
    with pytest.raises(ZmwsError, match=r"etc/zmws\.toml is there already: .* nothing was made"):
        make_project(tmp_path)
    assert [file.name for file in tmp_path.iterdir()] == ["etc"]


def test_a_project_around_it_is_named(tmp_path: Path) -> None:
    make_project(tmp_path)
    assert make_project(tmp_path / "in" / "it").above == tmp_path


def test_what_cannot_be_made_is_said_with_what_was_and_it_can_be_done_again(tmp_path: Path) -> None:
    (tmp_path / "tests").write_text("a file where a folder has to be")
    with pytest.raises(ZmwsError, match=r"cannot make .*tests.*\(made so far: workers/hello\.py\)"):
        make_project(tmp_path)
    (tmp_path / "tests").unlink()
    done = make_project(tmp_path)
    assert done.left_alone == [Path("workers", "hello.py")] and SETTINGS in done.made


def test_half_a_file_is_not_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, *_: object, **__: object) -> str:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(ZmwsError, match="No space left on device"):
        patched.setattr(type(Path()), "read_text", full)
        make_project(tmp_path)
    assert [file for file in tmp_path.rglob("*") if file.is_file()] == []
