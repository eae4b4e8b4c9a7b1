"""What happens while processes are started and stopped, for whoever has asked for it.

Rule: the supervisor prints nothing. It tells an event through a function, at once. What that function raises
keeps nothing from being stopped that is to be stopped.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from zmws.supervisor.processes import State


@dataclass(frozen=True, slots=True)
class HadDied:
    """Of what is to be started, these had died before."""

    states: tuple[State, ...]


@dataclass(frozen=True, slots=True)
class LeftEnded:
    """So many processes were ended that one that had died had left."""

    name: str
    count: int


@dataclass(frozen=True, slots=True)
class RunsUnnoted:
    """The broker runs already, and nobody has noted it here: it is in the foreground, say."""

    pid: int


@dataclass(frozen=True, slots=True)
class GivingUp:
    """Starting did not succeed: what was started is stopped again."""

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Ended:
    """One that was to stop has ended: by itself, or because it was killed."""

    name: str
    killed: bool


@dataclass(frozen=True, slots=True)
class NotReady:
    """One that was to start is not ready; `text` says why, to be put behind its name."""

    name: str
    text: str


Event = HadDied | LeftEnded | RunsUnnoted | GivingUp | Ended | NotReady
Tell = Callable[[Event], None]
