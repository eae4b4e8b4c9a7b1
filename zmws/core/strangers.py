"""Peers without a session, and what is still known of them (RFC 7 and RFC 18, MDP/Worker).

Rule 1: a command out of turn gets one DISCONNECT, and nothing more until a READY: a worker that survives it
        would else be answered with each of its heartbeats, without end.
Rule 2: a READY that is refused gets its DISCONNECT after a heartbeat interval, for workers come back at once.
Rule 3: a foreign worker that was given up over a job owes that job's FINAL: some programs answer the next
        job's token with the old result. Until it has come, or the job's `ttr` has passed once more, whoever
        comes back under that routing id gets no job.
Rule 4: all of this is bounded by `strangers_max`, and forgotten.
"""

from __future__ import annotations

from collections import OrderedDict

from zmws.core.timers import Reminder
from zmws.core.turn import Turn
from zmws.wire.messages import DISCONNECT, Link, Peer


class Strangers:
    """Who has had his DISCONNECT, who will get it, and who owes a FINAL."""

    def __init__(self, turn: Turn) -> None:
        self._turn = turn
        self._reminder = Reminder[None](lambda _: self.tell_refused())
        self._told: OrderedDict[Peer, float] = OrderedDict()  # when heard last, the oldest first
        self._refused: OrderedDict[Peer, tuple[Link, float]] = OrderedDict()  # how to tell it, and when
        self._owing: OrderedDict[Peer, tuple[bytes, float]] = OrderedDict()  # the token, and until when

    def __len__(self) -> int:
        return len(self._told) + len(self._refused) + len(self._owing)

    # ------------------------------------------------------------ refusals

    def out_of_turn(self, peer: Peer, link: Link | None) -> bool:
        """A valid command that was not this peer's turn: DISCONNECT, unless it has had one. True if now."""
        if peer in self._refused:
            self._turn.counters["out_of_turn_unanswered"] += 1
            return False  # it will get it
        if self._is_told(peer):
            self._turn.counters["out_of_turn_unanswered"] += 1
            return False
        self._turn.command(peer, DISCONNECT, link or Link())
        return True

    def invalid(self, peer: Peer) -> None:
        """It was sent DISCONNECT for an invalid message, and gets no other."""
        self._is_told(peer)

    def turn_away(self, peer: Peer, link: Link) -> bool:
        """Its READY cannot be taken. True unless its DISCONNECT was due already."""
        if peer in self._refused:
            return False
        turn = self._turn
        at = turn.now + turn.limits.heartbeat_interval_s
        self._told.pop(peer, None)
        self._refused[peer] = (link, at)
        if len(self._refused) > turn.limits.strangers_max:
            self._refused.popitem(last=False)
            turn.counters["strangers_forgotten"] += 1
        if len(self._refused) == 1:
            turn.timers.add(at, self._reminder, None)
        return True

    def tell_refused(self) -> None:
        """Send those DISCONNECT whose READY was refused a heartbeat interval ago."""
        turn = self._turn
        while self._refused:
            peer, (link, at) = next(iter(self._refused.items()))
            if at > turn.now:
                turn.timers.add(at, self._reminder, None)
                return
            del self._refused[peer]
            turn.command(peer, DISCONNECT, link)
            self._is_told(peer)

    def registered(self, peer: Peer) -> None:
        """Its READY was taken."""
        self._told.pop(peer, None)
        self._refused.pop(peer, None)

    def _is_told(self, peer: Peer) -> bool:
        """Remember that it has had its DISCONNECT, and that it was heard now. True if that was known."""
        known = self._told.pop(peer, None) is not None
        self._told[peer] = self._turn.now
        if len(self._told) > self._turn.limits.strangers_max:
            self._told.popitem(last=False)
            self._turn.counters["strangers_forgotten"] += 1
        return known

    # ------------------------------------------------------------ what is owed

    def owes(self, peer: Peer, token: bytes, until: float) -> None:
        """A foreign worker is given up while it runs this, and may bring it until then."""
        self._owing.pop(peer, None)
        self._owing[peer] = (token, until)
        if len(self._owing) > self._turn.limits.strangers_max:
            self._owing.popitem(last=False)
            self._turn.counters["strangers_forgotten"] += 1

    def owed(self, peer: Peer) -> tuple[bytes, float] | None:
        """The token that this peer still runs, and until when it gets nothing else. It is forgotten here."""
        owing = self._owing.pop(peer, None)
        return owing if owing is not None and owing[1] > self._turn.now else None

    def paid(self, peer: Peer, token: bytes) -> None:
        """A FINAL has come from a peer without a session."""
        owing = self._owing.get(peer)
        if owing is not None and owing[0] == token:
            del self._owing[peer]

    # ------------------------------------------------------------ forgetting

    def forget_old(self) -> None:
        """Forget who has not been heard of for `strangers_keep`, and what is owed no longer."""
        turn = self._turn
        before = turn.now - turn.limits.strangers_keep_s
        while self._told and next(iter(self._told.values())) < before:
            self._told.popitem(last=False)
        over = [peer for peer, (_, until) in self._owing.items() if until <= turn.now] if self._owing else []
        for peer in over:
            del self._owing[peer]
