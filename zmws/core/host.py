"""The process around the core, as far as peers are told of it."""

from __future__ import annotations

from dataclasses import dataclass, field

from zmws.core.figures import Histogram

HOST_GAUGES = ("store_bytes", "free_bytes", "memory_bytes", "descriptors")
COMMITS = ("commits", "commit_s", "commit_writes")


class Commits(Histogram):
    """How long commits took, and what was in them: counted by whoever makes them, in any thread."""

    __slots__ = ("writes",)

    def __init__(self) -> None:
        super().__init__()
        self.writes = 0

    def sums(self) -> tuple[float, ...]:
        """In the order of COMMITS."""
        return (sum(self.counts), self.sum_s, self.writes)


@dataclass(slots=True)
class Host:
    """What the shell tells of the process around the core, for whoever asks how it is."""

    version: str = ""  # of zmws
    libzmq: str = ""  # its version
    started_at: float = 0.0  # by the wall
    life: str = ""  # a word that no other run of the broker has
    pid: int = 0
    installation: str = ""  # which one the broker belongs to: settings.Settings.installation
    store_is_full: bool = False  # new stored jobs are refused, for lack of room
    store_waits_for: str | None = None  # what keeps commits waiting, in words
    descriptors: int = 0  # of the process: in use
    descriptors_max: int = 0  # and allowed
    descriptors_warn_percent: int = 100  # of these, and somebody is to look
    store_bytes: int = 0  # that the store takes up
    free_bytes: int = 0  # on its disk; 0: nobody knows
    free_bytes_min: int = 0  # with less, new jobs are refused
    memory_bytes: int = 0  # of the process, resident
    cpu_s: float = 0.0  # that the process has used
    commits: Commits = field(default_factory=Commits)
    insecure: tuple[str, ...] = ()  # sockets that others reach, and that ask nobody for a key
    client: str = ""  # where its clients' socket is bound; workers are told
    news: str = ""  # and where that of the news is; clients are told

    def gauges(self) -> tuple[float, ...]:
        """In the order of HOST_GAUGES."""
        return (self.store_bytes, self.free_bytes, self.memory_bytes, self.descriptors)
