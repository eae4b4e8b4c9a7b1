"""Key files: who a process is for the broker, and how it knows that broker (docs/security.md).

Rule 1: a file holds a secret, so it is its owner's alone: 0600, in a folder that is 0700. One that others can
        read is refused, at each start. What root has mounted may be 0640 or 0440: its group can be one's own.
Rule 2: it is TOML, with the broker's public key beside the own pair: whoever is given the file needs no more.
Rule 3: who names no file has the one of his kind in the installation's folder of keys, where the broker's
        address asks for one.
"""

from __future__ import annotations

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from zmws.errors import SettingsError
from zmws.key_file import KeyFile
from zmws.settings.addresses import KEY_VARIABLE, is_loopback

FOLDER = Path("etc", "keys")
BROKER = "broker"
SUFFIX = ".key"
TOKEN_SUFFIX = ".token"
# Whoever names no key is one of these, the first of which there is a file.
OF_KIND = {
    "client": ("client", "operator"),
    "operator": ("operator",),
    "worker": ("worker",),
    "gateway": ("gateway",),
}
_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")
_LIMITS = ("rate", "bytes_rate", "waiting_max", "connections_max")
_KEYS = ("name", "public", "secret", "broker", "hash", "role", "services", "rights", "group", *_LIMITS)


def read(path: Path) -> KeyFile:
    """The key in a file. Raises SettingsError where it cannot be used, or others can read it."""
    try:
        with path.open("rb") as file:
            known = os.fstat(file.fileno())
            mode = known.st_mode & 0o777
            if mode & (0o037 if _is_roots(known) else 0o077):
                raise SettingsError(f"{path}: others may read this key (mode {mode:o}); chmod 600 {path}")
            told = tomllib.load(file)
    except FileNotFoundError:
        raise SettingsError(f"{path}: there is no such key file; 'zmws keys new' makes one") from None
    except OSError as wrong:
        raise SettingsError(f"{path}: the key cannot be read: {wrong.strerror}") from None
    except ValueError:
        raise SettingsError(f"{path}: is no key file of zmws") from None
    _check(path, told)
    services = told.pop("services", None)
    limits = {name: told.pop(name) for name in _LIMITS if name in told}
    return KeyFile(**told, services=None if services is None else tuple(services), limits=limits)


def write(path: Path, key: KeyFile, replace: bool = False) -> None:
    """Make a file. Raises SettingsError where there is one already, unless it is to be replaced, and where
    none can be made."""
    try:
        make_folder(path.parent)
        new = path.with_name(f".{path.name}.new")
        with contextlib.suppress(FileNotFoundError):
            new.unlink()
        made = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(made, "w") as file:
            file.write(key.text())
            file.flush()
            os.fsync(file.fileno())
        if replace:
            new.replace(path)
        else:
            try:
                os.link(new, path)  # in one step: of two that make it, one is told
            finally:
                new.unlink()
    except FileExistsError:
        raise SettingsError(
            f"{path}: there is such a file already; move it away, or choose another"
        ) from None
    except OSError as wrong:
        raise SettingsError(f"{path}: the key cannot be written: {wrong.strerror}") from None


def make_folder(folder: Path) -> None:
    """A folder for keys, if there is none. Raises OSError."""
    if not folder.is_dir():
        folder.mkdir(mode=0o700, parents=True)


def check_folder(folder: Path) -> None:
    """Raises SettingsError where others can look into a folder of keys."""
    try:
        known = folder.stat()
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as wrong:
        raise SettingsError(f"{folder}: cannot be looked at: {wrong.strerror}") from None
    mode = known.st_mode & 0o777
    if mode & (0o022 if _is_roots(known) else 0o077):
        raise SettingsError(f"{folder}: others may look into it (mode {mode:o}); chmod 700 {folder}")


def _is_roots(known: os.stat_result) -> bool:
    """Whether root has put it there for somebody else, as secrets of containers are mounted: those that have
    a group of their own are read by that."""
    return known.st_uid == 0 and os.geteuid() != 0


