"""What the benchmarks share: C programs built on the spot, processes that end, CPU and memory read, rounds
of contestants, ratios and what they are judged by.

Nothing here knows what is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn, TypeVar

import zmq

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent
C_SOURCES = HERE / "c"
BUILD = HERE / "build"
IN_MEMORY = {"tmpfs", "ramfs", "devtmpfs"}

M = TypeVar("M")


class CannotRun(Exception):
    """A contestant or a tool is not there or does not start; the text says why in one line."""


class Broken(Exception):
    """A contestant ran and did its work wrong, or not in time."""


# --- C programs ---


def build_c(names: Sequence[str]) -> dict[str, Path]:
    """Compile c/NAME.c for each name against the libzmq that pyzmq uses. Raises CannotRun."""
    complaint = ""
    for link_flags in _libzmq_candidates():
        try:
            return {name: _compile(name, link_flags) for name in names}
        except subprocess.CalledProcessError as error:
            complaint = complaint or _last_line(error.stderr)
    raise CannotRun(f"the C programs cannot be linked against libzmq: {complaint}")


def build_library(name: str) -> Path:
    """Compile c/NAME.c for LD_PRELOAD. Raises CannotRun."""
    try:
        return _compile(name, ["-shared", "-fPIC", "-ldl"])
    except subprocess.CalledProcessError as error:
        raise CannotRun(f"{name} cannot be built: {_last_line(error.stderr)}") from None


def _libzmq_candidates() -> Iterator[list[str]]:
    """Linker flags, the likeliest libzmq first: pyzmq's bundled one, then the system's."""
    package = Path(zmq.__file__).parent
    places = [package.parent / "pyzmq.libs", package / ".dylibs", package, package / "backend" / "cython"]
    for pattern in ("libzmq*.so*", "libzmq*.dylib", "_zmq*.so"):
        for place in places:
            for library in sorted(place.glob(pattern)):
                yield [str(library), f"-Wl,-rpath,{place}"]
    yield ["-lzmq"]


def _compile(name: str, link_flags: list[str]) -> Path:
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if not compiler:
        raise CannotRun("no C compiler (cc) here: the C floor and the load programs cannot be built")
    BUILD.mkdir(exist_ok=True)
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


def find_program(name: str, package: str) -> str:
    """Its path. Raises CannotRun, with the package to install."""
    # Servers are in sbin, which is not in everyone's PATH.
    where = os.pathsep.join([os.environ.get("PATH", ""), "/usr/local/sbin", "/usr/sbin", "/sbin"])
    found = shutil.which(name, path=where)
    if found is None:
        raise CannotRun(f"{name} is not installed (apt-get install {package})")
    return found


def exit_on_sigterm() -> None:
    """Make SIGTERM unwind the stack, so that every process started here is ended."""

    def leave(_signal: int, _frame: object) -> NoReturn:
        sys.exit(143)

    signal.signal(signal.SIGTERM, leave)


def pythonpath(checkout: Path) -> str:
    paths = [str(checkout), os.environ.get("PYTHONPATH", "")]
    return os.pathsep.join(path for path in paths if path)


class Watched:
    """A process that runs: whether it has ended, and what it takes."""

    def __init__(self, name: str, popen: subprocess.Popen[bytes], said: Callable[[], str]) -> None:
        """`said`: what it has written, for when it ends by itself."""
        self.name = name
        self._popen = popen
        self._said = said

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def ended(self) -> bool:
        return self._popen.poll() is not None

    def why_ended(self) -> str:
        return f"{self.name} ended with {self._popen.poll()}: {_last_line(self._said()) or 'it said nothing'}"

    def cpu_s(self) -> float | None:
        """User and system time of all its threads so far; None where there is no /proc."""
        return cpu_s(self._popen.pid)

    def resident_bytes(self) -> int:
        """Resident memory; 0 where there is no /proc."""
        try:
            pages = Path(f"/proc/{self._popen.pid}/statm").read_text().split()[1]
        except OSError:
            return 0
        return int(pages) * os.sysconf("SC_PAGE_SIZE")

    def descendants(self) -> list[int]:
        """The pids of the processes that it has started, and they in turn; none where there is no /proc."""
        found: list[int] = []
        to_ask = [self.pid]
        while to_ask:
            started = _children(to_ask.pop())
            found += started
            to_ask += started
        return found


class Process(Watched):
    """A started program with its output in files."""

    def __init__(
        self,
        command: Sequence[str | Path],
        folder: Path,
        name: str,
        environment: Mapping[str, str] | None = None,
        checkout: Path = REPOSITORY,
    ) -> None:
        """`checkout`: whose zmws it imports."""
        self._output = folder / f"{name}.out"
        self._errors = folder / f"{name}.err"
        # What the developer has set for an installation of theirs is none of ours.
        kept = {key: value for key, value in os.environ.items() if not key.startswith("ZMWS_")}
        with self._output.open("wb") as output, self._errors.open("wb") as errors:
            popen = subprocess.Popen(
                [str(word) for word in command],
                cwd=folder,
                env={**kept, "PYTHONPATH": pythonpath(checkout), **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=errors,
            )
        super().__init__(name, popen, self._all_it_said)

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def _all_it_said(self) -> str:
        return self.output + self._errors.read_text(errors="replace")

    def wait(self, timeout_s: float) -> int:
        try:
            return self._popen.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise Broken(f"{self.name} did not end in {timeout_s:.0f} s") from None

    def kill(self) -> None:
        """kill -9."""
        self._popen.kill()
        self._popen.wait()

    def end(self) -> None:
        if self.ended:
            return
        self._popen.terminate()
        try:
            self._popen.wait(3)
        except subprocess.TimeoutExpired:
            started = self.descendants()  # nobody else ends them when it cannot
            self.kill()
            for pid in started:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def cpu_s(pid: int) -> float | None:
    """User and system time of all threads of a process so far; None where there is no /proc."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = stat.rpartition(")")[2].split()  # the name before it may hold spaces
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _children(pid: int) -> list[int]:
    found: list[int] = []
    with contextlib.suppress(OSError):  # it has ended
        for thread in Path(f"/proc/{pid}/task").iterdir():
            found += map(int, (thread / "children").read_text().split())
    return found


