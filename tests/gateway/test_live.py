"""What keeps pages fresh: one question for all that look, one pulse, and a stream that says what is new."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.stand import Gateway, Stream, gateway
from tests.peers import wait_until
from zmws.errors import Refused
from zmws.gateway import looks, pulse
from zmws.gateway.looks import Looks, or_none, patiently
from zmws.gateway.pages import live
from zmws.gateway.problems import Problem
from zmws.testing import RunningBroker

LIVE = "/ui/live"


@pytest.fixture
def own(broker: RunningBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gateway]:
    """A gateway with a quick pulse, and no ticks but the test's."""
    monkeypatch.setattr(pulse, "PULSE_S", 0.05)
    monkeypatch.setattr(live, "QUIET_S", 0.01)
    monkeypatch.setattr(pulse, "TICK_S", 3_600.0)
    with gateway(broker, tmp_path) as found:
        yield found


@pytest.fixture
def ask(own: Gateway) -> Iterator[httpx.Client]:
    with own.client() as client:
        yield client


class Asked:
    """A client whose broker answers when it is let, and counts what it was asked."""

    def __init__(self) -> None:
        self.count, self.let = 0, asyncio.Event()
        self.fault: Exception | None = None

    async def ask_status(self, service: str, question: Any, takes_s: float) -> tuple[int, Any]:
        self.count += 1
        await self.let.wait()
        if self.fault is not None:
            raise self.fault
        return 200, (service, question, self.count)


def test_those_who_ask_the_same_at_once_ask_once() -> None:
    async def run() -> None:
        desk = Asked()
        shared = Looks(desk)
        asked = [asyncio.ensure_future(shared.ask("zmws.stats")) for _ in range(10)]
        other = asyncio.ensure_future(shared.ask("zmws.stats", {"a": 1}))
        await asyncio.sleep(0)
        desk.let.set()
        assert {(await one)[2] for one in asked} == {1} and (await other)[1] == {"a": 1} and desk.count == 2
        assert (await shared.ask("zmws.stats"))[2] == 1, "fresh enough"
        shared.clear()
        assert (await shared.ask("zmws.stats"))[2] == 3
        assert (await shared.ask("zmws.stats", fresh_s=-1.0))[2] == 4

    asyncio.run(run())


def test_a_refusal_is_told_to_all_who_wait_and_is_asked_anew_by_the_next() -> None:
    async def run() -> None:
        desk = Asked()
        desk.let.set()
        desk.fault = Refused("queue_full", "no")
        shared = Looks(desk)
        told = await asyncio.gather(*(shared.ask("zmws.stats") for _ in range(3)), return_exceptions=True)
        assert all(isinstance(one, Refused) for one in told) and desk.count == 1
        assert await or_none(shared.ask("zmws.stats")) is None and desk.count == 2
        desk.fault = None
        assert (await shared.ask("zmws.stats"))[2] == 3

    asyncio.run(run())


