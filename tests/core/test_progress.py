"""What a running job says of itself: what is kept of it, and what is cut."""

from __future__ import annotations

from typing import Any

import pytest

from tests.stage import Scene
from zmws.core.writes import AppendToJob, UpdateJob


def running(kind: str, **limits: Any) -> tuple[Scene, bytes]:
    scene = Scene(limits=limits)
    scene.ready("W")
    scene.submit("j", "SYNC-E" if kind == "memory" else "E")
    return scene, scene.token("W")


def writes_of(scene: Scene, kind: type) -> list[Any]:
    found = [write for write in scene.written if type(write) is kind]
    scene.written.clear()
    return found


@pytest.mark.parametrize("kind", ["stored", "memory"])
def test_partial_results_are_bounded_in_number_and_the_rest_is_counted(kind: str) -> None:
    scene, token = running(kind, partials_max=2)
    for n in range(4):
        scene.partial("W", token, b"CONT", b"PARAM-JSON: %d" % n)
    record = scene.record("j")
    assert (record["partials"], record["partials_cut"]) == ([0, 1], 2) and scene.counted("partials_cut") == 2
    scene.final("W", token)
    record = scene.record("j")
    assert (record["partials"], record["partials_cut"]) == ([0, 1], 2)


@pytest.mark.parametrize(("bytes_max", "kept"), [(20, 2), (19, 1)])
def test_partial_results_are_bounded_in_bytes(bytes_max: int, kept: int) -> None:
    scene, token = running("stored", partials_bytes_max=bytes_max)
    for _ in range(3):
        scene.partial("W", token, b"CONT", b"x" * 10)
    assert len(scene.record("j")["partials"]) == kept and scene.counted("partials_cut") == 3 - kept
    scene.final("W", token)
    assert scene.record("j")["partials_cut"] == 3 - kept


@pytest.mark.parametrize(("bytes_max", "kept"), [(7, 2), (6, 1)])
def test_log_lines_are_bounded_in_bytes_of_utf_8(bytes_max: int, kept: int) -> None:
    scene, token = running("memory", log_bytes_max=bytes_max)
    for line in ("aé", "bcdé", "long"):
        scene.partial("W", token, b"LOG", line.encode())
    scene.final("W", token)
    record = scene.record("j")
    # Of "aé", 3 bytes; "bcdé" would be 5 of the rest.
    assert record["log"] == ["aé"] + (["long"] if kept == 2 else [])
    assert record["log_cut"] == 5 + (0 if kept == 2 else 4) == scene.counted("log_bytes_cut")


@pytest.mark.parametrize("kind", ["stored", "memory"])
def test_stacks_that_are_asked_for_take_up_a_part_of_the_log_and_no_more(kind: str) -> None:
    scene, token = running(kind, log_bytes_max=4 * 100)
    for text in ("a" * 20, "é" * 8, "c" * 100, "d" * 16_385):
        scene.partial("W", token, b"STACK", b"nobody has asked")
        scene.ask("zmws.stack", id="j")
        scene.partial("W", token, b"STACK", text.encode())
        assert scene.answer()[1]["stack"] == text
    line = "its stack, when it was asked for:\n"
    record = scene.record("j")
    assert (record["log"], record["log_cut"]) == ([line + "a" * 20], 0), "of 100 bytes the next has no room"
    scene, token = running(kind, log_bytes_max=4 * 16_418)
    scene.ask("zmws.stack", id="j")
    scene.partial("W", token, b"STACK", b"d" * 16_385)
    assert scene.record("j")["log"] == [line + "d" * 16_384]


def test_what_is_said_of_a_stored_job_goes_to_the_store_in_its_order() -> None:
    scene, token = running("stored")
    writes_of(scene, AppendToJob)
    scene.pass_time(1)
    scene.partial("W", token, b"LOG", b"one")
    scene.partial("W", token, b"CONT", b"two", b"three")
    appended = [
        (w.job_id, w.kind, w.value, w.n, w.at - 1_700_000_000, w.size) for w in writes_of(scene, AppendToJob)
    ]
    assert appended == [("j", "log", "one", 3, 1.0, 103), ("j", "partial", (b"two", b"three"), 4, 1.0, 108)]
    assert scene.job("j").history == ()


