"""Where each table and key of a TOML text stands: tomllib tells no positions, and an error should."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

_PART = r"""(?:[A-Za-z0-9_-]+|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')"""
_DOTTED = rf"(?P<key>{_PART}(?:[ \t]*\.[ \t]*{_PART})*)"
_HEADER = re.compile(rf"[ \t]*(?P<open>\[\[?)[ \t]*{_DOTTED}[ \t]*\]\]?")
_KEY = re.compile(rf"[ \t]*{_DOTTED}[ \t]*=")
_TOKEN = re.compile(
    r'''"""(?:\\.|[^\\])*?"""(?:"{0,2})|\'\'\'.*?\'\'\'(?:\'{0,2})|"(?:\\.|[^"\\\n])*"|'[^'\n]*\''''
    r"""|\#[^\n]*|[\[\]{}\n]""",
    re.DOTALL,
)


def line_numbers(text: str) -> dict[tuple[str | int, ...], int]:
    """Where each table and key of valid TOML stands; an element of an array of tables has its index.

    What stands within a value (an inline table) is not listed: it is where its key is.
    """
    text = text.replace("\r\n", "\n")
    lines: dict[tuple[str | int, ...], int] = {}
    newest: dict[tuple[str | int, ...], int] = {}  # array of tables -> index of its last element
    table: tuple[str | int, ...] = ()
    at, line = 0, 1
    while at < len(text):
        if match := _HEADER.match(text, at):
            named = _key_parts(match["key"])
            table = _with_indexes(named[:-1], newest) + named[-1:]
            if match["open"] == "[[":
                newest[table] = newest.get(table, -1) + 1
                lines.setdefault(table, line)
            table = _with_indexes(named, newest)
            lines.setdefault(table, line)
            at = match.end()
        elif match := _KEY.match(text, at):
            keys = _key_parts(match["key"])
            for end in range(1, len(keys) + 1):
                lines.setdefault(table + keys[:end], line)
            at = match.end()
        depth = 0
        while token := _TOKEN.search(text, at):
            at = token.end()
            line += token[0].count("\n")
            depth += (token[0] in "[{") - (token[0] in "]}")
            if token[0] == "\n" and depth == 0:
                break
        else:
            break
    return lines


def _key_parts(text: str) -> tuple[str, ...]:
    """The parts of a dotted key, quotes and escapes taken as TOML has them."""
    parts: list[str] = []
    inner: Any = tomllib.loads(f"{text} = 0")
    while isinstance(inner, dict):
        ((part, inner),) = inner.items()
        parts.append(part)
    return tuple(parts)


def _with_indexes(
    named: tuple[str, ...], newest: Mapping[tuple[str | int, ...], int]
) -> tuple[str | int, ...]:
    """The path with the index of the last element behind each array of tables on it."""
    path: tuple[str | int, ...] = ()
    for part in named:
        path += (part,)
        if path in newest:
            path += (newest[path],)
    return path
