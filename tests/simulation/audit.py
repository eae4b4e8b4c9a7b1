"""What operators do is in the audit, once, when they are answered."""

from __future__ import annotations

import json
from collections import Counter

from tests.simulation.violation import demand
from tests.store.model import ModelStore
from zmws.core.desk.changes import AUDITED
from zmws.wire.messages import Answer, ClientRequest


class Audit:
    """Compares what was answered with what the disk has. Here each change is somebody else's."""

    def __init__(self) -> None:
        self.before: Counter[str] = Counter()  # acts by who, of all lives before: those may be done again

    def restarted(self, disk: ModelStore) -> None:
        """A new broker knows none of the questions that the one before has answered."""
        self.before = Counter(act.by for act in disk.acts)

    def left(self, asked: ClientRequest | None, message: Answer, disk: ModelStore) -> None:
        """An answer leaves the gate."""
        if asked is None or message.service not in AUDITED:
            return
        said, told = json.loads(asked.body[0]), json.loads(message.body[1])
        acts = [act for act in disk.acts if act.by == said["by"]]
        count = len(acts) - self.before[said["by"]]
        demand(count == 1, f"{said} was answered, and is {count} times in the audit")
        outcome = "done" if message.body[0] == b"200" else told["code"]
        demand(acts[-1].outcome == outcome, f"{said} was answered {told}, and the audit has {acts[-1]}")
        demand(acts[-1].count == told.get("count"), f"{said} was answered {told}: {acts[-1]}")
        demand(message.service == f"zmws.{acts[-1].verb}", f"{message} is in the audit as {acts[-1]}")
