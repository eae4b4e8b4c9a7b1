"""No well-formed request ends the core, none stays without an answer, and none gets two: over both stores,
without a socket. (Over sockets, to a broker's process: tests/system/test_hostile_requests.py.)"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.hostile import JOBS, Request, commands, each_bad_value, requests
from tests.stage import Stage
from zmws.core.options import service_options
from zmws.store.base import Store
from zmws.store.sqlite.disk import SqliteStore
from zmws.store.sqlite.memory import MemoryStore
from zmws.wire import mdp

WAIT_S = 0.05
hostile = settings(deadline=None, suppress_health_check=list(HealthCheck), max_examples=500)


def _stage(store: Store) -> Stage:
    stage = Stage(store)
    stage.limits = replace(stage.limits, wait_s_max=WAIT_S)
    stage.services["E"] = service_options({})
    stage.services["X"] = service_options({"retries": 0})
    stage.ignore_heartbeats = True
    for job_id in JOBS:
        submit = json.dumps({"id": job_id, "delay": 1e6}).encode()
        stage.receive("client", "J", [mdp.MDPC02, b"\x01", b"E", b"OPTS-JSON: " + submit])
    return stage


def _live_token(stage: Stage) -> bytes:
    """The token of a job that is leased anew; one of none, if a worker was quicker."""
    submit = b'OPTS-JSON: {"keep": 0}'
    stage.receive("client", "L", [mdp.MDPC02, b"\x01", b"E", submit, b"PARAM-JSON: 1"])
    lease = {"service": "E", "lease": f"l{stage.now}"}
    stage.receive("client", "L", [mdp.MDPC02, b"\x01", b"zmws.lease", json.dumps(lease).encode()])
    stage.pass_time(2 * WAIT_S)
    answer = stage.sent.pop("L")[-1]
    return json.loads(answer[-1])["token"].encode() if answer[-2] == b"200" else b"j/1/x"


def _run(stage: Stage, asked: list[Request]) -> None:
    token = _live_token(stage)
    for n, request in enumerate(asked):
        name = f"C{n}"
        if request.answered:
            stage.receive("client", name, [b"7", b"", *request.with_token(token)])
            stage.pass_time(2 * WAIT_S)
            answers = stage.sent.pop(name, [])
            assert len(answers) == 1 and answers[0][0] == b"7", (request, answers)
            shown = answers[0][-2:]
            assert shown[0] != b"500", (request, shown)
        else:
            stage.receive("worker", name, list(request.with_token(token)))
            stage.sent.pop(name, None)
        if not stage.core.held.live(token):
            token = _live_token(stage)
    assert stage.core.turn.counters["questions_broken"] == 0


@pytest.mark.timeout(300)
@pytest.mark.parametrize("durable", [False, True], ids=["memory", "sqlite"])
def test_every_field_with_every_hostile_value_is_answered_once(durable: bool, tmp_path: Path) -> None:
    sqlite = SqliteStore(tmp_path / "zmws.db", reserve_bytes=4096, free_bytes_min=0) if durable else None
    stage = _stage(sqlite or MemoryStore())
    asked = list(each_bad_value())
    assert len(asked) > 10_000
    _run(stage, asked)
    if sqlite is not None:
        sqlite.close()


@hostile
@given(st.lists(st.one_of(requests, requests, commands), max_size=12))
def test_every_well_formed_request_is_answered_once(asked: list[Request]) -> None:
    _run(_stage(MemoryStore()), asked)


@pytest.mark.timeout(300)
def test_every_well_formed_request_is_answered_once_over_sqlite(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "zmws.db", reserve_bytes=4096, free_bytes_min=0)

    @settings(hostile, max_examples=500)
    @given(st.lists(st.one_of(requests, requests, commands), max_size=12))
    def ask(asked: list[Request]) -> None:
        _run(_stage(store), asked)

    ask()
    store.close()
