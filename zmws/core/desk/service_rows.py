"""A service as lists show it, and as it is shown alone: with its options, and where each comes from."""

from __future__ import annotations

import json
from typing import Any

from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.series import Series
from zmws.core.service import Service
from zmws.core.turn import Turn


def row(service: Service, held: Held, turn: Turn, series: Series) -> dict[str, Any]:
    """A row of zmws.services."""
    return {
        "service": service.name,
        "waiting": service.waiting_count + held.overflow.count_of(service.name),
        "scheduled": service.scheduled_count,
        "running": len(service.running),
        "failed": service.ended["failed"],
        "complete": service.ended["complete"],
        "workers": len(service.ring.workers),
        "idle": len(service.ring),
        "oldest_s": series.oldest_s(service),
        "paused": service.paused,
        "calls_complete": service.calls_complete,
        "calls_failed": service.calls_failed,
    }


def whole_row(service: Service, held: Held, turn: Turn, series: Series, host: Host) -> dict[str, Any]:
    """What zmws.service and zmws.limit answer."""
    options = {
        name: {"value": value, "from": service.origin(name)}
        for name, value in service.options.values().items()
        if name != "paused"  # that is in the row, as an operator may have set it
    }
    params = None if service.params is None else json.loads(service.params)
    version = version_of(service, host)
    more = {"version": version, "options": options, "params": params, "usual": series.usual(service)}
    return {**row(service, held, turn, series), **more}


def version_of(service: Service, host: Host) -> str:
    """What is another after each change that an operator has made."""
    return f"{host.life}.{service.changes}"
