"""The settings of an installation: etc/zmws.toml, the environment and the flags, checked.

`load()` gives a frozen Settings, or says all that is wrong, with file and line. What there is to set stands
in one table (table.py).
"""

from zmws.settings.addresses import StoreUrl, connectable, is_loopback, parse_http, parse_store_url
from zmws.settings.load import load, root_of
from zmws.settings.sections import (
    BrokerSettings,
    Flag,
    GatewaySettings,
    Settings,
    StoreSettings,
    WorkerSettings,
    limit_key,
)
from zmws.settings.services import service_name_problem

__all__ = [
    "BrokerSettings",
    "Flag",
    "GatewaySettings",
    "Settings",
    "StoreSettings",
    "StoreUrl",
    "WorkerSettings",
    "connectable",
    "is_loopback",
    "limit_key",
    "load",
    "parse_http",
    "parse_store_url",
    "root_of",
    "service_name_problem",
]
