"""A trace over two processes: sent in one, worked on in another, through a real broker and a gateway."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.gateway.stand import gateway
from tests.peers import RunningBroker, await_workers, process, wait_until, worker_file_process
from tests.tracing.kept import Kept, Told, context_of, head, links_of, parent_of, told_in, traceparent_of
from zmws import Client, WorkerBase
from zmws.testing import free_ports
from zmws.testing.fixtures import WorkerFactory

ELSEWHERE = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")

# The first attempt fails, the second submits another job.
FILE = """
from zmws import WorkerBase


class First(WorkerBase):
    service_name = "FIRST"
    {declared}

    def work(self, job_id, params):
        if self.job.attempt == 1:
            raise ValueError("not yet")
        with trace.get_tracer("mine").start_as_current_span("own"):
            return self.client.submit("NEXT", params).id


class Next(WorkerBase):
    service_name = "NEXT"
    {declared}

    def work(self, job_id, params):
        return params
"""

ASYNC = FILE.replace("    def work", "    async def work")


@pytest.mark.parametrize(
    ("kind", "text", "declared", "processor"),
    [
        ("inline", FILE, "pass", "SimpleSpanProcessor"),
        ("threads", FILE, "concurrency = 2", "SimpleSpanProcessor"),
        ("coroutines", ASYNC, "concurrency = 2", "SimpleSpanProcessor"),
        # Nothing but the end of such a process brings these out in time.
        ("batches", FILE, "pass", "BatchSpanProcessor"),
        ("children", FILE, "isolate = True", "BatchSpanProcessor"),
    ],
)
def test_a_trace_goes_from_submit_to_work_and_on(
    kept: Kept,
    zmws_broker: RunningBroker,
    zmws_client: Client,
    tmp_path: Path,
    kind: str,
    text: str,
    declared: str,
    processor: str,
) -> None:
    lines = tmp_path / "spans.jsonl"
    file = head(lines, processor) + text.format(declared=declared)
    with worker_file_process(tmp_path, [zmws_broker.worker], file) as worker:
        await_workers(zmws_client, 1, "NEXT")
        with kept.provider.get_tracer("tests").start_as_current_span("request"):
            job = zmws_client.submit("FIRST", 7, backoff=0, meta={"tenant": "a"})
        second = zmws_client.job(job.result(timeout=20))
        assert second.result(timeout=20) == 7
        worker.popen.terminate()
        assert worker.popen.wait(20) == 0, worker.text()
    _check(kept, told_in(lines, 5), job.id, second.id)


def _check(kept: Kept, told: list[Told], first_id: str, second_id: str) -> None:
    send = kept.one("send FIRST")
    assert parent_of(send) == context_of(kept.one("request"))
    tries = [one for one in told if one.name == "process FIRST"]
    own, follow, followed = (
        next(one for one in told if one.name == name) for name in ("own", "send NEXT", "process NEXT")
    )
    assert len(told) == 5 and [one.attributes["zmws.attempt"] for one in tries] == [1, 2]
    assert [one.links for one in tries] == [[context_of(send)]] * 2
    assert [one.parent for one in tries] == [None] * 2 and [one.status for one in tries] == ["ERROR", "UNSET"]
    assert tries[0].events[0]["attributes"]["exception.message"] == "not yet"
    assert {one.attributes["messaging.message.id"] for one in tries} == {first_id}
    assert own.parent == tries[1].context and follow.parent == own.context
    assert followed.links == [follow.context] and followed.parent is None
    assert follow.attributes["messaging.message.id"] == second_id
    traces = {one.context[0] for one in (*tries, followed)} | {context_of(send)[0]}
    assert len(traces) == 4, "each attempt is a trace of its own"


# ---------------------------------------------------------------- by HTTP


class Meta(WorkerBase):
    service_name = "META"

    def work(self, job_id: str, params: object) -> object:
        return self.job.meta


@pytest.fixture
def ask(zmws_broker: RunningBroker, zmws_worker: WorkerFactory, tmp_path: Path) -> Iterator[httpx.Client]:
    zmws_worker(Meta)
    with gateway(zmws_broker, tmp_path) as http, http.client() as client:
        yield client


HEADERS = {"traceparent": traceparent_of(ELSEWHERE)}


def test_a_request_that_names_a_span_is_the_parent_of_its_jobs(kept: Kept, ask: httpx.Client) -> None:
    for path in ("/META", "/SYNC-META"):
        assert ask.get(path, headers=HEADERS).is_success
    job = {"service": "META"}
    assert ask.post("/api/v1/jobs", json=job, headers=HEADERS).status_code == 202
    assert ask.post("/api/v1/jobs/many", json=[job, job], headers=HEADERS).status_code == 200
    sends = kept.all("send META")
    assert [parent_of(one) for one in sends] == [ELSEWHERE] * 5
    processes = kept.await_all("process META", 5)
    assert {one for span in processes for one in links_of(span)} == set(map(context_of, sends))


def test_a_request_that_names_none_begins_a_trace(kept: Kept, ask: httpx.Client) -> None:
    for headers in ({}, {"traceparent": "nonsense"}, HEADERS, {}):
        assert ask.get("/SYNC-META", headers=headers).is_success
    assert [parent_of(one) for one in kept.all("send META")] == [None, None, ELSEWHERE, None]


def test_a_gateway_that_traces_nothing_leaves_meta_alone(ask: httpx.Client) -> None:
    assert ask.get("/SYNC-META", headers=HEADERS).json() is None
    job = {"service": "META", "meta": {"a": 1}}
    answer = ask.post("/api/v1/jobs", json=job, headers={**HEADERS, "prefer": "wait=10"})
    assert answer.json()["result"] == {"a": 1}


def test_a_gateway_without_a_provider_hands_on_what_it_was_told(
    zmws_broker: RunningBroker, zmws_worker: WorkerFactory, tmp_path: Path
) -> None:
    zmws_worker(Meta)
    (port,) = free_ports(1)
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "zmws", "gateway", "--http", f"127.0.0.1:{port}"]
    more = {"ZMWS_BROKER_CLIENT": zmws_broker.client, "ZMWS_GATEWAY_TRACING": "true"}

    def answers() -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{url}/healthz", trust_env=False, timeout=5).is_success
        return False

    with process(command, tmp_path / "gateway.log", tmp_path, more) as running:
        wait_until(lambda: running.ended or answers(), 20, "the gateway to answer")
        assert not running.ended, running.text()
        told = httpx.get(f"{url}/SYNC-META", headers=HEADERS, trust_env=False, timeout=20)
        assert told.json() == HEADERS
        assert httpx.get(f"{url}/SYNC-META", trust_env=False, timeout=20).json() is None
