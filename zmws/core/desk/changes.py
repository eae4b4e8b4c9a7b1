"""Which questions change something: a client that repeats one says so (asks.py); and which of them the audit
has, where they say who acts (audit.py)."""

from __future__ import annotations

_VERBS = (
    *("acted", "cancel", "close", "copy", "delete", "drain", "extend", "forget", "key", "limit", "mark"),
    *("open", "pause", "purge", "report", "resume", "retry", "schedule"),
)
CHANGES = frozenset(f"zmws.{verb}" for verb in _VERBS)
OF_PROGRAMS = frozenset({"zmws.extend", "zmws.report", "zmws.open"})  # no operator asks these
AUDITED = CHANGES - OF_PROGRAMS
SPOKEN = CHANGES | {"zmws.lease"}  # that say for whom they are asked
