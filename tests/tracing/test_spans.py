"""The spans of jobs: what they say, and what they are linked with (docs/tracing.md)."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, StatusCode

from tests.tracing.kept import Kept, context_in, context_of, links_of, parent_of, traceparent_of
from zmws import AsyncClient, Client, Fail, JobFailed, Refused, Retry, WorkerBase, ZmwsError
from zmws.client.in_loop import LoopClient
from zmws.core.options import ServiceOptions
from zmws.core.table import OBJECT_BYTES_MAX
from zmws.testing import FakeClient, RunningBroker, broker_in_thread, run_job
from zmws.testing.fixtures import WorkerFactory

ELSEWHERE = ("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")


class Meta(WorkerBase):
    """Its result is its job's meta."""

    service_name = "META"

    def work(self, job_id: str, params: Any) -> Any:
        return self.job.meta


class Book(WorkerBase):
    """Enqueues a job, and a chain of two."""

    service_name = "BOOK"

    def work(self, job_id: str, params: Any) -> None:
        self.job.enqueue("META", 1, meta={"own": 1})
        self.job.enqueue_chain([("META", 2), ("META", 3)])


class Shaky(WorkerBase):
    """Fails, but for the last of its attempts."""

    service_name = "SHAKY"

    def work(self, job_id: str, params: Any) -> Any:
        if self.job.attempt < params["good"]:
            raise ValueError(f"attempt {self.job.attempt}")
        return self.job.attempt


class Wrong(WorkerBase):
    """Fails, as it is asked to."""

    service_name = "WRONG"
    retries = 0

    def work(self, job_id: str, params: Any) -> Any:
        if params == "fail":
            raise Fail("for good")
        if params == "retry":
            raise Retry("later", delay=60)
        if params == "nasty":
            raise Nasty
        return params != "false"


class Nasty(Exception):
    def __str__(self) -> str:
        raise RuntimeError("nobody looks at me")


class First(WorkerBase):
    """Submits another job, within a span of its own."""

    service_name = "FIRST"

    def work(self, job_id: str, params: Any) -> Any:
        with trace.get_tracer("tests", tracer_provider=PROVIDER[0]).start_as_current_span("own"):
            self.client.submit("META")


class AsyncFirst(First):
    service_name = "ASYNC-FIRST"
    concurrency = 2

    async def work(self, job_id: str, params: Any) -> Any:
        await asyncio.sleep(0)
        return super().work(job_id, params)


class ThreadedFirst(First):
    service_name = "THREADED-FIRST"
    concurrency = 2


PROVIDER: list[Any] = []  # of the test that runs


@pytest.fixture(autouse=True)
def provider(kept: Kept) -> None:
    PROVIDER[:] = [kept.provider]


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


# ---------------------------------------------------------------- from submit to work


