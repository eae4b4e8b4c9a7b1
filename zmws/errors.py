"""Every error zmws raises, in one tree.

    ZmwsError
    ├── BadValue               a value cannot be sent: says which part of it, and why (a TypeError too)
    │   └── BadResult          the result of a job, or a partial one
    ├── BadParams              parameters that came cannot be decoded, or are not what is asked for
    ├── BadJson                a text that came is no JSON, or is nested too deep (a ValueError)
    ├── ProtocolError          a peer broke the protocol: counted, answered as the RFC says, survived
    ├── SettingsError          the configuration cannot be used: says file, line and the mend
    ├── StoreError             the host failed the store: the broker stops, non-zero, to be restarted
    ├── BrokerUnreachable      no broker answered at the address given
    ├── Refused                the broker refused a request, and says why
    │   ├── OptionError        an option of a job or service has no such name or is out of its range
    │   └── ServiceUnknown     no worker ever registered the service and no configuration names it
    ├── JobFailed              the job ended without a result
    │   └── JobCancelled       because somebody cancelled it
    └── JobTimeout             the time the caller gave ran out

Invariants of our own are `assert`s, never errors of this tree: they crash loudly.
"""

from __future__ import annotations

from typing import Any


class ZmwsError(Exception):
    """The root: `except ZmwsError` catches whatever zmws raises on purpose."""


class BadValue(ZmwsError, TypeError, ValueError):
    """A value cannot be sent: JSON cannot hold it. The message says which part of it, and why."""


class BadResult(BadValue):
    """The result of a job, or a partial one, cannot be sent. The same job would come to the same value again,
    so that it fails for good (`bad_result`)."""


class BadParams(ZmwsError):
    """The parameters of a job cannot be decoded, or are not what its `work()` takes: it fails for good,
    without retries. `path`: where in them, as in `rows[0].name`, '' for the whole;
    `message`: what is wrong there."""

    def __init__(self, message: str, path: str = "") -> None:
        super().__init__(f"'{path}': {message}" if path else message)
        self.message = message
        self.path = path


class BadJson(ZmwsError, ValueError):
    """A text is no JSON, or is nested deeper than is taken."""


class ProtocolError(ZmwsError):
    """A peer sent what no dialect allows. `reason` is one word for the counters."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


class SettingsError(ZmwsError):
    """The configuration cannot be used; the message names file, line and the mend."""


class StoreError(ZmwsError):
    """The store could not do what it must; nothing of that batch was acknowledged."""


class BrokerUnreachable(ZmwsError):
    """No broker answered. `maybe_accepted` is True when a request had already left for one. `reason`: why
    none did, where that is known (it refuses the key, say), else ""."""

    def __init__(self, message: str, maybe_accepted: bool = False, reason: str = "") -> None:
        super().__init__(message)
        self.maybe_accepted = maybe_accepted
        self.reason = reason


class Refused(ZmwsError):
    """The broker refused a request. `code` is the one word of docs/errors.md."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class OptionError(Refused):
    """An option has no such name or is out of range. `option` is its name, the first that the message
    names, "" if it names none; the message says which values it may have."""

    def __init__(self, option: str, message: str) -> None:
        super().__init__("bad_option", message)
        self.option = option


class ServiceUnknown(Refused):
    """No worker ever registered this service, and no configuration names it."""

    def __init__(self, message: str) -> None:
        super().__init__("unknown_service", message)


class JobFailed(ZmwsError):
    """The job ended without a result.

    `code` is the one word of docs/errors.md, `type` and `traceback` what the worker told of its
    exception (or None), `attempts` how many times the job was dispatched (or None),
    `job_id` its id (or None).
    """

    def __init__(
        self,
        message: str,
        code: str = "job_failed",
        type: str | None = None,
        traceback: str | None = None,
        attempts: int | None = None,
        job_id: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.type = type
        self.traceback = traceback
        self.attempts = attempts
        self.job_id = job_id

    @classmethod
    def of(cls, error: dict[str, Any], job_id: str | None = None) -> JobFailed:
        """The ERROR of docs/errors.md as an exception."""
        return cls(
            str(error.get("error") or "the job failed"),
            code=str(error.get("code") or "job_failed"),
            type=error.get("type"),
            traceback=error.get("traceback"),
            attempts=error.get("attempts"),
            job_id=job_id,
        )


class JobCancelled(JobFailed):
    """The job was cancelled before it completed."""


class JobTimeout(ZmwsError):
    """The time the caller gave ran out; `job_id` names the job where one is known.

    `code` is `timeout` when the caller waits no longer, `expired` when no worker began the job in time.
    """

    def __init__(self, message: str, job_id: str | None = None, code: str = "timeout") -> None:
        super().__init__(message)
        self.job_id = job_id
        self.code = code
