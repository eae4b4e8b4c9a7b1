"""What the benchmarks share: C programs built on the spot, processes that end, CPU read, tables.

Nothing here knows what is measured.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import zmq

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
C_SOURCES = HERE / "c"
BUILD = HERE / "build"


class CannotRun(Exception):
    """A contestant or a tool is not there or does not start; the text says why in one line."""


class Broken(Exception):
    """A contestant ran and did its work wrong, or not in time."""


# --- C programs ---


def build_c(names: Sequence[str]) -> dict[str, Path]:
    """Compile c/NAME.c for each name against the libzmq that pyzmq uses. Raises CannotRun."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise CannotRun("no C compiler (cc) here: the C floor and the load programs cannot be built")
    BUILD.mkdir(exist_ok=True)
    complaint = ""
    for link_flags in _libzmq_candidates():
        try:
            return {name: _compile(compiler, name, link_flags) for name in names}
        except subprocess.CalledProcessError as error:
            complaint = complaint or _last_line(error.stderr)
    raise CannotRun(f"the C programs cannot be linked against libzmq: {complaint}")


def _libzmq_candidates() -> Iterator[list[str]]:
    """Linker flags, the likeliest libzmq first: pyzmq's bundled one, then the system's."""
    package = Path(zmq.__file__).parent
    places = [package.parent / "pyzmq.libs", package / ".dylibs", package, package / "backend" / "cython"]
    for pattern in ("libzmq*.so*", "libzmq*.dylib", "_zmq*.so"):
        for place in places:
            for library in sorted(place.glob(pattern)):
                yield [str(library), f"-Wl,-rpath,{place}"]
    yield ["-lzmq"]


def _compile(compiler: str, name: str, link_flags: list[str]) -> Path:
    program = BUILD / name
    fresh = BUILD / f"{name}.{os.getpid()}"
    source = C_SOURCES / f"{name}.c"
    command = [compiler, "-O2", "-Wall", "-Wextra", "-o", str(fresh), str(source), *link_flags]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
        fresh.replace(program)  # another run may be using the old one
    finally:
        fresh.unlink(missing_ok=True)
    return program


# --- processes ---


def free_endpoint() -> str:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"tcp://127.0.0.1:{probe.getsockname()[1]}"


def exit_on_sigterm() -> None:
    """Make SIGTERM unwind the stack, so that every process started here is ended."""

    def leave(_signal: int, _frame: object) -> NoReturn:
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)


class Process:
    """A started program with its output in files."""

    def __init__(self, command: Sequence[str | Path], folder: Path, name: str) -> None:
        self.name = name
        self._output = folder / f"{name}.out"
        self._errors = folder / f"{name}.err"
        paths = [str(REPOSITORY), os.environ.get("PYTHONPATH", "")]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            self._popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def why_ended(self) -> str:
        said = _last_line(self._errors.read_text(errors="replace")) or _last_line(self.output)
        return f"{self.name} ended with {self._popen.poll()}: {said or 'it said nothing'}"

    def cpu_s(self) -> float | None:
        """User and system time of all its threads so far; None where there is no /proc."""
        try:
            stat = Path(f"/proc/{self._popen.pid}/stat").read_text()
        except OSError:
            return None
        fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def wait(self, timeout_s: float) -> int:
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.name} did not end in {timeout_s:.0f} s") from None

    def end(self) -> None:
        if self.ended:
            return
        self._popen.terminate()
        try:
            self._popen.wait(3)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()


class Processes:
    """A temporary folder and the programs started in it; both are gone after the `with`."""

    def __enter__(self) -> Processes:
        self._stack = contextlib.ExitStack()
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="zmws-bench-")))
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()  # the last started ends first, the folder goes last

    def start(self, name: str, command: Sequence[str | Path]) -> Process:
        process = Process(command, self.folder, name)
        self._stack.callback(process.end)
        return process


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask until it is true (True) or the time is over (False). The condition paces itself."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            return False
    return True


# --- output ---


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as they need to be; the first to the left, figures to the right."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if column else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
