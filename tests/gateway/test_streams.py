"""Server-sent events: none is left out, none comes twice, and a stream ends with its job."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.stand import Gateway, Stream, gateway
from tests.gateway.test_api_jobs import JOBS, ended, made
from tests.peers import wait_until
from zmws.client.news import Item
from zmws.errors import BrokerUnreachable
from zmws.gateway.news import KEPT_MAX, Listener
from zmws.gateway.streams import Story, Watch
from zmws.testing import RunningBroker, broker_in_thread


def kinds(events: list[tuple[str, Any]]) -> list[str]:
    return [data["state"] if kind == "state" else kind for kind, data in events]


def test_a_stream_tells_all_in_order_and_ends_with_the_job(ask: httpx.Client, held: threading.Event) -> None:
    job_id = made(ask, "HOLD")
    stream = Stream(ask, f"{JOBS}/{job_id}/events")
    assert stream.response.headers["content-type"].startswith("text/event-stream")
    assert stream.response.headers["x-accel-buffering"] == "no"
    assert stream.response.headers["cache-control"] == "no-store"
    first = [stream.next() for _ in range(5)]
    assert sorted(kinds(first)) == ["log", "partial", "progress", "running", "waiting"]
    held.set()
    rest = stream.all()
    assert kinds(rest) == ["complete"]
    numbers = [data["n"] for _, data in first + rest]
    assert numbers == sorted(set(numbers))
    stream.close()


def test_it_goes_on_behind_the_last_id_and_is_204_after_the_end(
    ask: httpx.Client, held: threading.Event
) -> None:
    job_id = made(ask, "HOLD")
    wait_until(lambda: len(ask.get(f"{JOBS}/{job_id}").json()["partials"]) == 1)
    stream = Stream(ask, f"{JOBS}/{job_id}/events")
    found = [stream.next() for _ in range(2)]
    last = stream.last_id
    stream.close()
    held.set()
    ended(ask, job_id)
    stream = Stream(ask, f"{JOBS}/{job_id}/events", last)
    rest = stream.all()
    stream.close()
    whole = Stream(ask, f"{JOBS}/{job_id}/events")
    assert found + rest == whole.all(), "without a gap or a repeat"
    whole.close()
    again = ask.get(f"{JOBS}/{job_id}/events", headers={"last-event-id": stream.last_id or ""})
    assert (again.status_code, again.content) == (204, b"")
    assert ask.get(f"{JOBS}/{job_id}/events?last_event_id={stream.last_id}").status_code == 204


@pytest.mark.parametrize("last", ["x", "1", "old.7", "old.x", ".", "a.b.c", "old." + "9" * 30])
def test_an_id_of_another_life_is_a_reset_and_then_all(ask: httpx.Client, last: str) -> None:
    job_id = made(ask)
    ended(ask, job_id)
    stream = Stream(ask, f"{JOBS}/{job_id}/events", last)
    found = stream.all()
    stream.close()
    assert kinds(found)[-3:] == ["waiting", "running", "complete"]
    assert [kind for kind, _ in found].count("reset") == (last.rpartition(".")[0] != "")


def test_a_job_that_was_retried_goes_on(ask: httpx.Client) -> None:
    job_id = made(ask, params={"fail": "1"}, retries=0)
    ended(ask, job_id)
    stream = Stream(ask, f"{JOBS}/{job_id}/events")
    assert kinds(stream.all()) == ["waiting", "running", "failed"]
    stream.close()
    ask.post(f"{JOBS}/{job_id}/retry")
    stream = Stream(ask, f"{JOBS}/{job_id}/events", stream.last_id)
    assert kinds(stream.all()) == ["waiting", "running", "failed"]
    stream.close()


def test_however_many_look_on_there_is_one_watch_and_none_when_they_have_gone(
    ask: httpx.Client, http: Gateway, held: threading.Event
) -> None:
    job_id = made(ask, "HOLD")
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(http.client()) for _ in range(20)]
        streams = [Stream(client, f"{JOBS}/{job_id}/events") for client in clients]
        assert len(http.desk.watches) == 1 and http.desk.streams == 20
        held.set()
        told = [stream.all() for stream in streams]
        assert all(one == told[0] for one in told) and kinds(told[0])[-1] == "complete"
        for stream in streams:
            stream.close()
    wait_until(lambda: len(http.desk.watches) == 0 and http.desk.streams == 0)


def test_who_goes_away_is_seen_though_nothing_happens(ask: httpx.Client, http: Gateway) -> None:
    job_id = made(ask, delay=1000)
    with socket.create_connection(http.address) as gone:
        gone.sendall(f"GET {JOBS}/{job_id}/events HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        assert b"text/event-stream" in gone.recv(65536)
        wait_until(lambda: http.desk.streams == 1)
    wait_until(lambda: http.desk.streams == 0 and len(http.desk.watches) == 0)
    ask.post(f"{JOBS}/{job_id}/cancel")


@pytest.mark.parametrize("path", [f"{JOBS}/%s/events", "/api/v1/events", f"{JOBS}/%s/result?wait=60"])
def test_who_goes_away_at_any_moment_leaves_no_place_taken(
    ask: httpx.Client, http: Gateway, path: str
) -> None:
    job_id = made(ask, delay=1000)
    request = f"GET {path.replace('%s', job_id)} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    for n in range(60):
        with socket.create_connection(http.address) as gone:
            gone.sendall(request)
            time.sleep(n * 0.0002)  # some before it is read, some when it is answered
            gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
    wait_until(lambda: http.desk.streams == 0 and len(http.desk.watches) == 0, 20)
    wait_until(lambda: not http.desk.channel._listeners)
    ask.post(f"{JOBS}/{job_id}/cancel")


def test_where_nothing_happens_a_comment_says_that_it_lives(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, stream_ping=0.05) as http, http.client() as ask:
        job_id = made(ask, delay=1000)
        with ask.stream("GET", f"{JOBS}/{job_id}/events") as stream:
            lines = stream.iter_lines()
            assert next(lines) == "retry: 2000"
            wait_until(lambda: next(lines) == ": still here")


def test_there_is_a_place_for_so_many_and_the_next_is_503(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, streams_max=2) as http, http.client() as ask:
        job_id = made(ask, delay=1000)
        streams = [Stream(ask, f"{JOBS}/{job_id}/events") for _ in range(2)]
        for path in (f"{JOBS}/{job_id}/events", "/api/v1/events", f"{JOBS}/{job_id}/result?wait=1"):
            answer = ask.get(path)
            assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
        streams[0].close()
        wait_until(lambda: http.desk.streams == 1)
        assert ask.get(f"{JOBS}/{job_id}/result?wait=0.01").status_code == 202
        streams[1].close()


def test_a_gateway_that_ends_ends_its_streams_and_waits_at_once(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with gateway(broker, tmp_path) as http, http.client() as ask:
        job_id = made(ask, delay=1000)
        stream, news = Stream(ask, f"{JOBS}/{job_id}/events"), Stream(ask, "/api/v1/events")
        assert stream.next()[0] == "state" and news.next() == ("reset", {})
        answers: list[int] = []
        waiting = threading.Thread(
            target=lambda: answers.append(
                httpx.get(f"{http.url}{JOBS}/{job_id}/result?wait=60", timeout=30).status_code
            )
        )
        waiting.start()
        wait_until(lambda: http.desk.streams == 3)
        begun = time.monotonic()
        http.loop.call_soon_threadsafe(http.server.end)
        assert stream.all() == [] and news.all() == []
        waiting.join(10)
        assert answers == [202] and time.monotonic() - begun < 4


# ---------------------------------------------------------------- the broker goes and comes


def test_a_stream_goes_on_by_itself_when_the_broker_is_back(tmp_path: Path) -> None:
    file = tmp_path / "zmws.db"
    with contextlib.ExitStack() as stack:
        first = contextlib.ExitStack()
        broker = first.enter_context(broker_in_thread(store=f"sqlite:{file}"))
        broker.server.node.broker.held.register("S")
        http = stack.enter_context(gateway(broker, tmp_path / "g", reconnect_timeout=0.2))
        ask = stack.enter_context(http.client())
        job_id = made(ask, "S", delay=1000)
        stream = Stream(ask, f"{JOBS}/{job_id}/events")
        assert kinds([stream.next()]) == ["scheduled"]
        port = broker.client.rpartition(":")[2]
        first.close()
        wait_until(lambda: ask.get(f"{JOBS}/{job_id}").status_code == 503, 10)
        again = {"client": f"tcp://127.0.0.1:{port}"}
        stack.enter_context(_broker_at(file, **again))
        assert stream.next() == ("reset", {}), "another life of the broker"
        assert kinds([stream.next()]) == ["scheduled"]
        ask.post(f"{JOBS}/{job_id}/cancel")
        assert kinds(stream.all()) == ["cancelled"]
        stream.close()


def _broker_at(file: Path, client: str) -> Any:
    return broker_in_thread(store=f"sqlite:{file}", client=client)


class Told:
    """What the broker says to a watch, one answer after the other."""

    def __init__(self, *answers: Any) -> None:
        self.client, self.closing, self.settings = self, None, None
        self.answers = list(answers)
        self.asked: list[dict[str, Any]] = []

    async def ask_status(self, service: str, question: dict[str, Any], takes_s: float = 0.0) -> Any:
        self.asked.append(question)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return 200, answer


def told(life: str, *events: tuple[int, str]) -> dict[str, Any]:
    """Events by number and kind; what is no kind is a state."""
    known = ("progress", "partial", "log")
    return {
        "life": life,
        "events": [
            {"n": n, "kind": k} if k in known else {"n": n, "kind": "state", "state": k} for n, k in events
        ],
    }


async def watched(*answers: Any, stories: tuple[str | None, ...] = (None,)) -> tuple[list[str], Told]:
    """What one stream after the other was sent, as ids and kinds."""
    desk = Told(*answers)
    watch = Watch(desk, "j")  # type: ignore[arg-type]
    story, found = Story(watch, stories[0]), []
    while True:
        changed = watch.changed
        for text in story.next():
            lines = dict(line.split(": ", 1) for line in text.strip().split("\n"))
            found.append(f"{lines['id']} {lines['event']}")
        if watch.ended or watch.fault is not None:
            return found, desk
        await changed.wait()


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_numbers_that_come_again_in_another_life_are_told_anew(
    anyio_backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zmws.gateway.streams.AWAY_S", 0)
    found, desk = await watched(
        told("a", (1, "waiting"), (2, "running"), (3, "partial")),
        BrokerUnreachable("gone"),
        told("b", (1, "waiting"), (2, "running"), (3, "log")),
        told("b", (4, "complete")),
        told("b"),
    )
    assert found == [
        *("a.1 state", "a.2 state", "a.3 partial"),
        *("b.0 reset", "b.1 state", "b.2 state", "b.3 log", "b.4 state"),
    ]
    assert [(one["life"], one["after"]) for one in desk.asked] == [
        (None, 0), ("a", 3), ("a", 3), ("b", 3), ("b", 4),
    ]  # fmt: skip


@pytest.mark.parametrize("anyio_backend", ["asyncio"])
@pytest.mark.anyio
async def test_of_progress_the_last_is_kept(anyio_backend: str) -> None:
    found, _ = await watched(
        told("a", (1, "waiting"), (2, "running"), (3, "progress")),
        told("a", (9, "progress")),
        told("a", (10, "complete")),
        told("a"),
        stories=("a.2",),
    )
    assert found[-1] == "a.10 state" and set(found) <= {"a.3 progress", "a.9 progress", "a.10 state"}


# ---------------------------------------------------------------- all jobs and workers


def test_news_begin_with_reset_and_tell_jobs_and_workers(ask: httpx.Client) -> None:
    stream = Stream(ask, "/api/v1/events?service=ECHO")
    assert stream.next() == ("reset", {})
    found = []
    while not found or found[-1].get("state") != "complete":
        made(ask)  # the subscription takes a moment to reach the broker
        kind, data = stream.next()
        assert kind in ("state", "reset") and data.get("service", "ECHO") == "ECHO"
        found.append(data)
    stream.close()


def test_who_reads_slowly_loses_and_is_told_so() -> None:
    listener = Listener("S")
    assert listener.take() == "event: reset\ndata: {}\n\n" and listener.take() == ""
    item = Item("S.waiting", {"service": "S"})
    for _ in range(KEPT_MAX):
        listener.put(item, "x")
    listener.put(Item("T.waiting", {"service": "T"}), "y")
    assert listener.take() == "x" * KEPT_MAX
    for _ in range(KEPT_MAX + 2):
        listener.put(item, "x")
    assert listener.take() == "event: reset\ndata: {}\n\n" + "x"
    listener.put(Item("lost", {}), "")
    assert listener.take() == ""
    listener.put(Item("back", {}), "")
    listener.put(item, "x")
    assert listener.take().startswith("event: reset")


def test_who_looks_at_one_service_is_told_of_it_and_of_its_workers_and_of_no_batch() -> None:
    listener = Listener("S")
    listener.take()
    for item, text in (
        (Item("S.waiting", {"service": "S"}), "a"),
        (Item("T.waiting", {"service": "T"}), "b"),
        (Item("worker.ready", {"service": "T", "services": ["T", "S"]}), "c"),
        (Item("worker.ready", {"service": "S", "services": ["T"]}), "d"),
        (Item("batch.complete", {"id": "b1", "state": "complete"}), "e"),
    ):
        listener.put(item, text)
    assert listener.take() == "ac"