def all_in(folder: Path) -> Iterator[KeyFile]:
    """The keys of peers in a folder, by name. Raises SettingsError for one that cannot be used."""
    for path in sorted([*folder.glob(f"*{SUFFIX}"), *folder.glob(f"*{TOKEN_SUFFIX}")]):
        if path.name != BROKER + SUFFIX and not path.name.startswith("."):
            yield read(path)


def own(
    kind: str,
    endpoints: Sequence[str],
    given: Path | None = None,
    environ: Mapping[str, str] | None = None,
    security: Mapping[str, Any] | None = None,
    root: Path | None = None,
    needed: bool = True,
) -> KeyFile | None:
    """The key of a process of this kind (OF_KIND) that connects to these endpoints; None: it needs none.
    `given`: the file that it was told. `security`: that section of the settings; `root`: the installation's
    folder. Raises SettingsError for a file that cannot be used, and, unless it is not `needed`, where there
    is none: in plain it would speak to whoever answers."""
    security, root = security or {}, Path.cwd() if root is None else root
    found = _own(kind, endpoints, given, environ or {}, security, root)
    if found is not None and not found.broker:
        raise SettingsError(f"the key '{found.name}' names no broker: it is the key of a broker itself")
    if found is None and needed and not security.get("insecure") and _asks(security, endpoints):
        folder, name = root / security.get("keys", FOLDER), f"{OF_KIND[kind][0]}{SUFFIX}"
        beyond = next((one for one in endpoints if not is_loopback(one)), None)
        what = "security.curve is on" if beyond is None else f"{beyond} is beyond this machine"
        raise SettingsError(
            f"{what}, and there is no key for it: {folder} has no {name}, and none is named (--key, key=, "
            f"{KEY_VARIABLE}; where the broker is, 'zmws keys new' makes one). Where the network itself is "
            "closed, security.insecure (ZMWS_SECURITY_INSECURE=true) says so, or in Python key=False"
        )
    return found


def _asks(security: Mapping[str, Any], endpoints: Sequence[str]) -> bool:
    """Whether brokers at these endpoints ask for a key."""
    curve = security.get("curve", "auto")
    return curve == "on" or (curve == "auto" and not all(map(is_loopback, endpoints)))


def _own(
    kind: str,
    endpoints: Sequence[str],
    given: Path | None,
    environ: Mapping[str, str],
    security: Mapping[str, Any],
    root: Path,
) -> KeyFile | None:
    named = given or environ.get(KEY_VARIABLE) or security.get("key")
    if named:
        return read(root / named if given is None else given)
    if not _asks(security, endpoints):
        return None
    folder = root / security.get("keys", FOLDER)
    for name in OF_KIND[kind]:
        if (folder / f"{name}{SUFFIX}").exists():
            return read(folder / f"{name}{SUFFIX}")
    return None


def _check(path: Path, told: dict[str, Any]) -> None:
    unknown = sorted(set(told) - set(_KEYS))
    texts = all(
        isinstance(told.get(name, ""), str) for name in ("name", "public", "secret", "broker", "role")
    )
    whole = "hash" in told if path.suffix == TOKEN_SUFFIX else {"public", "secret"} <= set(told)
    if unknown or not texts or not whole or "name" not in told:
        why = f"it has {unknown[0]!r}" if unknown else "it lacks name, public or secret, or one is no text"
        raise SettingsError(f"{path}: is no key file of zmws: {why}")
    for name in ("public", "secret", "broker"):
        if name in told and not _Z85.match(told[name]):
            raise SettingsError(f"{path}: '{name}' is no key: 40 characters of Z85 (ZeroMQ RFC 32)")
    for name in _LIMITS:
        if name in told and (not isinstance(told[name], (int, float)) or not told[name] > 0):
            raise SettingsError(f"{path}: '{name}' must be a number above 0")
    services, rights = told.get("services", []), told.get("rights", {})
    if not isinstance(services, list) or not isinstance(rights, dict):
        raise SettingsError(f"{path}: 'services' must be a list, and 'rights' a table of lists")
