"""tests.shipped: what is shipped is told from what a user has added."""

from __future__ import annotations

import shutil
import subprocess

import pytest

import zmws
from tests import shipped


def test_the_sample_workers_are_those_that_are_in_the_repository() -> None:
    if shutil.which("git") is None or not (shipped.ROOT / ".git").exists():
        pytest.skip("this is no git repository")
    listed = subprocess.run(
        ["git", "ls-files", "workers"],
        cwd=shipped.ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    ).stdout.split()
    assert listed == [f"workers/{name}.py" for name in shipped.WORKERS]


def test_a_workers_table_that_a_user_added_is_not_looked_at(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path_factory.mktemp("checkout")
    (root / "etc").mkdir()
    text = shipped.settings_text()
    added = '\n[[workers]]\nfile = "workers/hello.py"\ncount = 2'
    (root / "etc" / "zmws.toml").write_text(text + added)
    monkeypatch.setattr(shipped, "ROOT", root)
    assert shipped.settings_text() == text and "reverse" in text


def test_what_users_import_is_there_and_is_named() -> None:
    assert {"Lease", "OptionError", "BadValue"} <= set(zmws.__all__)
    for name in zmws.__all__:
        found = getattr(zmws, name)
        assert getattr(found, "__name__", repr(found)) == name  # PREVIOUS is no class
