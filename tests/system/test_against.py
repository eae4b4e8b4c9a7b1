"""benchmarks/against.py: what it makes of its figures, and one run of this checkout against itself."""

from __future__ import annotations

import importlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.peers import REPOSITORY, wait_until
from tests.system.installation import environment

BENCHMARKS = REPOSITORY / "benchmarks"
COMMAND = [sys.executable, str(BENCHMARKS / "against.py")]


@pytest.fixture
def against(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The benchmark as a module: it imports its neighbours by their names alone."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module("against")


def compared(against: Any, before: list[tuple[float, float]], this: list[tuple[float, float]]) -> Any:
    """Of each round jobs/s and CPU a job."""
    sides = [[against.Measured(rate, cpu, None) for rate, cpu in side] for side in (before, this)]
    return against.Compared(*sides)


def test_the_ratios_are_taken_within_the_rounds(against: Any) -> None:
    # The machine is half as fast in the second round, which is no difference of the checkouts.
    both = compared(against, [(1000, 100), (500, 200), (1000, 100)], [(900, 110), (450, 220), (1000, 90)])
    assert both.rate_ratio == pytest.approx(0.9)
    assert both.cpu_ratio == pytest.approx(1.1)
    told = both.as_figures()
    assert told["before"] == {"jobs_per_s": 1000, "cpu_us_min": 100, "cpu_us": 100, "load_cpu_us": None}
    assert told["this"]["cpu_us_min"] == 90 and told["this"]["cpu_us"] == 110


@pytest.mark.parametrize(
    ("rate", "cpu", "passed"),
    [
        (1000, 100, {"CPU": True, "jobs/s": True}),
        (930, 105, {"CPU": True, "jobs/s": True}),
        (929, 105, {"CPU": True, "jobs/s": False}),
        (2000, 106, {"CPU": False, "jobs/s": True}),
        (929, 106, {"CPU": False, "jobs/s": False}),
    ],
)
def test_each_work_has_a_gate_for_its_cpu_and_its_rate(
    against: Any, rate: float, cpu: float, passed: dict[str, bool]
) -> None:
    judged = against.verdicts({"calls": compared(against, [(1000, 100)], [(rate, cpu)])})
    found = {name: one.passed for one in judged for name in passed if name in one.what}
    assert found == passed and len(judged) == 2


def test_the_table_has_a_line_for_each_work_and_checkout(against: Any) -> None:
    both = compared(against, [(1000, 100)], [(950, 104)])
    lines = against.report({"calls": both, "drain": both}).splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "calls, before",
        "calls, this",
        "drain, before",
        "drain, this",
    ]
    assert lines[2].split()[2:] == ["950", "0.950", "104", "104", "1.040", "-"]


def test_every_second_round_goes_backwards(against: Any) -> None:
    order: list[str] = []
    contestants = {name: lambda name=name: order.append(name) for name in "AB"}
    against.interleaved(contestants, 3, str, alternate=True)
    assert "".join(order) == "ABBAAB"


def test_only_takes_the_names_of_works() -> None:
    told = run(str(REPOSITORY), "--only", "calls,walks")
    assert told.returncode == 2 and "'walks' is none of calls, submits, drain" in told.stderr


def test_what_is_no_checkout_is_named(tmp_path: Path) -> None:
    told = run(str(tmp_path))
    assert told.returncode == 2
    assert f"cannot run: {tmp_path} is no checkout of the project: it has no zmws/" in told.stderr


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processor time is read from /proc")
def test_this_checkout_against_itself(tmp_path: Path) -> None:
    sizes = ["--calls", "200", "--submits", "200", "--drained", "6000", "--rounds", "1", "--in-flight", "20"]
    told = run(str(REPOSITORY), *sizes, "--json", str(tmp_path / "found.json"))
    # So few jobs say nothing about the gates.
    assert told.returncode in (0, 1) and "failed" not in told.stderr, told.stderr
    found = json.loads((tmp_path / "found.json").read_text())
    assert list(found["works"]) == ["calls", "submits", "drain"]
    assert all(both["rate_ratio"] > 0 for both in found["works"].values())
    assert len(found["verdicts"]) == 6
    assert told.returncode == (0 if all(verdict["passed"] for verdict in found["verdicts"]) else 1)
    assert told.stdout.count("gate  ") == 6


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processor time is read from /proc")
def test_ctrl_c_leaves_no_process_and_no_folder(tmp_path: Path) -> None:
    command = [*COMMAND, str(REPOSITORY), "--only", "calls", "--calls", "1000000", "--folder", str(tmp_path)]
    process = subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    try:
        # Its broker, its workers, and then a load that takes minutes.
        wait_until(lambda: process.poll() is not None or len(list(tmp_path.glob("*/worker-*.out"))) == 2)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=30)
    finally:
        process.kill()
        process.wait()
    if b"not a folder on a disk" in told:
        pytest.skip("temporary files are in memory here")
    assert process.returncode == 130 and told.endswith(b"interrupted\n"), told
    assert not list(tmp_path.iterdir())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *arguments], env=environment(), capture_output=True, text=True, timeout=60
    )
