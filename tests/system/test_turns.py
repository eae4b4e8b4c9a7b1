"""Whose turn it is under a flood: a job that kills its workers, a storm of retries, priorities, groups."""

from __future__ import annotations

import contextlib
import json
import statistics
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.peers import BrokerProcess, await_workers, report, wait_until, worker_process
from tests.system.installation import run
from tests.system.lasting import lasting_broker, patient
from zmws.client import Client
from zmws.errors import JobFailed, Refused

# Writes down whose job it starts, a line each, before anything else.
NOTING = """
service_name = "NOTED"

def work(self, job_id, params):
    out = os.open(params["notes"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(out, params["who"].encode() + b"\\n")
    os.close(out)
    if params["who"] == "poison" and not os.path.exists(params["antidote"]):
        os._exit(7)
    if params["who"] == "storm":
        raise RuntimeError("again")
    time.sleep(params.get("sleep", 0))
    return True
"""


@contextlib.contextmanager
def started(folder: Path, services: str = "") -> Iterator[tuple[BrokerProcess, Client]]:
    """A broker on a store of its own, and a client."""
    with lasting_broker(folder, services) as broker, patient(broker) as client:
        yield broker, client


@contextlib.contextmanager
def noting(folder: Path, broker: BrokerProcess, service: str, count: int = 1) -> Iterator[None]:
    """Workers of a service, known to the broker."""
    body = NOTING.replace("NOTED", service)
    with contextlib.ExitStack() as stack:
        for n in range(count):
            name = f"{service.lower()}-{n}"
            stack.enter_context(worker_process(folder, broker.worker, body, name))
        with patient(broker) as client:
            await_workers(client, count, service)
        yield


def lines(notes: Path) -> list[str]:
    return notes.read_text().split() if notes.exists() else []


def test_a_poison_job_is_a_dead_letter_with_its_history_and_is_brought_back(tmp_path: Path) -> None:
    notes, antidote = tmp_path / "notes", tmp_path / "antidote"
    params = {"notes": str(notes), "who": "poison", "antidote": str(antidote)}
    with started(tmp_path) as (broker, client):
        with noting(tmp_path, broker, "NOTED", 3):
            job = client.submit("NOTED", params, retries=2, backoff=0.05)
            with pytest.raises(JobFailed) as failed:
                job.result(20)
        assert failed.value.code == "worker_lost"
        broker.restart()
        record = job.status()
        assert (record["state"], record["attempt"], record["failures"]) == ("failed", 3, 3)
        assert [(one["attempt"], one["error"]["code"]) for one in record["attempts"]] == [
            (n, "worker_lost") for n in (1, 2, 3)
        ]
        assert len({one["worker"] for one in record["attempts"]}) == 3
        assert [row["id"] for row in client.jobs(state="failed")] == [job.id]
        antidote.touch()
        address = ("--broker", broker.client)
        again = run("job", "retry", job.id, *address, cwd=tmp_path)
        assert again.code == 0, again.err
        with noting(tmp_path, broker, "NOTED"):
            assert job.result(20) is True
        shown = json.loads(run("job", "show", job.id, "--json", *address, cwd=tmp_path).out)
        assert (shown["state"], shown["attempt"]) == ("complete", 4)
        # (What it has survived before is no failure of its new life, and stays in its history.)
        assert shown["failures"] == 0 and [one["attempt"] for one in shown["attempts"]] == [1, 2, 3, 4]
        assert lines(notes) == ["poison"] * 4
        with pytest.raises(Refused):
            job.retry()


def latencies_s(client: Client, params: dict[str, str], count: int = 100) -> list[float]:
    """Of so many calls, one after the other, in order of size."""
    took = []
    for _ in range(count):
        asked_at = time.monotonic()
        assert client.call("CALM", params, timeout=30) is True
        took.append(time.monotonic() - asked_at)
    return sorted(took)


