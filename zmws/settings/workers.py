"""`[[workers]]`: which worker files are to run, and how many copies of each."""

from __future__ import annotations

import os
import pwd
import re
import shutil
from pathlib import Path
from typing import Any

from zmws.core.table import Unfit, checked, nearest, no_such, shown
from zmws.settings.problems import Problems, Where
from zmws.settings.sections import Flag, ScaleSettings, WorkerSettings
from zmws.settings.services import service_name_problem
from zmws.settings.table import SCALE_KEYS, WORKER_KEYS

_WORKER_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FLAG_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")


def workers_in(tables: Any, root: Path, problems: Problems) -> tuple[WorkerSettings, ...]:
    """The workers of the file."""
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        problems.in_file(
            ("workers",), "'workers' must be tables in an array: write [[workers]], in double brackets"
        )
        return ()
    workers: list[WorkerSettings] = []
    for index, table in enumerate(tables):
        worker = _worker(index, table, root, problems)
        if worker is None:
            continue
        twin = next((other for other in workers if other.name == worker.name), None)
        if twin is not None:
            where = ("workers", index, "name" if "name" in table else "file")
            problems.in_file(where, f"worker name {shown(worker.name)} is used twice; give each its own name")
        workers.append(worker)
    return tuple(workers)


def workers_found(root: Path, problems: Problems) -> tuple[WorkerSettings, ...]:
    """One copy of each file of workers/: no settings file, or one that says nothing of workers, must not
    mean none."""
    folder = root / "workers"
    workers: list[WorkerSettings] = []
    for file in sorted(folder.glob("*.py")):
        if file.name.startswith(("_", ".")) or not file.is_file():
            continue
        if problem := _name_problem(file.stem):
            problems.elsewhere(str(file), f"{problem}; rename the file")
        workers.append(WorkerSettings(file.stem, file))
    return tuple(workers)


def _worker(index: int, table: dict[str, Any], root: Path, problems: Problems) -> WorkerSettings | None:
    where: Where = ("workers", index)
    before = len(problems)
    for key in table:
        if key not in WORKER_KEYS:
            problems.in_file((*where, key), no_such(key, "setting of [[workers]]", WORKER_KEYS))
    service = table.get("service")
    if service is not None:
        problem = service_name_problem(service) if isinstance(service, str) else "service must be a text"
        if problem:
            problems.in_file((*where, "service"), problem)
    given: dict[str, Any] = {}
    scales = isinstance(table.get("count"), dict)
    if scales:
        given["scale"] = _scale(where, table["count"], service, problems)
        given["count"] = given["scale"].min
    for key in ("count", "priority", "stop_timeout", "memory_max"):
        if key in table and not (key == "count" and scales):
            try:
                given[key] = checked(key, WORKER_KEYS[key], table[key])
            except Unfit as wrong:
                problems.in_file((*where, key), str(wrong))
    for key, found in (("cwd", _folder), ("user", _user), ("python", _python)):
        if key in table:
            try:
                given[key] = found(table[key], root)
            except ValueError as wrong:
                problems.in_file((*where, key), f"{key} is {shown(table[key])}, {wrong}")
    given["env"] = _environment(where, table.get("env", {}), problems)
    flags = _flags(where, table.get("flags", {}), problems)
    file, only = _file(where, table.get("file"), root, problems)
    name = table.get("name", file.stem if file else None)
    if name is not None and (problem := _name_problem(name)):
        hint = "" if "name" in table else '; give it one: name = "..."'
        problems.in_file((*where, "name" if "name" in table else "file"), problem + hint)
    if len(problems) > before:
        return None
    assert isinstance(name, str) and file is not None
    return WorkerSettings(name, file, service, flags=flags, only=only, **given)


def _scale(where: Where, table: dict[str, Any], service: Any, problems: Problems) -> ScaleSettings:
    given = {}
    for key, value in table.items():
        try:
            if key not in SCALE_KEYS:
                raise Unfit(no_such(key, "setting of count", SCALE_KEYS))
            given[key] = checked(key, SCALE_KEYS[key], value)
        except Unfit as wrong:
            problems.in_file((*where, "count"), str(wrong))
    scale = ScaleSettings(**given)
    if service is None:
        text = 'count follows what waits, but for which service? Name it: service = "..."'
        problems.in_file((*where, "count"), text)
    if scale.min > scale.max:
        problems.in_file((*where, "count"), f"min is {scale.min}, but must be at most max, {scale.max}")
    return scale


