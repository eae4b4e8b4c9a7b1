"""Tokens: who may ask what over HTTP. The file holds no token, only what tells whether a text is one.

Rule 1: a token is 256 bits by chance, so its SHA-256 is as good as a slow hash, and quick.
Rule 2: the file is for its owner alone (0600); one that others can read is refused.
Rule 3: a change of the file holds within a second, without a restart. One that is gone, or cannot be used any
        more, lets nobody in, until it is right again: only a file that lists no token says that there is
        none.
Rule 4: a login in a browser is a signed text, which names its token: it ends with it, and at its own time.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import logging
import os
import re
import secrets
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from zmws.errors import SettingsError, ZmwsError

log = logging.getLogger("zmws.gateway")

Role = Literal["viewer", "client", "worker", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
NAME = re.compile(r"[A-Za-z0-9._-]{1,64}\Z")
PREFIX = "zmws_"
_DIGITS = re.compile(r"[0-9]{1,12}\Z")
_LOOK_S = 1.0  # how often the file may be looked at


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks: the name of the token, and what it may. Without any token everybody is an
    operator."""

    name: str
    role: Role

    def may(self, roles: tuple[Role, ...]) -> bool:
        """Whether this is for one of these roles; an operator may everything."""
        return self.role == "operator" or self.role in roles


ANYBODY = Who("", "operator")
NOBODY = Who("", "viewer")  # at a door that is open to everybody


class Tokens:
    """The file, and what it says now."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: dict[str, dict[str, Any]] = {}  # by name
        self._by_hash: dict[str, Who] = {}
        self._key = b""
        self._mark: tuple[int, ...] | None = None
        self._closed = False  # the file there was cannot be used: nobody comes in
        self._looked_at = 0.0
        self.load()

    def __bool__(self) -> bool:
        self._look()
        return self._closed or bool(self._known)

    @property
    def is_closed(self) -> bool:
        """Whether the file cannot be used, so that nobody comes in."""
        self._look()
        return self._closed

    def names(self) -> set[str]:
        """Of all of them."""
        return set(self._known)

    def rows(self) -> list[dict[str, Any]]:
        """What is known of each: name, role, made_at."""
        return [
            {"name": name, "role": row["role"], "made_at": row["made_at"]}
            for name, row in self._known.items()
        ]

    # ------------------------------------------------------------ who it is

    def who(self, token: str) -> Who | None:
        """Whose token this is; None if it is none."""
        self._look()
        return self._by_hash.get(_hash(token))

    def cookie(self, who: Who, lasts_s: float, now: float) -> str:
        """What a browser is given in exchange for a token."""
        said = f"{who.name}.{int(now + lasts_s)}"
        return f"{said}.{self._sign(said)}"

    def who_has(self, cookie: str, now: float) -> Who | None:
        """Whose login this is; None if it is none, or is over."""
        self._look()
        said, _, signed = cookie.rpartition(".")
        name, _, until = said.rpartition(".")
        row = self._known.get(name)
        if row is None or not _DIGITS.match(until) or int(until) <= now:
            return None
        if not hmac.compare_digest(signed.encode(), self._sign(said).encode()):
            return None
        return Who(name, row["role"])

    def _sign(self, said: str) -> str:
        row = self._known.get(said.rpartition(".")[0], {})
        text = f"{said}.{row.get('hash', '')}".encode()
        return hmac.new(self._key, text, hashlib.sha256).hexdigest()

    # ------------------------------------------------------------ the file

    def _look(self) -> None:
        now = time.monotonic()
        if now - self._looked_at < _LOOK_S:
            return
        self._looked_at = now
        if self._mark == _mark_of(self.path):
            return
        try:
            had = self._closed or bool(self._known)
            self.load()
            if had and self._mark is None:
                raise SettingsError(f"{self.path} is gone")
            self._closed = False
        except SettingsError as wrong:
            log.error("nobody comes in by HTTP until the tokens can be read again: %s", wrong)
            self._known, self._by_hash, self._closed = {}, {}, True

    def load(self) -> None:
        """Read it anew. Raises SettingsError where it cannot be used."""
        self._mark = _mark_of(self.path)
        try:
            with self.path.open() as file:
                mode = os.fstat(file.fileno()).st_mode & 0o777
                told = json.load(file)
            if mode & 0o077:
                raise SettingsError(f"{self.path}: others may read it (mode {mode:o}); chmod 600 {self.path}")
            known, key = told["tokens"], bytes.fromhex(told["key"])
            by_hash = {row["hash"]: Who(name, row["role"]) for name, row in known.items()}
        except FileNotFoundError:
            known, key, by_hash = {}, b"", {}
        except OSError as wrong:
            raise SettingsError(f"{self.path}: cannot be read: {wrong.strerror}") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise SettingsError(
                f"{self.path}: is no file of tokens; move it away, and make them anew"
            ) from None
        self._known, self._key, self._by_hash = known, key, by_hash

    def new(self, name: str, role: Role) -> str:
        """Make a token, which nobody can be told again. Raises ZmwsError for a name that there is."""
        if not NAME.match(name):
            raise ZmwsError(f"'{name}' is no name of a token: 1 to 64 characters of A-Z a-z 0-9 . _ -")
        token = PREFIX + secrets.token_urlsafe(32)
        made_at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        with self._alone():
            if name in self._known:
                raise ZmwsError(f"there is a token '{name}' already; delete it first, or take another name")
            self._write({**self._known, name: {"role": role, "hash": _hash(token), "made_at": made_at}})
        return token

    def delete(self, name: str) -> None:
        """It is none any more, and every login by it is over. Raises ZmwsError."""
        with self._alone():
            if name not in self._known:
                raise ZmwsError(f"there is no token '{name}'; there are {', '.join(self._known) or 'none'}")
            self._write({one: row for one, row in self._known.items() if one != name})

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile, and what is known is what stands in it. Raises
        ZmwsError."""
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = os.open(self.path.with_name(f"{self.path.name}.lock"), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as wrong:
            raise ZmwsError(f"cannot write {self.path}: {wrong.strerror}") from None
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.load()
            yield
        finally:
            os.close(lock)

    def _write(self, known: Mapping[str, Any]) -> None:
        key = self._key or secrets.token_bytes(32)
        try:
            descriptor, new = tempfile.mkstemp(prefix=f"{self.path.name}.", dir=self.path.parent)  # 0600
            with os.fdopen(descriptor, "w") as file:
                json.dump({"key": key.hex(), "tokens": known}, file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            Path(new).replace(self.path)
        except OSError as wrong:
            raise ZmwsError(f"cannot write {self.path}: {wrong.strerror}") from None
        self.load()


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _mark_of(path: Path) -> tuple[int, ...] | None:
    try:
        told = path.stat()
    except OSError:
        return None
    return told.st_ino, told.st_mtime_ns, told.st_ctime_ns, told.st_size, told.st_mode
