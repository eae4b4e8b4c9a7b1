"""What fails while a question is answered, now or later, is the asker's 500 and a line of the log."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.stage import Stage
from zmws.core import watchers
from zmws.core.desk import records
from zmws.core.options import service_options
from zmws.core.reads import Read, ReadJob, ReadJobs
from zmws.core.rows import Rows
from zmws.errors import Refused
from zmws.store.sqlite.memory import MemoryStore
from zmws.testing.fixtures import BrokerFactory
from zmws.wire import mdp


@pytest.fixture
def stage() -> Stage:
    stage = Stage()
    stage.services["E"] = service_options({})
    return stage


def _ask(stage: Stage, service: str, asked: dict[str, Any]) -> list[list[bytes]]:
    frames = [mdp.MDPC02, b"\x01", service.encode(), json.dumps(asked).encode()]
    stage.receive("client", "C", frames)
    return stage.sent.pop("C", [])


def _broken(*_: Any) -> Any:
    raise RuntimeError("it broke")


def _is_500(told: list[list[bytes]]) -> bool:
    return [frames[-2] for frames in told] == [b"500"] and b"broker_fault" in told[0][-1]


@pytest.mark.interpreted
@pytest.mark.parametrize("durability", ["disk", "memory"])
def test_what_fails_in_an_answer_is_the_askers_500(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, durability: str
) -> None:
    job = {"service": "E", "id": "j", "durability": durability}
    stage.receive("client", "S", [mdp.MDPC02, b"\x01", b"zmws.submit", json.dumps([job]).encode()])
    for module, name in (
        (records, "record"),
        (watchers, "record"),
        (records, "events"),
        (watchers, "events"),
    ):
        monkeypatch.setattr(module, name, _broken)
    assert _is_500(_ask(stage, "zmws.job", {"id": "j"}))
    assert _is_500(_ask(stage, "zmws.events", {"id": "j"}))
    assert _ask(stage, "zmws.wait", {"id": "j", "timeout": 60}) == []
    stage.receive("client", "S", [mdp.MDPC02, b"\x01", b"zmws.cancel", b'{"id": "j"}'])
    assert _is_500(stage.sent.pop("C")), "at the end of the job"
    assert stage.core.turn.counters["questions_broken"] == 3


class BadDisk(MemoryStore):
    """Cannot be read by whoever asks; the core's own reads go well."""

    def read(self, read: Read) -> Rows:
        if isinstance(read, (ReadJob, ReadJobs)):
            raise RuntimeError("the disk is bad")
        return super().read(read)


def test_a_read_that_fails_is_the_askers_500_and_the_broker_goes_on(
    zmws_broker_factory: BrokerFactory,
) -> None:
    broker = zmws_broker_factory(store=BadDisk(), services={"E": service_options({})})
    with broker.connect() as client:
        job = client.submit("E")
        for ask in (job.status, lambda: list(client.jobs()), lambda: list(job.events())):
            with pytest.raises(Refused, match="the disk is bad") as refused:
                ask()
            assert refused.value.code == "broker_fault"
        job.cancel()
        assert client.services()[0]["waiting"] == 0
