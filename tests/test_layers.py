"""Who may import whom: the layers of zmws, and that the core touches neither world nor clock.

    L0 errors  wire/*
    L1 dialog/*  core/*
    L2 settings/*  store/*  tracing/*  sockets  ipc_files  ids  key_file  cron  log_file  service_manager
       real_threads
    L3 line/*  server/*
    L4 work/*  client/*
    L5 gateway/*  supervisor/*  testing/*
    L6 cli/*

A module imports from its own line and the lines above, and no imports run in a circle, also
none for types only. L0 and L1 do no
I/O, read no clock and draw nothing by chance, so the simulator runs the very code that is shipped.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = "zmws"

# Longest name first: the first entry that is the module, or a package around it, says its layer.
LAYERS = {
    "zmws.errors": 0,
    "zmws.wire": 0,
    "zmws.dialog": 1,
    "zmws.core": 1,
    "zmws.settings": 2,
    "zmws.sockets": 2,
    "zmws.ipc_files": 2,
    "zmws.ids": 2,
    "zmws.key_file": 2,
    "zmws.cron": 2,
    "zmws.log_file": 2,
    "zmws.service_manager": 2,
    "zmws.real_threads": 2,
    "zmws.store": 2,
    "zmws.tracing": 2,
    "zmws.line": 3,
    "zmws.server": 3,
    "zmws.work": 4,
    "zmws.client": 4,
    "zmws.gateway": 5,
    "zmws.supervisor": 5,
    "zmws.testing": 5,
    "zmws.cli": 6,
    "zmws.__main__": 6,
}

# What L0 and L1 may import of the standard library: nothing that reaches beyond its arguments.
PURE = {
    "__future__",
    "abc",
    "base64",
    "bisect",
    "collections",
    "contextlib",
    "dataclasses",
    "datetime",
    "difflib",
    "enum",
    "functools",
    "hashlib",
    "heapq",
    "itertools",
    "json",
    "math",
    "operator",
    "re",
    "struct",
    "typing",
}
IMPURE_CALLS = {"open", "input", "print", "breakpoint", "exec", "eval", "__import__"}
CLOCK_CALLS = {"now", "utcnow", "today"}  # of datetime and date

# pyzmq below the processes: in the one leaf module that sends and receives.
SOCKET_LIBRARIES = {"zmq"}
SOCKETS_MODULE = "zmws.sockets"


@dataclass(frozen=True)
class Import:
    """One imported module. `name` is what is imported from it, None for the module itself."""

    module: str
    name: str | None
    line: int
    typing_only: bool
    within_function: bool


def modules_of(root: Path) -> dict[str, Path]:
    found = {}
    for path in sorted((root / PACKAGE).rglob("*.py")):
        parts = path.relative_to(root).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def layer_of(module: str) -> int | None:
    while module:
        if module in LAYERS:
            return LAYERS[module]
        module = module.rpartition(".")[0]
    return None


def imports_of(module: str, path: Path, tree: ast.Module) -> Iterator[Import]:
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]

    def walk(node: ast.AST, typing_only: bool, within: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(alias.name, None, node.lineno, typing_only, within)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = package.split(".")
                base = ".".join([*parts[: len(parts) - node.level + 1], *([base] if base else [])])
            for alias in node.names:
                yield Import(base, alias.name, node.lineno, typing_only, within)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.body:
                yield from walk(child, True, within)
            for child in node.orelse:
                yield from walk(child, typing_only, within)
        else:
            within = within or isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            for child in ast.iter_child_nodes(node):
                yield from walk(child, typing_only, within)

    return walk(tree, False, False)


def target_of(found: Import, modules: dict[str, Path]) -> str:
    """The module that is meant: `from zmws.core import mdp` means zmws.wire.mdp."""
    if found.name is not None and f"{found.module}.{found.name}" in modules:
        return f"{found.module}.{found.name}"
    return found.module


def violations_of(root: Path) -> list[str]:
    """Every breach of the layers in the tree below `root`, as `module:line: what`."""
    modules = modules_of(root)
    wrong: list[str] = []
    graph: dict[str, set[str]] = {module: set() for module in modules}
    for module, path in modules.items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        imports = list(imports_of(module, path, tree))
        if module == PACKAGE:
            wrong += _package_violations(imports)
            continue
        layer = layer_of(module)
        if layer is None:
            wrong.append(f"{module}:1: stands in no layer; give it one here and in docs/architecture.md")
            continue
        for found in imports:
            target = target_of(found, modules)
            breach = _breach(module, layer, target, found)
            if breach:
                wrong.append(f"{module}:{found.line}: {breach}")
            if target in graph and target not in (module, PACKAGE):
                graph[module].add(target)
        if layer <= 1:
            wrong += [f"{module}:{line}: {what}" for line, what in _impure_calls(tree)]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as circle:
        wrong.append(f"{circle.args[1][0]}:1: imports in a circle: {' <- '.join(circle.args[1])}")
    return wrong


def _package_violations(imports: list[Import]) -> list[str]:
    # zmws/__init__.py names what users import from every layer, but loads it when it is asked for.
    return [
        f"{PACKAGE}:{found.line}: {found.module} must be loaded lazily"
        for found in imports
        if not (found.typing_only or found.within_function)
        and found.module.partition(".")[0] not in PURE | {"importlib"}
        and layer_of(found.module) != 0
    ]


def _breach(module: str, layer: int, target: str, found: Import) -> str | None:
    top = target.partition(".")[0]
    if top != PACKAGE:
        if layer <= 1 and top not in PURE:
            return f"L{layer} must not import {target}"
        if layer == 2 and top in SOCKET_LIBRARIES and module != SOCKETS_MODULE:
            return f"of L2 only {SOCKETS_MODULE} imports {target}"
        return None
    if target == PACKAGE:
        if layer >= 5 or (found.name is not None and found.name.startswith("__")):
            return None
        return "L0 to L4 must not import zmws itself, which would load any layer"
    below = layer_of(target)
    if below is None:
        return f"{target} stands in no layer"
    return f"L{layer} must not import {target} of L{below}" if below > layer else None


def _impure_calls(tree: ast.Module) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        call = node.func
        if isinstance(call, ast.Name) and call.id in IMPURE_CALLS:
            yield node.lineno, f"the core must not call {call.id}()"
        elif isinstance(call, ast.Attribute) and call.attr in CLOCK_CALLS:
            owner = ast.unparse(call.value)
            if owner.rpartition(".")[2] in ("datetime", "date"):
                yield node.lineno, f"the core must not read the clock: {owner}.{call.attr}()"


# ---- the shipped tree ----


def test_every_module_imports_from_its_own_layer_and_those_above() -> None:
    assert modules_of(ROOT), "there is nothing to check"
    assert violations_of(ROOT) == []


def test_importing_the_core_loads_no_socket_no_store_and_no_loop() -> None:
    core = [module for module in modules_of(ROOT) if (layer_of(module) or 0) <= 1 and module != PACKAGE]
    assert "zmws.core.options" in core
    impure = {"zmq", "sqlite3", "asyncio", "logging", "socket", "subprocess", "click"}
    program = (
        "import importlib, sys\n"
        f"for module in {core!r}: importlib.import_module(module)\n"
        f"print(*sorted({impure!r} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stderr, done.stdout.strip()) == (0, "", "")


# ---- that the checks can fail: each breach in a small tree of its own ----


def made(root: Path, files: dict[str, str]) -> list[str]:
    for name, text in files.items():
        path = root / PACKAGE / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return violations_of(root)


GOOD = {
    "__init__.py": (
        "import importlib\n"
        "from typing import TYPE_CHECKING, Any\n"
        "from zmws.errors import ZmwsError\n"
        "if TYPE_CHECKING:\n    from zmws.work.base import WorkerBase\n"
        "def __getattr__(name: str) -> Any:\n    from zmws.client import sync\n"
    ),
    "errors.py": "",
    "core/__init__.py": "",
    "wire/mdp.py": "import json\nfrom zmws.errors import ZmwsError\n",
    "core/service.py": "from collections import deque\nfrom zmws.core import options\nimport zmws.wire.mdp\n",
    "core/options.py": "from datetime import datetime\nmoment = datetime.fromisoformat('2027-01-31')\n",
    "core/broker.py": "from . import service\nfrom ..wire.mdp import x\n",
    "settings.py": "import os\nimport tomllib\nfrom .core.options import x\n",
    "sockets.py": "import zmq\n",
    "store/sqlite.py": "import sqlite3\nfrom ..core.options import x\nfrom .base import y\n",
    "store/base.py": "import zmws.errors\n",
    "server/loop.py": "import zmq\nfrom zmws import __version__\nfrom zmws.sockets import send\n",
    "work/base.py": "from zmws.core.broker import x\n",
    "client/sync.py": "import zmq\n",
    "testing.py": "from zmws import Client\nfrom zmws.server import loop\n",
    "cli/__init__.py": "import click\nimport zmws\nfrom zmws.gateway import http\n",
    "gateway/http.py": "",
}


def test_a_tree_that_keeps_the_rules_passes(tmp_path: Path) -> None:
    assert made(tmp_path, GOOD) == []


@pytest.mark.parametrize(
    ("name", "text", "breach"),
    [
        (
            "errors.py",
            "from zmws.core.options import x",
            "errors:1: L0 must not import zmws.core.options of L1",
        ),
        (
            "wire/mdp.py",
            "from ..core import service",
            "wire.mdp:1: L0 must not import zmws.core.service of L1",
        ),
        ("wire/mdp.py", "import zmws.core.options", "wire.mdp:1: L0 must not import zmws.core.options of L1"),
        ("core/broker.py", "import zmws.settings", "core.broker:1: L1 must not import zmws.settings of L2"),
        (
            "core/broker.py",
            "from zmws import settings",
            "core.broker:1: L1 must not import zmws.settings of L2",
        ),
        (
            "core/broker.py",
            "from .. import settings",
            "core.broker:1: L1 must not import zmws.settings of L2",
        ),
        (
            "core/broker.py",
            "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from zmws.server import loop",
            "core.broker:3: L1 must not import zmws.server.loop of L3",
        ),
        (
            "core/broker.py",
            "def f():\n    import zmws.ids",
            "core.broker:2: L1 must not import zmws.ids of L2",
        ),
        ("core/broker.py", "from zmws import Client", "core.broker:1: L0 to L4 must not import zmws itself"),
        ("core/broker.py", "import time", "core.broker:1: L1 must not import time"),
        ("wire/mdp.py", "import random", "wire.mdp:1: L0 must not import random"),
        ("core/broker.py", "from threading import Lock", "core.broker:1: L1 must not import threading"),
        ("core/broker.py", "import zmq", "core.broker:1: L1 must not import zmq"),
        ("core/broker.py", "import os.path", "core.broker:1: L1 must not import os.path"),
        ("core/broker.py", "def f():\n    import logging", "core.broker:2: L1 must not import logging"),
        (
            "core/broker.py",
            "try:\n    import socket\nexcept ImportError:\n    pass",
            "core.broker:2: L1 must not",
        ),
        ("core/broker.py", "open('x')", "core.broker:1: the core must not call open()"),
        ("core/broker.py", "x = [print(1)]", "core.broker:1: the core must not call print()"),
        (
            "core/broker.py",
            "from datetime import datetime\ndatetime.now()",
            "core.broker:2: the core must not read",
        ),
        ("core/broker.py", "import datetime as dt\ndt.date.today()", "core.broker:2: the core must not read"),
        (
            "settings.py",
            "from zmws.server import loop",
            "settings:1: L2 must not import zmws.server.loop of L3",
        ),
        ("settings.py", "import zmq", "settings:1: of L2 only zmws.sockets imports zmq"),
        ("store/sqlite.py", "import zmq", "store.sqlite:1: of L2 only zmws.sockets imports zmq"),
        ("server/loop.py", "import zmws.testing", "server.loop:1: L3 must not import zmws.testing of L5"),
        ("work/base.py", "import zmws", "work.base:1: L0 to L4 must not import zmws itself"),
        ("gateway/http.py", "import zmws.cli", "gateway.http:1: L5 must not import zmws.cli of L6"),
        ("util.py", "", "util:1: stands in no layer"),
        (
            "__init__.py",
            "from zmws.client.sync import Client",
            "zmws:1: zmws.client.sync must be loaded lazily",
        ),
        ("__init__.py", "import zmq", "zmws:1: zmq must be loaded lazily"),
    ],
)
def test_a_breach_is_found(tmp_path: Path, name: str, text: str, breach: str) -> None:
    # An import against the layers may close a circle too, which is told besides.
    found = [one for one in made(tmp_path, {**GOOD, name: text}) if "circle" not in one]
    assert len(found) == 1, found
    assert breach in found[0]


@pytest.mark.parametrize(
    "text",
    [
        "from zmws.core.broker import x",
        "import zmws.core.broker",
        "from . import broker",
        "def f():\n    from .broker import x",
    ],
)
def test_a_circle_is_found(tmp_path: Path, text: str) -> None:
    (found,) = made(tmp_path, {**GOOD, "core/service.py": text})
    assert "circle" in found
    assert "zmws.core.broker" in found and "zmws.core.service" in found


def test_a_circle_for_types_only_is_one_too(tmp_path: Path) -> None:
    text = "import typing\nif typing.TYPE_CHECKING:\n    from zmws.core.broker import x"
    (found,) = made(tmp_path, {**GOOD, "core/options.py": text})
    assert "circle" in found