def cpu_of(processes: Iterable[Watched]) -> float | None:
    """User and system time of several processes and of those that they have started; None where there is no
    /proc."""
    total = 0.0
    for process in processes:
        used = process.cpu_s()
        if used is None:
            return None
        total += used + sum(cpu_s(pid) or 0.0 for pid in process.descendants())
    return total


def check_alive(processes: Iterable[Watched]) -> None:
    """Raises Broken when one has ended."""
    for process in processes:
        if process.ended:
            raise Broken(process.why_ended())


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Ctrl-C and SIGTERM come when this is over: nothing is half started, or left half ended."""
    came: list[int] = []
    kept = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    held = [number for number, handler in kept.items() if callable(handler)]
    for number in held:
        signal.signal(number, lambda number, _frame: came.append(number))
    try:
        yield
    finally:
        for number in held:
            signal.signal(number, kept[number])
        if came:
            signal.raise_signal(came[0])


class Processes:
    """A temporary folder and the programs started in it; both are gone after the `with`."""

    def __init__(self, parent: Path | None = None, checkout: Path = REPOSITORY) -> None:
        """`parent`: where the folder is made; None: where temporary files go. `checkout`: whose zmws the
        programs import."""
        self._parent = parent
        self._checkout = checkout

    def __enter__(self) -> Processes:
        self._stack = contextlib.ExitStack()
        folder = tempfile.TemporaryDirectory(prefix="zmws-bench-", dir=self._parent)
        self.folder = Path(self._stack.enter_context(folder))
        return self

    def __exit__(self, *_: object) -> None:
        with uninterrupted():
            self._stack.close()  # the last started ends first, the folder goes last

    def start(
        self, name: str, command: Sequence[str | Path], environment: Mapping[str, str] | None = None
    ) -> Process:
        """`environment`: what is set for it beside our own."""
        with uninterrupted():
            process = Process(command, self.folder, name, environment, self._checkout)
            self._stack.callback(process.end)
        return process

    def started(self, start: Callable[[], Watched], end: Callable[[], None]) -> Watched:
        """What `start` starts in a way of its own, and `end` ends."""
        with uninterrupted():
            self._stack.callback(end)
            return start()

    @property
    def pythonpath(self) -> str:
        """What a program's PYTHONPATH has to be, so that it imports the checkout's zmws."""
        return pythonpath(self._checkout)


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Ask until it is true (True) or the time is over (False). The condition paces itself."""
    give_up_at = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > give_up_at:
            return False
    return True


# --- disks ---


