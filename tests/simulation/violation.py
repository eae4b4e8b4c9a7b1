"""How an invariant complains."""

from __future__ import annotations


class Violation(AssertionError):
    """An invariant is broken."""


def demand(true: bool, text: str) -> None:
    """This must hold."""
    if not true:
        raise Violation(text)
