"""Why jobs have failed, so that those that failed for one cause are found together: its type, its message
without what is another each time, and the last place in the author's own code (docs/errors.md, Causes).

Rule 1: a worker says the cause in its ERROR; where it does not, it is made of what the ERROR has.
Rule 2: a cause is bounded, whatever the error's text is.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

MESSAGE_MAX = 200  # characters
WORD_MAX = 120  # of a type, or of a frame
_LOOKED_AT = 2_000  # of an error's text: the rest tells no cause apart
_LINE = re.compile(r":\d+ in ")

# What is masked, in this order: quoted texts; ids in hexadecimal; numbers.
_MASKS = (
    (re.compile(r"'[^'\n]*'|\"[^\"\n]*\"|`[^`\n]*`"), "'…'"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "#"),
    (re.compile(r"\b(?:0x)?(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{6,}\b"), "#"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "#"),
)
# A frame of the author's own in a traceback of a worker of ours, which marks them with `>`.
_OWN = re.compile(r'^[ |]*> File "(.+?)", line (\d+)(?:, in (\S+))?', re.MULTILINE)
_ANY = re.compile(r'^[ |]*(?:> )?File "(.+?)", line (\d+)(?:, in (\S+))?', re.MULTILINE)


class FailureCause(NamedTuple):
    """`type`: an exception's class, or the code of an ERROR. `frame`: `FOLDER/FILE:LINE in FUNCTION`."""

    type: str | None
    message: str
    frame: str | None

    def key(self, service: str) -> str:
        """The same for the same cause of the same service, though the line has moved."""
        frame = _LINE.sub(" in ", self.frame or "")
        text = "\0".join((service, self.type or "", self.message, frame))
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=6).hexdigest()


def cause_of(error: dict[str, Any] | None) -> FailureCause:
    """The cause that an ERROR tells, or has in it."""
    error = error or {}
    told = error.get("cause")
    if isinstance(told, dict):
        return FailureCause(
            _word(told.get("type")), masked(_text(told.get("message"))), _word(told.get("frame"))
        )
    kind = _word(error.get("type")) or _word(error.get("code"))
    return FailureCause(kind, masked(_text(error.get("error"))), frame_of(_text(error.get("traceback"))))


def masked(text: str) -> str:
    """The first line of a message, without what is another each time."""
    text = text[:_LOOKED_AT].strip().partition("\n")[0]
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text[:MESSAGE_MAX]


def frame_of(traceback: str) -> str | None:
    """The last place in the author's own code, else the last of any; None where there is none."""
    found = _OWN.findall(traceback) or _ANY.findall(traceback)
    if not found:
        return None
    file, line, function = found[-1]
    short = "/".join(re.split(r"[/\\]", file)[-2:])
    return f"{short[-WORD_MAX + 40 :]}:{line} in {function or '?'}"[:WORD_MAX]


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str | None:
    return value[:WORD_MAX] if isinstance(value, str) and value else None