@dataclass
class Disk:
    """Where stores go, and how fast it is."""

    folder: Path
    flush_ms: float  # a small write and its fdatasync: the least that a durable write can take
    slower_us: int  # each flush takes so much longer

    def environment(self) -> dict[str, str]:
        """What a server is started with, so that its flushes are as slow as asked for."""
        if not self.slower_us:
            return {}
        return {"LD_PRELOAD": str(build_library("slow_flush")), "SLOW_FLUSH_US": str(self.slower_us)}

    def as_figures(self) -> dict[str, object]:
        return {"folder": str(self.folder), "flush_ms": self.flush_ms, "slower_us": self.slower_us}

    def __str__(self) -> str:
        return f"a flush of {self.flush_ms:.2f} ms" + f" + {self.slower_us / 1e3:g} ms" * bool(self.slower_us)


def disk(options: argparse.Namespace) -> Disk:
    """What --folder and --flush-us say; the first place for temporary files that is a disk. Raises
    CannotRun."""
    places = [options.folder] if options.folder else [Path(tempfile.gettempdir()), Path("/var/tmp"), HERE]
    for place in places:
        if place.is_dir() and os.access(place, os.W_OK) and _file_system(place) not in IN_MEMORY:
            found = Disk(place, _flush_ms(place), options.flush_us)
            note(f"{place}: {found}")
            return found
    raise CannotRun(f"{', '.join(map(str, places))}: not a folder on a disk that can be written (--folder)")


def _file_system(place: Path) -> str:
    """The kind of the file system that holds it; "" where there is no /proc."""
    best, kind = -1, ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/mounts").read_text().splitlines():
            _, mounted, this_kind = line.split()[:3]
            if place.resolve().is_relative_to(mounted) and len(mounted) >= best:
                best, kind = len(mounted), this_kind
    return kind


def _flush_ms(folder: Path, seconds: float = 0.5) -> float:
    begun, count = time.monotonic(), 0
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        file.truncate(1 << 20)
        while time.monotonic() - begun < seconds:
            os.pwrite(file.fileno(), b"x" * 128, count * 128 % (1 << 20))
            os.fdatasync(file.fileno())
            count += 1
    return (time.monotonic() - begun) / count * 1e3


# --- rounds ---


def interleaved(
    contestants: Mapping[str, Callable[[], M]],
    rounds: int,
    say: Callable[[M], str],
    needed: Sequence[str] = (),
    alternate: bool = False,
) -> tuple[dict[str, list[M]], dict[str, str]]:
    """Each round measures each contestant once, one after another; every second one backwards where they
    `alternate`. All measurements by contestant, and why one is missing. Raises CannotRun for one that is
    `needed`, Broken for any.
    """
    results: dict[str, list[M]] = {name: [] for name in contestants}
    missing: dict[str, str] = {}
    widest = max(map(len, contestants))
    for round_number in range(1, rounds + 1):
        order = list(contestants.items())
        for name, measure in reversed(order) if alternate and round_number % 2 == 0 else order:
            if name in missing:
                continue
            try:
                measured = measure()
            except CannotRun as reason:
                if name in needed:
                    raise
                missing[name] = str(reason)
                note(f"{name} is skipped: {reason}")
                continue
            except Broken as reason:
                raise Broken(f"{name}: {reason}") from None
            results[name].append(measured)
            note(f"round {round_number}  {name:<{widest}}  {say(measured)}")
    return {name: results[name] for name in results if name not in missing}, missing


def median(values: Iterable[float | None]) -> float | None:
    """Of those that were measured; None if none was."""
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def ratio(mine: Sequence[float | None], base: Sequence[float | None]) -> float | None:
    """The median of the rounds' ratios: within a round both met the same noise."""
    return median(a / b for a, b in zip(mine, base, strict=True) if a is not None and b)


