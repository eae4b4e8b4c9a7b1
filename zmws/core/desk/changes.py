"""Which questions change something: a client that repeats one says so (asks.py)."""

from __future__ import annotations

_VERBS = "cancel copy delete drain extend forget limit mark pause purge report resume retry"
CHANGES = frozenset(f"zmws.{verb}" for verb in _VERBS.split())
