"""The command: `python -m tests.fuzz --seconds 600`."""

from __future__ import annotations

import argparse
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
_FIGURES = re.compile(r"stat::number_of_executed_units:\s+(\d+)|cov: (\d+) ")


def options() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description="Looks for bytes that zmws does not take as documented."
    )
    add = parser.add_argument
    add("--seconds", type=int, default=600, help="for all targets together (600)")
    add("--target", action="append", metavar="NAME", help="only this one; may be given several times")
    add("--input", type=Path, metavar="FILE", help="look at these bytes only, with one target")
    add("--work", type=Path, metavar="DIR", help="where to go on, and what is found; else a new folder")
    add("--keep", action="store_true", help="then add what reaches new code to the corpus of the tests")
    return parser


def main() -> int:
    given = options().parse_args()
    os.nice(19 - os.nice(0))
    from tests.fuzz.targets import TARGETS

    names = given.target or list(TARGETS)
    for name in names:
        if name not in TARGETS:
            print(f"there is no target {name}; there are {', '.join(TARGETS)}", file=sys.stderr)
            return 2
    if given.input is not None:
        for name in names:
            TARGETS[name].check(given.input.read_bytes())
        print("nothing is wrong with it")
        return 0
    if importlib.util.find_spec("atheris") is None:
        print("there is no atheris here: pip install atheris", file=sys.stderr)
        return 2
    work = given.work or Path(tempfile.mkdtemp(prefix="zmws-fuzz-"))
    work.mkdir(parents=True, exist_ok=True)
    wrong = [name for name in names if not _searched(name, max(1, given.seconds // len(names)), work)]
    if given.keep:
        for name in names:
            _guided(name, 0, work, "keep")
    print(f"what was wrong is in {work / 'found'}: {', '.join(wrong)}" if wrong else "nothing was wrong")
    return 1 if wrong else 0


def _searched(name: str, seconds: int, work: Path) -> bool:
    """Whether nothing was wrong with a target."""
    done = _guided(name, seconds, work, "search")
    figures = _FIGURES.findall(done.stderr)
    executed = next((one for one, _ in figures if one), "?")
    reached = next((two for _, two in reversed(figures) if two), "?")
    print(
        f"{name}: {seconds} s, {executed} inputs, {reached} branches{', WRONG' if done.returncode else ''}",
        flush=True,
    )
    if done.returncode != 0:
        print(done.stdout[-4_000:], done.stderr[-1_000:], flush=True)
    return done.returncode == 0


def _guided(name: str, seconds: int, work: Path, what: str) -> subprocess.CompletedProcess[str]:
    """atheris ends its process, so that each target has one of its own."""
    command = [sys.executable, "-m", "tests.fuzz.guided", name, str(seconds), str(work), what]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)


if __name__ == "__main__":
    sys.exit(main())
