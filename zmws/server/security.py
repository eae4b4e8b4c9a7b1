"""What the settings say of who may connect, made ready for the sockets; checked at each start.

Rule: what would let others in without a key does not start, unless the settings say that it is meant.
"""

from __future__ import annotations

import grp
import json
import pwd

import zmq

from zmws.core.key import CURVE, HASH, PUBLIC, TOKEN, group_fault, rights_of
from zmws.core.rows import KeyRow
from zmws.errors import SettingsError
from zmws.key_file import KeyFile
from zmws.server.endpoints import Doorway, StartFailed
from zmws.settings import Settings, is_loopback
from zmws.settings.addresses import parse_mode
from zmws.settings.key_files import BROKER, SUFFIX, all_in, check_folder, read

SOCKETS = ("client", "worker", "news", "mdp")


def doorways(settings: Settings) -> dict[str, Doorway]:
    """How each endpoint lets peers in. Raises StartFailed."""
    security = settings.security
    ipc = {
        "ipc_mode": parse_mode(security.ipc_mode),
        "ipc_owner": _number("ipc_owner", security.ipc_owner),
        "ipc_group": _number("ipc_group", security.ipc_group),
    }
    key: KeyFile | None = None
    has_key = (settings.keys_folder / f"{BROKER}{SUFFIX}").exists()
    found = {}
    for name in SOCKETS:
        address = getattr(settings.broker, name)
        if not address:
            continue
        if not security.is_secured(address):
            if not is_loopback(address) and not security.insecure:
                raise StartFailed(
                    f"{address} (broker.{name}) can be reached by others, and security.curve is off: anybody "
                    "could submit and run jobs. Leave it on, listen at 127.0.0.1, or say insecure = true"
                )
            found[name] = Doorway(None, security.handshake_timeout, **ipc)
            continue
        if key is None and (has_key or not security.insecure):
            key = broker_key(settings, f"{address} (broker.{name})")
        found[name] = Doorway(key, security.handshake_timeout, **ipc)
    return found


def broker_key(settings: Settings, what: str) -> KeyFile:
    """The broker's own key. Raises StartFailed where there is none, or it cannot be used."""
    folder = settings.keys_folder
    path = folder / f"{BROKER}{SUFFIX}"
    if not path.exists():
        raise StartFailed(
            f"{what} can be reached by others, and this broker has no key for it ({path}). 'zmws keys init' "
            "makes one; or listen at 127.0.0.1; or, where the network itself is closed, say insecure = true "
            "in [security]"
        )
    if not zmq.has("curve"):
        raise StartFailed("this libzmq was built without CURVE, so peers cannot prove who they are")
    try:
        check_folder(folder)
        return read(path)
    except SettingsError as wrong:
        raise StartFailed(str(wrong)) from None


def keys_in_files(settings: Settings) -> list[KeyRow]:
    """The keys that were made while there was no broker to be told. Raises SettingsError for a file that
    cannot be used, or that others can read."""
    folder, found = settings.keys_folder, []
    check_folder(folder)
    for key in all_in(folder):
        try:
            rights = rights_of(key.role, key.services, key.rights)
            if (fault := group_fault(rights, key.group)) is not None:
                raise ValueError(fault)
        except ValueError as wrong:
            raise SettingsError(f"{folder / key.name}{SUFFIX}: {wrong}") from None
        kind, proof = (CURVE, key.public) if key.public else (TOKEN, key.hash)
        if not (PUBLIC if kind == CURVE else HASH).match(proof):
            raise SettingsError(f"{folder / key.name}{SUFFIX}: is no key file of zmws")
        row = KeyRow(name=key.name, kind=kind, proof=proof, role=key.role, rights=rights, group=key.group)
        for limit, value in key.limits.items():
            setattr(row, limit, value)
        found.append(row)
    return [*found, *_tokens_of_before(settings)]


def _tokens_of_before(settings: Settings) -> list[KeyRow]:
    """Those that zmws 0.1 kept in a file of the gateway. Raises SettingsError."""
    path = settings.root / settings.gateway.tokens
    try:
        told = json.loads(path.read_text())["tokens"]
        return [
            KeyRow(
                name=name,
                kind=TOKEN,
                proof=row["hash"],
                role=row["role"],
                rights=rights_of(row["role"], None, None),
            )
            for name, row in told.items()
        ]
    except (FileNotFoundError, NotADirectoryError):
        return []
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        raise SettingsError(f"{path}: is no file of tokens; move it away, and make them anew") from None


def _number(setting: str, name: str) -> int:
    """Of a user or a group; -1 for none. Raises StartFailed."""
    if not name:
        return -1
    try:
        if name.isdecimal():
            return int(name)
        return pwd.getpwnam(name).pw_uid if setting == "ipc_owner" else grp.getgrnam(name).gr_gid
    except KeyError:
        raise StartFailed(f"security.{setting} is '{name}', which this machine does not know") from None


def check(settings: Settings) -> None:
    """As a start of the broker looks at it. Raises SettingsError."""
    try:
        doorways(settings)
    except StartFailed as wrong:
        raise SettingsError(str(wrong)) from None
    keys_in_files(settings)
