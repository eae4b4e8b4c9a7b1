"""Tokens: who may ask what over HTTP. They are keys of the broker's list, known by their hashes
(docs/security.md).

Rule 1: a token is 256 bits by chance, so its SHA-256 is as good as a slow hash, and quick.
Rule 2: the broker is asked each second which there are. While it is away those hold that it told last; as
        long as it has told none, nobody comes in.
Rule 3: a login in a browser is a signed text, which names its token: it ends with it, and at its own time.
Rule 4: the secret that signs them lies in a file that is its owner's alone (0600); one that others can read
        is refused.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from zmws.core.key import LOOK, OPERATE, SUBMIT, TOKEN, WORK, Key
from zmws.core.rows import KeyRow
from zmws.errors import SettingsError, ZmwsError

Role = Literal["viewer", "client", "worker", "operator"]
ROLES: tuple[Role, ...] = get_args(Role)
_RIGHT_OF: dict[Role, str] = {"viewer": LOOK, "client": SUBMIT, "worker": WORK, "operator": OPERATE}
_DIGITS = re.compile(r"[0-9]{1,12}\Z")
_LIMITS = ("rate", "bytes_rate")


@dataclass(frozen=True, slots=True)
class Who:
    """Somebody who asks: the name of the token, and its key. Without any token everybody may everything, and
    has none."""

    name: str
    key: Key | None = None

    def may(self, roles: tuple[Role, ...]) -> bool:
        """Whether this is for one of these roles; an operator may everything."""
        if self.key is None:
            return self is not NOBODY or "viewer" in roles
        return any(self.key.has(_RIGHT_OF[role]) for role in (*roles, "operator"))

    @property
    def is_only_looking(self) -> bool:
        """Whether what others keep secret is not for it."""
        if self.key is None:
            return self is NOBODY
        return not any(self.key.has(right) for right in (SUBMIT, WORK, OPERATE))

    @property
    def role(self) -> str:
        """As people are told of it."""
        return "operator" if self.key is None else self.key.row.role or "its rights"


ANYBODY = Who("")
NOBODY = Who("")  # at a door that is open to everybody


class Tokens:
    """Those that there are now."""

    def __init__(self, path: Path) -> None:
        """`path`: of the secret that signs logins. Raises SettingsError where that cannot be used."""
        self.path = path
        self.is_known = False  # the broker has told
        self.version: str | None = None  # of what it told
        self.were_any = False  # also if all of them were revoked since
        self._told: dict[str, tuple[Any, ...]] = {}  # by name
        self._known: dict[str, Who] = {}
        self._by_hash: dict[str, Who] = {}
        self._secret = _secret_in(path)

    def __bool__(self) -> bool:
        return bool(self._known)

    def names(self) -> set[str]:
        """Of all of them."""
        return set(self._known)

    def take(self, answer: Mapping[str, Any]) -> None:
        """What zmws.keys has answered. A token that is as it was keeps what it has used up. Raises ZmwsError
        where it does not tell what is needed."""
        if "keys" not in answer:
            return  # nothing has changed since
        if any(_is_live(row) and not row["hash"] for row in answer["keys"]):
            self.is_known = False
            raise ZmwsError(
                "the broker does not tell this gateway by what tokens are known: its key has no right "
                "'speak_for' (the role gateway has it), so nobody comes in by HTTP"
            )
        self.is_known = True
        self.were_any = any(row["kind"] == TOKEN for row in answer["keys"])
        self.version = answer.get("version")
        rows = {row["name"]: row for row in answer["keys"] if _is_live(row)}
        told = {name: _said(row) for name, row in rows.items()}
        self._known = {
            name: self._known[name] if self._told.get(name) == told[name] else Who(name, Key(_row(row)))
            for name, row in rows.items()
        }
        self._told = told
        self._by_hash = {row["hash"]: self._known[name] for name, row in rows.items()}

    # ------------------------------------------------------------ who it is

    def who(self, token: str) -> Who | None:
        """Whose token this is; None if it is none."""
        return self._by_hash.get(hash_of(token))

    def is_valid(self, who: Who) -> bool:
        """Whether somebody who came in still may. Without a token that is so until there is one."""
        return not self.were_any if who.key is None else self._known.get(who.name) is who

    def cookie(self, who: Who, lasts_s: float, now: float) -> str:
        """What a browser is given in exchange for a token."""
        said = f"{who.name}.{int(now + lasts_s)}"
        return f"{said}.{self._sign(said)}"

    def who_has(self, cookie: str, now: float) -> Who | None:
        """Whose login this is; None if it is none, or is over."""
        said, _, signed = cookie.rpartition(".")
        name, _, until = said.rpartition(".")
        who = self._known.get(name)
        if who is None or not _DIGITS.match(until) or int(until) <= now:
            return None
        if not hmac.compare_digest(signed.encode(), self._sign(said).encode()):
            return None
        return who

    def _sign(self, said: str) -> str:
        who = self._known.get(said.rpartition(".")[0])
        proof = "" if who is None or who.key is None else who.key.row.proof
        return hmac.new(self._secret, f"{said}.{proof}".encode(), hashlib.sha256).hexdigest()


def hash_of(token: str) -> str:
    """What is known of a token."""
    return hashlib.sha256(token.encode(errors="replace")).hexdigest()


def _is_live(row: Mapping[str, Any]) -> bool:
    return row["kind"] == TOKEN and row["revoked_at"] is None


def _said(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """What makes it another."""
    return (row["hash"], row["role"], json.dumps(row["rights"]), row["group"], *(row[one] for one in _LIMITS))


def _row(row: Mapping[str, Any]) -> KeyRow:
    rights: dict[str, Iterable[str]] = row["rights"]
    return KeyRow(
        name=row["name"],
        kind=TOKEN,
        proof=row["hash"],
        role=row["role"],
        rights={right: tuple(patterns) for right, patterns in rights.items()},
        group=row["group"],
        rate=row["rate"],
        bytes_rate=row["bytes_rate"],
    )


def _secret_in(path: Path) -> bytes:
    """Made, where there is none. Raises SettingsError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            made = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _secret_read(path)
        secret = secrets.token_bytes(32)
        with os.fdopen(made, "w") as file:
            json.dump({"key": secret.hex(), "tokens": {}}, file)
            file.flush()
            os.fsync(file.fileno())
        return secret
    except OSError as wrong:
        raise SettingsError(f"{path}: cannot be used for the secret of logins: {wrong.strerror}") from None


def _secret_read(path: Path) -> bytes:
    with path.open() as file:
        mode = os.fstat(file.fileno()).st_mode & 0o777
        if mode & 0o077:
            raise SettingsError(f"{path}: others may read it (mode {mode:o}); chmod 600 {path}")
        try:
            secret = bytes.fromhex(json.load(file)["key"])
        except (ValueError, KeyError, TypeError):
            secret = b""
    if len(secret) < 16:
        raise SettingsError(f"{path}: holds no secret of logins; move it away, and it is made anew")
    return secret
