"""What a child is told first: which class it is to run, and how (children.py, child.py)."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zmws.work.author import Worker
from zmws.work.declared import BadWorker, Declared


@dataclass
class Birth:
    """Where its class is, and what it has beside it."""

    module: str  # a file's path or a module's name
    is_file: bool
    name: str  # of the class, or of its function, in there
    service: str
    options: bytes = b""  # pickled: what they are made of may be defined in that file
    log_level: str = "info"
    log_format: str = "text"


def birth_of(worker: Worker, declared: Declared) -> Birth:
    """Of a worker's class. Raises BadWorker for one that cannot be found by its name."""
    cls = type(worker)
    name = f"{cls.__name__}: isolate makes an object of the class in each child process"
    module = sys.modules.get(cls.__module__)
    if module is None or "<locals>" in cls.__qualname__:
        raise BadWorker(f"{name}, and so it must stand at the top of a file; it is {cls.__qualname__}")
    function: Any = getattr(cls, "function", None)
    found = next(
        (key for key, value in vars(module).items() if value is cls or (function and value is function)), None
    )
    if found is None:
        raise BadWorker(f"{name}, and {cls.__module__} has none of that name")
    try:
        cls()
    except Exception as fault:
        raise BadWorker(f"{name}, without arguments, and that raised {fault!r}") from fault
    spec = getattr(module, "__spec__", None)
    if cls.__module__ == "__main__" and spec is not None:  # python -m package.module
        return Birth(spec.name, False, found, declared.service)
    file = getattr(module, "__file__", None)
    is_file = file is not None and (
        cls.__module__ in ("__main__", "__mp_main__") or cls.__module__.startswith("zmws_worker_")
    )
    where = str(Path(file).absolute()) if is_file and file is not None else cls.__module__
    return Birth(where, is_file, found, declared.service)