def test_a_storm_of_retries_does_not_starve_the_calls_of_another_service(tmp_path: Path) -> None:
    calm = {"notes": str(tmp_path / "calm"), "who": "calm"}
    storm = {"notes": str(tmp_path / "storm"), "who": "storm"}
    with (
        started(tmp_path) as (broker, client),
        noting(tmp_path, broker, "CALM"),
        noting(tmp_path, broker, "STORM", 2),
    ):
        before = latencies_s(client, calm)
        jobs = [
            {"service": "STORM", "params": storm, "retries": 1000, "backoff": 0.001} for _ in range(5_000)
        ]
        client.submit_many(jobs)
        wait_until(lambda: len(lines(tmp_path / "storm")) > 100, 10, "the storm")
        began = len(lines(tmp_path / "storm"))
        began_at = time.monotonic()
        during = latencies_s(client, calm)
        rate = (len(lines(tmp_path / "storm")) - began) / (time.monotonic() - began_at)
        row = next(row for row in client.services() if row["service"] == "STORM")
        assert row["waiting"] + row["scheduled"] + row["running"] == 5_000
        was, is_ = statistics.median(before), statistics.median(during)
        report(
            f"a call took {was * 1e3:.1f} ms, at most {before[-1] * 1e3:.1f}; "
            f"under {rate:.0f} failures a second {is_ * 1e3:.1f} ms, at most {during[-1] * 1e3:.1f}"
        )
        assert rate > 0 and is_ < 20 * was


def test_low_jobs_run_under_a_constant_flow_of_high_ones_as_ageing_says(tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        settings = '[services.AGED]\nageing = 1\n[services.STRICT]\nageing = "off"'
        broker, client = stack.enter_context(started(tmp_path, settings))
        names = ("AGED", "STRICT")
        notes = {name: tmp_path / f"notes-{name}" for name in names}
        stopping = threading.Event()
        faults: list[BaseException] = []

        def job(name: str, who: str) -> dict[str, object]:
            params = {"notes": str(notes[name]), "who": who, "sleep": 0.005}
            return {"service": name, "params": params, "priority": 2 if who == "high" else 0}

        def flow() -> None:
            """Always 500 high ones more than were started: 2.5 s of work, should this thread be late."""
            made = dict.fromkeys(names, 0)
            try:
                while not stopping.wait(0.02):
                    for name in names:
                        more = 500 + lines(notes[name]).count("high") - made[name]
                        client.submit_many(job(name, "high") for _ in range(more))
                        made[name] += more
            except BaseException as fault:
                faults.append(fault)

        for name in names:
            client.pause(name)
            stack.enter_context(noting(tmp_path, broker, name))
        flowing = threading.Thread(target=flow)
        flowing.start()
        try:
            rows = lambda: {row["service"]: row["waiting"] for row in client.services()}  # noqa: E731
            wait_until(lambda: all(rows()[name] == 500 for name in names), 10, "both flow")
            for name in names:
                client.submit_many(job(name, "low") for _ in range(10_000))
            began_at = time.monotonic()
            for name in names:
                client.resume(name)
            wait_until(lambda: lines(notes["AGED"]).count("low") >= 200, 60, "200 low ones ran")
            took_s = time.monotonic() - began_at
        finally:
            stopping.set()
            flowing.join()
        aged, strict = lines(notes["AGED"]), lines(notes["STRICT"])
        report(f"200 low ones had run after {took_s:.1f} s, behind {aged.index('low')} high ones")
        assert not faults
        assert aged[:50] == ["high"] * 50, "the high ones go first"
        assert len(strict) > 50 and "low" not in strict


def test_a_small_group_is_done_within_the_first_starts_of_a_large_one(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    with started(tmp_path, "[services.NOTED]\npaused = true") as (broker, client):
        for who, count in (("large", 10_000), ("small", 10)):
            params = {"notes": str(notes), "who": who}
            client.submit_many({"service": "NOTED", "params": params, "group": who} for _ in range(count))
        with noting(tmp_path, broker, "NOTED"):
            client.resume("NOTED")
            wait_until(lambda: len(lines(notes)) >= 50, 20, "fifty starts")
        first = lines(notes)[:50]
        report(f"the ten of the small group were among the first {max_index(first, 'small') + 1} starts")
        assert first.count("small") == 10


def max_index(whole: list[str], one: str) -> int:
    """Where it stands last."""
    return len(whole) - 1 - whole[::-1].index(one)
