"""Which key a process uses, and what a key file must be (zmws/settings/key_files.py, connecting.py)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from tests.keyed import pair
from zmws.client import Client
from zmws.errors import SettingsError
from zmws.key_file import KeyFile
from zmws.settings import key_files, key_for, target
from zmws.settings.key_files import all_in, check_folder, own, read, write

HERE, THERE = "tcp://127.0.0.1:5555", "tcp://10.0.0.5:5555"


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installation whose broker is elsewhere, with a key of each kind."""
    for name in ("client", "operator", "worker", "gateway", "other"):
        write(tmp_path / "etc" / "keys" / f"{name}.key", KeyFile(name, *pair(), pair()[0]))
    (tmp_path / "etc" / "zmws.toml").write_text(f'[broker]\nclient = "{THERE}"\nworker = "{HERE[:-1]}6"\n')
    return tmp_path


def name_of(key: KeyFile | None) -> str | None:
    return None if key is None else key.name


@pytest.mark.parametrize("kind", ["client", "operator", "worker", "gateway"])
def test_who_names_none_has_the_one_of_its_kind_where_the_broker_asks(site: Path, kind: str) -> None:
    assert name_of(own(kind, [THERE], root=site)) == kind
    assert own(kind, [HERE, "ipc:///run/zmws"], root=site) is None
    assert name_of(own(kind, [HERE, THERE], root=site)) == kind
    assert name_of(own(kind, [HERE], security={"curve": "on"}, root=site)) == kind


def test_a_client_without_a_key_of_its_own_has_the_operators(site: Path) -> None:
    (site / "etc" / "keys" / "client.key").unlink()
    assert name_of(own("client", [THERE], root=site)) == "operator"
    (site / "etc" / "keys" / "operator.key").unlink()
    assert name_of(own("worker", [THERE], root=site)) == "worker"
    for security in ({}, {"curve": "on"}):
        with pytest.raises(SettingsError, match=r"there is no key for it: .*client\.key.*insecure"):
            own("client", [THERE], security=security, root=site)
    for security in ({"insecure": True}, {"curve": "off"}):
        assert own("client", [THERE], security=security, root=site) is None


def test_what_is_named_goes_before_and_is_used_everywhere(site: Path) -> None:
    other = site / "etc" / "keys" / "other.key"
    assert name_of(own("client", [HERE], other, root=site)) == "other"
    assert (
        name_of(own("client", [HERE], environ={"ZMWS_SECURITY_KEY": "etc/keys/other.key"}, root=site))
        == "other"
    )
    assert name_of(own("client", [HERE], security={"key": "etc/keys/other.key"}, root=site)) == "other"
    said, told = {"key": "etc/keys/worker.key"}, {"ZMWS_SECURITY_KEY": "etc/keys/gateway.key"}
    assert name_of(own("client", [HERE], other, told, said, site)) == "other"
    assert name_of(own("client", [HERE], None, told, said, site)) == "gateway"
    with pytest.raises(SettingsError, match="there is no such key file"):
        own("client", [HERE], site / "none.key", root=site)


def test_where_to_connect_comes_with_the_key_to_use_there(site: Path) -> None:
    found = target("client", "operator", cwd=site, environ={})
    assert (found.endpoint, name_of(found.key)) == (THERE, "operator")
    found = target("worker", "worker", cwd=site, environ={})
    assert (found.endpoint, found.key) == ("tcp://127.0.0.1:5556", None)
    found = target("worker", "worker", cwd=site, environ={"ZMWS_SECURITY_CURVE": "on"})
    assert name_of(found.key) == "worker"
    found = target("client", "client", cwd=site, environ={"ZMWS_BROKER_CLIENT": "tcp://*:5555"})
    assert (found.endpoint, name_of(found.key)) == ("tcp://127.0.0.1:5555", "client"), "it is open to others"
    found = target("client", "client", cwd=site, environ={"ZMWS_BROKER_CLIENT": HERE})
    assert found.key is None


