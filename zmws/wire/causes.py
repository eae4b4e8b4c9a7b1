"""Why jobs have failed, so that those that failed for one cause are found together: its type, its message
without what is another each time, and the last place in the author's own code (docs/protocol.md, Insight).

Rule 1: a worker says the cause in its ERROR; where it does not, it is made of what the ERROR has.
Rule 2: a cause is bounded, whatever the error's text is.
Rule 3: what is masked is not masked again: a cause that is told is that which the broker would have found.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

MESSAGE_MAX = 200  # characters
WORD_MAX = 120  # of a type, or of a frame
_LOOKED_AT = 2_000  # of an error's text: the rest tells no cause apart
_TRACE_LOOKED_AT = 20_000  # of a traceback: its end
_FOLDER_MAX, _LINE_MAX, _FUNCTION_MAX = 60, 7, 48  # of a frame, together WORD_MAX
_LINE = re.compile(r":\d+ in ")

# What is masked, in this order: quoted texts, to the end where that is missing; addresses of
# people; ids; numbers.
# A quote after a letter is an apostrophe or an end, but for Python's b'...'. What is a mask stays one.
_MASKS = (
    (re.compile(r"'…'|(?<![\w#])[bBrRuU]{0,2}(?:'[^']*(?:'|$)|\"[^\"]*(?:\"|$)|`[^`]*(?:`|$))"), "'…'"),
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "#"),
    (re.compile(r"\b[0-9a-fA-F]{8}(?:-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}\b"), "#"),
    (re.compile(r"\b(?:0x)?(?=[0-9a-fA-F]*\d)[0-9a-fA-F]{6,}\b"), "#"),
    # Any other id: long, with letters and digits in it.
    (re.compile(r"\b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{12,}\b"), "#"),
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
        folder, _, rest = frame.partition("/")  # of a release, perhaps, which has its number
        frame = f"{re.sub(r'[0-9]+', '#', folder)}/{rest}" if rest else frame
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
    return text[:MESSAGE_MAX].rstrip()


def frame_of(traceback: str) -> str | None:
    """The last place in the author's own code, else the last of any; None where there is none."""
    traceback = traceback[-_TRACE_LOOKED_AT:]
    found = _OWN.findall(traceback) or _ANY.findall(traceback)
    if not found:
        return None
    file, line, function = found[-1]
    short = "/".join(re.split(r"[/\\]", file)[-2:])
    # Each of its parts for itself, so that a line of another length cuts nothing else off.
    return f"{short[-_FOLDER_MAX:]}:{line[:_LINE_MAX]} in {function[:_FUNCTION_MAX] or '?'}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _word(value: Any) -> str | None:
    return value[:WORD_MAX] if isinstance(value, str) and value else None
