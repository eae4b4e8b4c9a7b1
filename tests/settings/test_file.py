"""Which file and which folder is meant, and files that are none."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.settings.site import problem
from zmws.errors import SettingsError
from zmws.settings import load


def test_a_syntax_error_is_told_with_its_line(site: Path) -> None:
    assert problem(site, "[broker]\nclient = \n").startswith("FILE:2: this is not TOML: Invalid value")
    assert problem(site, "a = 1\na = 2").startswith("FILE:2: this is not TOML: Cannot overwrite")
    assert problem(site, "a = 1\nb = '''x\n").startswith("FILE:3: this is not TOML: ")
    assert problem(site, "a = " + "9" * 5000).startswith("FILE:1: this is not TOML: ")
    assert "nested too deeply" in problem(site, "a = " + "[" * 100_000)


def test_a_file_that_is_not_utf_8_is_told_with_its_line(site: Path) -> None:
    (site / "etc" / "zmws.toml").write_bytes(b"\xef\xbb\xbf[broker]\n# Stra\xdfe\n")
    with pytest.raises(SettingsError, match=r"zmws\.toml:2: the file is not UTF-8"):
        load(cwd=site, environ={})


def test_a_byte_order_mark_and_windows_line_ends_are_taken(site: Path) -> None:
    (site / "etc" / "zmws.toml").write_bytes(b"\xef\xbb\xbf[broker]\r\nlog_level = 'error'\r\nfoo = 1\r\n")
    with pytest.raises(SettingsError, match=r"zmws\.toml:3: 'foo'"):
        load(cwd=site, environ={})


def test_a_folder_in_place_of_the_file_is_refused(site: Path) -> None:
    (site / "etc" / "zmws.toml").mkdir()
    for path in (None, site / "etc", site / "etc" / "zmws.toml"):
        with pytest.raises(SettingsError, match="this is a folder"):
            load(path, cwd=site, environ={})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(site: Path) -> None:
    file = site / "etc" / "zmws.toml"
    file.write_text("")
    file.chmod(0)
    with pytest.raises(SettingsError, match=r"cannot be read: Permission denied"):
        load(cwd=site, environ={})


def test_a_link_that_leads_nowhere_is_refused_and_not_taken_for_no_file(site: Path) -> None:
    (site / "etc" / "zmws.toml").symlink_to(site / "gone")
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(cwd=site, environ={})


def test_a_named_file_that_does_not_exist_is_refused(site: Path) -> None:
    with pytest.raises(SettingsError, match=r"other\.toml: there is no such file"):
        load(Path("etc/other.toml"), cwd=site, environ={})


def test_the_folder_is_the_one_above_etc(site: Path) -> None:
    file = site / "etc" / "zmws.toml"
    file.write_text("")
    for path, cwd in (
        (file, Path("/")),
        (Path("etc/zmws.toml"), site),
        (Path("zmws.toml"), site / "etc"),
        (Path("../etc/zmws.toml"), site / "workers"),
    ):
        settings = load(path, cwd=cwd, environ={})
        assert (settings.root, settings.path) == (site, file)


def test_a_file_outside_an_etc_lies_in_its_installation(site: Path) -> None:
    (site / "my.toml").write_text('[[workers]]\nfile = "workers/sleep.py"')
    for path, cwd in ((site / "my.toml", None), (Path("../my.toml"), site / "etc"), (Path("my.toml"), site)):
        settings = load(path, cwd=cwd, environ={})
        assert settings.root == site
        assert settings.workers[0].file == site / "workers" / "sleep.py"


def test_a_linked_file_belongs_to_the_folder_it_is_seen_in(site: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.toml").write_text("")
    (site / "etc" / "zmws.toml").symlink_to(tmp_path / "kept.toml")
    assert load(site / "etc" / "zmws.toml", environ={}).root == site


def test_the_current_folder_is_used_where_none_is_given(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    assert load(environ={}).root == site
    (site / "etc" / "zmws.toml").write_text("x = 1")
    with pytest.raises(SettingsError, match=r"^etc/zmws\.toml:1: "):
        load(environ={})
