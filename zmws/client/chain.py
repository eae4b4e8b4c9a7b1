"""`Chain`: the handle of jobs that follow one another, each with the result of the one before.

Rule 1: the last step is asked for, not reckoned: an id may have been taken by somebody else, or made anew.
Rule 2: a chain is over where its last step is over: the last of all, or one that did not complete.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

from zmws import ids
from zmws.client.answers import Steps, finished, outcome_of
from zmws.client.asked import then, waited
from zmws.client.asker import Asker
from zmws.client.given import Handle, Seconds, options_given, seconds_or_none
from zmws.client.items import Step, chain_of
from zmws.client.job import Job
from zmws.client.pages import Pages
from zmws.client.submit_message import one_future
from zmws.core.states import COMPLETE
from zmws.errors import JobTimeout, Refused


class Chain(Handle):
    """A chain that a broker has accepted.

    `id` (str), `first` (the Job of its first step), `existing` (bool: it was there already, by its id).
    """

    _stands_for = "chain"

    def __init__(self, asker: Asker, chain_id: str, first: Job) -> None:
        self.id: str = chain_id
        self.first: Job = first
        self.existing: bool = first.existing
        self._asker = asker

    def jobs(self) -> list[dict[str, Any]]:
        """Its steps, as far as there are jobs of them, in order, as lists show jobs (docs/protocol.md)."""
        pages = Pages(self._asker, "zmws.jobs", "jobs", {"chain": self.id})
        return [*pages.rows()][::-1]

    def last(self) -> Job:
        """The job of the last step that there is, which may not have begun. Raises Refused (unknown_job) when
        all are forgotten."""
        return finished(self.last_steps())

    def status(self) -> dict[str, Any]:
        """The record of that job, with `step` and `steps`."""
        return self.last().status()

    def wait(self, timeout: Seconds | None = None) -> dict[str, Any]:
        """The record of the last step, when the chain is over: of a step that did not complete, if there is
        one. `timeout` in seconds; raises JobTimeout."""
        return finished(self.wait_steps(timeout))

    def result(self, timeout: Seconds | None = None) -> Any:
        """The result of the last step, when all have completed: JSON, bytes, or None for none.

        Raises JobTimeout; JobFailed or JobCancelled for the step that did not complete, whose id is its
        `job_id`.
        """
        return outcome_of(self.wait(timeout))

    def cancel(self) -> int:
        """Cancel the step that there is, and so the rest; how many jobs that were, 0 if it is over."""
        return waited(self.count_future("zmws.cancel"))

    def retry(self) -> int:
        """Let the step that has failed wait again; with that the chain goes on. How many, 0 if none."""
        return waited(self.count_future("zmws.retry"))

    # ------------------------------------------------------------ without waiting, for both fronts

    def count_future(self, service: str) -> Future[int]:
        """What is done to all of its jobs."""
        return self._asker.count_future(service, {"chain": self.id})

    def last_steps(self) -> Steps[Job]:
        """The questions of `last`."""
        chain: str | None = self.id
        while chain is not None:
            page = yield self._asker.answer_future("zmws.jobs", {"chain": chain, "limit": 1})
            if page["jobs"]:
                (row,) = page["jobs"]  # the newest
                return self._job(row)
            # Its first step had a `unique` key, and another job has that.
            row = yield self.first.asked("zmws.job")
            chain = row["chain"] if row["chain"] != chain else None
        return self._job(row)

    def _job(self, row: dict[str, Any]) -> Job:
        return Job(self._asker, str(row["id"]), str(row["service"]), "disk", True)

    def wait_steps(self, timeout: Seconds | None) -> Steps[dict[str, Any]]:
        """The questions of `wait`."""
        patience = seconds_or_none("timeout", timeout)
        deadline = None if patience is None else self._asker.monotonic() + patience
        job = (yield from self.last_steps()) if self.existing else self.first
        while True:
            left = None if deadline is None else max(0.0, deadline - self._asker.monotonic())
            try:
                record = yield from job.wait_steps(left)
            except Refused as refused:
                # A record is kept for so long from its own end, and the chain may go on for longer.
                gone, job = job, (yield from self._after(refused))
                if job.id == gone.id:
                    raise
                continue
            except JobTimeout:
                text = f"chain {self.id} has not ended within {patience:g} s; it is at job {job.id}"
                raise JobTimeout(text, job.id) from None
            if record["state"] != COMPLETE or record["step"] == record["steps"]:
                return record
            job = yield from self.last_steps()
            if job.id == record["id"]:
                raise Refused("unknown_job", f"the step after job '{job.id}' has been forgotten")

    def _after(self, refused: Refused) -> Steps[Job]:
        """The last step that there is, where another is forgotten. Raises `refused` where it says another
        thing, and where none is left."""
        if refused.code != "unknown_job":
            raise refused
        return (yield from self.last_steps())

    def __repr__(self) -> str:
        return f"<Chain {self.id}>"


def chain_future(
    asker: Asker, steps: Sequence[Step], chain_id: Any = None, batch: Any = None
) -> Future[Chain]:
    """Submit a chain. Raises what `chain_of` raises."""
    item = options_given({"id": ids.new_id() if chain_id is None else chain_id, "batch": batch})
    chain_of(steps)  # what is wrong with it is said here
    asked = one_future(asker, {**item, "chain": steps})
    return then(asked, lambda first: Chain(asker, item["id"], first))
