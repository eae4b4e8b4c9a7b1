"""`Job`: the handle of a job that a broker has accepted, and what became of it since."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from typing import Any

from zmws.client.answers import Steps, finished, options_of, outcome_of
from zmws.client.asked import then, waited
from zmws.client.asker import Asker
from zmws.client.given import Handle, Seconds, seconds, seconds_or_none, service_of
from zmws.core.states import FINAL_STATES
from zmws.errors import JobTimeout
from zmws.wire.values import field_of

STACK_S = 5.0  # in which a worker is to say where its job is
WAIT_S = 30.0  # one question that waits; longer waits are several


class Job(Handle):
    """A job that a broker has accepted."""

    _stands_for = "parent"

    def __init__(self, asker: Asker, job_id: str, service: str, durability: str, existing: bool) -> None:
        self.id = job_id  # as the broker and the command line know it
        self.service = service  # its name
        self.durability = durability  # what the acknowledgement stands for: "disk" or "memory"
        self.existing = existing  # it was there already: a repeated id, or a unique key
        self._asker = asker

    def status(self) -> dict[str, Any]:
        """Its record, as docs/protocol.md shows it. Raises Refused (unknown_job) when forgotten."""
        return dict(waited(self.asked("zmws.job")))

    def wait(self, timeout: Seconds | None = None) -> dict[str, Any]:
        """Its record, when it has ended. `timeout` in seconds; raises JobTimeout."""
        return finished(self.wait_steps(timeout))

    def result(self, timeout: Seconds | None = None) -> Any:
        """Its result, when it has completed: JSON, bytes, or None for none.

        Raises JobTimeout, JobFailed, JobCancelled.
        """
        return outcome_of(self.wait(timeout))

    def events(
        self, after: int = 0, timeout: Seconds | None = None, follow: bool = True
    ) -> Iterator[dict[str, Any]]:
        """What happened to it, in order, and what goes on happening until it has ended.

        Each is a dict with `n` (its number), `at` (ISO 8601), `kind` and what belongs to that: `state`
        (`state`, `attempt`), `progress` (`done`, `text`), `partial` (`value`) or `log` (`text`).
        `after`: only those past this number. `follow=False`: only what has happened by now. `timeout`:
        seconds in which it must end; raises JobTimeout. Raises Refused (unknown_job) when forgotten.
        """
        story = Events(self, after, timeout, follow)
        while not story.ended:
            yield from finished(story.page_steps())

    def cancel(self) -> None:
        """Cancel it, waiting or running. Raises Refused (not_possible) when it has ended."""
        waited(self.asked("zmws.cancel"))

    def retry(self) -> None:
        """Let it wait again with all its retries. Raises Refused (not_possible) unless it has failed, expired
        or was cancelled."""
        waited(self.asked("zmws.retry"))

    def delete(self) -> None:
        """Delete its record. Raises Refused (not_possible) if it has not ended."""
        waited(self.asked("zmws.delete"))

    def copy(self, params: Any = None, *, service: str | None = None, **options: Any) -> Job:
        """Run it again as a new job, which has its parameters, priority, ttr, retries, backoff, keep, group
        and meta, but for what is given here: `params` (JSON or bytes; None: the same), `service`, and
        options as of `Client.submit` (`id`: of the new job). Raises Refused (unknown_job, queue_full ...)."""
        return waited(self.copy_future(params, service, options))

    def stack(self, timeout: Seconds = STACK_S) -> dict[str, Any]:
        """Where it is at this moment: `stack` (a text), `worker` and `at`, as its worker tells within
        `timeout` seconds. Raises Refused: not_possible if it does not run, no_answer if its worker has not
        said, or cannot be asked."""
        return dict(waited(self.stack_future(timeout)))

    # ------------------------------------------------------------ without waiting, for both fronts

    def stack_future(self, timeout: Seconds = STACK_S) -> Future[Any]:
        """As `stack`, without waiting."""
        patience = seconds("timeout", timeout)
        question = {"id": self.id, "timeout": patience}
        return self._asker.answer_future("zmws.stack", question, patience)

    def copy_future(self, params: Any, service: str | None, options: Mapping[str, Any]) -> Future[Job]:
        """As `copy`, without waiting."""
        given = options_of(options)
        question: dict[str, Any] = {
            **given,
            "id": self.id,
            "new_id": given["id"],
            **field_of("params", params),
        }
        if service is not None:
            question["service"] = service_of(service)
        asked = self._asker.answer_future("zmws.copy", question)
        return then(asked, self._copied)

    def _copied(self, told: dict[str, Any]) -> Job:
        return Job(self._asker, told["id"], told["service"], told["durability"], told["existing"])

    def asked(self, service: str) -> Future[Any]:
        """The answer of a `zmws.*` service that takes the job's id."""
        return self._asker.answer_future(service, {"id": self.id})

    def wait_future(self, timeout: Seconds = WAIT_S) -> Future[dict[str, Any] | None]:
        """One wait of at most `timeout` seconds, without blocking: its record if it has ended by then,
        else None."""
        patience = seconds("timeout", timeout)
        asked = self._asker.ask_future("zmws.wait", {"id": self.id, "timeout": patience}, patience)
        return then(asked, lambda answer: answer[1] if answer[0] == 200 else None)

    def wait_steps(self, timeout: Seconds | None) -> Steps[dict[str, Any]]:
        """The questions of `wait`."""
        patience = seconds_or_none("timeout", timeout)
        deadline = None if patience is None else self._asker.monotonic() + patience
        while True:
            if deadline is None:
                self._asker.check_endless(self.id)
            # A question that had to be asked of a new connection waits there from the start.
            with contextlib.suppress(JobTimeout):
                record: dict[str, Any] | None = yield self.wait_future(time_left(self._asker, deadline))
                if record is not None:
                    return record
            if deadline is not None and self._asker.monotonic() >= deadline:
                raise _not_ended(self, patience)

    def events_future(self, after: int = 0, timeout: Seconds = 0.0) -> Future[list[dict[str, Any]]]:
        """One page of its events past number `after`; waits up to `timeout` seconds for the first."""
        patience = seconds("timeout", timeout)
        question = {"id": self.id, "after": after, "timeout": patience}
        return self._asker.answer_future("zmws.events", question, patience)

    def __repr__(self) -> str:
        return f"<Job {self.id} of {self.service}>"


