"""Imports one module with another text than its file has; the file stays as it is."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import sys
from collections.abc import Sequence
from pathlib import Path
from types import CodeType, ModuleType

from tests.faults.project import Project


class _Loader(importlib.machinery.SourceFileLoader):
    text = b""

    def get_code(self, fullname: str) -> CodeType:
        # Not the inherited one: that would read, and write, the file of compiled code.
        code: CodeType = compile(self.text, self.path, "exec", dont_inherit=True)
        return code


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, module: str, path: Path, text: bytes) -> None:
        self.module = module
        self.loader = _Loader(module, str(path))
        self.loader.text = text

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self.module:
            return None
        return importlib.util.spec_from_file_location(fullname, self.loader.path, loader=self.loader)


def replace_text(project: Project, path: Path, text: bytes) -> None:
    """From now on the module of this file has this text."""
    sys.meta_path.insert(0, _Finder(project.module(path), path, text))


def import_all(project: Project) -> None:
    """Imports every module that may have a fault."""
    for path in project.sources():
        module = importlib.import_module(project.module(path))
        assert module.__file__ == str(path), f"{module.__name__} is {module.__file__}, not {path}"
