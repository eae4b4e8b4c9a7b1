"""What every store promises the broker.

Rule 1: `commit` is all or nothing, applies its writes in order, and is durable on return.
Rule 2: a store is used by one thread for commits and its own reads, and by one other for lists.
Rule 3: what the host fails at is StoreError; nothing of that batch may then be acknowledged.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zmws.core.reads import Read
from zmws.core.rows import Rows
from zmws.core.writes import Verdict, Write


class Store(Protocol):
    """Writes in, verdicts out; reads in, rows out."""

    durability: str  # what an acknowledgement may promise: "disk" or "memory"

    def commit(self, writes: Sequence[Write]) -> list[Verdict]:
        """Apply the writes in order; one verdict for each that has one (WITH_VERDICT), in order.

        Raises StoreError if the host failed; then none of the writes has happened.
        """
        ...

    def read(self, read: Read) -> Rows:
        """Answer a read. Safe beside `commit`. Raises StoreError."""
        ...

    @property
    def refuses_inserts(self) -> bool:
        """Whether new jobs are refused for lack of room. From any thread."""
        ...

    @property
    def waits_for(self) -> str | None:
        """What the host keeps commits waiting for, in words; None: nothing. From any thread."""
        ...

    @property
    def used_bytes(self) -> int:
        """What it takes up. From any thread."""
        ...

    @property
    def free_bytes(self) -> int:
        """What there is room for still; 0: nobody knows. From any thread."""
        ...

    @property
    def free_bytes_min(self) -> int:
        """With less room new jobs are refused."""
        ...

    def give_up(self) -> None:
        """From any thread: end a commit that waits for the host, such as for room on its disk. It raises
        StoreError, and so does every later one that would have to wait. For a broker that is to stop."""
        ...

    def close(self) -> None:
        """Let go of everything. Nothing may be called after it."""
        ...
