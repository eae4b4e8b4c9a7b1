"""`Lease`: a job taken by a program that is no worker: a cron script, a notebook, a shell.

    while lease := client.lease("THUMBNAIL", wait=30):
        with lease:
            lease.complete(make(lease.params))

Rule 1: a lease ends with one report: complete, fail or release. After that, or when its `ttr` has
        passed, its token is dead, and every further report is refused.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import suppress
from types import TracebackType
from typing import Any

from zmws import ids
from zmws.client.answers import Steps, finished
from zmws.client.asked import then, waited
from zmws.client.asker import Asker
from zmws.client.given import Seconds, options_given, service_of
from zmws.client.given import seconds as in_seconds
from zmws.client.job import WAIT_S
from zmws.errors import BadResult, BadValue, Refused, ZmwsError
from zmws.wire import values

LEASE_TTR_S = 60.0
_UNFIT = ("too_large", "bad_request")  # how the broker, or our own side, refuses a result


class Lease:
    """One attempt at a job, held until its `ttr` passes.

    `id` (str), `service` (str), `attempt` (int, from 1), `token` (str), `ttr` (float, the seconds that were
    left when it came), `deadline` (float, `time.monotonic()` seconds at which they have passed, as seen from
    here), `params` (as `work()` gets them: JSON, bytes, {} for none), `record` (what the broker told of the
    job), `reported` (bool: over).

    As a context manager: an exception fails the job, and what was not reported at the end is released.
    """

    def __init__(self, asker: Asker, record: Mapping[str, Any]) -> None:
        self.record = dict(record)
        self.id = str(record["id"])
        self.service = str(record["service"])
        self.attempt = int(record["attempt"])
        self.token = str(record["token"])
        # As it is told: where an answer was lost, the repeat comes when a part of the time has passed.
        self.ttr = float(record["ttr"])
        self.deadline = time.monotonic() + self.ttr
        self.params = values.params_from(record["params"], values.kind_of(record, "params"))
        self.reported = False
        self._asker = asker

    def complete(self, result: Any = None) -> None:
        """The job is done. `result`: JSON or bytes, None for none. Raises Refused if the token is dead, and
        BadResult for a result that cannot be sent."""
        self._wait(self.complete_future(result))

    def fail(
        self,
        error: str,
        *,
        code: str | None = None,
        type: str | None = None,
        traceback: str | None = None,
        retry: bool | None = None,
        delay: Seconds | None = None,
    ) -> None:
        """This attempt has failed. `retry=False`: for good; `delay`: seconds until the next one, instead
        of the backoff. Raises Refused if the token is dead."""
        more = {"code": code, "type": type, "traceback": traceback, "retry": retry, "delay": delay}
        self._wait(self.fail_future(error, **more))

    def release(self) -> None:
        """Give the job back; no failure. Raises Refused if the token is dead."""
        self._wait(self.release_future())

    def progress(self, done: float, text: str | None = None) -> None:
        """Say how far it is: `done` from 0 to 1. Raises ValueError outside, Refused if the token is dead."""
        waited(self.progress_future(done, text))

    def partial(self, value: Any) -> None:
        """A partial result (JSON, or bytes). Raises Refused if the token is dead."""
        waited(self.partial_future(value))

    def log(self, text: str) -> None:
        """A line for the job's record. Raises Refused if the token is dead."""
        waited(self.log_future(text))

    def extend(self, seconds: Seconds) -> None:
        """Move the end of the lease to `seconds` from now. Raises ValueError if not above 0, Refused if
        the token is dead."""
        waited(self.extend_future(seconds))

    def __enter__(self) -> Lease:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        finished(self.ending_steps(fault))

    # ------------------------------------------------------------ without waiting, for both fronts

    def complete_future(self, result: Any = None) -> Future[None]:
        """As `complete`, without waiting."""
        try:
            return self._ending("complete", **values.field_of("result", result))
        except BadValue:
            raise self._unfit(result, "the result") from None

    def fail_future(self, error: str, **more: Any) -> Future[None]:
        """As `fail`, without waiting."""
        return self._ending("fail", error=error, **options_given(more))

    def release_future(self) -> Future[None]:
        """As `release`, without waiting."""
        return self._ending("release")

    def progress_future(self, done: float, text: str | None = None) -> Future[None]:
        """As `progress`, without waiting."""
        if not 0 <= done <= 1:
            raise ValueError(f"progress must be from 0 to 1, not {done!r}")
        return self._report("progress", done=float(done), text=text)

    def partial_future(self, value: Any) -> Future[None]:
        """As `partial`, without waiting."""
        try:
            return self._report("partial", **values.field_of("value", value))
        except BadValue:
            raise self._unfit(value, "the partial result") from None

    def log_future(self, text: str) -> Future[None]:
        """As `log`, without waiting."""
        return self._report("log", text=text)

    def extend_future(self, seconds: Seconds) -> Future[None]:
        """As `extend`, without waiting."""
        given = in_seconds("seconds", seconds)
        if not given > 0:
            raise ValueError(f"extend needs a number of seconds above 0, not {seconds!r}")
        until = time.monotonic() + given

        def extended(_: Any) -> None:
            self.deadline = until

        question = {"token": self.token, "seconds": given}
        return then(self._asker.answer_future("zmws.extend", question), extended)

    def ending_steps(self, fault: BaseException | None) -> Steps[None]:
        """The report that a `with` block ends with, if the lease is not over already."""
        if self.reported:
            return
        if fault is None:
            yield self.release_future()
            return
        with suppress(ZmwsError):  # what happened inside is what the caller has to hear of
            yield self._failing(fault)

    def _failing(self, fault: BaseException) -> Future[None]:
        if not isinstance(fault, Exception):
            return self.release_future()
        from zmws.work.fault import asked_of, encode_fault  # not at the top: a client needs no worker

        asked = asked_of(fault) or {}
        asked.pop("count", None)  # a lease has `release` for what is no failure

        told = encode_fault(fault)
        del told["cause"]  # an older broker takes none, and one of today makes it of the traceback
        return self._ending("fail", **told, **asked)

    @staticmethod
    def _unfit(value: Any, name: str) -> BadResult:
        """What is wrong with a value that could not be sent."""
        try:
            values.encode_value(value, name)
        except BadValue as wrong:
            return BadResult(str(wrong))
        return BadResult(f"{name} cannot be sent")

    def _report(self, kind: str, **fields: Any) -> Future[None]:
        question = {"token": self.token, "kind": kind, **fields}
        return then(self._asker.answer_future("zmws.report", question), lambda _: None)

    def _wait(self, ending: Future[None]) -> None:
        try:
            waited(ending)
        except ZmwsError as fault:
            raise self.not_taken(fault, ending.cancelled()) from None
        finally:
            del ending

    def not_taken(self, fault: ZmwsError, cancelled: bool = False) -> ZmwsError:
        """A report was not taken; what to raise. Unless the attempt is over, it is still to be reported.
        `cancelled`: it was refused to wait here, and nothing has been sent."""
        if isinstance(fault, Refused) and fault.code in _UNFIT:
            self.reported = False
            return BadResult(str(fault))
        self.reported = self.reported and not cancelled
        return fault

    def _ending(self, kind: str, **fields: Any) -> Future[None]:
        asked = self._report(kind, **fields)
        self.reported = True
        return asked

    def __repr__(self) -> str:
        return f"<Lease of job {self.id} of {self.service}, attempt {self.attempt}>"


def lease_steps(asker: Asker, service: str, wait: Seconds, ttr: Seconds) -> Steps[Lease | None]:
    """The questions of `lease`: under one id of its own, so that a repeat gets the same job."""
    name = service_of(service)
    question: dict[str, Any] = {"service": name, "lease": ids.new_id(), "ttr": in_seconds("ttr", ttr)}
    until = asker.monotonic() + in_seconds("wait", wait, endless=True)
    while True:
        question["wait"] = left = min(WAIT_S, max(0.0, until - asker.monotonic()))
        status, record = yield asker.ask_future("zmws.lease", question, left)
        if status == 200:
            return Lease(asker, record)
        if asker.monotonic() >= until:
            return None
