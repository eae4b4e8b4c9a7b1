"""benchmarks/drain.py and chart.py: what they make of their figures; and the peers that are not there."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from tests.peers import REPOSITORY

BENCHMARKS = REPOSITORY / "benchmarks"
SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A benchmark as a module, by its name: it imports its neighbours by their names alone."""
    monkeypatch.syspath_prepend(BENCHMARKS)
    return importlib.import_module


def figures(drain: Any, zmws_cpu_us: float, **rates: list[float]) -> Any:
    """What is found of contestants with these rates, a round each; 1 us of CPU a job but for zmws."""
    return drain.found(
        {
            name: [drain.Drained(rate, zmws_cpu_us if name == "zmws" else 1.0, 1.0) for rate in each]
            for name, each in rates.items()
        }
    )


def test_the_fastest_on_redis_is_the_one_that_counts(benchmark: Any) -> None:
    drain = benchmark("drain")
    # The machine is half as fast in the second round: the ratios are the same.
    found = figures(
        drain,
        150,
        zmws=[6000, 3000],
        huey=[1500, 750],
        taskiq=[1000, 500],
        dramatiq=[2000, 1000],
        celery=[9, 9],
    )
    verdicts = {(one.kind, one.what): (one.ratio, one.passed) for one in drain.verdicts(found)}
    assert verdicts == {
        ("gate", "jobs/s, zmws / huey, at least"): (4, True),
        ("aim", "jobs/s, zmws / huey, at least"): (4, True),
        ("gate", "jobs/s, zmws / the best on Redis (dramatiq), at least"): (3, True),
        ("gate", "CPU us a job of zmws in all, at most"): (150, True),
        ("aim", "CPU us a job of zmws in all, at most"): (150, True),
    }


def test_a_peer_that_is_not_there_is_not_measured(benchmark: Any) -> None:
    drain = benchmark("drain")
    found = figures(drain, 211, zmws=[6000])
    passed = {(one.kind, one.what.rpartition(",")[0]): one.passed for one in drain.verdicts(found)}
    assert passed["gate", "jobs/s, zmws / huey"] is None
    assert passed["gate", "jobs/s, zmws / the best on Redis"] is None
    assert passed["gate", "CPU us a job of zmws in all"] is False


def test_a_peer_that_is_not_installed_is_named_with_what_to_install(benchmark: Any) -> None:
    peers, harness = benchmark("peers"), benchmark("harness")
    absent = peers.Peer("absent", "Absent", "nowhere", ["no-such-queue"], peers.SqliteFile, "absent")
    with pytest.raises(harness.CannotRun, match="pip install no-such-queue"):
        peers.versions(absent, sys.executable)


def test_a_peer_has_one_command_or_one_for_each_worker(benchmark: Any) -> None:
    peers = {peer.name: peer for peer in benchmark("peers").PEERS}
    assert len(peers["dramatiq"].commands("python", 10)) == 1
    hosts = [command[command.index("--hostname") + 1] for command in peers["celery"].commands("python", 10)]
    assert len(set(hosts)) == 10


def test_the_chart_shows_every_contestant_the_fastest_first(benchmark: Any) -> None:
    chart = benchmark("chart")
    contestants = {"zmws": 2500.0, "huey": 1250.0, "a<b": 5000.0}
    run = {
        "machine": {"date": "2026-01-02", "cpu": "A & B", "cores": 2, "python": "3.11"},
        "load": {"jobs": 10_000, "workers": 2},
        "contestants": {
            name: {"title": name, "keeps": "somewhere", "versions": {name: "1"}} for name in contestants
        },
        "medians": {name: {"jobs_per_s": rate, "cpu_us": None} for name, rate in contestants.items()},
        "rounds": {name: [{}, {}, {}] for name in contestants},
    }
    drawn = ElementTree.fromstring(chart.svg(json.loads(json.dumps(run))))
    names = [one.text for one in drawn.iter(f"{SVG}text") if one.get("class") == "name text"]
    assert names == ["a<b", "zmws", "huey"]
    bars = [one for one in drawn.iter(f"{SVG}rect") if one.get("class") in ("bar", "ours")]
    assert [one.get("class") for one in bars] == ["bar", "ours", "bar"]
    widths = [float(one.get("width") or 0) for one in bars]
    assert widths == pytest.approx([widths[0], widths[0] / 2, widths[0] / 4], abs=0.1)
    said = " ".join(one.text or "" for one in drawn.iter(f"{SVG}text"))
    for words in ("10,000 jobs", "median of 3 rounds", "2026-01-02", "A & B", "Python 3.11", "5,000"):
        assert words in said


def test_what_cannot_be_read_is_not_drawn(
    benchmark: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chart, harness = benchmark("chart"), benchmark("harness")
    monkeypatch.setattr(sys, "argv", ["chart.py", str(tmp_path / "none.json"), str(tmp_path / "none.svg")])
    with pytest.raises(harness.CannotRun, match=r"none\.json cannot be read"):
        chart.run()
    assert not (tmp_path / "none.svg").exists()
