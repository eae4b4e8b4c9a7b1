"""`Batch`: jobs that end together: what is to follow them does when all have ended.

Rule 1: one to which nobody adds any more is closed, and nothing follows one that is open. So what goes wrong
        while jobs are added leaves it open: nothing follows a part of them.
Rule 2: members are never a list here: there may be millions.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from zmws.client.answers import Steps, finished
from zmws.client.asked import waited
from zmws.client.asker import Asker
from zmws.client.chain import Chain, chain_future
from zmws.client.given import Handle, Seconds, filters_given, options_given, seconds_or_none
from zmws.client.items import Step, pair_of, parts_of
from zmws.client.job import Job, time_left
from zmws.client.pages import Pages
from zmws.client.submit_message import one_future, sent_steps
from zmws.errors import JobTimeout, Refused


class Batch(Handle):
    """A batch that a broker has.

    `id` (str), `existing` (bool: it was there already, by its id).

    As a context manager it is closed at the end of the block. After an exception it is left open, so that
    nothing follows the jobs that were added before: those run, and the program may add the rest later, by
    `Client.get_batch`, or `cancel` it all.
    """

    _stands_for = "batch"

    def __init__(self, asker: Asker, batch_id: str, existing: bool = True) -> None:
        self.id: str = batch_id
        self.existing: bool = existing
        self._asker = asker

    def add(self, service: str, params: Any = None, **options: Any) -> Job:
        """Submit a job as a member; options as of `Client.submit`. Raises Refused (batch_closed, bad_params
        and what `submit` raises)."""
        return waited(self.add_future(service, params, options))

    def add_many(self, jobs: Iterable[Mapping[str, Any] | Sequence[Any] | str]) -> int:
        """Submit many, in as few messages as they fit into; how many. Any iterator: they are sent as they
        come, and not kept.

        Each is `{"service": ..., "params": ..., **options}`, or a tuple (service, params, options) of which
        only the first must be there, or a chain, `{"chain": steps}`. The first that is refused ends it:
        Refused tells its place, from 1; others behind it may have been accepted, and the batch stays open.
        Jobs whose ids you gave can be added again.
        """
        return finished(self.added_steps(jobs))

    def add_chain(self, steps: Sequence[Step], *, id: Any = None) -> Chain:
        """Submit a chain, as `Client.chain`; each of its steps is a member."""
        return waited(chain_future(self._asker, steps, id, self))

    def close(self) -> dict[str, Any]:
        """No client adds to it any more, only its own jobs do; its row. When the last of them has ended, what
        is to follow does. Raises Refused (unknown_batch)."""
        return dict(waited(self.asked("zmws.close")))

    def status(self) -> dict[str, Any]:
        """Its row: `state`, `total`, `unfinished`, `complete`, `failed` and what else docs/protocol.md shows.
        Raises Refused (unknown_batch) when forgotten."""
        return dict(waited(self.asked("zmws.batch")))

    def wait(self, timeout: Seconds | None = None) -> dict[str, Any]:
        """Its row, when it is closed and all its jobs have ended. `timeout` in seconds; raises JobTimeout."""
        return finished(self.wait_steps(timeout))

    def jobs(self, **filters: Any) -> Iterator[dict[str, Any]]:
        """Its jobs, newest first, page by page; `filters` as of `Client.jobs`."""
        return Pages(self._asker, "zmws.jobs", "jobs", {**filters_given(filters), "batch": self.id}).rows()

    def cancel(self) -> int:
        """Close it and cancel all its jobs that have not ended; how many. Then `failed` follows, if it was
        given. Where all had completed already, or there was none, nothing is cancelled and `then` follows."""
        return finished(self.cancel_steps())

    def retry(self) -> int:
        """Let all of its jobs that have failed wait again; how many."""
        return waited(self.count_future("zmws.retry"))

    def __enter__(self) -> Batch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if fault is None:
            self.close()

    # ------------------------------------------------------------ without waiting, for both fronts

    def asked(self, service: str) -> Future[Any]:
        """The answer of a `zmws.*` service that takes the id of a batch."""
        return self._asker.answer_future(service, {"id": self.id})

    def count_future(self, service: str) -> Future[int]:
        """What is done to all of its jobs."""
        return self._asker.count_future(service, {"batch": self.id})

    def add_future(self, service: str, params: Any, options: Mapping[str, Any]) -> Future[Job]:
        """As `add`, without waiting."""
        return one_future(self._asker, {**options, "service": service, "params": params, "batch": self.id})

    def added_steps(
        self, jobs: Iterable[Mapping[str, Any] | Sequence[Any] | str], by_place: bool = False
    ) -> Steps[int]:
        """The messages of `add_many`. `by_place`: the id of one that has none of its own follows from the
        batch's and its place, so that the same list again is the same jobs."""
        count = 0

        def made(n: int, job: Any) -> dict[str, Any]:
            item = self._member(n, job)
            if by_place and item.get("id") is None:
                item["id"] = f"{self.id}:{n}"
            return item

        def take(verdicts: list[Job | Refused]) -> None:
            nonlocal count
            for verdict in verdicts:
                count += 1
                if isinstance(verdict, Refused):
                    raise Refused(verdict.code, f"job {count} of batch {self.id}: {verdict}")

        yield from sent_steps(self._asker, map(made, itertools.count(1), jobs), take)
        return count

    def _member(self, n: int, job: Any) -> dict[str, Any]:
        if isinstance(job, Mapping):
            return {**job, "batch": self.id}
        service, params, options = parts_of(f"job {n} of the batch", (job,) if isinstance(job, str) else job)
        return {**options, "service": service, "params": params, "batch": self.id}

    def wait_future(self, timeout: float) -> Future[tuple[int, Any]]:
        """One wait of at most `timeout` seconds, without blocking: its row, ended (200) or not (202)."""
        return self._asker.ask_future("zmws.batch", {"id": self.id, "timeout": timeout}, timeout)

    def wait_steps(self, timeout: Seconds | None) -> Steps[dict[str, Any]]:
        """The questions of `wait`."""
        patience = seconds_or_none("timeout", timeout)
        deadline = None if patience is None else self._asker.monotonic() + patience
        while True:
            if deadline is None:
                self._asker.check_endless_batch(self.id)
            with contextlib.suppress(JobTimeout):  # as of a job
                _, row = yield self.wait_future(time_left(self._asker, deadline))
                if row["ended_at"] is not None:
                    return dict(row)
            if deadline is not None and self._asker.monotonic() >= deadline:
                raise JobTimeout(f"batch {self.id} has not ended within {patience:g} s")

    def cancel_steps(self) -> Steps[int]:
        """The questions of `cancel`: closed first, so that nobody adds more meanwhile."""
        yield self.asked("zmws.close")
        count: int = yield self.count_future("zmws.cancel")
        return count

    def __repr__(self) -> str:
        return f"<Batch {self.id}>"


def open_steps(
    asker: Asker,
    jobs: Iterable[Mapping[str, Any] | Sequence[Any] | str] | None,
    follows: Mapping[str, Any],
    options: Mapping[str, Any],
) -> Steps[Batch]:
    """Open a batch; with `jobs` add these, by their places, and close it. `follows`: `then` and `failed`;
    `options`: `id`, `keep` and `meta`."""
    pairs = {name: pair_of(name, given) for name, given in follows.items() if given is not None}
    row = yield asker.answer_future("zmws.open", {**pairs, **options_given(options)})
    batch = Batch(asker, str(row["id"]), bool(row["existing"]))
    if jobs is not None:
        yield from batch.added_steps(jobs, by_place=True)
        yield batch.asked("zmws.close")
    return batch
