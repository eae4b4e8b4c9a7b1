"""Where to connect to the broker: the one setting that a client or a worker needs, found quickly.

Rule 1: where the environment gives the address, no file is read.
Rule 2: of a file that gives it, or says nothing of a broker at all, nothing else is looked at. Whatever may
        be a slip (a section or a variable that there is not, a broker without this address) is left to those
        who know all settings (loading.py), and say what is wrong.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from zmws.errors import SettingsError
from zmws.settings.addresses import (
    CLIENT,
    KEY_VARIABLE,
    WORKER,
    Bound,
    check_endpoint,
    connectable,
    is_loopback,
    place_taken,
)
from zmws.settings.file import place_of

_SECTIONS = frozenset(
    {"broker", "store", "gateway", "logs", "supervisor", "security", "services", "schedules", "workers"}
)
if TYPE_CHECKING:
    from zmws.key_file import KeyFile

_DEFAULTS = {"client": CLIENT, "worker": WORKER}
_VARIABLES = {which: f"ZMWS_BROKER_{which.upper()}" for which in _DEFAULTS}


class Target(NamedTuple):
    """Where to connect to, and by which key: None, by none."""

    endpoint: str
    key: KeyFile | None


def address(
    which: Literal["client", "worker"],
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> str:
    """Where to connect to the broker, as `which` of its peers; what is given is as for `load`.

    Raises SettingsError, also for an address that the system chooses: nobody can know it.
    """
    return connectable(bound(which, path, environ, cwd).endpoint)


def target(
    which: Literal["client", "worker"],
    kind: str,
    key: Path | None = None,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Target:
    """The same with the key to use there: the one that is given, or that the settings name, or that of its
    `kind` (key_files.py). Raises SettingsError."""
    environ = os.environ if environ is None else environ
    found = bound(which, path, environ, cwd)
    return Target(connectable(found.endpoint), _key(kind, [found.endpoint], key, path, environ, cwd, found))


def key_for(
    kind: str,
    endpoints: Sequence[str],
    key: Path | None = None,
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
) -> KeyFile | None:
    """The key to use at endpoints that were named. Raises SettingsError."""
    return _key(kind, endpoints, key, path, os.environ if environ is None else environ, None, None)


def _key(
    kind: str,
    endpoints: Sequence[str],
    key: Path | None,
    path: Path | None,
    environ: Mapping[str, str],
    cwd: Path | None,
    known: Bound | None,
) -> KeyFile | None:
    is_here = all(map(is_loopback, endpoints))
    security: Mapping[str, Any] = {} if known is None else known.security
    asks = not is_here or security.get("curve", "auto") == "on"
    if key is None and KEY_VARIABLE not in environ and not security.get("key") and not asks:
        return None
    from zmws.settings import key_files  # not at the top: `zmws call` must start fast

    root = None if known is None else known.root
    if root is None and (key is None or not is_here):
        place = place_of(path, cwd)
        root = place.root
        if known is None and not is_here:
            told = place.read()[1].get("security", {})
            security = told if isinstance(told, dict) else {}
            security = _checked({**security, **_of_environment(environ)})
    return key_files.own(kind, endpoints, key, environ, security, root)


def _checked(security: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said of security, where nobody else looks at it. Raises SettingsError: a slip must open
    nothing."""
    curve, insecure = security.get("curve", "auto"), security.get("insecure", False)
    if curve not in ("auto", "on", "off"):
        raise SettingsError(f"security.curve is {str(curve)[:80]!a}, but must be auto, on or off")
    if not isinstance(insecure, bool):
        raise SettingsError(f"security.insecure is {str(insecure)[:80]!a}, but must be true or false")
    return security


def _of_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """What the environment says of security, where no other settings are looked at."""
    found: dict[str, Any] = {}
    if "ZMWS_SECURITY_CURVE" in environ:
        found["curve"] = environ["ZMWS_SECURITY_CURVE"]
    if "ZMWS_SECURITY_INSECURE" in environ:
        given = environ["ZMWS_SECURITY_INSECURE"]
        found["insecure"] = {"true": True, "false": False}.get(given.lower(), given)
    return found


def bound(
    which: Literal["client", "worker"],
    path: Path | None = None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
) -> Bound:
    """Where the broker listens for `which` of its peers. Raises SettingsError."""
    environ = os.environ if environ is None else environ
    found = _plain(which, path, environ, cwd)
    if found is None:
        from zmws.settings.loading import address_checked  # not at the top: `zmws call` must start fast

        return address_checked(which, path, environ, cwd)
    return found


def _plain(which: str, path: Path | None, environ: Mapping[str, str], cwd: Path | None) -> Bound | None:
    """The same, where nothing can be wrong with it; else None."""
    if any(name.startswith("ZMWS_") and name not in _VARIABLES.values() for name in environ):
        return None
    given = {which: environ[name] for which, name in _VARIABLES.items() if name in environ}
    root, security = None, {}
    if which not in given or path is not None:
        place = place_of(path, cwd)
        root = place.root
        _, tree = place.read()
        broker, security = tree.get("broker", {}), tree.get("security", {})
        if not tree.keys() <= _SECTIONS or not isinstance(broker, dict) or security:
            return None
        of_file = {one: broker[one] for one in _DEFAULTS if one in broker}
        if not all(map(_is_plain, of_file.values())) or (broker and which not in of_file):
            return None
        given = {**of_file, **given}
    found = given.get(which, _DEFAULTS[which])
    if not all(map(_is_plain, given.values())) or place_taken(found) is None:
        return None
    return Bound(found, security, root)


def _is_plain(endpoint: object) -> bool:
    """An address by TCP: the path of a socket is relative to the installation."""
    try:
        check_endpoint(endpoint)
    except ValueError:
        return False
    return str(endpoint).startswith("tcp://")
