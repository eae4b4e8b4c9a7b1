"""Connections between worker and broker that are cut, for a moment or for long."""

from __future__ import annotations

import threading
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.peers import RunningBroker, await_workers, counters, proxy, wait_until, worker_process
from tests.system.deaths.acting import ACTOR, EXPIRY_S, Actors, Notes, worker_row
from zmws.client import Client
from zmws.dialog.worker import QUICK_TRIES_S


def test_a_short_cut_of_the_connection_costs_a_running_job_nothing(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        between = stack.enter_context(proxy(broker.worker))
        Actors(stack, tmp_path, between.endpoint, 1)
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        job = client.submit("ACT", notes.params("until"))
        notes.wait("begun")
        # Another stands by, so that a job that is given up would be seen to run there.
        other = stack.enter_context(worker_process(tmp_path, broker.worker, ACTOR, "other"))
        await_workers(client, 2)
        for _ in range(3):
            before = counters(client).get("reattached", 0)
            between.refuse()
            wait_until(lambda: _is_lost(client, other.pid), 5, "the broker has seen the cut")
            threading.Event().wait(0.2)
            between.accept_again()
            back = lambda was=before: counters(client).get("reattached", 0) > was  # noqa: E731
            wait_until(back, 5, "the worker took its job over")
        notes.open_gate()
        assert job.result(10) == 1
        record = job.status()
        assert record["attempt"] == 1 and record["failures"] == 0
        assert [n["attempt"] for n in notes.all("begun")] == [1]


def test_a_connection_that_breaks_while_a_worker_sends_harms_neither(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        between = stack.enter_context(proxy(broker.worker))
        Actors(stack, tmp_path, between.endpoint, 1)
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        job = client.submit("ACT", notes.params("chat"))
        notes.wait("begun")
        for n in range(20):
            between.cut()
            back = lambda: counters(client).get("reattached", 0) > n  # noqa: B023, E731
            wait_until(back, 5, "the worker took its job over")
        notes.open_gate()
        assert job.result(10) == 1


def _is_lost(client: Client, but: int) -> bool:
    return any(w["state"] == "lost" for w in client.ask("zmws.workers") if w["pid"] != but)


@pytest.mark.timed
def test_a_long_cut_gives_the_job_to_another_and_cancels_the_first(
    broker: RunningBroker, tmp_path: Path, notes: Notes
) -> None:
    with ExitStack() as stack:
        between = stack.enter_context(proxy(broker.worker))
        cut_off = next(iter(Actors(stack, tmp_path, between.endpoint, 1).by_pid))
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        job = client.submit("ACT", notes.params("until"))
        notes.wait("begun")
        other = stack.enter_context(worker_process(tmp_path, broker.worker, ACTOR, "other"))
        await_workers(client, 2)
        between.refuse()
        cut_at = time.monotonic()
        second = notes.wait("begun", 2)[1]
        assert second["pid"] == other.pid and second["attempt"] == 2
        assert second["at"] - cut_at < 2.5
        long_s = QUICK_TRIES_S + 2 * EXPIRY_S
        wait_until(lambda: time.monotonic() > cut_at + long_s, 15, "the worker tries no longer quickly")
        between.accept_again()
        # Its next try may be a whole step of its backoff away.
        cancelled = notes.wait("cancelled", 1, 20)
        assert [n["pid"] for n in cancelled] == [cut_off]
        notes.open_gate()
        assert job.result(10) == 2
        wait_until(lambda: (worker_row(client, cut_off) or {}).get("state") == "idle", 10)
        assert len(notes.all("begun")) == 2
        row = next(s for s in client.ask("zmws.services") if s["service"] == "ACT")
        assert row["complete"] == 1
