"""A deploy, and a worse one: what a job has saved goes with it to its next attempt."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.peers import (
    BrokerProcess,
    RunningProcess,
    await_workers,
    broker_process,
    wait_until,
    worker_process,
)
from zmws.client import Client, Job

# Counts to `to` and saves each step; notes each with its attempt.
COUNTS = """
service_name = "COUNTS"
retries = 1

def work(self, job_id, params):
    first = self.job.saved or 0
    for n in range(first, params["to"]):
        with open(params["notes"], "a") as notes:
            notes.write(f"{job_id} {n} {self.job.attempt} {first}\\n")
        self.job.save(n + 1)
        self.job.progress((n + 1) / params["to"])
        while n >= params["halt"] and not os.path.exists(params["gate"]):
            time.sleep(0.01)
    return [first, self.job.attempt]
"""


class Crew:
    """Four workers, and a job in the hands of each."""

    def __init__(self, folder: Path, broker: BrokerProcess, client: Client) -> None:
        self.folder = folder
        self.broker = broker
        self.client = client
        self.lives = 0

    @contextmanager
    def at_work(self) -> Iterator[list[RunningProcess]]:
        """A life of the four."""
        self.lives += 1
        with ExitStack() as stack:
            yield [
                stack.enter_context(
                    worker_process(
                        self.folder,
                        self.broker.worker,
                        COUNTS,
                        f"w{self.lives}-{n}",
                        flags=["--stop-timeout", "1"],
                    )
                )
                for n in range(4)
            ]

    def submit(self, retries: int | None = None) -> list[Job]:
        """Four jobs, each of which halts at its eleventh step."""
        told = {
            "to": 20,
            "halt": 10,
            "notes": str(self.folder / "notes"),
            "gate": str(self.folder / "gate"),
        }
        given = {} if retries is None else {"retries": retries}
        jobs = [self.client.submit("COUNTS", told, **given) for _ in range(4)]
        wait_until(lambda: all(self.steps(job)[-1:] == [(10, 1)] for job in jobs), 20)
        return jobs

    def await_saved(self, jobs: list[Job]) -> None:
        """Until the eleventh step is on disk: the progress that is told behind the save is."""
        wait_until(lambda: all(job.status()["progress"] == 11 / 20 for job in jobs))

    def steps(self, job: Job) -> list[tuple[int, int]]:
        """Which steps of a job were done, each in which attempt."""
        notes = self.folder / "notes"
        lines = notes.read_text().splitlines() if notes.exists() else []
        words = (line.split() for line in lines)
        return [(int(n), int(attempt)) for job_id, n, attempt, _ in words if job_id == job.id]


@contextmanager
def crew(folder: Path) -> Iterator[Crew]:
    with broker_process(folder) as broker, broker.connect() as client:
        yield Crew(folder, broker, client)


def test_a_deploy_loses_no_step_and_counts_no_failure(tmp_path: Path) -> None:
    with crew(tmp_path) as at:
        with at.at_work() as processes:
            await_workers(at.client, 4)
            jobs = at.submit()
            for process in processes:
                process.signal(signal.SIGTERM)
            assert [process.popen.wait(10) for process in processes] == [0] * 4
        assert all((job.status()["state"], job.status()["failures"]) == ("waiting", 0) for job in jobs)
        (tmp_path / "gate").touch()
        with at.at_work():
            # Each has been saved after its eleventh step, and goes on with the twelfth.
            assert [job.result(20) for job in jobs] == [[11, 2]] * 4
        assert [at.steps(job) for job in jobs] == [
            [(n, 1) for n in range(11)] + [(n, 2) for n in range(11, 20)]
        ] * 4
        assert [job.status()["failures"] for job in jobs] == [0] * 4


def test_after_a_kill_a_job_has_one_loss_and_goes_on_from_its_last_save_on_disk(tmp_path: Path) -> None:
    with crew(tmp_path) as at:
        with at.at_work() as processes:
            await_workers(at.client, 4)
            jobs = at.submit(retries=1)
            at.await_saved(jobs)
            for process in processes:
                process.signal(signal.SIGKILL)
            (tmp_path / "gate").touch()
        with at.at_work():
            assert [job.result(20) for job in jobs] == [[11, 2]] * 4
        for job in jobs:
            told = job.status()
            assert told["failures"] == 1 and told["attempts"][0]["error"]["code"] == "worker_lost"
            assert at.steps(job) == [(n, 1) for n in range(11)] + [(n, 2) for n in range(11, 20)]


def test_the_same_with_a_broker_that_is_killed_too(tmp_path: Path) -> None:
    with crew(tmp_path) as at:
        with at.at_work() as processes:
            await_workers(at.client, 4)
            jobs = at.submit(retries=1)
            at.await_saved(jobs)
            at.broker.kill()
            for process in processes:
                process.signal(signal.SIGKILL)
            (tmp_path / "gate").touch()
        at.broker.start()
        at.broker.await_ready()
        with at.at_work():
            assert [job.result(30)[0] for job in jobs] == [11] * 4
