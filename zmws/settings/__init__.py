"""The settings of an installation: etc/zmws.toml, the environment and the flags, checked.

`load()` gives a frozen Settings, or says all that is wrong, with file and line; `address()` tells where to
connect to, for whoever needs nothing else. What there is to set stands in one table (table.py).

Rule: a name is loaded when somebody asks for it: who only connects needs few of them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_WHERE = {
    "addresses": (
        *("connectable", "is_loopback", "parse_store_url", "place_taken", "unknowable"),
        "without_password",
    ),
    "connecting": ("address", "key_for", "target"),
    "loading": ("load", "root_of"),
    "sections": (
        "BrokerSettings",
        "GatewaySettings",
        "LogsSettings",
        "ScaleSettings",
        "SecuritySettings",
        "Settings",
        "StoreSettings",
        "SupervisorSettings",
        "WorkerSettings",
    ),
    "workers": ("missing",),
}

if TYPE_CHECKING:
    from zmws.settings.addresses import (
        connectable,
        is_loopback,
        parse_store_url,
        place_taken,
        unknowable,
        without_password,
    )
    from zmws.settings.connecting import address, key_for, target
    from zmws.settings.loading import load, root_of
    from zmws.settings.sections import (
        BrokerSettings,
        GatewaySettings,
        LogsSettings,
        ScaleSettings,
        SecuritySettings,
        Settings,
        StoreSettings,
        SupervisorSettings,
        WorkerSettings,
    )
    from zmws.settings.workers import missing

__all__ = [
    "BrokerSettings",
    "GatewaySettings",
    "LogsSettings",
    "ScaleSettings",
    "SecuritySettings",
    "Settings",
    "StoreSettings",
    "SupervisorSettings",
    "WorkerSettings",
    "address",
    "connectable",
    "is_loopback",
    "key_for",
    "load",
    "missing",
    "parse_store_url",
    "place_taken",
    "root_of",
    "target",
    "unknowable",
    "without_password",
]


def __getattr__(name: str) -> Any:
    for module, names in _WHERE.items():
        if name in names:
            return getattr(importlib.import_module(f"{__name__}.{module}"), name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
