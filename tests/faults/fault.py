"""A fault: one small piece of one file's text, and what stands there instead."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

KINDS = ("comparison", "condition", "and-or", "statement", "constant")


@dataclass(frozen=True)
class Place:
    """Where a fault of one kind may be put. `options` are the texts that may stand there instead.

    Start and end are offsets of bytes, as `ast` counts them.
    """

    path: Path
    line: int
    last_line: int
    column: int
    kind: str
    start: int
    end: int
    options: tuple[bytes, ...]
    statement: tuple[int, int]  # the lines of the statement around it; of its head, if it has a body
    at_import: bool  # it runs when the module is imported, before any test


@dataclass(frozen=True)
class Fault:
    """One place with the text that is put there."""

    place: Place
    option: bytes

    def changed(self, source: bytes) -> bytes:
        return source[: self.place.start] + self.option + source[self.place.end :]

    def shown(self, source: bytes) -> tuple[str, str]:
        """The line before and after; what runs over several lines is put into one."""
        first = source.rfind(b"\n", 0, self.place.start) + 1
        last = source.find(b"\n", self.place.end)
        last = len(source) if last < 0 else last
        after = source[first : self.place.start] + self.option + source[self.place.end : last]
        return _one_line(source[first:last]), _one_line(after)

    def diff(self, source: bytes, name: str) -> str:
        before = source.decode().splitlines(keepends=True)
        after = self.changed(source).decode().splitlines(keepends=True)
        return "".join(difflib.unified_diff(before, after, name, f"{name} with a fault"))


def _one_line(text: bytes) -> str:
    return " ".join(text.decode().split())
