"""Worker files: what a Python file defines that can be run as a worker."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path

from zmws.core.table import no_such
from zmws.errors import ZmwsError
from zmws.settings.workers import file_and_names
from zmws.work.base import WorkerBase
from zmws.work.command import importable
from zmws.work.declared import work_fault
from zmws.work.function import class_of


class WorkerFileError(ZmwsError):
    """A worker file cannot be run; the message says why and what to do."""


def load_class(file: Path) -> type[WorkerBase]:
    """The one worker that a file defines. Raises WorkerFileError."""
    found = _workers_of(file, f"zmws_worker_{file.stem}", is_main=False)
    if len(found) != 1:
        names = ", ".join(found)
        raise WorkerFileError(f"{file} defines {names}; say which one: {file.name}:NAME")
    return next(iter(found.values()))


def load_main_classes(named: Sequence[str]) -> list[type[WorkerBase]]:
    """The workers that `FILE[:NAME[,NAME]]` name, of a file without names all; in a process that is for these
    files alone: the first becomes its main module. Raises WorkerFileError.

    A child that multiprocessing spawns runs the file of its parent's main module again, as `__mp_main__`, and
    looks there for what it is to do. The module is here as it is there: so the child finds what the file
    defines, whatever the file's own name is, and `if __name__ == "__main__":` stays false in both.
    """
    loaded: dict[Path, dict[str, type[WorkerBase]]] = {}
    chosen: dict[tuple[Path, str], type[WorkerBase]] = {}
    for text in named:
        file, names = file_and_names(text, Path.cwd())
        if file not in loaded:
            is_main = not loaded
            module = "__mp_main__" if is_main else f"zmws_worker_{file.stem}"
            loaded[file] = _workers_of(file, module, is_main)
        found = loaded[file]
        for name in names or found:
            if name not in found:
                raise WorkerFileError(f"{file}: {no_such(name, 'worker of this file', found)}")
            chosen[file, name] = found[name]
    return list(chosen.values())


def _workers_of(file: Path, name: str, is_main: bool) -> dict[str, type[WorkerBase]]:
    """The workers that a file defines, by name: subclasses of WorkerBase, and functions that `@worker` has
    made ones. A class without a `work()` is a base of others."""
    if not file.is_file():
        raise WorkerFileError(f"there is no worker file {file}")
    path = Path(os.path.normpath(file.absolute()))  # work() may change the folder
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise WorkerFileError(f"{file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if is_main:
        module.__spec__ = (
            None  # as of a file that Python runs: the child is told the path, not a module's name
        )
        sys.modules["__main__"] = module
    importable(path.parent)
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as fault:
        text = f"{file} cannot be imported: {type(fault).__name__}: {fault}"
        where = traceback.extract_tb(fault.__traceback__)[-1]
        raise WorkerFileError(f"{text}\n  {where.filename}:{where.lineno}: {where.line}") from fault
    found: dict[str, type[WorkerBase]] = {}
    faults: list[str] = []
    for defined, value in vars(module).items():
        cls = class_of(value)
        if cls is None and isinstance(value, type) and issubclass(value, WorkerBase):
            cls = value
        if cls is None or cls.__module__ != name or cls in found.values():
            continue
        wrong = work_fault(cls)
        if wrong is None:
            found[defined] = cls
        else:
            faults.append(wrong)
    if not found:
        why = "; ".join(faults) or "it defines no subclass of WorkerBase, and no function with @worker"
        raise WorkerFileError(f"{file}: {why}")
    return found