def test_of_the_progress_the_last_one_per_commit_is_written() -> None:
    scene, token = running("stored")
    scene.written.clear()
    scene.hold = True
    for n in range(4):
        scene.partial("W", token, b"PROGRESS", b'{"done": 0.%d, "text": "%d"}' % (n, n))
    scene.hold = False
    scene.settle()
    changes = [dict(write.changes) for write in writes_of(scene, UpdateJob)]
    assert [change["progress_text"] for change in changes] == ["0", "3"]
    assert changes[-1]["progress"] == 0.3 and changes[-1]["progress_n"] == changes[-1]["events"] == 4
    scene.partial("W", token, b"PROGRESS", b'{"done": 1}')
    assert [write.changes["progress"] for write in writes_of(scene, UpdateJob)] == [1.0]
    record = scene.record("j")
    assert (record["progress"], record["progress_text"]) == (1.0, None)


def test_who_reads_events_behind_a_number_misses_none_that_was_still_on_its_way() -> None:
    scene = Scene()
    scene.submit("j")
    assert scene.ask("zmws.events", id="j", after=1, timeout=100) is None
    scene.hold = True
    scene.ready("W")  # the read of what happens now stands behind the start of the job
    token = scene.token("W")
    scene.partial("W", token, b"LOG", b"begun")
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.5}')
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.6}')
    scene.partial("W", token, b"CONT", b"PARAM-JSON: 1")
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.7}')
    scene.hold = False
    scene.settle()
    found = scene.answer()[1]
    while more := scene.ask("zmws.events", id="j", after=found[-1]["n"])[1]:
        found += more
    kinds = [event["kind"] for event in found]
    assert kinds == ["state", "log", "partial", "progress"] and found[-1]["done"] == 0.7
    scene.final("W", token)
    (end,) = scene.ask("zmws.events", id="j", after=found[-1]["n"])[1]
    assert end["state"] == "complete"


def test_progress_that_was_said_last_is_an_event_before_the_end() -> None:
    scene, token = running("stored")
    scene.hold = True
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.1}')
    scene.partial("W", token, b"PROGRESS", b'{"done": 0.9}')
    scene.final("W", token)
    scene.hold = False
    scene.settle()
    last, end = scene.ask("zmws.events", id="j", after=2)[1]
    assert (last["kind"], last["done"], end["state"]) == ("progress", 0.9, "complete")


def test_of_what_is_saved_the_last_one_per_commit_is_written() -> None:
    scene, token = running("stored")
    scene.written.clear()
    scene.hold = True
    for n in (1, 2, 3):
        scene.partial("W", token, b"SAVE", b"%d" % n)
    assert scene.job("j").saved == "3"
    scene.hold = False
    scene.settle()
    assert [write.changes for write in writes_of(scene, UpdateJob)] == [{"saved": "1"}, {"saved": "3"}]
    scene.partial("W", token, b"SAVE", b"4")
    assert [write.changes for write in writes_of(scene, UpdateJob)] == [{"saved": "4"}]
    scene, token = running("memory")
    scene.partial("W", token, b"SAVE", b"5")
    assert scene.job("j").saved == "5" and not writes_of(scene, UpdateJob)


def test_a_caller_is_sent_all_partial_results_though_they_are_not_all_kept() -> None:
    scene, token = running("memory", partials_max=1)
    for n in range(3):
        scene.partial("W", token, b"CONT", b"PARAM-JSON: %d" % n)
    assert [frames[4] for frames in scene.sent["C"]] == [b"PARAM-JSON: 0", b"PARAM-JSON: 1", b"PARAM-JSON: 2"]
    assert scene.sent["C"][0][1:4] == [b"\x02", b"E", b"CONT: E [j]"]


@pytest.mark.parametrize("kind", ["stored", "memory"])
@pytest.mark.parametrize(
    "word", [(b"PROGRESS", b'{"done": 0.5}'), (b"CONT", b"PARAM-JSON: 1"), (b"LOG", b"x")]
)
def test_who_looks_on_is_told_of_each_word(kind: str, word: tuple[bytes, ...]) -> None:
    scene, token = running(kind)
    _, before = scene.ask("zmws.events", "L", id="j", after=0)
    scene.sent.clear()
    assert scene.ask("zmws.events", "L", id="j", after=before[-1]["n"], timeout=60) is None
    scene.partial("W", token, *word)
    status, told = scene.answer("L") or (None, [])
    assert status == 200 and len(told) == 1 and told[0]["n"] == before[-1]["n"] + 1
