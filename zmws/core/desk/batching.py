"""zmws.open, zmws.close, zmws.batch, zmws.batches: jobs whose end together is waited for (docs/protocol.md).

Rule 1: what is to follow is checked when the batch is opened, and kept with it as it will be made.
Rule 2: the same id again is the same batch.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import partial

from zmws.core.batches import Batches, batch_row
from zmws.core.conclusion import template
from zmws.core.desk.lists import Lists
from zmws.core.desk.permits import Permits
from zmws.core.desk.questions import BadQuestion
from zmws.core.follow_ups import FollowUps
from zmws.core.held import Held
from zmws.core.host import Host
from zmws.core.items import BadItem, Item, item_of
from zmws.core.keys import Keys
from zmws.core.making import Making
from zmws.core.question import Question
from zmws.core.reads import ReadBatch, ReadBatches
from zmws.core.rows import BatchRow, KnownBatch, Row, Rows
from zmws.core.turn import Turn
from zmws.core.watchers import Watchers
from zmws.core.writes import NEW, CloseBatch, Counted, OpenBatch, Verdict

BATCH_ID_MAX = 100  # of characters: the ids of what follows are longer
_NOT_IN_CONCLUSION = ("id", "at", "unique", "batch", "durability", "chain")


class Batching:
    """Opens and closes them, and tells how they are."""

    def __init__(
        self,
        turn: Turn,
        held: Held,
        watchers: Watchers,
        lists: Lists,
        making: Making,
        follow_ups: FollowUps,
        batches: Batches,
        host: Host,
        keys: Keys,
        permits: Permits,
    ) -> None:
        self._turn = turn
        self._held = held
        self._watchers = watchers
        self._lists = lists
        self._making = making
        self._follow_ups = follow_ups
        self._batches = batches
        self._host = host
        self._keys = keys
        self._permits = permits
        self._opening: dict[str, list[Question]] = {}  # by batch: who wants it closed when it is open
        self._openers: Counter[str | None] = Counter()  # of these

    # ------------------------------------------------------------ zmws.open

    def open(self, question: Question) -> None:
        """A new batch, or the one that has this id already."""
        asked, limits = question.asked, self._turn.limits
        batch = asked.get("id")
        if batch is not None and len(batch) > BATCH_ID_MAX:
            raise BadQuestion(f"the id of a batch has at most {BATCH_ID_MAX} characters")
        if len(self._held.open_batches) + len(self._opening) >= limits.batches_open_max:
            if batch is not None:
                return self._turn.reads.append(ReadBatch(question, batch))  # a repeat is no new one
            return self._no_more(question)
        if self._host.store_is_full:
            text = "the disk of the job store is full; nothing was accepted"
            return question.refuse(503, "disk_full", text)
        user, by, group = question.caller.peer[2], asked.get("by"), asked.get("group")
        if (gone := self._keys.speaker_fault(by)) is not None:
            return question.refuse(403, "not_allowed", gone)
        tenant = self._permits.group_of(question)
        if tenant is not None and group not in (None, tenant):
            text = f"this key is for batches of the group '{tenant}' alone"
            return question.refuse(403, "not_allowed", text)
        group = tenant or group
        try:
            then, failed = (self._template(question, name) for name in ("then", "failed"))
        except BadItem as wrong:
            status = 404 if wrong.code == "unknown_service" else 400
            return question.refuse(status, wrong.code, str(wrong))
        over = self._limit(question)
        if over is not None:
            if batch is not None:
                return self._turn.reads.append(ReadBatch(question, batch))  # a repeat is no new one
            return question.refuse(429, *over)
        following = [one for one in (then, failed) if one is not None]
        submitter = self._keys.submitted(user, by, sum(sum(map(len, one["body"])) for one in following))
        for one in following:
            one["submitter"] = submitter
        meta = json.dumps(asked["meta"]) if "meta" in asked else None
        row = BatchRow(
            id=batch or self._turn.suppliers.new_id(),
            created_at=self._turn.wall,
            then_service=None if then is None else then["service"],
            failed_service=None if failed is None else failed["service"],
            keep=asked.get("keep"),
            meta=meta,
            by=by,
            group=group,
        )
        size = 600 + sum(sum(map(len, one["body"])) for one in following)
        write = OpenBatch(row.id, row.created_at, row.keep, then, failed, meta, by, group, size=size)
        self._opening.setdefault(row.id, [])
        self._openers[by] += 1
        return self._turn.write_for(write, partial(self._opened, question, row))

    def _opened(self, question: Question, row: BatchRow, verdict: Verdict) -> None:
        closing = self._opening.pop(row.id, [])
        self._openers[row.by] -= 1
        if not self._openers[row.by]:
            del self._openers[row.by]
        if verdict.verdict == NEW:
            self._held.open_batches[row.id] = KnownBatch(row.id, row.created_at, row.by, row.group)
            question.answer(200, batch_row(row) | {"existing": False})
        else:
            self._turn.reads.append(ReadBatch(question, row.id))
        for one in closing:
            self.close(one)

    def _template(self, question: Question, name: str) -> Row | None:
        """What follows, as it is kept with the batch. Raises BadItem."""
        given = question.asked.get(name)
        if given is None:
            return None
        for option in _NOT_IN_CONCLUSION:
            if isinstance(given, dict) and given.get(option) is not None:
                raise BadItem(
                    "bad_option", f"'{name}' has no '{option}': it is one stored job, made at the end"
                )
        try:
            item = item_of(given, self._turn.limits)
            self._follow_ups.require_known(item, question.caller.peer[2])
            return self._kept(item)
        except BadItem as wrong:
            raise BadItem(wrong.code, f"'{name}': {wrong}") from None

    def _kept(self, item: Item) -> Row:
        service = self._held.services[item.service]
        start = self._making.start(service, item.options)
        if start.fault is not None:
            raise BadItem("bad_option", start.fault)
        job = self._making.job(service, item.options, item.body, start)
        return template(job, start.wait_s, job.ready_at - job.rank, start.expires_s)

    def _limit(self, question: Question) -> tuple[str, str] | None:
        """Why who asks may open no batch now. Those that he has open count as unfinished, too."""
        user, by, mine = question.caller.peer[2], question.asked.get("by"), 0
        key = self._keys.acting(user, by)
        if key is not None and key.row.waiting_max is not None:
            mine = self._openers[by] + sum(one.by == by for one in self._held.open_batches.values())
        return self._keys.limit(user, by, mine)

    def _no_more(self, question: Question) -> None:
        """Refuse a batch that is new."""
        over = self._limit(question)
        if over is not None:
            return question.refuse(429, *over)
        most = self._turn.limits.batches_open_max
        text = f"{most} batches are open already (batches_open_max); close those that nobody adds to"
        return question.refuse(429, "too_many_batches", text)

    # ------------------------------------------------------------ zmws.close

    def close(self, question: Question) -> None:
        """No client adds to it any more; when all of its jobs have ended, what is to follow does."""
        batch = question.asked["id"]
        if batch in self._opening:
            self._opening[batch].append(question)
            return None
        known = self._held.open_batches.get(batch)
        if known is None:
            return self._turn.reads.append(ReadBatch(question, batch))
        fault = self._permits.batch_fault(question, known.by, known.group)
        if fault is not None:
            return question.refuse(403, "not_allowed", fault)
        del self._held.open_batches[batch]
        turn = self._turn
        spare_id = turn.suppliers.new_id()
        write = CloseBatch(batch, self._held.next_number(), turn.wall, turn.steady, spare_id)
        return self._turn.write_for(write, partial(self._closed, question))

    def _closed(self, question: Question, verdict: Verdict) -> None:
        if isinstance(verdict, Counted):
            self._batches.counted(verdict)
        self._turn.reads.append(ReadBatch(question, question.asked["id"]))

    # ------------------------------------------------------------ zmws.batch, zmws.batches

    def batch(self, question: Question) -> None:
        """How it is; with a `timeout` when it has ended."""
        self._turn.reads.append(ReadBatch(question, question.asked["id"]))

    def loaded(self, question: Question, rows: Rows) -> None:
        """Its row was read, in order with the writes."""
        asked = question.asked
        if not rows.batches:
            if question.service == "zmws.open":
                return self._no_more(question)
            text = f"there is no batch '{asked['id']}', or its record has been forgotten"
            return question.refuse(404, "unknown_batch", text)
        row = rows.batches[0]
        fault = self._permits.batch_fault(question, row.by, row.group)
        if fault is not None:
            return question.refuse(403, "not_allowed", fault)
        timeout = asked.get("timeout", 0.0) if question.service == "zmws.batch" else 0.0
        if not timeout or row.ended_at is not None:
            existing = {"existing": True} if question.service == "zmws.open" else {}
            return question.answer(200, batch_row(row) | existing)
        if self._watchers.waits_count + self._batches.waits_count >= self._turn.limits.waits_max:
            return question.refuse(429, "too_many_waits", "too many requests wait already (waits_max)")
        return self._batches.wait_for(row.id, question.caller, self._turn.now + timeout)

    def batches(self, question: Question) -> None:
        """A page of them, the newest first."""
        asked = question.asked
        read = ReadBatches(question, asked.get("state"), asked["limit"], asked.get("cursor"), render=_page)
        self._lists.read(question, read)


def _page(rows: Rows) -> bytes:
    """Beside the loop."""
    told = {"batches": [batch_row(row) for row in rows.batches]}
    return json.dumps(told | {"next": None if rows.next is None else str(rows.next)}).encode()