def test_for_a_broker_that_is_named_the_same_holds(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    assert key_for("client", [HERE], environ={}) is None
    assert name_of(key_for("client", [THERE], environ={})) == "client"
    assert name_of(key_for("worker", [HERE], environ={"ZMWS_SECURITY_KEY": "etc/keys/other.key"})) == "other"
    monkeypatch.chdir(site / "etc")
    assert name_of(key_for("client", [THERE], environ={})) == "client"
    (site / "etc" / "keys" / "worker.key").unlink()
    with pytest.raises(SettingsError, match="is beyond this machine"):
        key_for("worker", [THERE], environ={"ZMWS_SECURITY_INSECURE": "false"})
    for name, value in (("INSECURE", "true"), ("CURVE", "off")):
        assert key_for("worker", [THERE], environ={f"ZMWS_SECURITY_{name}": value}) is None
    monkeypatch.chdir(site.parent)
    with pytest.raises(SettingsError, match=r"key=False"):
        Client("tcp://192.0.2.1:5555")
    Client("tcp://192.0.2.1:5555", key=False).close()


def test_what_root_has_mounted_for_another_user_may_be_its_groups(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = site / "etc" / "keys"
    path = folder / "client.key"
    mine = path.stat()

    def by_root(known: os.stat_result) -> bool:
        return known.st_uid == mine.st_uid

    for mode, folder_mode, mounted, own_file in (
        *((0o440, 0o755, True, False), (0o640, 0o750, True, False), (0o600, 0o700, True, True)),
        *((0o444, 0o777, False, False), (0o660, 0o775, False, False)),
    ):
        path.chmod(mode)
        folder.chmod(folder_mode)
        for is_roots, fits in ((by_root, mounted), (lambda _: False, own_file)):
            monkeypatch.setattr(key_files, "_is_roots", is_roots)
            for check, given in ((read, path), (check_folder, folder)):
                if fits:
                    check(given)  # type: ignore[operator]
                    continue
                with pytest.raises(SettingsError, match="others may"):
                    check(given)  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "it lacks name, public or secret"),
        ("{", "is no key file"),
        ('name = "x"\npublic = "y"\n', "it lacks"),
        ('name = "x"\npublic = "short"\nsecret = "short"\n', "'public' is no key"),
        ('name = 5\npublic = "short"\nsecret = "short"\n', "or one is no text"),
        ('name = "x"\nkind = "y"\n', "it has 'kind'"),
    ],
)
def test_what_is_no_key_file_is_told(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "x.key").write_text(text)
    (tmp_path / "x.key").chmod(0o600)
    with pytest.raises(SettingsError, match=why) as told:
        read(tmp_path / "x.key")
    assert str(tmp_path / "x.key") in str(told.value)


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"role": "client", "services": ("IMG-*", 'A"B\\C')},
        {"rights": {"submit": ["A"], "look": ["*"]}, "group": 'g"\\'},
        {"role": "worker", "limits": {"rate": 2.5, "waiting_max": 7}},
    ],
)
def test_a_key_file_is_read_as_it_was_written(tmp_path: Path, more: dict[str, Any]) -> None:
    key = KeyFile("shop", *pair(), pair()[0], **more)
    write(tmp_path / "keys" / "shop.key", key)
    assert read(tmp_path / "keys" / "shop.key") == key
    token = KeyFile("dash", hash="0" * 64, **more)
    write(tmp_path / "keys" / "dash.token", token)
    assert [*all_in(tmp_path / "keys")] == [token, key]


def test_what_is_there_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "a.key", KeyFile("a", *pair()))
    before = (tmp_path / "a.key").read_bytes()
    with pytest.raises(SettingsError, match="there is such a file already"):
        write(tmp_path / "a.key", KeyFile("a", *pair()))
    assert (tmp_path / "a.key").read_bytes() == before and len([*tmp_path.iterdir()]) == 1


def test_no_secret_is_in_its_representation() -> None:
    key = KeyFile("shop", *pair(), hash="0" * 64)
    assert key.secret not in repr(key) and key.hash not in repr(key)
