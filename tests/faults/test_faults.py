"""The fault tester, on a project of two small modules."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.draw import at, drawn, places_of
from tests.faults.project import EXCLUDED, ROOT, Project
from tests.faults.source import Source
from tests.peers import wait_until

SHOP = '''\
"""Prices: 1 is a number in a text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from shop.core.no_such import Thing

__slots__ = ("price" "2",)


def cost(count: int, note: Literal[3] | None = None) -> int:
    """Never more than 4."""
    assert count >= 5
    if count > 10:
        return count * 7
    return count


def discount(paid: int) -> bool:
    return paid >= 100


def label(count: int) -> str:
    return "free" if count == 0 else f"{count + 6} to pay"


def names() -> list[str]:
    return ["a", "b"] * 1


def countdown(count: int) -> int:
    while count > 0:
        count -= 1
    return count


def forgotten(x: int) -> int:
    return x + 8


if not __name__:
    raise RuntimeError
'''

CHECKS = """\
import os
import socket
import subprocess
import threading

import pytest

from shop.core.prices import cost, countdown, discount, label, names


@pytest.mark.parametrize("count", [10, 11])
def test_cost(count):
    assert cost(count) == (count * 7 if count > 10 else count)


def test_discount_is_for_much():
    assert discount(150)
    assert not discount(50)


def test_label():
    assert label(0) == "free"


def test_that_breaks_down():
    first, second = names()


def test_countdown(request):
    request.config.rootpath.joinpath("pid").write_text(str(os.getpid()))
    assert countdown(3) == 0


def test_a_socket():
    with socket.socket():
        assert discount(100)


def test_a_process():
    assert subprocess.run(["true"]).returncode == 0 and discount(100)


def test_a_thread():
    threading.Thread(target=print).start()
    assert discount(100)


@pytest.mark.parametrize("seeds", [range(6, 9)])
def test_some_seeds(seeds):
    for seed in seeds:
        assert cost(seed) == seed
"""


@pytest.fixture
def shop(tmp_path: Path) -> Path:
    """The project's folder."""
    core = tmp_path / "shop" / "core"
    core.mkdir(parents=True)
    for folder in (core.parent, core):
        (folder / "__init__.py").write_text("")
    (core / "prices.py").write_text(SHOP)
    checks = tmp_path / "checks"
    checks.mkdir()
    (checks / "test_prices.py").write_text(CHECKS)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return tmp_path


def project_of(shop: Path) -> Project:
    return Project(shop, ("shop/core",), "checks")


def command(shop: Path, *arguments: str) -> list[str]:
    where = ["--root", str(shop), "--package", "shop/core", "--tests", "checks"]
    return [sys.executable, "-m", "tests.faults", *where, *arguments]


def environment(shop: Path) -> dict[str, str]:
    (shop / "temporary").mkdir(exist_ok=True)
    return {**os.environ, "TMPDIR": str(shop / "temporary"), "PYTHONDONTWRITEBYTECODE": "1"}


def line_of(text: str) -> int:
    return [line.strip() for line in SHOP.splitlines()].index(text) + 1


def files_of(shop: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in shop.rglob("*") if path.is_file()}


def run(shop: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(shop, *arguments),
        cwd=ROOT,
        env=environment(shop),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )


# ---- which places ----


def test_texts_asserts_annotations_and_imports_are_left_out(shop: Path) -> None:
    source = Source(shop / "shop" / "core" / "prices.py")
    numbers = {source.text[place.start : place.end] for place in source.places() if place.kind == "constant"}
    assert numbers == {b"10", b"7", b"100", b"0", b"1", b"8"}
    lines = SHOP.splitlines()
    for place in source.places():
        assert (
            not lines[place.line - 1]
            .strip()
            .startswith(("assert", "from", "import", '"""', "def", "if TYPE"))
        )


@pytest.mark.parametrize(
    ("before", "kind", "after"),
    [
        ("x = a < b", "comparison", {"x = a <= b"}),
        ("x = (a) is not (b)", "comparison", {"x = (a) is (b)"}),
        ("x = a not in b in c", "comparison", {"x = a in b in c", "x = a not in b not in c"}),
        ("if a: f()", "condition", {"if not (a): f()"}),
        ("if a == b: f()", "condition", set()),  # the turned comparison is the same
        ("x = [y for y in z if not y]", "condition", {"x = [y for y in z if (y)]"}),
        ("x = a if b else c", "condition", {"x = a if not (b) else c"}),
        ("x = a or {}", "condition", {"x = not (a) or {}"}),
        ("x = a and (b or c)", "and-or", {"x = a or (b or c)", "x = a and (b and c)"}),
        ("a.b = c; d()", "statement", {"pass; d()", "a.b = c; pass"}),
        ("x = 1; x += 2", "statement", {"x = 1; pass"}),
        ("yield", "statement", set()),
        ("self.note('info', f'{a}')", "statement", set()),
        ("x = 0.5", "constant", {"x = 1.5", "x = -0.5", "x = 1.0"}),
        ("x = True", "constant", {"x = False"}),
        ("x = f'{1 if a else 2}'", "constant", set()),
        ("x: Literal[1] = y", "constant", set()),
    ],
)
def test_what_a_fault_makes_of_a_line(tmp_path: Path, before: str, kind: str, after: set[str]) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"def é():\n    {before}\n")
    project = Project(tmp_path, (".",))
    faults = at(project, "module.py:2")
    found = {fault.shown(file.read_bytes())[1] for fault in faults if fault.place.kind == kind}
    assert found == after


def test_the_same_seed_gives_the_same_list(shop: Path) -> None:
    places = places_of(project_of(shop))
    first, again, other = (
        [(fault.place, fault.option) for fault, _ in zip(drawn(places, seed), range(9), strict=False)]
        for seed in (5, 5, 6)
    )
    assert first == again
    assert first != other


# ---- which tests ----


def test_what_is_never_collected_is_there_to_be_left_out() -> None:
    folder = ROOT / Project().tests
    assert [name for name in EXCLUDED if not list(folder.rglob(name))] == []
    assert Project().is_excluded(folder / "system" / "test_cli.py")
    assert not Project().is_excluded(folder / "simulation" / "test_simulation.py")


# ---- what is noticed ----


def test_a_hunt(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("json") / "found.json"
    before = files_of(shop)
    done = run(shop, "--places", "100", "--patience", "3", "--json", str(file))
    assert done.returncode == 1, done.stderr
    found = json.loads(file.read_text())
    faults = {(fault["before"], fault["kind"]): fault for fault in found["faults"]}

    # A range of seeds is a test for each.
    assert "9 tests need no socket, process or thread; 3 are left out" in done.stderr
    assert faults["if count > 10:", "comparison"]["verdict"] == "noticed"

    missed = faults["return paid >= 100", "comparison"]
    assert (missed["verdict"], missed["after"], missed["tests"]) == ("survived", "return paid > 100", 1)
    lines = ["return paid >= 100", "return paid > 100", "1 test ran over it"]
    text = f"prices.py:{line_of(lines[0])}  comparison\n" + "".join(f"    {line}\n" for line in lines)
    assert text in done.stdout

    crash = faults['return ["a", "b"] * 1', "constant"]
    assert crash["verdict"] == "survived"
    assert crash["crashed"] == ["checks/test_prices.py::test_that_breaks_down"]
    assert "1 test ran over it, 1 of them broke down themselves" in done.stdout

    hangs = faults["count -= 1", "statement"]
    assert (hangs["verdict"], hangs["test"]) == ("hung", "checks/test_prices.py::test_countdown")
    assert "noticed, for a test hangs: checks/test_prices.py::test_countdown" in done.stdout

    assert faults["return x + 8", "constant"]["verdict"] == "survived"
    assert "    return x + 8\n" in done.stdout and "    no test runs this line\n" in done.stdout

    assert found["unfair"] == 1 and "1 more could not be tried" in done.stdout
    assert f"faults were noticed: {found['percent']:.1f} %" in done.stdout

    # Nothing is left but what the test itself has written.
    assert list((shop / "temporary").iterdir()) == []
    after = files_of(shop)
    after.pop(shop / "pid")
    assert after == before


def test_enough_is_asked_of_the_tests(shop: Path) -> None:
    few = ["--files", "prices.py", "--places", "1", "--patience", "3"]
    assert run(shop, *few, "--at-least", "0").returncode == 0
    assert run(shop, *few, "--at-least", "101").returncode == 1
    assert "no place" in run(shop, "--files", "other.py").stderr


def test_one_place_is_shown_with_what_the_tests_print(shop: Path) -> None:
    line = line_of("if count > 10:")
    done = run(shop, "--place", f"shop/core/prices.py:{line}:comparison")
    assert done.returncode == 0
    assert "-    if count > 10:\n+    if count >= 10:\n" in done.stdout
    assert "assert 70 == 10" in done.stdout
    assert "== noticed by checks/test_prices.py::test_cost[10]" in done.stdout


def test_ctrl_c_leaves_no_process_and_no_folder(shop: Path) -> None:
    where = f"shop/core/prices.py:{line_of('count -= 1')}:statement"
    with subprocess.Popen(
        command(shop, "--place", where),
        cwd=ROOT,
        env=environment(shop),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as tester:
        pid = shop / "pid"
        wait_until(lambda: tester.poll() is not None or (pid.exists() and pid.read_text()), 30)
        tester.send_signal(signal.SIGINT)
        assert tester.wait(10) == 130
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()), 0)
    assert list((shop / "temporary").iterdir()) == []
