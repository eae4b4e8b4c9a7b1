"""A key: who somebody is, and what he may (docs/security.md).

Rule 1: a right holds for services, by pattern: `*` stands for any characters. What is about more than one
        service needs the right for all of them, "*".
Rule 2: a key of a group stands for one tenant: it makes jobs of that group, sees those, and nothing that is
        about others too.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

from zmws.core.rows import KeyRow
from zmws.core.user import name_in

SUBMIT, WORK, LOOK, OPERATE, SPEAK_FOR = RIGHTS = ("submit", "work", "look", "operate", "speak_for")
ROLES: dict[str, tuple[str, ...]] = {
    "client": (SUBMIT,),
    "worker": (WORK,),
    "viewer": (LOOK,),
    "operator": (SUBMIT, WORK, LOOK, OPERATE),
    "gateway": RIGHTS,
}
KINDS = CURVE, TOKEN = ("curve", "token")
NAME = re.compile(r"(?!\.)[A-Za-z0-9._-]{1,64}\Z")
PATTERN = re.compile(r"[^\s\[\]/]{1,255}\Z")
PUBLIC = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}\Z")  # Z85 (ZeroMQ RFC 32) of 32 bytes
HASH = re.compile(r"[0-9a-f]{64}\Z")
PATTERNS_MAX = 100  # of one right
_ASKED_MAX = 10_000  # services that are remembered for one right of a key
EVERYTHING = ("*",)


@dataclass(slots=True)
class Key:
    """One that is not revoked."""

    row: KeyRow
    _patterns: dict[str, re.Pattern[str]] = field(default_factory=dict)
    _known: dict[tuple[str, str], bool] = field(default_factory=dict)
    _room: dict[str, tuple[float, float]] = field(default_factory=dict)  # how much is left, and since when

    @property
    def name(self) -> str:
        """By which it is known to people, too."""
        return self.row.name

    def has(self, right: str) -> bool:
        """Whether it has a right for any service."""
        return bool(self.row.rights.get(right))

    def may(self, right: str, service: str) -> bool:
        """Whether it has a right for this service."""
        known = self._known.get((right, service))
        if known is None:
            if len(self._known) >= _ASKED_MAX:
                self._known.clear()
            known = self._known[right, service] = self._matches(right, service)
        return known

    def may_all(self, right: str) -> bool:
        """Whether it has a right for whatever there is, of any group."""
        return "*" in self.row.rights.get(right, ()) and self.row.group is None

    def shares(self, by: str | None, group: str | None) -> bool:
        """Whether what was opened by somebody of this name, or for this group, is its own."""
        return (by is not None and name_in(by) == self.row.name) or (
            group is not None and group == self.row.group
        )

    def _matches(self, right: str, service: str) -> bool:
        patterns = self.row.rights.get(right)
        if not patterns:
            return False
        compiled = self._patterns.get(right)
        if compiled is None:
            text = "|".join(".*".join(map(re.escape, one.split("*"))) for one in patterns)
            compiled = self._patterns[right] = re.compile(f"(?:{text})\\Z", re.DOTALL)
        return compiled.match(service) is not None

    # ------------------------------------------------------------ how much

    def limit(self, now: float, unfinished: int) -> tuple[str, str] | None:
        """Why it may submit no job now, as a code and a text; None if it may. `unfinished`: how many jobs of
        its have not ended."""
        row = self.row
        if row.waiting_max is not None and unfinished >= row.waiting_max:
            text = f"the key '{row.name}' has {unfinished} unfinished jobs already (its waiting_max)"
            return "queue_full", text
        if row.rate is not None and self._left("rate", row.rate, now) < 1.0:
            text = f"the key '{row.name}' submits more than {row.rate:g} jobs a second (its rate)"
            return "rate_limited", text
        if row.bytes_rate is not None and self._left("bytes_rate", row.bytes_rate, now) <= 0.0:
            most = f"{row.bytes_rate:g} bytes a second"
            return "rate_limited", f"the key '{row.name}' submits more than {most} (its bytes_rate)"
        return None

    def gave_back(self, size: int) -> None:
        """What it has submitted was there already, or was refused: it is as if it had not."""
        for name, amount in (("rate", 1.0), ("bytes_rate", float(size))):
            most = getattr(self.row, name)
            if most is not None and name in self._room:
                left, since = self._room[name]
                self._room[name] = (min(max(most, 1.0), left + amount), since)

    def used(self, now: float, size: int) -> None:
        """It has submitted a job of so many bytes. One may be larger than a second's worth: what follows
        waits for that."""
        for name, amount in (("rate", 1.0), ("bytes_rate", float(size))):
            most = getattr(self.row, name)
            if most is not None:
                self._room[name] = (self._left(name, most, now) - amount, now)

    def _left(self, name: str, most: float, now: float) -> float:
        """Of what a second brings; so much may be saved up, but at least one."""
        top = max(most, 1.0)
        left, since = self._room.get(name, (top, now))
        return min(top, left + most * max(0.0, now - since))


def rights_of(role: str | None, services: Any, more: Any) -> dict[str, tuple[str, ...]]:
    """The rights of a role for these services, and more by name. Raises ValueError: what is wrong."""
    if role is not None and role not in ROLES:
        raise ValueError(f"'{role}' is no role; there are {', '.join(ROLES)}")
    patterns = EVERYTHING if services is None else _patterns(services, "'services'")
    rights: dict[str, tuple[str, ...]] = dict.fromkeys(ROLES[role] if role is not None else (), patterns)
    if not isinstance(more or {}, dict):
        raise ValueError("'rights' must be an object: a list of patterns for each right")
    for right, given in (more or {}).items():
        if right not in RIGHTS:
            raise ValueError(f"'{right[:80]}' is no right; there are {', '.join(RIGHTS)}")
        known = rights.get(right, ())
        rights[right] = (*known, *(one for one in _patterns(given, f"'{right}'") if one not in known))
    if not rights:
        raise ValueError(f"a key needs a 'role' ({', '.join(ROLES)}), or 'rights' of its own")
    if SPEAK_FOR in rights:
        rights[SPEAK_FOR] = EVERYTHING  # it is about people, and not about services
    return rights


def group_fault(rights: dict[str, tuple[str, ...]], group: str | None) -> str | None:
    """Why these rights are not for a group; None if they may be."""
    if group is None or WORK not in rights:
        return None
    return "a worker gets the jobs of all groups: a key of a group has no right 'work'"


def unique_of(group: str, unique: str) -> str:
    """The unique key that jobs of a tenant have: no other tenant can hold it."""
    mine = group.replace("%", "%25").replace("/", "%2F") + "/"
    return unique if unique.startswith(mine) else mine + unique


def _patterns(given: Any, what: str) -> tuple[str, ...]:
    if not isinstance(given, (list, tuple)) or not 0 < len(given) <= PATTERNS_MAX:
        raise ValueError(f"{what} must be a list of 1 to {PATTERNS_MAX} patterns of services")
    for one in given:
        if not isinstance(one, str) or not one.isprintable() or not PATTERN.match(one):
            raise ValueError(f"{what} has {str(one)[:80]!a}, which is no pattern of services, such as IMG-*")
    return tuple(dict.fromkeys(given))
