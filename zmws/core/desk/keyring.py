"""zmws.keys and zmws.key: who may come in, as operators see and set it (docs/security.md).

Rule 1: no secret comes here: of a pair of keys the public one, of a token its hash.
Rule 2: a key that is revoked or changed is asked anew everywhere: its connections are cut, its workers' jobs
        go to others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from zmws.core.desk.permits import Permits
from zmws.core.desk.questions import BadQuestion
from zmws.core.host import Host
from zmws.core.job import iso
from zmws.core.key import CURVE, HASH, NAME, OPERATE, PUBLIC, TOKEN, Key, group_fault, rights_of
from zmws.core.keys import Keys
from zmws.core.question import Question
from zmws.core.rows import KeyRow
from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.core.user import public_of

LIMITS = ("rate", "bytes_rate", "waiting_max", "connections_max")
OWN_END_S = 0.5  # for the answer to leave
_OF_RIGHTS = ("role", "services", "rights")


class Keyring:
    """Lists keys, and does what is asked."""

    def __init__(
        self, turn: Turn, keys: Keys, permits: Permits, host: Host, end_sessions: Callable[[KeyRow], None]
    ) -> None:
        """`end_sessions`: of the workers, and the leases, of this key."""
        self._turn = turn
        self._keys = keys
        self._permits = permits
        self._host = host
        self._end_sessions = end_sessions
        self._cut_later = Reminder(turn.cut_key)

    def keys(self, question: Question) -> None:
        """zmws.keys: all of them, by name, unless nothing has changed since that version. The hash of a token
        is for who speaks for its bearer alone."""
        whole = self._permits.speaks_for(question)
        version = f"{self._host.life}.{self._keys.changes}"
        if question.asked.get("unless") == version:
            return question.answer(200, {"version": version})
        rows = [self._row(row, whole) for _, row in sorted(self._keys.rows.items())]
        return question.answer(200, {"keys": rows, "version": version})

    def _row(self, row: KeyRow, whole: bool) -> dict[str, Any]:
        shown = row.proof if row.kind == CURVE or whole else None
        return {
            "name": row.name,
            "kind": row.kind,
            "public": shown if row.kind == CURVE else None,
            "hash": shown if row.kind == TOKEN else None,
            "role": row.role,
            "rights": {right: list(patterns) for right, patterns in row.rights.items()},
            "group": row.group,
            **{name: getattr(row, name) for name in LIMITS},
            "made_at": iso(row.made_at),
            "by": row.by,
            "revoked_at": iso(row.revoked_at),
            "connections": self._keys.connections.get(row.proof, 0) if row.kind == CURVE else None,
            "unfinished": self._keys.unfinished_of(row.name),
        }

    def key(self, question: Question) -> None:
        """zmws.key: a new one; or change or revoke the one of that name."""
        asked = question.asked
        verb, name = asked["do"], asked["name"]
        if not NAME.match(name):
            raise BadQuestion(f"'name' is '{name[:80]}', but must be 1 to 64 characters of A-Z a-z 0-9 . _ -")
        if verb == "new":
            return self._new(question)
        row = self._keys.rows.get(name)
        if row is None or row.revoked_at is not None:
            text = f"there is no key '{name}'" if row is None else f"the key '{name}' is revoked already"
            return question.refuse(404, "unknown_key", text)
        if "proof" in asked or "kind" in asked:
            raise BadQuestion(f"'proof' and 'kind' are for 'new'; to {verb} a key takes its 'name'")
        if verb == "revoke" and self._keys.is_last(row, OPERATE):
            return self._refuse_last(question, row)
        if verb == "revoke":
            return self._keep(question, replace(row, revoked_at=self._turn.wall), "revoked")
        changes = self._limits(row.kind, {key: asked[key] for key in ("group", *LIMITS) if key in asked})
        if any(key in asked for key in _OF_RIGHTS):
            changes |= {"role": asked.get("role"), "rights": self._rights(asked)}
        if fault := group_fault(changes.get("rights", row.rights), changes.get("group", row.group)):
            raise BadQuestion(fault)
        if not changes:
            raise BadQuestion("say what to change: role, services, rights, group, or one of its limits")
        changed = replace(row, **changes)
        if self._keys.is_last(row, OPERATE) and not Key(changed).may_all(OPERATE):
            return self._refuse_last(question, row)
        return self._keep(question, changed, "changed")

    @staticmethod
    def _refuse_last(question: Question, row: KeyRow) -> None:
        text = f"'{row.name}' is the last key that may operate on everything; make another one first"
        question.refuse(409, "not_possible", text)

    def _new(self, question: Question) -> None:
        asked, keys = question.asked, self._keys
        name, kind, proof = asked["name"], asked.get("kind", CURVE), asked.get("proof", "")
        if not (PUBLIC if kind == CURVE else HASH).match(proof):
            what = "a public key: 40 characters of Z85" if kind == CURVE else "the SHA-256 of a token, in hex"
            raise BadQuestion(f"'proof' must be {what}")
        rights = self._rights(asked)
        if (fault := group_fault(rights, asked.get("group"))) is not None:
            raise BadQuestion(fault)
        old = keys.rows.get(name)
        if old is not None and old.revoked_at is None:
            text = f"there is a key '{name}' already; revoke it first, or take another name"
            return question.refuse(409, "exists", text)
        same = next((row for row in keys.rows.values() if row.proof == proof), None)
        if same is not None:
            how = "is" if same.revoked_at is None else "was revoked as"
            return question.refuse(409, "exists", f"this key {how} the key '{same.name}'; make another")
        if len(keys.rows) >= self._turn.limits.keys_max:
            text = f"there are {len(keys.rows)} keys already, the revoked ones counted (keys_max)"
            return question.refuse(429, "too_many_keys", text)
        limits = self._limits(kind, {limit: asked.get(limit) for limit in LIMITS})
        row = KeyRow(
            name=name,
            kind=kind,
            proof=proof,
            role=asked.get("role"),
            rights=rights,
            group=asked.get("group"),
            made_at=self._turn.wall,
            by=asked.get("by"),
            **limits,
        )
        if old is not None:
            self._keys.displace(old)
        left = self._keys.unfinished_of(name)
        return self._keep(
            question, row, f"made, and has the {left} jobs of the one before" if left else "made"
        )

    @staticmethod
    def _limits(kind: str, given: dict[str, Any]) -> dict[str, Any]:
        if kind == TOKEN and given.get("connections_max") is not None:
            raise BadQuestion("'connections_max' is for keys: HTTP has the gateway's connections")
        return given

    def _rights(self, asked: dict[str, Any]) -> dict[str, tuple[str, ...]]:
        try:
            return rights_of(asked.get("role"), asked.get("services"), asked.get("rights"))
        except ValueError as wrong:
            raise BadQuestion(str(wrong)) from None

    def _keep(self, question: Question, row: KeyRow, how: str) -> None:
        # Who has asked for the end of his own key is answered before he is cut.
        is_own = public_of(question.caller.peer[2]) == row.proof
        write = self._keys.keep(row, cuts=not is_own)
        if is_own:
            self._turn.timers.add(self._turn.now + OWN_END_S, self._cut_later, row.proof)
        self._end_sessions(row)
        self._turn.note("info", f"the key '{row.name}' is {how}")
        question.answer(200, self._row(row, whole=False), write)