class Events:
    """How far a reader of a job's events is; `page_steps` brings the next ones until `ended`.

    A final state is the end only if nothing stands behind it: a failed job may have been retried since.
    """

    def __init__(self, job: Job, after: int, timeout: Seconds | None, follow: bool) -> None:
        self.ended = False
        self._job = job
        self._asker = job._asker
        self._after = after
        self._timeout = patience = seconds_or_none("timeout", timeout)
        self._deadline = None if patience is None else self._asker.monotonic() + patience
        self._follow = follow
        self._final = False  # the last that is known is that it has ended

    def page_steps(self) -> Steps[list[dict[str, Any]]]:
        """The questions of the next page; none of it if nothing came."""
        waits = self._follow and not self._final
        page: list[dict[str, Any]] = []
        if waits and self._deadline is None:
            self._asker.check_endless(self._job.id)
        with contextlib.suppress(JobTimeout):  # as in wait_steps
            wait_s = time_left(self._asker, self._deadline) if waits else 0.0
            page = yield self._job.events_future(self._after, wait_s)
        if page:
            self._after = page[-1]["n"]
            self._final = page[-1]["kind"] == "state" and page[-1]["state"] in FINAL_STATES
            return page
        if not waits:
            self.ended = True
        elif (yield self._job.asked("zmws.job"))["state"] in FINAL_STATES:
            self._final = True  # it had ended before `after`; or in this moment: then there is a page more
        elif self._deadline is not None and self._asker.monotonic() >= self._deadline:
            raise _not_ended(self._job, self._timeout)
        return page


def time_left(asker: Asker, deadline: float | None) -> float:
    """How long the next question may wait, before monotonic time `deadline`."""
    return WAIT_S if deadline is None else min(WAIT_S, max(0.0, deadline - asker.monotonic()))


def _not_ended(job: Job, timeout: float | None) -> JobTimeout:
    return JobTimeout(f"job {job.id} has not ended within {timeout:g} s", job.id)