def file_and_names(text: str, root: Path) -> tuple[Path, tuple[str, ...]]:
    """The file of FILE[:NAME[,NAME]], and which of its workers; none named: all that it defines."""
    path, colon, names = text.rpartition(":")
    if not colon or (root / text).exists():
        return Path(os.path.normpath(root / text)), ()
    return Path(os.path.normpath(root / path)), tuple(
        name.strip() for name in names.split(",") if name.strip()
    )


def _file(where: Where, value: Any, root: Path, problems: Problems) -> tuple[Path | None, tuple[str, ...]]:
    if not isinstance(value, str) or not value or not value.isprintable():
        given = "has no file" if value is None else f"has the file {shown(value)}"
        problems.in_file((*where, "file"), f'the worker {given}; name one: file = "workers/reverse.py"')
        return None, ()
    file, only = file_and_names(value, root)
    try:
        if file.is_file():
            return file, only
        there = "is a folder" if file.is_dir() else "does not exist"
        beside = [str(Path(value).parent / one.name) for one in file.parent.glob("*.py")]
    except OSError as wrong:
        there, beside = f"cannot be read: {wrong.strerror}", []
    near = nearest(value, beside)
    hint = f"; did you mean '{near}'?" if near is not None else f" (in {root})"
    problems.in_file((*where, "file"), f"worker file {shown(value)} {there}{hint}")
    return None, ()


def _flags(where: Where, value: Any, problems: Problems) -> dict[str, Flag]:
    if not isinstance(value, dict):
        problems.in_file((*where, "flags"), "flags must be a table: flags = { name = value }")
        return {}
    for name, flag in value.items():
        if not _FLAG_NAME.fullmatch(name):
            problems.in_file(
                (*where, "flags", name), f"{shown(name)} is no name of a flag; leave out the dashes"
            )
        elif not isinstance(flag, (str, int, float, bool)) or (isinstance(flag, str) and "\0" in flag):
            message = f"flag {name} is {shown(flag)}, but must be a text, a number, true or false"
            problems.in_file((*where, "flags", name), message)
    return value


def _environment(where: Where, value: Any, problems: Problems) -> dict[str, str]:
    if not isinstance(value, dict):
        problems.in_file((*where, "env"), 'env must be a table: env = { NAME = "value" }')
        return {}
    for name, text in value.items():
        if not _VARIABLE.fullmatch(name):
            problems.in_file((*where, "env", name), f"{shown(name)} is no name of a variable")
        elif not isinstance(text, str) or "\0" in text:
            message = f'env {name} is {shown(text)}, but must be a text: {name} = "..."'
            problems.in_file((*where, "env", name), message)
    return value


def _folder(value: Any, root: Path) -> Path:
    """Raises ValueError, as the next two do. What is there is another matter (`missing`)."""
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("but must be a folder")
    return Path(os.path.normpath(root / value))


def _user(value: Any, _: Path) -> str:
    if not isinstance(value, str) or not value.isprintable():
        raise ValueError("but must be a text, the name of a user")
    return value


def _python(value: Any, root: Path) -> str:
    """A path, or a name to be looked for on PATH."""
    if not isinstance(value, str) or not value or not value.isprintable():
        raise ValueError("but must be a program")
    # Not resolve(): the python of a virtual environment is a link, and means the environment.
    return os.path.normpath(root / value) if os.sep in value else value


def missing(worker: WorkerSettings) -> str | None:
    """What of these is not there, which it takes to start the worker, and not to stop it; None if all is."""
    if worker.cwd is not None and not os.path.isdir(worker.cwd):  # noqa: PTH112 (Path raises for a name too long)
        return f"cwd is '{worker.cwd}', but there is no such folder"
    if worker.python is not None and shutil.which(worker.python) is None:
        return f"python is '{worker.python}', but there is no such program"
    if worker.user is not None:
        try:
            pwd.getpwnam(worker.user)
        except (KeyError, ValueError):
            return f"user is '{worker.user}', but this machine knows no such user"
    return None


def _name_problem(name: Any) -> str | None:
    if not isinstance(name, str) or not _WORKER_NAME.fullmatch(name) or len(name) > 100:
        # It names files and is given on the command line, so neither a path nor a dash in front.
        rule = "1 to 100 characters of A-Z a-z 0-9 _ . -, the first none of . -"
        return f"worker name {shown(name)} must be {rule}"
    if name in ("broker", "gateway", "supervisor"):
        return f"worker name '{name}' is taken by the {name} itself"
    return None
