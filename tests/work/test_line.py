"""zmws.work.line: what goes over between whoever runs jobs and the I/O thread. Here no thread runs."""

from __future__ import annotations

import queue
from collections.abc import Iterator

import pytest

from zmws.dialog.worker_actions import CancelJob, Lies, Registered, StartJob, Stopped
from zmws.dialog.worker_states import State
from zmws.wire.messages import WorkerRequest
from zmws.work.line import WorkerLine

REQUEST = WorkerRequest(b"1/1/a", "", b"{}", ())


@pytest.fixture
def line() -> Iterator[WorkerLine]:
    """One whose dialog has started."""
    made = WorkerLine("E", ["tcp://127.0.0.1:1"])
    handed(made)
    yield made
    made.close()


def handed(line: WorkerLine) -> int:
    """Do what was handed over, as the thread would; how many things."""
    count = 0
    while (step := line.taken_back()) is not None:
        line.take_up(0.0, step)
        count += 1
    return count


def test_it_begins_with_the_start_of_its_dialog(line: WorkerLine) -> None:
    assert line.dialog.state is State.GREETING and not line.registered.is_set()
    line.act(Registered())
    assert line.registered.is_set()


def test_a_job_is_got_once_and_its_result_handed_back(line: WorkerLine) -> None:
    with pytest.raises(queue.Empty):
        line.next(0.0)
    line.dialog.holding[REQUEST.token] = None
    line.act(StartJob(REQUEST))
    assert line.lost([]) is None, "it waits to be begun"
    assert line.next(0.0) is REQUEST
    assert line.begin(REQUEST.token) and not line.begin(REQUEST.token)
    assert line.lost([REQUEST.token]) is None
    assert line.lost([]) is REQUEST, "who got it has not finished it"
    line.finish(REQUEST.token, (b"COMPLETE",))
    assert line.lost([]) is None and handed(line) == 1
    assert line.dialog.unconfirmed == {REQUEST.token: (b"COMPLETE",)}


def test_what_a_job_says_goes_out_unless_it_is_too_large(line: WorkerLine) -> None:
    line.dialog.message_bytes_max = 10
    line.say(REQUEST.token, (b"LOG", b"x" * 10))
    assert handed(line) == 1
    with pytest.raises(ValueError, match="message_bytes_max = 10"):
        line.say(REQUEST.token, (b"LOG", b"x" * 11))
    assert handed(line) == 0


def test_a_cancel_is_known_until_the_job_is_finished(line: WorkerLine) -> None:
    line.act(CancelJob(REQUEST.token))
    assert line.is_cancelled(REQUEST.token) and not line.is_cancelled(b"2/1/b")
    line.finish(REQUEST.token, (b"COMPLETE",))
    handed(line)
    assert not line.is_cancelled(REQUEST.token)


def test_when_it_has_stopped_there_is_no_job_any_more(line: WorkerLine) -> None:
    line.stop()
    assert handed(line) == 1 and line.dialog.state is State.STOPPED
    line.act(Stopped(3))
    assert line.over and line.unconfirmed == 3
    line.ending(None)
    assert line.next(0.0) is None


def test_a_fault_of_ours_reaches_whoever_waits_for_a_job(line: WorkerLine) -> None:
    line.ending(TypeError("ours"))
    with pytest.raises(TypeError, match="ours"):
        line.next(0.0)


def test_missing_descriptors_are_told_once_until_a_broker_has_answered(
    line: WorkerLine, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        line.cannot_open("no more files")
    assert caplog.text.count("no more files; it is tried again") == 1
    line.act(Registered())
    line.cannot_open("no more files")
    assert caplog.text.count("no more files; it is tried again") == 2


# ---------------------------------------------------------------- jobs that have not begun


def ahead(line: WorkerLine, *tokens: bytes) -> None:
    for token in tokens:
        line.dialog.holding[token] = None
        line.act(StartJob(WorkerRequest(token, "", b"{}", ())))


def test_jobs_come_in_their_order(line: WorkerLine) -> None:
    ahead(line, b"1/1/a", b"2/1/b")
    assert line.next(0.0).token == b"1/1/a"  # type: ignore[union-attr]
    here = line.here()
    assert here is not None and here.token == b"2/1/b" and line.here() is None


def test_what_lies_is_released_unless_it_has_begun(line: WorkerLine) -> None:
    ahead(line, b"1/1/a", b"2/1/b", b"3/1/c")
    first = line.here()
    assert first is not None and line.begin(first.token)
    line.act(Lies((b"1/1/a", b"3/1/c")))
    handed(line)
    assert list(line.dialog.holding) == [b"1/1/a", b"2/1/b"]
    second = line.here()
    assert second is not None and second.token == b"2/1/b"
    assert line.here() is None, "what was released does not come"
    line.act(Lies((b"2/1/b",)))
    assert not line.begin(b"2/1/b"), "it was taken back while somebody looked at it"
    assert line.lost([b"1/1/a"]) is None


def test_a_cancelled_job_is_released_if_it_has_not_begun_else_whoever_runs_it_is_told(
    line: WorkerLine,
) -> None:
    cancelled: list[bytes] = []
    line.on_cancel = cancelled.append
    ahead(line, b"1/1/a", b"2/1/b")
    line.begin(line.here().token)  # type: ignore[union-attr]
    line.act(CancelJob(b"1/1/a"))
    line.act(CancelJob(b"2/1/b"))
    handed(line)
    assert cancelled == [b"1/1/a"] and line.is_cancelled(b"1/1/a")
    assert list(line.dialog.holding) == [b"1/1/a"] and not line.is_cancelled(b"2/1/b")


def test_a_job_that_got_lost_on_its_way_is_found(line: WorkerLine) -> None:
    ahead(line, b"1/1/a", b"2/1/b")
    line.here()
    found = line.lost([])
    assert found is not None and found.token == b"1/1/a"
    assert not line.begin(b"1/1/a"), "it will not be begun"


def test_who_waits_is_called_to_look_around_and_no_call_is_lost(line: WorkerLine) -> None:
    for _ in range(3):
        line.look_around()
    with pytest.raises(queue.Empty):
        line.next(5.0)
    ahead(line, b"1/1/a")
    assert line.next(5.0) is not None
    line.look_around()
    with pytest.raises(queue.Empty):
        line.next(5.0)


def test_a_result_wakes_the_thread_only_when_nothing_is_left_to_begin(line: WorkerLine) -> None:
    woken: list[int] = []
    line.wake = lambda: woken.append(1)  # type: ignore[method-assign]
    ahead(line, b"1/1/a", b"2/1/b")
    assert line.looks()
    for token, wakes in ((b"1/1/a", 0), (b"2/1/b", 1)):
        request = line.here()
        assert request is not None and line.begin(token)
        if token == b"1/1/a":
            assert line.looks()
        line.finish(token, (b"COMPLETE",))
        assert len(woken) == wakes
    assert not line.looks() and handed(line) == 2
