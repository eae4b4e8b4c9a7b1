"""`zmws backup` and `zmws check`, and which store the settings open."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from tests.keyed import pair
from tests.store.contract import insert, listed
from zmws import settings
from zmws.cli import cli
from zmws.cli.storing import backup, check, restore
from zmws.core.rows import KeyRow
from zmws.core.writes import WriteKey
from zmws.errors import StoreError
from zmws.key_file import KeyFile
from zmws.settings import key_files
from zmws.store import open_store
from zmws.store.sqlite.disk import SqliteStore
from zmws.store.sqlite.memory import MemoryStore


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "etc" / "zmws.toml"
    file.parent.mkdir()
    file.write_text("[store]\nfree_bytes_min = 0\nreserve_bytes = 4096\n")
    return file


def run(command: Any, *arguments: str | Path) -> tuple[int, str, str]:
    words = [command.name, *(str(one) for one in arguments)]
    ended = CliRunner().invoke(cli, words, standalone_mode=False)
    if ended.exception is not None:
        raise ended.exception
    return ended.return_value, ended.stdout, ended.stderr


def test_the_settings_name_the_store_that_is_opened(config: Path) -> None:
    store = open_store(settings.load(config))
    assert isinstance(store, SqliteStore) and store.path == config.parent.parent / "var" / "zmws.db"
    store.close()
    store = open_store(settings.load(config, {"store.url": "memory:"}))
    assert isinstance(store, MemoryStore)


def test_a_backup_is_made_beside_a_broker_and_can_be_checked(config: Path, tmp_path: Path) -> None:
    store = open_store(settings.load(config))
    store.commit([insert("a")])
    target = tmp_path / "copy.db"
    assert run(backup, target, "-c", config)[0] == 0
    code, out, _ = run(check, "-c", config, "--json")
    assert (code, json.loads(out)["problems"]) == (0, [])
    store.close()
    code, out, _ = run(check, "-c", config, target)
    assert code == 0 and out == f"{target}: nothing wrong\n"
    code, _, err = run(backup, target, "-c", config)
    assert code == 1 and "is there already" in err
    copy = SqliteStore(target, free_bytes_min=0, reserve_bytes=0)
    assert listed(copy) == ["a"]
    copy.close()


def test_a_restore_takes_the_place_of_a_killed_brokers_store_and_of_its_wal(
    config: Path, tmp_path: Path
) -> None:
    path = settings.load(config).store_path
    assert path is not None
    store = open_store(settings.load(config))
    store.commit([insert("a")])
    target = tmp_path / "copy.db"
    assert run(backup, target, "-c", config)[0] == 0
    store.commit([insert("b")])
    code, _, err = run(restore, target, "-c", config)
    assert code == 1 and "another broker" in err, "a broker has it open"
    # As a kill leaves it: the WAL, which would be played into any file in the store's place.
    left = {name: path.with_name(name).read_bytes() for name in ("zmws.db", "zmws.db-wal")}
    store.close()
    for name, content in left.items():
        path.with_name(name).write_bytes(content)
    code, out, _ = run(restore, target, "-c", config, "--json")
    assert code == 0
    old = Path(json.loads(out)["set_aside"])
    again = SqliteStore(path, free_bytes_min=0, reserve_bytes=0)
    assert listed(again) == ["a"]
    again.close()
    # And back: what was set aside is whole only with its WAL.
    assert old.with_name(old.name + "-wal").stat().st_size > 0
    assert run(restore, old, "-c", config)[0] == 0
    again = SqliteStore(path, free_bytes_min=0, reserve_bytes=0)
    assert listed(again) == ["b", "a"]
    again.close()
    path.rename(path.with_name("zmws.db.restoring"))
    with pytest.raises(StoreError, match="restore` was interrupted"):
        open_store(settings.load(config))
    assert run(restore, target, "-c", config)[0] == 0
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(target.read_bytes()[:5000])
    code, _, err = run(restore, damaged, "-c", config)
    assert code == 1 and "no whole store" in err


def test_a_restore_makes_no_folder_but_the_installations_own(config: Path, tmp_path: Path) -> None:
    open_store(settings.load(config)).close()
    target = tmp_path / "copy.db"
    assert run(backup, target, "-c", config)[0] == 0
    shutil.rmtree(config.parent.parent / "var")
    assert run(restore, target, "-c", config)[0] == 0
    config.write_text('[store]\nurl = "sqlite:disk/zmws.db"\n')
    code, _, err = run(restore, target, "-c", config)
    assert code == 1 and "mount that first" in err and not (config.parent.parent / "disk").exists()


def test_a_check_tells_of_damage_and_of_a_store_that_is_not_there(config: Path, tmp_path: Path) -> None:
    code, _, err = run(check, "-c", config)
    assert code == 1 and "there is no such store" in err
    wrong = tmp_path / "wrong.db"
    wrong.write_bytes(b"nothing of the kind" * 1000)
    code, out, _ = run(check, wrong)
    assert code == 1 and "not a database" in out


def test_a_restore_says_which_keys_are_valid_again(config: Path, tmp_path: Path) -> None:
    path, target = settings.load(config).store_path, tmp_path / "b.db"
    assert path is not None
    path.parent.mkdir()
    store = SqliteStore(path)
    blank: dict[str, Any] = {"kind": "curve", "role": "client", "rights": {"submit": ("*",)}}
    kept, lost = (KeyRow(name=name, proof=name, **blank) for name in ("kept", "lost"))
    store.commit([WriteKey(kept), WriteKey(lost)])
    assert run(backup, target, "-c", config)[0] == 0
    store.close()
    assert "revoked" not in run(restore, target, "-c", config)[2]
    store = SqliteStore(path)
    store.commit([WriteKey(replace(lost, revoked_at=2.0)), WriteKey(replace(kept, rate=1.0))])
    store.close()
    code, _, err = run(restore, target, "-c", config)
    assert code == 0 and "are valid again: lost;" in err and "as they were then: kept" in err
    store = SqliteStore(path)
    store.commit([WriteKey(replace(lost, revoked_at=2.0))])
    store.close()
    told = json.loads(run(restore, target, "-c", config, "--json")[1])
    assert (told["valid_again"], told["as_they_were"]) == (["lost"], [])
    key_files.write(tmp_path / "etc" / "keys" / "lost.key", KeyFile("lost", *pair()))
    store = SqliteStore(path)
    store.commit([WriteKey(replace(lost, revoked_at=2.0))])
    store.close()
    assert "lost" not in run(restore, target, "-c", config)[2], "its file takes the place of it"
    path.unlink()
    code, _, err = run(restore, target, "-c", config)
    assert code == 0 and "would be valid again" in err, "nobody knows"
