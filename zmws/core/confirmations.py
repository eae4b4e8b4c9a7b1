"""DONE: which results a worker may forget (docs/protocol.md, The extensions).

Rule 1: DONE for a FINAL comes when what its job has become is on disk; for a memory job at once.
Rule 2: it goes to the session that has the token now: a worker may have come back under another.
Rule 3: the tokens taken last are remembered, to know a repeat from a result that comes too late.
"""

from __future__ import annotations

from collections import OrderedDict

from zmws.core.job import Pending
from zmws.core.session import Session

TAKEN_TOKENS_MAX = 10_000


class Confirmations:
    """The results that were taken, and those whose worker is not told so yet."""

    def __init__(self) -> None:
        # Results taken whose write is not on disk: token -> that write, and who is then told DONE.
        self.unconfirmed: OrderedDict[bytes, tuple[Pending, Session]] = OrderedDict()
        self._taken: OrderedDict[bytes, bool] = OrderedDict()  # and whether that completed the job

    def remember(self, token: bytes, completed: bool) -> None:
        """A FINAL with this token was taken."""
        self._taken[token] = completed
        if len(self._taken) > TAKEN_TOKENS_MAX:
            self._taken.popitem(last=False)

    def was_taken(self, token: bytes) -> bool:
        """Whether a FINAL with this token was taken, as far as memory reaches."""
        return token in self._taken

    def completed(self, token: bytes) -> bool:
        """Whether this token completed its job, as far as memory reaches."""
        return self._taken.get(token, False)

    def await_write(self, session: Session, token: bytes, write: Pending) -> None:
        """DONE for this token follows when `write` is on disk."""
        self.unconfirmed[token] = (write, session)

    def reassigned(self, session: Session, token: bytes) -> bool:
        """DONE for this token will go to this session; false if none is outstanding."""
        outstanding = self.unconfirmed.get(token)
        if outstanding is None:
            return False
        self.unconfirmed[token] = (outstanding[0], session)
        return True

    def on_disk(self, seq: int) -> list[tuple[Session, bytes]]:
        """Who may be told DONE for what, now that all writes up to `seq` are on disk."""
        told = []
        while self.unconfirmed:
            token, (write, session) = next(iter(self.unconfirmed.items()))
            if write.seq > seq:
                break
            del self.unconfirmed[token]
            told.append((session, token))
        return told