def percentile(ordered: Sequence[float], percent: float) -> float:
    """The smallest of the sorted values that so many percent of them do not exceed."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


# --- verdicts ---


@dataclass
class Verdict:
    kind: str  # gate or aim
    what: str
    limit: float
    ratio: float | None
    passed: bool | None  # None: not measured


def judge(
    what: str, ratio: float | None, gate: float, aim: float | None, at_most: bool = False
) -> list[Verdict]:
    """A figure against its gate and its aim, if it has one: at least those, or at most."""
    found = []
    for kind, limit in (("gate", gate), ("aim", aim)):
        if limit is None:
            continue
        passed = None if ratio is None else ratio <= limit if at_most else ratio >= limit
        found.append(Verdict(kind, f"{what}, at {'most' if at_most else 'least'}", limit, ratio, passed))
    return found


def verdict_table(verdicts: Sequence[Verdict]) -> str:
    """Gates first."""
    rows = []
    for verdict in sorted(verdicts, key=lambda one: one.kind != "gate"):
        word = "not measured" if verdict.passed is None else "pass" if verdict.passed else "MISS"
        rows.append(
            [f"{verdict.kind:<4}  {verdict.what}", figure(verdict.limit), figure(verdict.ratio), word]
        )
    return table(["", "limit", "measured", ""], rows)


def as_json(
    figures: Mapping[str, object],
    judged: Sequence[Verdict],
    results: Mapping[str, Sequence[object]],
    missing: Mapping[str, str],
) -> str:
    """A run: `figures`, the verdicts, every measurement by contestant, and why one is missing."""
    rounds = {name: [vars(one) for one in each] for name, each in results.items()}
    verdicts = [vars(verdict) for verdict in judged]
    return json.dumps({**figures, "verdicts": verdicts, "rounds": rounds, "skipped": missing}, indent=2)


# --- the command line ---


def positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return value


def parser(
    description: str, rounds: int, on_disk: bool = False, json_file: bool = False, **figures: tuple[int, str]
) -> argparse.ArgumentParser:
    """--rounds, --json, and a flag for each figure: its default and what it is. `on_disk`: those that
    `disk` reads too. `json_file`: --json names a file."""
    made = argparse.ArgumentParser(description=description)
    for name, (default, what) in {**figures, "rounds": (rounds, "measurements of each")}.items():
        flag = f"--{name.replace('_', '-')}"
        made.add_argument(flag, type=positive, default=default, help=f"{what} ({default})")
    if on_disk:
        made.add_argument("--folder", type=Path, help="a folder on the disk for the stores (a temporary one)")
        made.add_argument("--flush-us", type=int, default=0, help="each flush takes so much longer (0)")
    if json_file:
        made.add_argument("--json", type=Path, metavar="FILE", help="one JSON object into this file, too")
    else:
        made.add_argument("--json", action="store_true", help="one JSON object on standard output")
    return made


def exit_code(run: Callable[[], int | None]) -> int:
    """What it returns; 1 if a contestant did its work wrong, 2 if there is nothing to measure or to measure
    with, 130 after Ctrl-C."""
    exit_on_sigterm()
    try:
        return run() or 0
    except CannotRun as reason:
        note(f"cannot run: {reason}")
        return 2
    except Broken as reason:
        note(f"failed: {reason}")
        return 1
    except KeyboardInterrupt:
        note("interrupted")
        return 130


# --- drains ---


@dataclass
class Drained:
    jobs_per_s: float  # from the first that was seen done to the last: how long workers start is left out
    cpu_us: float | None  # a job, in that time
    whole_s: float  # from the start of the workers
    server_us: float | None = None  # what of cpu_us is the server's, where there is one


def watch_drain(
    start: Callable[[], None],
    done: Callable[[], int],
    jobs: int,
    cpu_s: Callable[[], float | None],
    timeout_s: float,
    server_cpu_s: Callable[[], float | None] = lambda: None,
) -> Drained:
    """Start the workers, and ask how many jobs are done until so many more are than before. Raises Broken
    after `timeout_s`."""
    before, begun_at = done(), time.monotonic()
    start()
    first: tuple[float, int, float | None, float | None] | None = None
    while True:
        time.sleep(0.05)
        now, count, cpu, server_cpu = time.monotonic(), done() - before, cpu_s(), server_cpu_s()
        if first is None and count:
            first = now, count, cpu, server_cpu
        if first is not None and count >= jobs:
            break
        if now - begun_at > timeout_s:
            raise Broken(f"{count} of {jobs} jobs done after {timeout_s:.0f} s")
    since, already, cpu_before, server_cpu_before = first
    if count == already:
        raise CannotRun("too few jobs: all were done before the first look")
    counted = count - already

    def a_job(used: float | None, before: float | None) -> float | None:
        return None if used is None or before is None else (used - before) / counted * 1e6

    cpu_us, server_us = a_job(cpu, cpu_before), a_job(server_cpu, server_cpu_before)
    return Drained(counted / (now - since), cpu_us, now - begun_at, server_us)


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


def figure(value: float | None, form: str = "{:.2f}") -> str:
    return "-" if value is None else form.format(value)


def note(text: str) -> None:
    """Progress, on standard error."""
    print(text, file=sys.stderr, flush=True)


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else ""
