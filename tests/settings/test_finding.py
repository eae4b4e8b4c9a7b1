"""Which installation a folder is in, and where its broker is to be found."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from zmws.errors import SettingsError
from zmws.settings import address, load, root_of


def told(root: Path, endpoint: str, more: str = "") -> Path:
    """An installation in this folder, whose clients find its broker there; its file."""
    (root / "etc").mkdir(parents=True, exist_ok=True)
    file = root / "etc" / "zmws.toml"
    file.write_text(f'{more}\n[broker]\nclient = "{endpoint}"\n')
    return file


def folder(path: Path) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    return path


def refusal(cwd: Path, **given: str) -> str:
    with pytest.raises(SettingsError) as refused:
        address("client", cwd=cwd, environ=given)
    return str(refused.value)


# ---------------------------------------------------------------- which comes first


def test_without_any_file_it_is_the_default_and_the_folder_itself_is_the_installation(tmp_path: Path) -> None:
    assert address("client", cwd=tmp_path, environ={}) == "tcp://127.0.0.1:5555"
    assert address("worker", cwd=tmp_path, environ={}) == "tcp://127.0.0.1:5556"
    known = load(cwd=tmp_path, environ={})
    assert (known.root, known.path) == (tmp_path, None)


def test_the_file_of_the_folder_beats_the_default(tmp_path: Path) -> None:
    told(tmp_path, "tcp://10.0.0.1:7000")
    assert address("client", cwd=tmp_path, environ={}) == "tcp://10.0.0.1:7000"
    assert address("worker", cwd=tmp_path, environ={}) == "tcp://127.0.0.1:5556"


def test_the_environment_beats_the_file_which_is_not_read_then(tmp_path: Path) -> None:
    file = told(tmp_path, "tcp://10.0.0.1:7000")
    environ = {"ZMWS_BROKER_CLIENT": "tcp://10.0.0.2:7000"}
    assert address("client", cwd=tmp_path, environ=environ) == "tcp://10.0.0.2:7000"
    assert address("client", file, cwd=tmp_path, environ=environ) == "tcp://10.0.0.2:7000"
    assert address("worker", cwd=tmp_path, environ=environ) == "tcp://127.0.0.1:5556"
    file.write_text("no TOML")
    assert address("client", cwd=tmp_path, environ=environ) == "tcp://10.0.0.2:7000"
    with pytest.raises(SettingsError, match=r"zmws\.toml:1: this is not TOML"):
        address("worker", cwd=tmp_path, environ=environ)
    with pytest.raises(SettingsError, match=r"zmws\.toml:1: this is not TOML"):
        address("client", file, cwd=tmp_path, environ=environ)


def test_who_is_told_by_the_environment_needs_no_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    assert address("client", environ={"ZMWS_BROKER_CLIENT": "tcp://10.0.0.2:7000"}) == "tcp://10.0.0.2:7000"
    for environ in ({}, {"ZMWS_BROKER_CLIENT": "ipc://client"}):
        with pytest.raises(SettingsError, match="the current folder cannot be used"):
            address("client", environ=environ)


def test_a_file_that_is_named_beats_the_one_of_the_folder(tmp_path: Path) -> None:
    told(tmp_path / "here", "tcp://10.0.0.1:7000")
    other = told(tmp_path / "there", "tcp://10.0.0.2:7000")
    assert address("client", other, cwd=tmp_path / "here", environ={}) == "tcp://10.0.0.2:7000"


# ---------------------------------------------------------------- upward


def test_a_folder_without_a_file_is_in_the_nearest_installation_above_it(tmp_path: Path) -> None:
    file = told(tmp_path, "tcp://10.0.0.1:7000")
    deep = folder(tmp_path / "app" / "jobs")
    assert address("client", cwd=deep, environ={}) == "tcp://10.0.0.1:7000"
    known = load(cwd=deep, environ={})
    assert (known.root, known.path) == (tmp_path, file)
    told(tmp_path / "app", "tcp://10.0.0.2:7000")
    assert address("client", cwd=deep, environ={}) == "tcp://10.0.0.2:7000"
    assert address("client", cwd=tmp_path / "app" / "etc", environ={}) == "tcp://10.0.0.2:7000"
    assert load(cwd=tmp_path, environ={}).broker.client == "tcp://10.0.0.1:7000"


def test_an_etc_without_a_settings_file_makes_no_installation(tmp_path: Path) -> None:
    told(tmp_path, "tcp://10.0.0.1:7000")
    folder(tmp_path / "app" / "etc")
    assert load(cwd=tmp_path / "app", environ={}).root == tmp_path


def test_it_looks_as_far_as_the_root_of_the_filesystem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked = list[str]()
    lstat = Path.lstat

    def seen(path: Path) -> os.stat_result:
        looked.append(str(path))
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", seen)
    load(cwd=tmp_path / "gone", environ={})
    assert looked[0] == f"{tmp_path}/gone/etc/zmws.toml" and looked[-1] == "/etc/zmws.toml"
    assert len(looked) == len((tmp_path / "gone").parts)


def test_who_wants_only_the_folder_itself_says_so(tmp_path: Path) -> None:
    told(tmp_path, "tcp://10.0.0.1:7000")
    known = load(cwd=folder(tmp_path / "app"), environ={}, upward=False)
    assert (known.root, known.broker.client) == (tmp_path / "app", "tcp://127.0.0.1:5555")


def test_the_current_folder_is_where_the_search_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = told(tmp_path, "tcp://10.0.0.1:7000")
    monkeypatch.chdir(folder(tmp_path / "app"))
    assert address("client", environ={}) == "tcp://10.0.0.1:7000" and root_of() == tmp_path
    file.write_text("[broker]\nclient = 1")
    with pytest.raises(SettingsError, match=rf"^{file}:2: broker\.client is 1, but must be tcp://HOST"):
        address("client", environ={})


@pytest.mark.skipif(os.geteuid() == 0, reason="root looks into everything")
def test_a_folder_above_that_cannot_be_looked_into_is_passed_over(tmp_path: Path) -> None:
    told(tmp_path, "tcp://10.0.0.1:7000")
    told(tmp_path / "mid", "tcp://10.0.0.2:7000")
    app = folder(tmp_path / "mid" / "app")
    (tmp_path / "mid" / "etc").chmod(0)
    try:
        assert address("client", cwd=app, environ={}) == "tcp://10.0.0.1:7000"
    finally:
        (tmp_path / "mid" / "etc").chmod(0o700)


def test_an_etc_above_that_fails_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told(tmp_path, "tcp://10.0.0.1:7000")
    app = folder(tmp_path / "mid" / "app")
    lstat = Path.lstat

    def failing(path: Path) -> os.stat_result:
        if path == tmp_path / "mid" / "etc" / "zmws.toml":
            raise PermissionError(13, "Permission denied")
        return lstat(path)

    monkeypatch.setattr(Path, "lstat", failing)
    assert address("client", cwd=app, environ={}) == "tcp://10.0.0.1:7000"


@pytest.mark.parametrize("open_to_all", ["", "etc"])
def test_where_everybody_may_write_only_a_file_of_ones_own_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, open_to_all: str
) -> None:
    shared = tmp_path / "shared"
    told(shared, "tcp://10.0.0.1:7000")
    app = folder(shared / "app")
    (shared / open_to_all).chmod(0o1777)
    assert load(cwd=app, environ={}).root == shared
    monkeypatch.setattr(os, "geteuid", lambda: (shared / "etc" / "zmws.toml").stat().st_uid + 1)
    if (shared / "etc" / "zmws.toml").stat().st_uid == 0:
        os.chown(shared / "etc" / "zmws.toml", 4711, -1)
    assert load(cwd=app, environ={}).root == app
    assert load(cwd=shared, environ={}).root == shared, "who goes there himself means it"
    (shared / open_to_all).chmod(0o755)
    assert load(cwd=app, environ={}).root == shared


# ---------------------------------------------------------------- what an address is


def test_paths_are_relative_to_the_installation_wherever_one_is_in_it(tmp_path: Path) -> None:
    told(tmp_path, "ipc://run/client")
    deep = folder(tmp_path / "app")
    assert address("client", cwd=deep, environ={}) == f"ipc://{tmp_path}/run/client"
    given = {"ZMWS_BROKER_CLIENT": "ipc://run/other"}
    assert address("client", cwd=deep, environ=given) == f"ipc://{tmp_path}/run/other"


@pytest.mark.parametrize(
    ("bound", "found"),
    [
        ("tcp://*:7000", "tcp://127.0.0.1:7000"),
        ("tcp://0.0.0.0:7000", "tcp://127.0.0.1:7000"),
        ("tcp://[::]:7000", "tcp://[::1]:7000"),
        ("tcp://10.0.0.1:7000", "tcp://10.0.0.1:7000"),
    ],
)
def test_a_broker_at_every_address_is_found_at_the_loopback(tmp_path: Path, bound: str, found: str) -> None:
    told(tmp_path, bound)
    assert address("client", cwd=tmp_path, environ={}) == found
    assert address("client", cwd=tmp_path, environ={"ZMWS_BROKER_CLIENT": bound}) == found


@pytest.mark.parametrize("bound", ["tcp://127.0.0.1:*", "tcp://*:0", "ipc://*"])
def test_an_address_that_the_system_chooses_is_refused_where_it_is_given(tmp_path: Path, bound: str) -> None:
    file = told(tmp_path, bound)
    wrong = f"broker.client is {bound}, which lets the system choose"
    assert refusal(tmp_path).startswith(f"{file}:3: {wrong}")
    told_by = refusal(tmp_path, ZMWS_BROKER_CLIENT=bound)
    assert told_by.startswith(f"environment variable ZMWS_BROKER_CLIENT: {wrong}")
    assert address("worker", cwd=tmp_path, environ={}) == "tcp://127.0.0.1:5556"


# ---------------------------------------------------------------- what is looked at


def test_neither_workers_nor_services_are_looked_at(tmp_path: Path) -> None:
    told(tmp_path, "tcp://10.0.0.1:7000", more='workers = [{ file = "workers/gone.py" }]')
    assert address("client", cwd=tmp_path, environ={}) == "tcp://10.0.0.1:7000"
    with pytest.raises(SettingsError, match=r"workers/gone\.py"):
        load(cwd=tmp_path, environ={})


def test_what_is_misspelt_is_told_with_file_and_line_and_not_taken_for_the_default(tmp_path: Path) -> None:
    file = told(tmp_path, "tcp://10.0.0.1:7000")
    for text, wrong in (
        ('\n[broker]\nclinet = "tcp://10.0.0.1:7000"', f"{file}:3: 'clinet' is no setting of [broker]"),
        ('[brokr]\nclient = "tcp://10.0.0.1:7000"', f"{file}:1: 'brokr' is no section"),
        ('[broker]\nclient = "10.0.0.1:7000"', f"{file}:2: broker.client is '10.0.0.1:7000'"),
        ("[broker", f"{file}:1: this is not TOML"),
    ):
        file.write_text(text)
        assert refusal(folder(tmp_path / "app")).startswith(wrong), refusal(tmp_path)
    file.unlink()
    assert "did you mean 'ZMWS_BROKER_CLIENT'" in refusal(tmp_path, ZMWS_BROKER_CLINET="x")


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    told(tmp_path, "tcp://10.0.0.1:7000").unlink()
    (tmp_path / "etc" / "zmws.toml").mkdir()
    assert refusal(folder(tmp_path / "app")).startswith(f"{tmp_path}/etc/zmws.toml: this is a folder")
