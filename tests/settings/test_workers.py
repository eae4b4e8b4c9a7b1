"""`[[workers]]`, and the worker files of a folder without."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests import shipped
from tests.settings.site import loaded, problem
from zmws.errors import SettingsError
from zmws.settings import WorkerSettings, load, missing


def test_the_shipped_file_runs_the_shipped_workers(tmp_path: Path) -> None:
    shipped.copy_workers(tmp_path / "workers")
    (tmp_path / "etc").mkdir()
    settings = loaded(tmp_path, shipped.settings_text())
    assert sorted(one.name for one in settings.workers) == list(shipped.WORKERS)
    assert [(one.name, one.service, one.count) for one in settings.workers] == [
        ("reverse", "STR-REV", 2),
        ("sleep", "SLEEP", 1),
        ("random_stream", "RANDSTREAM", 1),
        ("logger", "LOG", 1),
        ("wordcount", "WORDCOUNT", 1),
        ("primes", "PRIMES", 1),
        ("slug", "SLUG", 1),
        ("webhook", "WEBHOOK", 1),
        ("mail", "MAIL", 1),
    ]
    assert [one.file for one in settings.workers] == [
        tmp_path / "workers" / f"{one.name}.py" for one in settings.workers
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "FILE:1: the worker has no file"),
        ("file = 1", "FILE:2: the worker has the file 1"),
        ('file = ""', "FILE:2: the worker has the file ''"),
        ('file = "workers/gone.py"', "FILE:2: worker file 'workers/gone.py' does not exist"),
        ('file = "workers/revers.py"', "does not exist; did you mean 'workers/reverse.py'?"),
        ('file = "workers"', "FILE:2: worker file 'workers' is a folder"),
        ('file = "nowhere/x.py"', "FILE:2: worker file 'nowhere/x.py' does not exist (in "),
        ('file = "' + "x" * 5000 + '"', "cannot be read: File name too long"),
        (
            'file = "workers/sleep.py"\ncount = -1',
            "FILE:3: count is -1, but must be a whole number from 0 to 1000",
        ),
        ('file = "workers/sleep.py"\ncount = 1001', "FILE:3: count is 1001"),
        ('file = "workers/sleep.py"\ncount = 2.0', "FILE:3: count is 2.0"),
        ('file = "workers/sleep.py"\ncount = true', "FILE:3: count is true"),
        ('file = "workers/sleep.py"\nenv = 1', 'FILE:3: env must be a table: env = { NAME = "value" }'),
        ('file = "workers/sleep.py"\nenv = { A = 1 }', "FILE:3: env A is 1, but must be a text"),
        ('file = "workers/sleep.py"\nenv = { "A B" = "1" }', "FILE:3: 'A B' is no name of a variable"),
        ('file = "workers/sleep.py"\ncwd = 1', "FILE:3: cwd is 1, but must be a folder"),
        ('file = "workers/sleep.py"\nuser = 1', "FILE:3: user is 1, but must be a text"),
        ('file = "workers/sleep.py"\npython = 1', "FILE:3: python is 1, but must be a program"),
        (
            'file = "workers/sleep.py"\npriority = 20',
            "FILE:3: priority is 20, but must be a whole number from -20 to 19",
        ),
        ('file = "workers/sleep.py"\nstop_timeout = -1', "FILE:3: stop_timeout is -1"),
        ('file = "workers/sleep.py"\nservice = 1', "FILE:3: service must be a text"),
        ('file = "workers/sleep.py"\nname = 1', "FILE:3: worker name 1 must be "),
        ('file = "workers/sleep.py"\nname = ""', "FILE:3: worker name '' must be "),
        ('file = "workers/sleep.py"\nname = "a/b"', "FILE:3: worker name 'a/b' must be "),
        ('file = "workers/sleep.py"\nname = ".."', "FILE:3: worker name '..' must be "),
        ('file = "workers/sleep.py"\nname = "-c"', "FILE:3: worker name '-c' must be "),
        ('file = "workers/sleep.py"\nname = "gateway"', "FILE:3: worker name 'gateway' is taken"),
        ('file = "workers/sleep.py"\nflags = 1', "FILE:3: flags must be a table"),
        ('file = "workers/sleep.py"\nflags = { a = [1] }', "FILE:3: flag a is [1], but must be "),
        ('file = "workers/sleep.py"\nflags = { --a = 1 }', "FILE:3: '--a' is no name of a flag"),
        ('file = "workers/sleep.py"\n[workers.flags]\n"a b" = 1', "FILE:4: 'a b' is no name of a flag"),
        ('file = "workers/sleep.py"\ncopies = 2', "FILE:3: 'copies' is no setting of [[workers]]"),
        ('file = "workers/sleep.py"\nfiles = 2', "did you mean 'file'?"),
    ],
)
def test_a_worker_that_cannot_be_is_refused(site: Path, text: str, told: str) -> None:
    assert told in problem(site, f"[[workers]]\n{text}\n")


def test_a_worker_named_by_its_file_must_have_a_name_that_can_be(site: Path) -> None:
    (site / "workers" / "my worker.py").write_text("")
    assert problem(site, '[[workers]]\nfile = "workers/my worker.py"').endswith('; give it one: name = "..."')


def test_two_workers_of_one_name_are_refused(site: Path) -> None:
    text = (
        '[[workers]]\nfile = "workers/sleep.py"\n[[workers]]\nname = "sleep"\nfile = "workers/reverse.py"\n'
    )
    assert problem(site, text) == "FILE:4: worker name 'sleep' is used twice; give each its own name"
    text = '[[workers]]\nfile = "workers/sleep.py"\n[[workers]]\nfile = "workers/sleep.py"\n'
    assert problem(site, text).startswith("FILE:4: worker name 'sleep' is used twice")


def test_a_worker_file_may_lie_anywhere(site: Path, tmp_path: Path) -> None:
    (tmp_path / "far.py").write_text("")
    text = f"[[workers]]\nfile = '../far.py'\nname = 'a'\n[[workers]]\nfile = '{tmp_path}/far.py'\n"
    assert [one.file for one in loaded(site, text).workers] == [tmp_path / "far.py"] * 2


def test_without_a_file_there_is_one_copy_of_each_worker(site: Path) -> None:
    for name in ("_base.py", ".hidden.py", "notes.txt", "a.py"):
        (site / "workers" / name).write_text("")
    (site / "workers" / "folder.py").mkdir()
    settings = load(cwd=site, environ={})
    assert settings.path is None
    assert settings.root == site
    assert settings.workers == tuple(
        WorkerSettings(name, site / "workers" / f"{name}.py") for name in ("a", "reverse", "sleep")
    )
    shutil.rmtree(site / "workers")
    assert load(cwd=site, environ={}).workers == ()


def test_a_file_that_says_nothing_of_workers_leaves_those_of_the_folder(site: Path) -> None:
    found = loaded(site, "[services.EMAIL]\nretries = 5\n").workers
    assert [(one.name, one.count) for one in found] == [("reverse", 1), ("sleep", 1)]
    assert loaded(site, "workers = []\n[services.EMAIL]\nretries = 5\n").workers == ()
    only = loaded(site, '[[workers]]\nfile = "workers/sleep.py"\n').workers
    assert [one.name for one in only] == ["sleep"]


def test_without_a_file_a_worker_whose_name_cannot_be_is_told(site: Path) -> None:
    for name in ("my worker.py", "broker.py"):
        (site / "workers" / name).write_text("")
    with pytest.raises(SettingsError) as caught:
        load(cwd=site, environ={})
    first, second = str(caught.value).splitlines()
    assert "broker.py: worker name 'broker' is taken by the broker itself; rename the file" in first
    assert "my worker.py: worker name 'my worker' must be " in second


def test_what_is_not_there_is_told_when_a_worker_is_to_start_and_not_before(tmp_path: Path) -> None:
    (tmp_path / "workers").mkdir()
    (tmp_path / "workers" / "sleep.py").touch()
    (tmp_path / "etc").mkdir()
    for key, told in (
        ('cwd = "gone"', f"cwd is '{tmp_path}/gone', but there is no such folder"),
        (f'cwd = "{"x" * 300}"', "but there is no such folder"),
        ('user = "no-such"', "user is 'no-such', but this machine knows no such user"),
        ('python = "no-such"', "python is 'no-such', but there is no such program"),
        ('python = "./workers"', f"python is '{tmp_path}/workers', but there is no such program"),
    ):
        settings = loaded(tmp_path, f'[[workers]]\nfile = "workers/sleep.py"\n{key}\n')
        assert told in (missing(settings.workers[0]) or ""), key
    text = '[[workers]]\nfile = "workers/sleep.py"\ncwd = "workers"\npython = "sh"\nuser = "root"\n'
    assert missing(loaded(tmp_path, text).workers[0]) is None
