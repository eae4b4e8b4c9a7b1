"""How an installation is: its processes, and its broker."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from zmws.supervisor.broker import Broker, look
from zmws.supervisor.processes import BROKER, DIED, RUNNING, Installation, State


@dataclass(frozen=True, slots=True)
class Status:
    """`out_of_descriptors`: how many a broker has in use and may have, if that is why nobody can ask it."""

    processes: list[State]
    broker: Broker
    out_of_descriptors: tuple[int, int] | None

    @property
    def has_died(self) -> bool:
        """Whether any process has."""
        return any(one.state == DIED for one in self.processes)


def status(installation: Installation) -> Status:
    """How it is now."""
    names = [process.name for process in installation.processes(True, True)]
    names += [name for name in installation.noted() if name not in names]
    states = [installation.state(name) for name in names]
    broker = look(installation)
    row = next(one for one in states if one.name == BROKER)
    used_up = None
    if broker.stats is None:
        # Such a broker accepts nobody who could ask it: seen from outside, it says why.
        found = descriptors_of(row.pid) if row.pid is not None else None
        used_up = found if found is not None and found[0] >= found[1] else None
    elif row.state != RUNNING:
        # In the foreground, as systemd runs it: nobody has noted it.
        row.state, row.pid, row.last_sign_at = RUNNING, broker.pid, None
    return Status(states, broker, used_up)


def descriptors_of(pid: int) -> tuple[int, int] | None:
    """How many a process has in use, and how many it may have; None where the system does not tell."""
    try:
        limits = Path(f"/proc/{pid}/limits").read_text().splitlines()
        (allowed,) = [int(line.split()[3]) for line in limits if line.startswith("Max open files")]
        return len(list(Path(f"/proc/{pid}/fd").iterdir())), allowed
    except (OSError, ValueError):
        return None
