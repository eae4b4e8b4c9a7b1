"""What a worker's dialog wants done, beside Open and Transmit: of the worker that it speaks for."""

from __future__ import annotations

from dataclasses import dataclass

from zmws.dialog.actions import Open, Transmit
from zmws.wire.messages import WorkerRequest


@dataclass(slots=True)
class Registered:
    """A broker has answered its READY."""


@dataclass(slots=True)
class Lost:
    """Its connection to this broker is over, or could not be made; `why`, in words."""

    broker: str
    why: str


@dataclass(slots=True)
class StartJob:
    """A job for work()."""

    request: WorkerRequest


@dataclass(slots=True)
class Lies:
    """Jobs that came ahead, and have lain for long enough, or until a stop: those that have not begun are not
    to, and `release` is to be told each."""

    tokens: tuple[bytes, ...]


@dataclass(slots=True)
class CancelJob:
    """The broker wants this attempt dropped."""

    token: bytes


@dataclass(slots=True)
class TellStack:
    """The broker asks where this job's code is now: `partial` is to say it (STACK)."""

    token: bytes


@dataclass(slots=True)
class Hangs:
    """This job was to be dropped, and work() has not returned for twice the broker's `cancel_grace`."""

    token: bytes


@dataclass(slots=True)
class Stopped:
    """It has left; `unconfirmed` results could not be confirmed in time, and what was in hand was given
    back."""

    unconfirmed: int
    given_back: tuple[bytes, ...] = ()


Action = Open | Transmit | Registered | Lost | StartJob | Lies | CancelJob | TellStack | Hangs | Stopped
