"""Worker files: what a Python file defines that can be run as a worker."""

from __future__ import annotations

import importlib.util
import inspect
import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from types import FunctionType

from zmws.core.table import no_such
from zmws.errors import ZmwsError
from zmws.settings.workers import file_and_names
from zmws.work.base import WorkerBase
from zmws.work.command import importable
from zmws.work.declared import work_fault
from zmws.work.fault import is_own
from zmws.work.function import class_of


class WorkerFileError(ZmwsError):
    """A worker file cannot be run; the message says why and what to do."""


def load_class(file: Path) -> type[WorkerBase]:
    """The one worker that a file defines. Raises WorkerFileError."""
    found, _ = _workers_of(file, f"zmws_worker_{file.stem}", is_main=False)
    names = _all_of(found)
    if len(names) != 1:
        raise WorkerFileError(f"{file} defines {', '.join(names)}; say which one: {file.name}:NAME")
    return found[names[0]]


def load_main_classes(named: Sequence[str]) -> list[type[WorkerBase]]:
    """The workers that `FILE[:NAME[,NAME]]` name, of a file without names all; in a process that is for these
    files alone: the first becomes its main module. Raises WorkerFileError.

    A child that multiprocessing spawns runs the file of its parent's main module again, as `__mp_main__`, and
    looks there for what it is to do. The module is here as it is there: so the child finds what the file
    defines, whatever the file's own name is, and `if __name__ == "__main__":` stays false in both.
    """
    loaded: dict[Path, tuple[dict[str, type[WorkerBase]], dict[str, str]]] = {}
    chosen: dict[tuple[Path, str], type[WorkerBase]] = {}
    for text in named:
        file, names = file_and_names(text, Path.cwd())
        if file not in loaded:
            is_main = not loaded
            module = "__mp_main__" if is_main else f"zmws_worker_{file.stem}"
            while module in sys.modules and not is_main:
                module += "_"  # another file of that name, in another folder
            loaded[file] = _workers_of(file, module, is_main)
        found, faults = loaded[file]
        for name in names or _all_of(found):
            if name in faults:
                raise WorkerFileError(f"{file}: {faults[name]}")
            if name not in found:
                raise WorkerFileError(f"{file}: {no_such(name, 'worker of this file', found)}")
            chosen[file, name] = found[name]
    return list(chosen.values())


def _where(fault: BaseException) -> str:
    """Which line is at fault."""
    if isinstance(fault, SyntaxError):
        return f"{fault.filename}:{fault.lineno}: {(fault.text or '').strip()}"
    frames = traceback.extract_tb(fault.__traceback__)
    where = next((one for one in reversed(frames) if is_own(one.filename)), frames[-1])
    return f"{where.filename}:{where.lineno}: {where.line}"


def _all_of(found: dict[str, type[WorkerBase]]) -> list[str]:
    """The names of all that are to run where none is named. A class that is abstract is a base, and so is one
    with a subclass here where it names no service, or the same."""

    def is_base(cls: type[WorkerBase]) -> bool:
        derived = [one for one in found.values() if one is not cls and issubclass(one, cls)]
        same = any(cls.service_name in ("", one.service_name) for one in derived)
        return inspect.isabstract(cls) or same

    return [name for name, cls in found.items() if not is_base(cls)]


def _workers_of(file: Path, name: str, is_main: bool) -> tuple[dict[str, type[WorkerBase]], dict[str, str]]:
    """The workers that a file defines, by name: subclasses of WorkerBase, and functions that `@worker` has
    made ones; and what is wrong with those that have no `work()`, which may be bases of others. Raises
    WorkerFileError, and BadWorker."""
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
        raise WorkerFileError(f"{text}\n  {_where(fault)}") from fault
    found: dict[str, type[WorkerBase]] = {}
    faults: dict[str, str] = {}
    for defined, value in vars(module).items():
        # By their types: isinstance would ask the object itself, and not all of a module's like that.
        is_class = issubclass(type(value), type) and issubclass(value, WorkerBase)
        if not (is_class or issubclass(type(value), FunctionType)) or value.__module__ != name:
            continue
        cls = value if is_class else class_of(value)
        if cls is None or cls in found.values():
            continue
        wrong = work_fault(cls)
        if wrong is None:
            found[defined] = cls
        else:
            faults[defined] = wrong
    if not found:
        why = (
            "; ".join(faults.values()) or "it defines no subclass of WorkerBase, and no function with @worker"
        )
        raise WorkerFileError(f"{file}: {why}")
    return found, faults