def test_one_who_leaves_takes_nothing_from_the_others() -> None:
    async def run() -> None:
        desk = Asked()
        shared = Looks(desk)
        first, second = (asyncio.ensure_future(shared.ask("zmws.stats")) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        desk.let.set()
        assert (await second)[2] == 1

    asyncio.run(run())


def test_answers_that_nobody_wants_any_more_are_forgotten() -> None:
    async def run() -> None:
        desk = Asked()
        desk.let.set()
        shared = Looks(desk)
        for n in range(2 * looks._KEPT_MAX):
            await shared.ask("zmws.job", {"n": n}, -1.0)
            shared._asked = {key: (at - 100, one) for key, (at, one) in shared._asked.items()}
        assert len(shared._asked) <= looks._KEPT_MAX

    asyncio.run(run())


def test_a_broker_that_hangs_is_asked_once_however_long_it_takes() -> None:
    async def run() -> None:
        client = Asked()
        shared = Looks(client)
        asked = []
        for _ in range(20):
            asked.append(asyncio.ensure_future(shared.ask("zmws.stats", fresh_s=-1.0)))
            await asyncio.sleep(0.001)
        assert client.count == 1
        client.let.set()
        await asyncio.gather(*asked)

    asyncio.run(run())


def test_what_moves_slowly_is_kept_over_changes_and_asked_anew_for_another_mark() -> None:
    async def run() -> None:
        client = Asked()
        client.let.set()
        shared = Looks(client)
        assert (await shared.ask("zmws.series", None, 60.0, "1"))[2] == 1
        shared.clear()
        assert (await shared.ask("zmws.series", None, 60.0, "1"))[2] == 1
        assert (await shared.ask("zmws.series", None, 60.0, "2"))[2] == 2

    asyncio.run(run())


def test_a_page_that_opens_as_another_closes_has_a_pulse() -> None:
    async def run() -> None:
        client = Asked()
        one = pulse.Pulse(Looks(client), asyncio.Event())
        one.enter()
        await asyncio.sleep(0)
        one.leave()
        one.enter()
        await asyncio.sleep(0.01)
        assert one._task is not None and not one._task.done()
        one.leave()

    asyncio.run(run())


def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(looks, "PATIENCE_S", 0.01)
    with pytest.raises(Problem) as told:
        asyncio.run(patiently(asyncio.Event().wait()))
    assert (told.value.status, told.value.code) == (503, "no_broker")


def test_a_page_is_told_when_a_job_has_moved_and_only_then(own: Gateway, ask: httpx.Client) -> None:
    stream = Stream(ask, LIVE)
    wait_until(lambda: own.desk.pulse._marks is not None, what="the first look")
    number = own.desk.pulse.number
    with ThreadPoolExecutor() as pool:
        told = pool.submit(stream.next)
        with own.client() as other:
            other.post("/ECHO", json={})
        assert told.result(10) == ("changed", {})
    assert own.desk.pulse.number > number
    stream.close()


def test_while_no_page_is_open_the_broker_is_asked_nothing(own: Gateway, ask: httpx.Client) -> None:
    streams = [Stream(ask, LIVE) for _ in range(3)]
    assert own.desk.pulse._pages == 3 and own.desk.streams == 3
    task = own.desk.pulse._task
    for stream in streams:
        stream.close()
    wait_until(lambda: own.desk.pulse._pages == 0 and own.desk.streams == 0)
    wait_until(task.done, what="the pulse to end")


def test_the_page_of_a_job_is_told_of_what_it_says(
    own: Gateway, ask: httpx.Client, held: threading.Event
) -> None:
    job_id = ask.post("/HOLD", json={}).json()["id"]
    wait_until(lambda: ask.get(f"/api/v1/jobs/{job_id}").json()["progress"] == 0.5)
    stream = Stream(ask, f"{LIVE}?job={job_id}")
    held.set()
    assert stream.next() == ("changed", {})
    stream.close()
    gone = Stream(ask, f"{LIVE}?job=no-such-job")
    assert gone.response.status_code == 200
    gone.close()
    wait_until(lambda: len(own.desk.watches) == 0)


def test_a_page_is_told_that_the_broker_is_away_and_that_it_is_back(
    own: Gateway, ask: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = Stream(ask, LIVE)
    wait_until(lambda: own.desk.pulse._marks is not None)
    ask_of_broker = own.desk.looks.ask

    async def nobody(*_: Any, **__: Any) -> None:
        raise Problem(503, "no_broker", "nobody answers")

    monkeypatch.setattr(own.desk.looks, "ask", nobody)
    assert stream.next()[0] == "away"
    other = Stream(own.client(), LIVE)
    assert other.next()[0] == "away", "also one that is opened meanwhile"
    monkeypatch.setattr(own.desk.looks, "ask", ask_of_broker)
    assert stream.next()[0] == "back" and other.next()[0] == "back"
    stream.close()
    other.close()


def test_an_open_page_is_looked_at_anew_now_and_then(
    own: Gateway, ask: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pulse, "TICK_S", 0.1)
    stream = Stream(ask, LIVE)
    assert stream.next() == ("changed", {})
    stream.close()


def test_streams_have_their_bound(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, streams_max=1) as http, http.client() as ask:
        stream = Stream(ask, LIVE)
        answer = ask.get(LIVE)
        assert (answer.status_code, answer.json()["code"]) == (503, "too_many_streams")
        stream.close()
