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
from zmws.core.key import CURVE, LOOK, OPERATE, SPEAK_FOR, SUBMIT, WORK, Key, unique_of
from zmws.core.options import JobOptions
from zmws.core.rows import KeyRow, KnownBatch
from zmws.core.turn import Turn
from zmws.core.user import name_in, public_of
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

    # ------------------------------------------------------------ who it is

    def of(self, user: str) -> Key | None:
        """The key of a user, None if it is none any more."""
        return self._live.get(public_of(user))

    def acting(self, user: str, by: str | None) -> Key | None:
        """For whom a user submits: for the key or token of this name, if there is one and the user may say
        so; else by its own key. None: nobody was asked who it is, or it was revoked."""
        key = self.of(user) if user else None
        row = None if by is None else self.rows.get(name_in(by))
        if row is None or (user and (key is None or not key.has(SPEAK_FOR))):
            return key
        return self._live.get(row.proof) or key

    def speaker_fault(self, by: str | None) -> str | None:
        """Why nobody submits for this one any more, None if somebody may."""
        row = None if by is None else self.rows.get(name_in(by))
        return None if row is None or row.revoked_at is None else REVOKED

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

    def service_fault(self, user: str, service: str) -> str | None:
        """Why a user may submit no job of this service, None if it may."""
        key = self.of(user)
        return REVOKED if key is None else missing(key, SUBMIT, service)

    def options_of(self, user: str, service: str, options: JobOptions) -> tuple[JobOptions, str | None]:
        """The options of a job that a user asks for, and why it may not."""
        gone = self.speaker_fault(options.by)
        if not user or gone is not None:
            return options, gone
        key = self.of(user)
        if key is None:
            return options, REVOKED
        fault = _by_fault(key, options.by)
        if fault is not None:
            return options, fault
        for name in (service, options.on_complete, options.on_failed):
            if name is not None and (fault := missing(key, SUBMIT, name)) is not None:
                return options, fault
        if key.row.group is None:
            return options, None
        return bound(key, options)

    def follow_up_fault(self, user: str, by: str | None, item: Item) -> str | None:
        """Why a user's worker may not have this follow from its job. One that works for all services may.
        `by`: as in `acting`."""
        key, gone = self.acting(user, by), self.speaker_fault(by)
        if key is None or gone is not None:
            return REVOKED if user else gone
        return None if key.may_all(WORK) else _item_fault(key, item)

    def follow_up_joining_fault(self, user: str, by: str | None, batch: KnownBatch) -> str | None:
        """Why what follows from a job of a user's worker may not be added to this batch. One that works for
        all services may. `by`: as in `acting`."""
        key = self.acting(user, by)
        if key is not None and key.may_all(WORK):
            return None
        return self.joining_fault(user, by, batch)

    def group_of(self, submitter: str | None) -> str | None:
        """Of which tenant the key of this name is, None if it is of none."""
        row = None if submitter is None else self.rows.get(submitter)
        return None if row is None else row.group

    def item_fault(self, user: str, item: Item) -> str | None:
        """Why a user may not ask for what an item says, None if it may; its group is set."""
        gone = self.speaker_fault(item.options.by)
        if not user or gone is not None:
            return gone
        key = self.of(user)
        if key is None:
            return REVOKED
        return _item_fault(key, item)

    def may_see(self, user: str, by: str | None, group: str | None) -> bool:
        """Whether a user may be told of a job of this group. `by`: as in `acting`."""
        key = self.acting(user, by)
        return key is None or key.row.group in (None, group)

    def joining_fault(self, user: str, by: str | None, batch: KnownBatch) -> str | None:
        """Why a user may not add to a batch, None if it may. `by`: as in `acting`."""
        key = self.acting(user, by)
        return None if key is None else batch_fault(key, (SUBMIT,), batch.by, batch.group)

    def work_fault(self, user: str, services: Sequence[str]) -> str | None:
        """Why a user may not work for these services, None if it may."""
        if not user:
            return None
        key = self.of(user)
        if key is None:
            return REVOKED
        return next((fault for name in services if (fault := missing(key, WORK, name)) is not None), None)

    # ------------------------------------------------------------ how much

    def limit(self, user: str, by: str | None, more: int = 0) -> tuple[str, str] | None:
        """Why a user may submit no job now, as a code and a text; None if it may. `by`: as in `acting`.
        `more`: what counts as unfinished, too."""
        key = self.acting(user, by)
        return None if key is None else key.limit(self._turn.now, self._unfinished[key.name] + more)

    def submitted(self, user: str, by: str | None, size: int) -> str | None:
        """A user has submitted a job of so many bytes: whose that is. `by`: as in `acting`."""
        key = self.acting(user, by)
        if key is None:
            return None
        key.used(self._turn.now, size)
        return key.name

    def gave_back(self, submitter: str, size: int) -> None:
        """What was submitted by this name, so many bytes, was there already, or was refused."""
        self.moved(submitter, -1)
        row = self.rows.get(submitter)
        key = None if row is None else self._live.get(row.proof)
        if key is not None:
            key.gave_back(size)

    def name_of(self, user: str) -> str | None:
        """Under which name a user is known, None if under none."""
        key = self.of(user) if user else None
        return None if key is None else key.name

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
        """Whether this key alone may do this with everything. A gateway's is for no person."""
        able = [
            key.row
            for key in self._live.values()
            if key.row.kind == CURVE and key.may_all(right) and not key.has(SPEAK_FOR)
        ]
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


def _item_fault(key: Key, item: Item) -> str | None:
    """Why a key may not ask for what an item says, None if it may; its group is set."""
    if (fault := _by_fault(key, item.options.by)) is not None:
        return fault
    for where, name in services_of(item):
        fault = missing(key, SUBMIT, name)
        if fault is not None:
            return f"{where}{fault}"
    if key.row.group is None:
        return None
    if any(step.get("group") not in (None, key.row.group) for step in item.rest):
        return other_group(key)
    item.rest = [{**step, "group": key.row.group} for step in item.rest]
    item.options, fault = bound(key, item.options)
    return fault


def _by_fault(key: Key, by: str | None) -> str | None:
    """Why a key may not submit for whom this names, None if it may."""
    if by in (None, key.name) or key.has(SPEAK_FOR):
        return None
    return f"the key '{key.name}' has no right '{SPEAK_FOR}', and 'by' names another"


def batch_fault(key: Key, rights: Sequence[str], by: str | None, group: str | None) -> str | None:
    """Why a key may not do what takes one of these rights with a batch; None if it may. Its jobs may be of
    any service: who has no right for all may with what is its own, or its tenant's."""
    if any(key.may_all(right) for right in rights) or key.shares(by, group):
        return None
    named = " or ".join(f"'{right}'" for right in rights)
    return f"the batch is another's, and the key '{key.name}' has no right {named} for all services"


def bound(key: Key, options: JobOptions) -> tuple[JobOptions, str | None]:
    """The options of a job of the tenant whose key this is, and why there can be none."""
    group = key.row.group
    assert group is not None, key.name
    if options.group not in (None, group):
        return options, other_group(key)
    unique = None if options.unique is None else unique_of(group, options.unique)
    return replace(options, group=group, unique=unique), None  # not in place: most requests share theirs


def other_group(key: Key) -> str:
    """Why a key does not name another group than its own."""
    return f"the key '{key.name}' is for jobs of the group '{key.row.group}' alone"
