"""What acts on many jobs: it goes on, chunk by chunk, until all are done."""

from __future__ import annotations

import json

from tests.test_dialogues import Stage
from zmws.core.desk.operations import CHUNK_ROWS
from zmws.core.options import service_options
from zmws.wire import mdp

MANY = 2 * CHUNK_ROWS + 1


def asked(stage: Stage, service: str, given: dict[str, object]) -> dict[str, object]:
    stage.receive("client", "C", [mdp.MDPC02, b"\x01", service.encode(), json.dumps(given).encode()])
    ((*_, status, answer),) = stage.sent.pop("C")
    assert status == b"200", answer
    return dict(json.loads(answer))


def test_more_jobs_than_one_chunk_holds_are_cancelled_revived_and_deleted() -> None:
    stage = Stage()
    stage.services["E"] = service_options({})
    for _ in range(MANY):
        stage.receive("client", "C", [mdp.MDPC02, b"\x01", b"E", b'OPTS-JSON: {"delay": 1000}'])
    stage.sent.clear()
    every = {"service": "E"}
    assert asked(stage, "zmws.cancel", every)["count"] == MANY
    assert asked(stage, "zmws.retry", {**every, "state": "cancelled"})["count"] == MANY
    assert asked(stage, "zmws.cancel", every)["count"] == MANY
    assert asked(stage, "zmws.delete", every)["count"] == MANY
