"""zmws: a work server. Programs ask for named jobs, worker processes do them.

What a user imports. Names are loaded on first use, so that importing the core imports no socket.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_WHERE = {
    "WorkerBase": "zmws.work",
    "JobInHand": "zmws.work",
    "Fail": "zmws.work",
    "Retry": "zmws.work",
    "worker": "zmws.work",
    "Client": "zmws.client",
    "AsyncClient": "zmws.client",
    "Job": "zmws.client",
    "Lease": "zmws.client",
    "Chain": "zmws.client",
    "Batch": "zmws.client",
    "Schedule": "zmws.client",
    "PREVIOUS": "zmws.client",
    "ZmwsError": "zmws.errors",
    "BadValue": "zmws.errors",
    "BrokerUnreachable": "zmws.errors",
    "JobCancelled": "zmws.errors",
    "JobFailed": "zmws.errors",
    "JobTimeout": "zmws.errors",
    "OptionError": "zmws.errors",
    "Refused": "zmws.errors",
    "ServiceUnknown": "zmws.errors",
    "SettingsError": "zmws.errors",
}

if TYPE_CHECKING:
    from zmws.client import PREVIOUS, AsyncClient, Batch, Chain, Client, Job, Lease, Schedule
    from zmws.errors import (
        BadValue,
        BrokerUnreachable,
        JobCancelled,
        JobFailed,
        JobTimeout,
        OptionError,
        Refused,
        ServiceUnknown,
        SettingsError,
        ZmwsError,
    )
    from zmws.work import Fail, JobInHand, Retry, WorkerBase, worker

__all__ = [
    "PREVIOUS",
    "AsyncClient",
    "BadValue",
    "Batch",
    "BrokerUnreachable",
    "Chain",
    "Client",
    "Fail",
    "Job",
    "JobCancelled",
    "JobFailed",
    "JobInHand",
    "JobTimeout",
    "Lease",
    "OptionError",
    "Refused",
    "Retry",
    "Schedule",
    "ServiceUnknown",
    "SettingsError",
    "WorkerBase",
    "ZmwsError",
    "worker",
]


def __getattr__(name: str) -> Any:
    module = _WHERE.get(name)
    if module is None:
        raise AttributeError(f"module 'zmws' has no attribute '{name}'")
    return getattr(importlib.import_module(module), name)
