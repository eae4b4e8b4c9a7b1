"""The workers whose count follows what waits: what is seen of them, and copies that are added or leave.

Rule: a worker is scaled from its start until somebody stops it, or says how many copies there are to be.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from zmws.settings import ScaleSettings, WorkerSettings
from zmws.supervisor.autoscale import Autoscale, Seen
from zmws.supervisor.keeper import Copy, State
from zmws.supervisor.kept import Kept
from zmws.supervisor.pidfile import NOTED_BESIDE
from zmws.supervisor.vitals import memory_by_session

log = logging.getLogger("zmws.supervisor")

_ENDLESS_S = 1e9  # a job in hand is not given back for this
_TRYING = (State.STARTING, State.WAITING, State.BACKOFF)

Row = Mapping[str, Any]


class Scaling:
    """All of one installation."""

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        self._scales: dict[str, Autoscale] = {}
        self._processors = _Processors()

    def workers(self) -> list[WorkerSettings]:
        """Those that are scaled now."""
        installation = self._kept.installation
        fixed = installation.scaled()
        return [
            worker
            for worker in installation.settings.workers
            if worker.scale is not None and worker.name in self._kept.scaling and worker.name not in fixed
        ]

    def look(self, services: Sequence[Row], rows: Mapping[int, Row], now: float) -> None:
        """Add copies, or have some leave. `rows`: of zmws.workers, by the numbers of their processes."""
        workers = self.workers()
        by_service = {row["service"]: row for row in services}
        weighs = any(worker.scale is not None and worker.scale.memory_max is not None for worker in workers)
        sizes = memory_by_session() if weighs else {}
        cpu_percent = self._processors.percent_in_use()
        for worker in workers:
            assert worker.scale is not None
            copies = [
                copy
                for name, copy in self._kept.keeper.copies.items()
                if copy.wanted and self._is_of(name, worker)
            ]
            seen = self._seen(worker, copies, by_service.get(worker.service or ""), rows, sizes, cpu_percent)
            scale = self._scales.setdefault(worker.name, Autoscale(worker.scale))
            scale.given = worker.scale
            self._turn_to(worker, scale, seen, scale.count(seen, now), copies, now)

    def told(self) -> dict[str, dict[str, Any]]:
        """For `status`, by the name of the worker."""
        rows = {}
        for worker in self.workers():
            scale: ScaleSettings | None = worker.scale
            assert scale is not None
            have = sum(
                copy.wanted and self._is_of(name, worker) for name, copy in self._kept.keeper.copies.items()
            )
            known = self._scales.get(worker.name)
            why = known.why if known is not None else ""
            rows[worker.name] = {"have": have, "min": scale.min, "max": scale.max, "why": why}
        return rows

    def _is_of(self, name: str, worker: WorkerSettings) -> bool:
        # The second process of a copy that is rolled is no copy more.
        return NOTED_BESIDE not in name and self._kept.group_of(name) == worker.name

    def _seen(
        self,
        worker: WorkerSettings,
        copies: Sequence[Copy],
        row: Row | None,
        rows: Mapping[int, Row],
        sizes: Mapping[int, int],
        cpu_percent: float,
    ) -> Seen:
        known = {copy.name: rows[copy.pid] for copy in copies if copy.pid is not None and copy.pid in rows}
        fatal = [copy.name for copy in copies if copy.is_fatal]
        idle = [name for name in sorted(known, reverse=True) if not known[name]["jobs"] and name not in fatal]
        options = self._kept.installation.settings.services.get(worker.service or "")
        return Seen(
            have=len(copies),
            starting=sum(copy.state in _TRYING and not copy.is_fatal for copy in copies),
            fatal=len(fatal),
            idle=[*fatal, *idle],
            waiting=0 if row is None else row["waiting"],
            oldest_s=0.0 if row is None else row["oldest_s"] or 0.0,
            is_known=row is not None,
            is_paused=row is not None and row["paused"],
            slots=max([1, *(int(one["slots"]) for one in known.values())]),
            max_running=None if options is None else options.max_running,
            memory_bytes=sum(sizes.get(copy.pid or 0, 0) for copy in copies),
            cpu_percent=cpu_percent,
        )

    def _turn_to(
        self,
        worker: WorkerSettings,
        scale: Autoscale,
        seen: Seen,
        count: int,
        copies: Sequence[Copy],
        now: float,
    ) -> None:
        have = {copy.name for copy in copies}
        if count > len(have):
            of_it = self._kept.installation.processes(False, True, [worker.name], with_spare=True)
            kept = self._kept.keeper.copies
            free = [one.name for one in of_it if one.name not in have and one.name in kept]
            free.sort(key=lambda name: kept[name].lives)  # who is still leaving comes last
            names = free[: count - len(have)]
            self._kept.keeper.want(names, now)
        elif count < len(have):
            names = [*seen.idle][: len(have) - count]
            self._kept.keeper.stop(names, now, _ENDLESS_S)
        else:
            return
        log.info("%s: %d copies, and %d before: %s", worker.name, count, len(have), scale.why)


class _Processors:
    """How much of them is in use. (Linux: proc(5); elsewhere nothing is known, and taken for 0.)"""

    def __init__(self) -> None:
        self._before = self._times()

    def percent_in_use(self) -> float:
        """Since the last time."""
        before, self._before = self._before, self._times()
        passed = sum(self._before) - sum(before)
        idle = sum(self._before[3:5]) - sum(before[3:5])  # idle, and waiting for a disk
        return 100.0 * (1 - idle / passed) if passed > 0 else 0.0

    @staticmethod
    def _times() -> list[int]:
        try:
            with Path("/proc/stat").open() as stat:
                return [int(field) for field in stat.readline().split()[1:9]]
        except (OSError, ValueError):
            return [0] * 8
