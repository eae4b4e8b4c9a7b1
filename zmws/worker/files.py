"""Worker files: the one WorkerBase subclass that a Python file defines."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
from pathlib import Path

from zmws.errors import ZmwsError
from zmws.worker.base import WorkerBase, work_fault
from zmws.worker.command import importable


class WorkerFileError(ZmwsError):
    """A worker file cannot be run; the message says why and what to do."""


def load_class(file: Path) -> type[WorkerBase]:
    """The one WorkerBase subclass that a file defines. Raises WorkerFileError."""
    return _class_of(file, f"zmws_worker_{file.stem}", is_main=False)


def load_main_class(file: Path) -> type[WorkerBase]:
    """As `load_class`, in a process that is for this file alone: the file becomes its main module.

    A child that multiprocessing spawns runs the file of its parent's main module again, as `__mp_main__`, and
    looks there for what it is to do. The module is here as it is there: so the child finds what the file
    defines, whatever the file's own name is, and `if __name__ == "__main__":` stays false in both.
    """
    return _class_of(file, "__mp_main__", is_main=True)


def _class_of(file: Path, name: str, is_main: bool) -> type[WorkerBase]:
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
    found = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, WorkerBase) and value.__module__ == name
    ]
    if len(found) != 1:
        names = ", ".join(cls.__name__ for cls in found) or "none"
        raise WorkerFileError(f"{file} must define one subclass of WorkerBase; it defines {names}")
    if (wrong := work_fault(found[0])) is not None:
        raise WorkerFileError(f"{file}: {wrong}")
    return found[0]
