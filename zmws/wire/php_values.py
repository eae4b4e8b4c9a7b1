"""PHP's serialize() format, for the parameters of `PARAM:` and `PARAM-PHP:` frames (docs/protocol.md).

Rule 1: data only, null, booleans, numbers, texts and arrays. Objects, enumerations and references are
        refused: nothing that a peer sends chooses a class of ours.
Rule 2: whatever the input, the answer is a value or ProtocolError("bad_params", why).

    N;   b:1;   i:-7;   d:0.5;   s:5:"bytes";   a:COUNT:{KEY VALUE ...}      KEY is an i or an s
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from zmws.errors import ProtocolError

BYTES_MAX = 8 * 1024 * 1024
DEPTH_MAX = 64
ITEMS_MAX = 1_000_000
INT_MIN, INT_MAX = -(2**63), 2**63 - 1

_ENTRY_BYTES_MIN = 6  # `i:0;N;`, the shortest key with the shortest value
_SCALAR = re.compile(
    rb"N;"
    rb"|b:(?P<bool>[01]);"
    rb"|i:(?P<int>[+-]?[0-9]{1,20});"
    rb"|d:(?P<float>-?INF|NAN|[+-]?(?:[0-9]{1,400}(?:\.[0-9]{0,400})?|\.[0-9]{1,400})(?:[eE][+-]?[0-9]{1,5})?);"
    rb'|s:(?P<length>[0-9]{1,10}):"'
    rb"|a:(?P<count>[0-9]{1,10}):\{"
)
_REFUSED = {
    b"O": "an object",
    b"C": "an object",
    b"E": "an enumeration",
    b"R": "a reference",
    b"r": "a reference",
}


def decode(
    data: bytes, *, bytes_max: int = BYTES_MAX, depth_max: int = DEPTH_MAX, items_max: int = ITEMS_MAX
) -> Any:
    """The value of serialised `data`: None, bool, int, float, str, list or dict with str keys.

    An array whose keys are the integers 0, 1, 2 ... in order, so also an empty one, is a list.
    `depth_max` bounds arrays within arrays, `items_max` the entries of all arrays together.
    Raises ProtocolError("bad_params").
    """
    if len(data) > bytes_max:
        raise ProtocolError("bad_params", f"PHP data of {len(data)} bytes, at most {bytes_max} are taken")
    return _Reader(data, depth_max, items_max).read()


def encode(value: Any) -> bytes:
    """`value` as serialize() writes it. TypeError or ValueError where PHP has no such value.

    decode(encode(x)) == x, except that tuples come back as lists and {} as [].
    """
    out: list[bytes] = []
    _encode(value, out)
    return b"".join(out)


class _Array:
    """An array that is being read: its keys and values so far, and how many entries are to come."""

    __slots__ = ("keys", "missing", "values")

    def __init__(self, count: int) -> None:
        self.missing = count
        self.keys: list[int | str] = []
        self.values: list[Any] = []

    def value(self) -> Any:
        # An int is never equal to a text, so {"0": ...} with a text as its key stays a dict.
        if all(key == place for place, key in enumerate(self.keys)):
            return self.values
        return {str(key): value for key, value in zip(self.keys, self.values, strict=True)}


class _Reader:
    """Reads one value. Open arrays are a list and not recursion, so depth costs no stack."""

    def __init__(self, data: bytes, depth_max: int, items_max: int) -> None:
        self.data = data
        self.at = 0
        self.depth_max = depth_max
        self.items_max = items_max
        self.items = 0

    def read(self) -> Any:
        open_arrays: list[_Array] = []
        while True:
            value = self._scalar_or_array(len(open_arrays))
            if isinstance(value, _Array):
                open_arrays.append(value)
            elif not open_arrays:
                return self._ended(value)
            else:
                open_arrays[-1].values.append(value)
            while open_arrays[-1].missing == 0:
                self._expect(b"}")
                value = open_arrays.pop().value()
                if not open_arrays:
                    return self._ended(value)
                open_arrays[-1].values.append(value)
            open_arrays[-1].missing -= 1
            open_arrays[-1].keys.append(self._key())

    def _scalar_or_array(self, depth: int) -> Any:
        match = _SCALAR.match(self.data, self.at)
        if match is None:
            self._fail_at_value()
        self.at = match.end()
        kind = match.lastgroup
        if kind is None:
            return None
        text = match[kind]
        if kind == "bool":
            return text == b"1"
        if kind == "int":
            return self._int(text)
        if kind == "float":
            return float(text)  # PHP's INF and NAN are Python's too
        if kind == "length":
            return self._text(int(text))
        return self._array(int(text), depth)

    def _key(self) -> int | str:
        match = _SCALAR.match(self.data, self.at)
        if match is None or match.lastgroup not in ("int", "length"):
            self._fail("a key that is an integer or a text was expected")
        self.at = match.end()
        text = match[match.lastgroup]
        return self._int(text) if match.lastgroup == "int" else self._text(int(text))

    def _int(self, text: bytes) -> int:
        value = int(text)
        if not INT_MIN <= value <= INT_MAX:
            self._fail("an integer of more than 64 bits")
        return value

    def _text(self, length: int) -> str:
        end = self.at + length
        if end > len(self.data):
            self._fail(f"a text of {length} bytes is longer than the data")
        try:
            text = self.data[self.at : end].decode()
        except UnicodeDecodeError:
            self._fail("a text that is not UTF-8")
        self.at = end
        self._expect(b'";')
        return text

    def _array(self, count: int, depth: int) -> _Array:
        if depth >= self.depth_max:
            self._fail(f"arrays are nested more than {self.depth_max} deep")
        self.items += count
        if self.items > self.items_max:
            self._fail(f"more than {self.items_max} array entries")
        if count * _ENTRY_BYTES_MIN > len(self.data) - self.at:
            self._fail(f"an array of {count} entries is longer than the data")
        return _Array(count)

    def _ended(self, value: Any) -> Any:
        if self.at != len(self.data):
            self._fail("more bytes after the value")
        return value

    def _expect(self, mark: bytes) -> None:
        if not self.data.startswith(mark, self.at):
            self._fail(f"{mark.decode()} was expected")
        self.at += len(mark)

    def _fail_at_value(self) -> NoReturn:
        refused = _REFUSED.get(self.data[self.at : self.at + 1])
        if refused is not None and self.data.startswith(b":", self.at + 1):
            self._fail(f"{refused} is not taken, only null, booleans, numbers, texts and arrays")
        self._fail("a value was expected")

    def _fail(self, why: str) -> NoReturn:
        raise ProtocolError("bad_params", f"PHP data, byte {self.at}: {why}")


def _encode(value: Any, out: list[bytes]) -> None:
    if value is None:
        out.append(b"N;")
    elif isinstance(value, bool):
        out.append(b"b:1;" if value else b"b:0;")
    elif isinstance(value, int):
        if not INT_MIN <= value <= INT_MAX:
            raise ValueError("PHP has integers of 64 bits only")
        out.append(b"i:%d;" % value)
    elif isinstance(value, float):
        out.append(f"d:{repr(value).upper()};".encode())  # inf, nan -> INF, NAN
    elif isinstance(value, str):
        text = value.encode()
        out.append(b's:%d:"%b";' % (len(text), text))
    elif isinstance(value, (list, tuple)):
        _encode_entries(enumerate(value), len(value), out)
    elif isinstance(value, dict):
        if not all(isinstance(key, str) for key in value):
            raise TypeError("the keys of a dict must be texts")
        _encode_entries(value.items(), len(value), out)
    else:
        raise TypeError(f"PHP has no {type(value).__name__}")


def _encode_entries(entries: Any, count: int, out: list[bytes]) -> None:
    out.append(b"a:%d:{" % count)
    for key, value in entries:
        _encode(key, out)
        _encode(value, out)
    out.append(b"}")
