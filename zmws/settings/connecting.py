"""Where to connect to the broker: the one setting that a client or a worker needs, found quickly.

Rule 1: where the environment gives the address, no file is read.
Rule 2: of a file that gives it, or says nothing of a broker at all, nothing else is looked at. Whatever may
        be a slip (a section or a variable that there is not, a broker without this address) is left to those
        who know all settings (loading.py), and say what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from zmws.settings.addresses import CLIENT, WORKER, check_endpoint, connectable, place_taken
from zmws.settings.file import place_of

_SECTIONS = frozenset(
    {"broker", "store", "gateway", "logs", "supervisor", "services", "schedules", "workers"}
)
_DEFAULTS = {"client": CLIENT, "worker": WORKER}
_VARIABLES = {which: f"ZMWS_BROKER_{which.upper()}" for which in _DEFAULTS}


def address(
    which: Literal["client", "worker"],
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Where to connect to the broker, as `which` of its peers; what is given is as for `load`.

    Raises SettingsError, also for an address that the system chooses: nobody can know it.
    """
    environ = os.environ if environ is None else environ
    found = _plain(which, path, environ, cwd)
    if found is None:
        from zmws.settings.loading import address_checked  # not at the top: `zmws call` must start fast

        return address_checked(which, path, environ, cwd)
    return connectable(found)


def _plain(which: str, path: Path | None, environ: Mapping[str, str], cwd: Path | None) -> str | None:
    """The address, where nothing can be wrong with it; else None."""
    if any(name.startswith("ZMWS_") and name not in _VARIABLES.values() for name in environ):
        return None
    given = {which: environ[name] for which, name in _VARIABLES.items() if name in environ}
    if which not in given or path is not None:
        _, tree = place_of(path, cwd).read()
        broker = tree.get("broker", {})
        if not tree.keys() <= _SECTIONS or not isinstance(broker, dict):
            return None
        of_file = {one: broker[one] for one in _DEFAULTS if one in broker}
        if not all(map(_is_plain, of_file.values())) or (broker and which not in of_file):
            return None
        given = {**of_file, **given}
    found = given.get(which, _DEFAULTS[which])
    return found if all(map(_is_plain, given.values())) and place_taken(found) is not None else None


def _is_plain(endpoint: object) -> bool:
    """An address by TCP: the path of a socket is relative to the installation."""
    try:
        check_endpoint(endpoint)
    except ValueError:
        return False
    return str(endpoint).startswith("tcp://")
