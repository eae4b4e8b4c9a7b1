"""The keys that there are: who comes in at which socket, and who is who (docs/security.md).

Rule 1: a socket that asks for no proof has peers without a user (""), and they may everything: it is for this
        machine alone, or the settings say `insecure`.
Rule 2: a user is a public key and an address, as the shell gives them with each connection. One that is
        revoked is nobody from that moment on: what still comes from it is dropped.
Rule 3: a key that was revoked stays known, so that the file of it cannot bring it back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from zmws.core.items import Item, services_of
from zmws.core.key import CURVE, LOOK, OPERATE, SPEAK_FOR, SUBMIT, WORK, Key
from zmws.core.options import JobOptions
from zmws.core.rows import KeyRow
from zmws.core.turn import Turn
from zmws.core.user import public_of
from zmws.core.writes import WriteKey

# A right for any service lets a key in at a socket. News are about all of them, so they need more.
_DOORS = {
    "client": (SUBMIT, LOOK, OPERATE, WORK, SPEAK_FOR),
    "worker": (WORK,),
    "mdp": (SUBMIT, WORK),
}


class Keys:
    """All of them, by name and by what proves them."""

    def __init__(self, turn: Turn, imported: Sequence[KeyRow] = ()) -> None:
        """`imported`: those that lie in files, and are taken in at the start."""
        self._turn = turn
        self._imported = imported
        self.rows: dict[str, KeyRow] = {}
        self.changes = 0  # how often they have
        self.connections: dict[str, int] = {}  # by public key, as the shell has seen them
        self._live: dict[str, Key] = {}  # by what proves them
        self._unfinished: Counter[str] = Counter()  # jobs that have not ended, by the name of their key

    def recover(self, rows: Sequence[KeyRow], unfinished: Sequence[tuple[str, int]]) -> None:
        """What the store has, and what lies in files beside it."""
        for row in rows:
            self._take(row)
        self._unfinished.update(dict(unfinished))
        proofs = {row.proof for row in self.rows.values()}
        for row in self._imported:
            known = self.rows.get(row.name)
            if known is None and row.proof in proofs:
                self._turn.note("warning", f"the key '{row.name}' is known by another name, and not taken in")
            elif known is None and len(self.rows) >= self._turn.limits.keys_max:
                self._turn.note("warning", f"the key '{row.name}' is not taken in: keys_max is reached")
            elif known is None:
                self._turn.note("info", f"the key '{row.name}' is taken in")
                self.keep(replace(row, made_at=row.made_at or self._turn.wall))
            elif known.proof != row.proof and row.proof not in proofs:
                # The folder is the broker's own: what lies there was put there by who may.
                self._turn.note(
                    "warning", f"the key '{row.name}' of its file takes the place of the one before"
                )
                self.displace(known)
                self.keep(replace(row, made_at=row.made_at or self._turn.wall))
            elif known.proof != row.proof:
                text = f"the file of the key '{row.name}' is a key of before, and is not taken in"
                self._turn.note("warning", text)

    def __bool__(self) -> bool:
        return bool(self._live)

    # ------------------------------------------------------------ who it is

    def of(self, user: str) -> Key | None:
        """The key of a user, None if it is none any more."""
        return self._live.get(public_of(user))

    def refused_at(self, socket: str, public: str) -> str | None:
        """Why this public key may not connect to a socket; None if it may."""
        key = self._live.get(public)
        if key is None or key.row.kind != CURVE:
            return "a key that is not known here, or was revoked"
        if socket == "news":
            if key.may_all(LOOK):
                return None
            return f"the key '{key.name}', which may not look at all services"
        if not any(key.has(right) for right in _DOORS[socket]):
            return f"the key '{key.name}', which has no right that this socket is for"
        most = key.row.connections_max
        if most is not None and self.connections.get(public, 0) >= most:
            return f"the key '{key.name}', which has {most} connections already (its connections_max)"
        return None

    # ------------------------------------------------------------ what it may

    def options_of(self, user: str, service: str, options: JobOptions) -> tuple[JobOptions, str | None]:
        """The options of a job that a user asks for, and why it may not."""
        if not user:
            return options, None
        key = self.of(user)
        if key is None:
            return options, REVOKED
        fault = self._job_fault(key, service, options.group)
        for name in (options.on_complete, options.on_failed):
            if fault is None and name is not None:
                fault = self._job_fault(key, name, None)
        if key.row.group is not None and fault is None:
            options = replace(options, group=key.row.group)  # not in place: most requests share theirs
        return options, fault

    def follow_up_fault(self, user: str, item: Item) -> str | None:
        """Why a user's worker may not have this follow from its job. One that works for all services may."""
        key = self.of(user)
        return None if key is not None and key.may_all(WORK) else self.item_fault(user, item)

    def item_fault(self, user: str, item: Item) -> str | None:
        """Why a user may not ask for what an item says, None if it may; its group is set."""
        if not user:
            return None
        key = self.of(user)
        if key is None:
            return REVOKED
        for where, name in services_of(item):
            fault = missing(key, SUBMIT, name)
            if fault is not None:
                return f"{where}{fault}"
        if key.row.group is not None:
            for given in (item.options.group, *(step.get("group") for step in item.rest)):
                if given not in (None, key.row.group):
                    return _other_group(key)
            item.options = replace(item.options, group=key.row.group)
            item.rest = [{**step, "group": key.row.group} for step in item.rest]
        return None

    def may_see(self, user: str, group: str | None) -> bool:
        """Whether a user may be told of a job of this group."""
        key = self.of(user) if user else None
        return key is None or key.row.group in (None, group)

    def work_fault(self, user: str, services: Sequence[str]) -> str | None:
        """Why a user may not work for these services, None if it may."""
        if not user:
            return None
        key = self.of(user)
        if key is None:
            return REVOKED
        return next((fault for name in services if (fault := missing(key, WORK, name)) is not None), None)

    def _job_fault(self, key: Key, service: str, group: str | None) -> str | None:
        if key.row.group is not None and group not in (None, key.row.group):
            return _other_group(key)
        return missing(key, SUBMIT, service)

    # ------------------------------------------------------------ how much

    def limit(self, user: str) -> tuple[str, str] | None:
        """Why a user may submit no job now, as a code and a text; None if it may."""
        key = self.of(user) if user else None
        return None if key is None else key.limit(self._turn.now, self._unfinished[key.name])

    def submitted(self, user: str, size: int) -> str | None:
        """A user has submitted a job of so many bytes: whose that is."""
        key = self.of(user) if user else None
        if key is None:
            return None
        key.used(self._turn.now, size)
        return key.name

    def moved(self, submitter: str, more: int) -> None:
        """So many more jobs of this name are unfinished: its own, though its key is another by now."""
        self._unfinished[submitter] += more
        if not self._unfinished[submitter]:
            del self._unfinished[submitter]

    def unfinished_of(self, name: str) -> int:
        """Jobs that a key has submitted and that have not ended."""
        return self._unfinished[name]

    # ------------------------------------------------------------ changing them

    def displace(self, old: KeyRow) -> None:
        """Its name is another's from now on. What proved it stays known as revoked, so that it never comes
        back."""
        n = 1
        while f"{old.name}~{n}" in self.rows:
            n += 1
        if old.kind == CURVE:
            self._turn.cut_key(old.proof)
        del self.rows[old.name]
        self._live.pop(old.proof, None)
        at = old.revoked_at if old.revoked_at is not None else self._turn.wall
        self.keep(replace(old, name=f"{old.name}~{n}", revoked_at=at))

    def is_last(self, row: KeyRow, right: str) -> bool:
        """Whether this key alone may do this with everything."""
        able = [key.row for key in self._live.values() if key.row.kind == CURVE and key.may_all(right)]
        return able == [row]

    def keep(self, row: KeyRow, cuts: bool = True) -> WriteKey:
        """It is as it stands here from now on. `cuts`: whoever came by it is cut now."""
        old = self.rows.get(row.name)
        if cuts and old is not None and old.kind == CURVE:
            self._turn.cut_key(old.proof)  # whoever may still come is asked anew
        self._take(row)
        write = WriteKey(row)
        self._turn.write_for(write, None)
        return write

    def _take(self, row: KeyRow) -> None:
        old = self.rows.get(row.name)
        self.rows[row.name] = row
        self.changes += 1
        if old is not None:
            self._live.pop(old.proof, None)
        if row.revoked_at is None:
            self._live[row.proof] = Key(row)


REVOKED = "the key was revoked"


def missing(key: Key, right: str, service: str) -> str | None:
    """What a key lacks to do this with jobs of a service; None if nothing."""
    if key.may(right, service):
        return None
    return f"the key '{key.name}' has no right '{right}' for the service '{service[:255]}'"


def _other_group(key: Key) -> str:
    return f"the key '{key.name}' is for jobs of the group '{key.row.group}' alone"
