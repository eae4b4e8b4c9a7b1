"""Bytes out of bytes: without any guidance, and the same ones for the same seed.

Rule: half of the changes are of bytes, which shows what a parser takes for granted of its form; half put
      another value where one stands, which gets past it.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Sequence

BYTES_MAX = 8_192
_VALUE = re.compile(rb'"(?:[^"\\\n]|\\.){0,200}"|-?[0-9]+(?:\.[0-9]+)?|\b(?:true|false|null)\b')
_BYTES = (b"\0", b"\n", b"\xff", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\xb2", b'"', b"\\", b"'", b" ", b"")
_NUMBERS = (
    *("0", "-1", "1", "-0.0", "0.5", "1e-320", "1e308", "1e999", "NaN", "-Infinity", "9007199254740993.5"),
    *(str(sign * 2**power + more) for power in (31, 32, 53, 63, 64) for sign in (1, -1) for more in (-1, 0)),
    *("9" * 18, "9" * 19, "9" * 4_300, "9" * 5_000, "000", "1_0"),
)
_TEXTS = (
    *(
        "",
        "x" * 300,
        "\0",
        "\n",
        "é",
        "\u2028",
        "²",
        "\ud800",
        "\udfff x",
        "'",
        "a/1/b",
        "//",
        "..",
        "JOB: x",
    ),
    *(
        "9999-12-31T23:59:59.999999-23:59",
        "0001-01-01T00:00:00+23:59",
        "2030-01-01",
        "nan",
        "SYNC-E",
        "zmws.job",
    ),
)
_OTHERS = ("null", "true", "false", "[]", "{}", "[null]", '{"a": 1}', "[" * 201 + "]" * 201, "[" * 5_000)
VALUES = tuple(text.encode() for text in (*_NUMBERS, *map(json.dumps, _TEXTS), *_OTHERS))
_REPEATED = 2_000


def mutated(chance: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the corpus, changed in one to four places."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.choice((1, 1, 2, 3, 4))):
        if chance.random() < 0.5 and (found := list(_VALUE.finditer(data))):
            value = chance.choice(found)
            data[value.start() : value.end()] = chance.choice(VALUES)
        else:
            _change(chance, data, corpus, words)
    return bytes(data[:BYTES_MAX])


def _change(chance: random.Random, data: bytearray, corpus: Sequence[bytes], words: Sequence[bytes]) -> None:
    at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    what = chance.randrange(9)
    if what == 0 and data:
        data[min(at, len(data) - 1)] = chance.randrange(256)
    elif what == 1 and data:
        data[min(at, len(data) - 1)] ^= 1 << chance.randrange(8)
    elif what == 2:
        del data[at : min(end, at + 30)]
    elif what == 3:
        data[at:at] = data[at:end]
    elif what == 4:
        data[at:at] = chance.choice(_BYTES)
    elif what == 5:
        other = chance.choice(corpus)
        data[at:] = other[chance.randint(0, len(other)) :]
    elif what == 6:
        part = data[at : at + chance.randint(1, 4)] if chance.random() < 0.5 else chance.choice(words)[:8]
        data[at:at] = part * chance.choice((3, 300, _REPEATED))
    else:
        data[at : min(end, at + chance.choice((0, 0, 4)))] = chance.choice(words)


def grown(chance: random.Random, data: bytes, words: Sequence[bytes], size: int) -> bytes:
    """The same with a part of it, or a word in it, repeated until it is so large: what takes the square of
    its length shows."""
    at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    if chance.random() < 0.5:
        end = min(end, at + 4)
    part = data[at:end] if at < end and chance.random() < 0.7 else chance.choice(words)
    return data[:at] + part * (max(0, size - len(data)) // len(part) + 1) + data[end:]
