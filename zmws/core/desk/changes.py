"""Which questions change something: a client that repeats one says so (asks.py)."""

from __future__ import annotations

_VERBS = "cancel delete drain extend forget pause purge report resume retry"
CHANGES = frozenset(f"zmws.{verb}" for verb in _VERBS.split())
