"""Bytes out of bytes: without any guidance, and the same ones for the same seed."""

from __future__ import annotations

import random
from collections.abc import Sequence

BYTES_MAX = 4_096
_ODD = (
    b"\0",
    b"\n",
    b"\xff",
    b"\xed\xa0\x80",
    b"\xe2\x80\xa8",
    b"9" * 20,
    b"9" * 5_000,
    b"[" * 300,
    b'"',
    b"\\",
)


def mutated(chance: random.Random, corpus: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of the corpus, changed in one to four places."""
    data = bytearray(chance.choice(corpus))
    for _ in range(chance.randint(1, 4)):
        at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
        what = chance.randrange(8)
        if what == 0 and data:
            data[min(at, len(data) - 1)] = chance.randrange(256)
        elif what == 1 and data:
            data[min(at, len(data) - 1)] ^= 1 << chance.randrange(8)
        elif what == 2:
            del data[at : min(end, at + 30)]
        elif what == 3:
            data[at:at] = data[at:end]
        elif what == 4:
            data[at:at] = chance.choice(_ODD)
        elif what == 5:
            other = chance.choice(corpus)
            data[at:] = other[chance.randint(0, len(other)) :]
        else:
            data[at : min(end, at + chance.choice((0, 0, 4)))] = chance.choice(words)
    return bytes(data[:BYTES_MAX])


def grown(chance: random.Random, data: bytes, size: int) -> bytes:
    """The same with a part of it repeated until it is so large: what takes the square of its length shows."""
    at, end = sorted((chance.randint(0, len(data)), chance.randint(0, len(data))))
    part = data[at:end] or data[at : at + 1] or b"["
    return data[:at] + part * (max(0, size - len(data)) // len(part) + 1) + data[end:]
