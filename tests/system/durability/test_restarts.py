"""A restart of the broker costs nobody their work: what runs goes on, what waits still waits."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

import pytest

from tests.peers import BrokerProcess, await_workers, report, wait_until
from tests.system.lasting import lasting_broker, patient, workers
from tests.system.ledger import read_runs
from tests.system.load import SERVICE
from zmws.client import Job
from zmws.errors import Refused


def await_running(jobs: list[Job]) -> None:
    """Until all run, and that is on disk: a kill before that runs a job again."""
    for job in jobs:
        wait_until(lambda job=job: job.status()["state"] == "running", 10, f"{job} runs")


def test_ten_jobs_that_run_when_the_broker_is_killed_complete_at_their_first_attempt(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    with workers(tmp_path, broker, 10), patient(broker) as client:
        gate = tmp_path / "gate"
        jobs = [client.submit(SERVICE, {"gate": str(gate)}) for _ in range(10)]
        # Begun, though perhaps not yet on disk as running: then its worker says that it has it.
        begun = lambda: sum(run.what == "start" for run in read_runs(tmp_path)) == 10  # noqa: E731
        wait_until(begun, 10, "ten jobs begun")
        broker.restart()
        broker.restart()  # and before its workers have all come back, perhaps
        await_running(jobs)  # as their workers have said by now
        gate.touch()
        records = [job.wait(20) for job in jobs]
    assert [(record["state"], record["attempt"], record["failures"]) for record in records] == [
        ("complete", 1, 0)
    ] * 10
    runs = read_runs(tmp_path)
    assert sorted(run.job_id for run in runs if run.what == "start") == sorted(job.id for job in jobs)
    assert broker.stop() == 0


def test_a_job_that_ends_while_the_broker_is_away_is_not_run_again(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    with workers(tmp_path, broker), patient(broker) as client:
        job = client.submit(SERVICE, {"sleep": 0.5})
        await_running([job])
        broker.kill()
        wait_until(lambda: len(read_runs(tmp_path)) == 2, 10, "it has ended")
        broker.start()
        assert job.result(20) == {"id": job.id}
        assert job.status()["attempt"] == 1
    assert [run.what for run in read_runs(tmp_path)] == ["start", "end"]


def seconds(moment: str) -> float:
    return datetime.fromisoformat(moment).timestamp()


@pytest.mark.timed
def test_scheduled_jobs_keep_their_time_and_paused_services_stay_paused(
    broker: BrokerProcess, tmp_path: Path
) -> None:
    with workers(tmp_path, broker), patient(broker) as client:
        later = client.submit(SERVICE, {}, delay=2.5)
        before = later.status()
        far = client.submit(SERVICE, {}, delay=3600.0)
        broker.restart()
        assert later.status() == before and far.status()["state"] == "scheduled"
        done = later.wait(20)
        late_s = seconds(done["started_at"]) - seconds(before["ready_at"])
        report(f"a scheduled job was started {late_s:.3f} s after its time")
        assert done["ready_at"] == before["ready_at"] and 0 <= late_s < 1
        client.pause(SERVICE)
        waits = client.submit(SERVICE, {}, priority=3)
        broker.restart()
        await_workers(client, 1, SERVICE)
        row = next(row for row in client.services() if row["service"] == SERVICE)
        assert row["paused"] and (row["waiting"], row["scheduled"]) == (1, 1)
        assert waits.status()["state"] == "waiting"
        client.resume(SERVICE)
        assert waits.result(10) == {"id": waits.id}
        far.cancel()
        broker.restart()
        assert far.status()["state"] == "cancelled"
        row = next(row for row in client.services() if row["service"] == SERVICE)
        assert not row["paused"] and (row["complete"], row["waiting"], row["scheduled"]) == (2, 0, 0)


def test_a_leased_job_is_reported_after_a_restart_and_the_report_may_be_repeated(
    tmp_path: Path,
) -> None:
    with lasting_broker(tmp_path, "[services.LEASED]") as broker, patient(broker) as client:
        job = client.submit("LEASED", {"n": 1})
        lease = client.lease("LEASED", wait=5, ttr=60)
        assert lease is not None and lease.id == job.id
        lease.progress(0.5, "half of it")
        broker.restart()
        assert (job.status()["state"], job.status()["progress"]) == ("running", 0.5)
        assert client.lease("LEASED") is None, "it is held, whatever became of the broker"
        lease.extend(120)
        lease.complete({"sum": 2})
        lease.complete({"sum": 2})
        broker.restart()
        lease.complete({"sum": 2})
        with pytest.raises(Refused) as refused:
            lease.progress(1.0)
        assert refused.value.code == "token_dead"
        done = job.status()
        assert (done["state"], done["attempt"], done["result"]) == ("complete", 1, {"sum": 2})
