"""The broker as one thing: the state machine and its gate. Inputs in, `Output` out, one deadline.

    in    set_time(now, wall, steady)           before the inputs of a moment
          start()                               ask the store for what an earlier run left
          receive(peer, message)                a decoded message from a routing id on a socket
          protocol_error(peer, error)           what could not be decoded
          committed(seq, verdicts)              the batch under way is on disk
          loaded(read, rows)                    what a read asked for
          undeliverable(peer, message, why)     a send that could not be made: `gone` or `full`
          connection_lost()                     some worker's connection broke
          tick()                                a deadline has come
          stop()                                no peer is read any more
    out   take() -> Output or None;             next_deadline()

Rule 1: whoever drives it (the server's loop, a transcript, the simulator) hands inputs in and carries out
        what `take` says. It decides no order: that is decided here, so all drive the same thing.
        After an input of the store or of a worker it takes at once; several of clients may come before.
Rule 2: what waited for a commit leaves before what the state machine makes of that commit.
Rule 3: one batch is under way at a time; the next is handed out when `committed` has come.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from zmws.core.broker import Broker
from zmws.core.gate import Batch, Gate, Send
from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.core.reads import Read
from zmws.core.rows import KeyRow, Rows, ScheduleRow
from zmws.core.turn import Suppliers
from zmws.core.writes import Verdict
from zmws.errors import ProtocolError
from zmws.wire.messages import FromPeer, Peer


@dataclass(slots=True)
class Output:
    """What is to be done, in this order within each field; the fields do not depend on each other."""

    commit: Batch | None  # hand it to the writer; `committed` follows, then `loaded` for each of its reads
    reads: list[Read]  # for people: read them beside the writes; `loaded` follows
    sends: list[Send]  # send them; `undeliverable` for each that cannot be sent
    cuts: list[Peer]  # cut these connections
    cut_keys: list[str]  # and those of these keys, or of nobody known
    log: list[tuple[str, str]]  # lines for the log: level, text


class Node:
    """One per broker process, and one per simulated broker."""

    def __init__(
        self,
        limits: Limits,
        services: dict[str, ServiceOptions],
        suppliers: Suppliers,
        durability: str,
        schedules: Sequence[ScheduleRow] = (),
        keys: Sequence[KeyRow] = (),
    ) -> None:
        """`durability`: what a stored job's acknowledgement may promise, from the store. `schedules`: those
        that the settings name. `keys`: those that lie in files."""
        self.broker = Broker(limits, services, suppliers, durability, schedules, keys)
        in_memory = durability == "memory"
        patience_s = limits.memory_commit_patience_s if in_memory else limits.commit_patience_s
        self._gate = Gate(limits.batch_rows_max, limits.batch_bytes_max, patience_s)
        self._turn = self.broker.turn
        self._free: list[Send] = []  # may leave, and has not been taken yet
        self._stopping = False  # nothing gathers any more: what there is is committed at once

    # ------------------------------------------------------------ in

    def set_time(self, now: float, wall: float, steady: float) -> None:
        """The time of the inputs that follow, in seconds by the three clocks of turn.py."""
        self.broker.set_time(now, wall, steady)

    def start(self) -> None:
        """Ask the store for what an earlier run left; `recovered` is true when it has been taken in."""
        self.broker.start()

    def receive(self, peer: Peer, message: FromPeer) -> None:
        """A decoded message from a peer."""
        self.broker.receive(peer, message)

    def protocol_error(self, peer: Peer, fault: ProtocolError) -> None:
        """What could not be decoded."""
        self.broker.protocol_error(peer, fault)

    def committed(self, seq: int, verdicts: list[Verdict]) -> None:
        """The batch under way is on disk, up to write number `seq`."""
        self._pass_gate()
        free, writes = self._gate.committed(seq)
        self._free += free
        self.broker.committed(seq, writes, verdicts)

    def loaded(self, read: Read, rows: Rows) -> None:
        """What a read brought."""
        self.broker.loaded(read, rows)

    def undeliverable(self, peer: Peer, message: object, why: str) -> None:
        """A send could not be made: the peer is `gone`, or its pipe is `full` (REQUEST only)."""
        self.broker.undeliverable(peer, message, why)

    def connection_lost(self) -> None:
        """Some worker's connection broke; which one, a probe will show."""
        self.broker.connection_lost()

    def tick(self) -> None:
        """Do what is due."""
        self.broker.tick()

    def stop(self) -> None:
        """No peer is read any more: what there is is to be committed at once."""
        if not self._stopping:
            self._stopping = True
            self.broker.stop()

    # ------------------------------------------------------------ out

    def take(self) -> Output | None:
        """What has come out since the last call, None if nothing has."""
        turn, gate = self._turn, self._gate
        self._pass_gate()
        batch = None
        if not gate.idle:
            batch = gate.next_batch(math.inf if self._stopping else turn.now)
        sends = self._free
        if not (sends or batch is not None or gate.lists or turn.log or turn.cuts or turn.cut_keys):
            return None
        self._free = []
        out = Output(batch, gate.lists, sends, turn.cuts, turn.cut_keys, turn.log)
        if gate.lists or turn.log or turn.cuts or turn.cut_keys:
            gate.lists, turn.cuts, turn.cut_keys, turn.log = [], [], [], []
        return out

    def _pass_gate(self) -> None:
        writes, reads, sends = self.broker.take()
        if writes or reads or sends:
            free = self._gate.push(writes, reads, sends, self._turn.now)
            self._free = self._free + free if self._free else free

    def next_deadline(self) -> float | None:
        """The monotonic time at which to `tick` and `take` though nothing happens, None if never."""
        deadline, due = self.broker.next_deadline(), self._gate.due()
        if deadline is None or due is None:
            return due if deadline is None else deadline
        return min(deadline, due)

    # ------------------------------------------------------------ how it is

    @property
    def recovered(self) -> bool:
        """Whether what an earlier run left has been taken in: before that no peer is read."""
        return self.broker.recovered

    @property
    def idle(self) -> bool:
        """Whether all that was written is on disk."""
        return self._gate.idle

    @property
    def uncommitted_bytes(self) -> int:
        """How much is not known to be on disk."""
        return self._gate.uncommitted_bytes

    @property
    def held(self) -> int:
        """How many sends wait for a commit."""
        return self._gate.held