def test_a_jobs_attempt_is_a_trace_that_is_linked_to_what_has_sent_it(kept: Kept) -> None:
    with FakeClient(workers=[Meta]) as client:
        told = client.submit("META").result()
    send, process = kept.one("send META"), kept.one("process META")
    assert (send.kind, process.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    assert links_of(process) == [context_of(send)]
    assert parent_of(process) is None and context_of(process)[0] != context_of(send)[0]
    assert list(told) == ["traceparent"] and context_in(told) == context_of(send)


def test_spans_say_what_the_conventions_want(kept: Kept) -> None:
    with FakeClient(workers=[Meta]) as client:
        job = client.submit("META")
    send, process = kept.one("send META"), kept.one("process META")
    known = {
        "messaging.system": "zmws",
        "messaging.destination.name": "META",
        "messaging.message.id": job.id,
    }
    operation = {"messaging.operation.name": "send", "messaging.operation.type": "send"}
    assert attributes(send) == known | operation
    operation = {"messaging.operation.name": "process", "messaging.operation.type": "process"}
    assert attributes(process) == known | operation | {"zmws.attempt": 1, "zmws.outcome": "complete"}
    assert {send.status.status_code, process.status.status_code} == {StatusCode.UNSET}
    scope = send.instrumentation_scope
    assert scope is not None and (scope.name, scope.schema_url) == (
        "zmws",
        "https://opentelemetry.io/schemas/1.30.0",
    )


def test_what_is_sent_is_a_child_of_the_span_it_is_sent_in(kept: Kept) -> None:
    tracer = kept.provider.get_tracer("tests")
    with FakeClient(workers=[Meta]) as client, tracer.start_as_current_span("request"):
        client.submit("META")
        client.call("META")
        client.submit_many([{"service": "META"}, {"service": "META"}])
    request = context_of(kept.one("request"))
    sends, processes = kept.all("send META"), kept.all("process META")
    assert [parent_of(one) for one in sends] == [request] * 4
    assert {one for process in processes for one in links_of(process)} == set(map(context_of, sends))
    assert len({context_of(process)[0] for process in processes} | {request[0]}) == 5


def test_a_retry_is_linked_to_the_same_and_says_which_attempt_it_is(kept: Kept) -> None:
    with FakeClient(workers=[Shaky]) as client:
        job = client.submit("SHAKY", {"good": 3})
        client.run_all()
        assert job.result() == 3
    send, processes = kept.one("send SHAKY"), kept.all("process SHAKY")
    assert [links_of(one) for one in processes] == [[context_of(send)]] * 3
    assert len({context_of(one)[0] for one in processes}) == 3
    assert [attributes(one)["zmws.attempt"] for one in processes] == [1, 2, 3]
    assert [one.status.status_code.name for one in processes] == ["ERROR", "ERROR", "UNSET"]
    (event,) = processes[0].events
    told = dict(event.attributes or {})
    assert (event.name, told["exception.type"], told["exception.message"]) == (
        "exception",
        "ValueError",
        "attempt 1",
    )
    assert 'raise ValueError(f"attempt' in str(told["exception.stacktrace"])


@pytest.mark.parametrize("worker", [First, ThreadedFirst, AsyncFirst])
def test_what_work_does_is_in_the_trace_of_its_attempt_in_every_kind(
    kept: Kept, zmws_client: Client, zmws_worker: WorkerFactory, worker: type[WorkerBase]
) -> None:
    zmws_worker(worker)
    zmws_worker(Meta)
    zmws_client.submit(worker.service_name).result(timeout=10)
    kept.await_all("process META", 1)
    process, own = kept.one(f"process {worker.service_name}"), kept.one("own")
    follow, followed = kept.one("send META"), kept.one("process META")
    assert parent_of(own) == context_of(process)
    assert parent_of(follow) == context_of(own)
    assert links_of(followed) == [context_of(follow)]


def test_jobs_at_once_have_each_its_own_span(
    kept: Kept, zmws_client: Client, zmws_worker: WorkerFactory
) -> None:
    both = threading.Barrier(2)

    class Meets(WorkerBase):
        service_name = "MEETS"
        concurrency = 2

        def work(self, job_id: str, params: Any) -> str:
            both.wait(10)
            found = trace.get_current_span()
            assert isinstance(found, ReadableSpan)
            both.wait(10)
            return str(attributes(found)["messaging.message.id"])

    zmws_worker(Meets)
    jobs = [zmws_client.submit("MEETS") for _ in range(2)]
    assert [job.result(timeout=10) for job in jobs] == [job.id for job in jobs]


def test_no_span_is_left_current_behind_a_job(kept: Kept) -> None:
    assert run_job(Meta).ok
    assert kept.one("process META") and not trace.get_current_span().get_span_context().is_valid


# ---------------------------------------------------------------- the fronts


def test_a_span_says_where_the_broker_is(kept: Kept, zmws_client: Client, zmws_worker: WorkerFactory) -> None:
    zmws_worker(Meta)
    zmws_client.submit("META")
    zmws_client.submit_many([{"service": "META"}])
    host, port = zmws_client.endpoint().removeprefix("tcp://").split(":")
    for send in kept.all("send META"):
        assert (attributes(send)["server.address"], attributes(send)["server.port"]) == (host, int(port))


@pytest.mark.parametrize("kind", [AsyncClient, LoopClient])
def test_the_clients_for_asyncio_make_the_same_spans(
    kept: Kept, broker: RunningBroker, zmws_worker: WorkerFactory, kind: type[AsyncClient]
) -> None:
    zmws_worker(Meta)
    tracer = kept.provider.get_tracer("tests")

    async def steps() -> None:
        async with kind(broker.client) as client:
            with tracer.start_as_current_span("request"):
                told = await client.call("META", timeout=10)
                assert context_in(told) == context_of(kept.one("send META"))
                await (await client.submit("META")).result(timeout=10)
                await client.submit_many([{"service": "META"}] * 2)

    asyncio.run(steps())
    sends = kept.all("send META")  # at once: they have ended before the answer was told
    assert [parent_of(one) for one in sends] == [context_of(kept.one("request"))] * 4
    processes = kept.await_all("process META", 4)
    assert {one for span in processes for one in links_of(span)} == set(map(context_of, sends))


def test_each_job_of_many_has_its_span_and_its_verdict(kept: Kept) -> None:
    with FakeClient(workers=[Meta], services={"FULL": {"max_waiting": 1}}) as client:
        jobs: list[dict[str, Any]] = [{"service": "META", "id": f"i{n}"} for n in range(3)]
        jobs += [{"service": "FULL"}, {"service": "FULL"}, {"service": "UNKNOWN"}, {"service": ""}]
        verdicts = client.submit_many(jobs)
        assert client.submit_many_future([{"service": "META", "id": "i3"}]).result()
    ids = [attributes(one)["messaging.message.id"] for one in kept.all("send META")]
    assert ids == ["i0", "i1", "i2", "i3"]
    assert [one.status.status_code.name for one in kept.all("send FULL")] == ["UNSET", "ERROR"]
    assert attributes(kept.all("send FULL")[1])["error.type"] == "queue_full"
    assert attributes(kept.one("send UNKNOWN"))["error.type"] == "unknown_service"
    assert isinstance(verdicts[-1], Refused) and not kept.all("send ")


def test_a_chain_has_one_span_to_which_all_its_steps_are_linked(kept: Kept) -> None:
    with FakeClient(workers=[Meta]) as client:
        chain = client.chain([("META", 1), ("META", 1, {"meta": {"own": 1}})])
        told = chain.result()
        with pytest.raises(Refused):
            client.chain([("UNKNOWN", 1)])
    send = kept.one("send META")
    assert told["own"] == 1 and context_in(told) == context_of(send)
    assert [links_of(one) for one in kept.all("process META")] == [[context_of(send)]] * 2
    assert attributes(kept.one("send UNKNOWN"))["error.type"] == "unknown_service"


def test_what_work_enqueues_is_linked_to_its_attempt(kept: Kept) -> None:
    with FakeClient(workers=[Book, Meta]) as client:
        job = client.submit("BOOK")
        assert job.result() is None
        follow_up, first = client.jobs(parent=job.id)
        told = client.job(follow_up["id"]).result() if follow_up["chain"] is None else {}
        told = told or client.job(first["id"]).result()
        assert told["own"] == 1
        client.get_chain(next(one["chain"] for one in (follow_up, first) if one["chain"])).result()
    attempt = kept.one("process BOOK")
    assert [links_of(one) for one in kept.all("process META")] == [[context_of(attempt)]] * 3


def test_jobs_of_several_messages_have_one_span_each(kept: Kept) -> None:
    with broker_in_thread(message_bytes_max=4_096) as broker, broker.connect() as client:
        client.call("zmws.hello")
        text = "x" * 900
        client.submit_many([{"service": "META", "params": text, "id": f"i{n}"} for n in range(9)])
    ids = [attributes(one)["messaging.message.id"] for one in kept.all("send META")]
    assert sorted(map(str, ids)) == [f"i{n}" for n in range(9)]


def test_a_job_that_is_there_already_is_named_as_it_is(kept: Kept) -> None:
    with FakeClient() as client:
        first = client.submit("META", unique="u")
        assert client.submit("META", unique="u").id == first.id
    assert {attributes(one)["messaging.message.id"] for one in kept.all("send META")} == {first.id}


def test_what_the_broker_itself_answers_makes_no_span(kept: Kept) -> None:
    with FakeClient() as client:
        assert client.services() == [] and client.call("zmws.services") == []
    assert kept.all() == []


# ---------------------------------------------------------------- meta


def test_the_callers_meta_is_kept(kept: Kept) -> None:
    mine = {"tenant": "a", "tracestate": "mine=1"}
    with FakeClient(workers=[Meta]) as client:
        told = client.call("META", meta=mine)
    assert context_in(told) == context_of(kept.one("send META"))
    assert {**told, "traceparent": ""} == {**mine, "traceparent": ""}
    assert mine == {"tenant": "a", "tracestate": "mine=1"}, "the caller's own dict has changed"


def test_a_traceparent_of_the_caller_is_not_overwritten(kept: Kept) -> None:
    mine = {"traceparent": traceparent_of(ELSEWHERE), "tracestate": "mine=1"}
    with FakeClient(workers=[Meta]) as client:
        assert client.call("META", meta=mine) == mine
    send, process = kept.one("send META"), kept.one("process META")
    assert links_of(send) == links_of(process) == [ELSEWHERE]
    assert send.kind is SpanKind.CLIENT


@pytest.mark.parametrize("nonsense", ["", "00-1-2-3", "x" * 999, 7, None, {"a": 1}])
def test_a_traceparent_that_is_none_links_nothing(kept: Kept, nonsense: Any) -> None:
    with FakeClient(workers=[Meta]) as client:
        assert client.call("META", meta={"traceparent": nonsense}) == {"traceparent": nonsense}
    assert links_of(kept.one("process META")) == []


def _meta_of(size: int) -> dict[str, str]:
    return {"a": "x" * (size - len(json.dumps({"a": ""})))}


_OWN = len(', "traceparent": ""') + len(traceparent_of(ELSEWHERE))


def test_a_meta_with_room_for_it_carries_it(kept: Kept) -> None:
    with FakeClient(workers=[Meta]) as client:
        told = client.call("META", meta=_meta_of(OBJECT_BYTES_MAX - _OWN))
    assert len(json.dumps(told)) == OBJECT_BYTES_MAX and "traceparent" in told
    assert links_of(kept.one("process META")) == [context_of(kept.one("send META"))]


@pytest.mark.parametrize("size", [OBJECT_BYTES_MAX - _OWN + 1, OBJECT_BYTES_MAX])
def test_a_meta_without_room_for_it_goes_as_it_is(kept: Kept, size: int) -> None:
    with FakeClient(workers=[Meta]) as client:
        assert client.call("META", meta=_meta_of(size)) == _meta_of(size)
        job = client.submit("META", meta=_meta_of(size))
        assert job.result() == _meta_of(size)
        assert not isinstance(client.submit_many([{"service": "META", "meta": _meta_of(size)}])[0], Refused)
    assert len(kept.all("send META")) == 3
    assert [links_of(one) for one in kept.all("process META")] == [[]] * 3


def test_a_meta_that_is_too_large_is_refused_as_before(kept: Kept) -> None:
    with FakeClient(workers=[Meta]) as client, pytest.raises(Refused, match="meta"):
        client.submit("META", meta=_meta_of(OBJECT_BYTES_MAX + 1))
    assert attributes(kept.one("send META"))["error.type"] == "bad_option"


def test_a_tracestate_goes_along_where_there_is_room_for_it(kept: Kept) -> None:
    state = trace.TraceState([("vendor", "v" * 100)])
    numbers = (int(ELSEWHERE[0], 16), int(ELSEWHERE[1], 16))
    remote = trace.SpanContext(*numbers, True, trace.TraceFlags(1), state)
    parent = trace.NonRecordingSpan(remote)
    with FakeClient(workers=[Meta]) as client, trace.use_span(parent):
        told = client.call("META")
        assert told["tracestate"] == state.to_header() and told["traceparent"].startswith("00-0af76")
        told = client.call("META", meta=_meta_of(OBJECT_BYTES_MAX - 100))
        assert sorted(told) == ["a", "traceparent"]


# ---------------------------------------------------------------- what goes wrong


@pytest.mark.parametrize(
    ("params", "status", "kind", "outcome"),
    [
        ("fail", "ERROR", "Fail", "failed"),
        ("false", "ERROR", "job_failed", "failed"),
        ("nasty", "ERROR", "Nasty", "failed"),
        ("retry", "UNSET", None, "retry"),
        ("fine", "UNSET", None, "complete"),
    ],
)
def test_how_an_attempt_ends_is_told(
    kept: Kept, params: str, status: str, kind: str | None, outcome: str
) -> None:
    assert run_job(Wrong, params).ok is (outcome == "complete")
    span = kept.one("process WRONG")
    assert (span.status.status_code.name, attributes(span).get("error.type")) == (status, kind)
    assert attributes(span)["zmws.outcome"] == outcome
    assert len(span.events) == (params not in ("false", "fine"))


def test_parameters_that_do_not_fit_are_an_error_too(kept: Kept) -> None:
    class Adds(WorkerBase):
        service_name = "ADDS"

        def work(self, job_id: str, params: list[int]) -> int:
            return sum(params)

    assert run_job(Adds, "text").code == "bad_params"
    assert attributes(kept.one("process ADDS"))["error.type"] == "bad_params"


def test_a_call_that_fails_says_so(kept: Kept) -> None:
    with FakeClient(workers=[Wrong]) as client, pytest.raises(JobFailed):
        client.call("WRONG", "fail")
    send = kept.one("send WRONG")
    assert (send.status.status_code.name, attributes(send)["error.type"]) == ("ERROR", "job_failed")
    assert (send.events[0].attributes or {})["exception.type"] == "zmws.errors.JobFailed"


def test_a_submit_that_is_refused_says_so(kept: Kept) -> None:
    with FakeClient(workers=[Meta]) as client, pytest.raises(Refused):
        client.submit("NOBODY")
    assert attributes(kept.one("send NOBODY"))["error.type"] == "unknown_service"


def test_a_job_that_cannot_leave_ends_its_span(kept: Kept, broker: RunningBroker) -> None:
    client = broker.connect()
    client.close()
    with pytest.raises(ZmwsError):
        client.submit("META")
    with pytest.raises(ZmwsError):
        client.submit_many([{"service": "META"}])
    assert kept.all("send META")[0].status.status_code is StatusCode.ERROR


def test_a_call_that_nobody_waits_for_any_more_ends_its_span(kept: Kept) -> None:
    with broker_in_thread(services={"META": ServiceOptions()}) as broker, broker.connect() as client:
        asked = client.call_future("META", timeout=60)
        assert asked.cancel()
    assert kept.one("send META").status.status_code is StatusCode.UNSET
