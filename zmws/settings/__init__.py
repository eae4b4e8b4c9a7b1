"""The settings of an installation: etc/zmws.toml, the environment and the flags, checked.

`load()` gives a frozen Settings, or says all that is wrong, with file and line; `address()` tells where to
connect to, for whoever needs nothing else. What there is to set stands in one table (table.py).
"""

from zmws.settings.addresses import connectable, is_loopback, parse_store_url, place_taken, unknowable
from zmws.settings.load import address, load, root_of
from zmws.settings.sections import (
    BrokerSettings,
    GatewaySettings,
    LogsSettings,
    ScaleSettings,
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
    "Settings",
    "StoreSettings",
    "SupervisorSettings",
    "WorkerSettings",
    "address",
    "connectable",
    "is_loopback",
    "load",
    "missing",
    "parse_store_url",
    "place_taken",
    "root_of",
    "unknowable",
]
