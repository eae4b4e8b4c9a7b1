"""The settings of an installation: etc/zmws.toml, the environment and the flags, checked.

`load()` gives a frozen Settings, or says all that is wrong, with file and line. What there is to set stands
in one table (table.py).
"""

from zmws.settings.addresses import connectable, is_loopback, parse_store_url
from zmws.settings.load import load, root_of
from zmws.settings.sections import BrokerSettings, GatewaySettings, Settings, StoreSettings, WorkerSettings

__all__ = [
    "BrokerSettings",
    "GatewaySettings",
    "Settings",
    "StoreSettings",
    "WorkerSettings",
    "connectable",
    "is_loopback",
    "load",
    "parse_store_url",
    "root_of",
]
