"""What workers say beyond RFC 18: READY's frame, ends, notes, the words of a HEARTBEAT."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from zmws.errors import ProtocolError
from zmws.wire.messages import (
    Beat,
    Log,
    Partial,
    Progress,
    Report,
    Save,
    ServiceInfo,
    Stack,
    Touch,
    WorkerFinal,
    WorkerInfo,
    WorkerPartial,
)
from zmws.wire.words import beat_of, note_of, printable, report_of, worker_info

YEAR_S = 31_622_400


def info(**told: Any) -> WorkerInfo | None:
    return worker_info(json.dumps({"zmws": 1, "id": "w", **told}).encode())


# ---------------------------------------------------------------- READY


def test_a_worker_that_says_little_has_one_slot_and_nothing_in_hand() -> None:
    assert info() == WorkerInfo("w", [], [], 1, None, "", None, None)


def test_all_that_a_worker_tells_of_itself_is_read() -> None:
    told = info(
        holding=["a/1/x"],
        finished=["b/1/y"],
        slots=3,
        services={"A": {}, "B": {"slots": 2}, "C": {"defaults": [], "params": {"a": 1}}},
        host="box",
        pid=7,
        ping=0.75,
    )
    services = {"A": ServiceInfo(None), "B": ServiceInfo(2), "C": ServiceInfo(None, [], {"a": 1})}
    assert told == WorkerInfo("w", [b"a/1/x"], [b"b/1/y"], 3, services, "box", 7, 0.75)


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"{", b'{"zmws": 2, "id": "w"}', b'{"zmws": 1}', b'{"id": "w"}']
)
def test_another_frame_is_none_of_ours(frame: bytes) -> None:
    assert worker_info(frame) is None


@pytest.mark.parametrize(
    ("told", "good"),
    [
        ({"id": "x" * 128}, True),
        ({"id": "x" * 129}, False),
        ({"id": "x"}, True),
        ({"id": ""}, False),
        ({"id": 7}, False),
        ({"id": "é"}, False),
        ({"id": "a\n"}, False),
        ({"slots": 1}, True),
        ({"slots": 1_000}, True),
        ({"slots": 0}, False),
        ({"slots": 1_001}, False),
        ({"slots": True}, False),
        ({"slots": 1.0}, False),
        ({"holding": ["x" * 255]}, True),
        ({"holding": ["x" * 256]}, False),
        ({"holding": [""]}, False),
        ({"holding": "x"}, False),
        ({"finished": [7]}, False),
        ({"services": {}}, False),
        ({"services": []}, False),
        ({"services": {"A": 1}}, False),
        ({"services": {"A": {"slots": 0}}}, False),
        ({"services": {f"s{n}": {} for n in range(1_000)}}, True),
        ({"services": {f"s{n}": {} for n in range(1_001)}}, False),
    ],
)
def test_what_could_not_be_echoed_or_kept_is_refused(told: dict[str, Any], good: bool) -> None:
    if good:
        assert info(**told) is not None
        return
    with pytest.raises(ProtocolError) as wrong:
        info(**told)
    assert wrong.value.reason == "bad_ready"


def test_only_so_many_tokens_are_taken() -> None:
    told = info(holding=[f"t{n}" for n in range(1_001)], finished=[f"t{n}" for n in range(1_001)])
    assert told is not None and len(told.holding) == len(told.finished) == 1_000


@pytest.mark.parametrize(
    ("told", "name", "value"),
    [
        ({"host": "h" * 300}, "host", "h" * 255),
        ({"host": 7}, "host", "7"),
        ({"host": "\ud800"}, "host", "?"),
        ({"pid": "7"}, "pid", None),
        ({"pid": 2**63}, "pid", 0),
        ({"pid": 2**63 - 1}, "pid", 2**63 - 1),
        ({"ping": 0}, "ping_s", None),
        ({"ping": 0.001}, "ping_s", 0.001),
        ({"ping": 3_599.9}, "ping_s", 3_599.9),
        ({"ping": 3_600}, "ping_s", None),
        ({"ping": "1"}, "ping_s", None),
    ],
)
def test_what_is_for_people_or_out_of_range_never_refuses_a_worker(
    told: dict[str, Any], name: str, value: Any
) -> None:
    assert getattr(info(**told), name) == value


def test_a_text_is_cut_and_made_one_that_can_be_stored() -> None:
    assert printable("abc", 3) == "abc" and printable("abcd", 3) == "abc" and printable("a\udfff", 9) == "a?"


# ---------------------------------------------------------------- an attempt's end


def failed(**more: Any) -> Report:
    error = {"code": "job_failed", "error": "the worker reported a failure", **more.pop("error", {})}
    return Report(True, error=error, **more)


def said(**error: Any) -> bytes:
    return b"PARAM-JSON: " + json.dumps(error).encode()


@pytest.mark.parametrize(
    ("body", "report"),
    [
        ((b"COMPLETE",), Report(False, ())),
        ((b"COMPLETE", b"PARAM-JSON: 1"), Report(False, (b"PARAM-JSON: 1",))),
        ((b"COMPLETE", b"a", b"b"), Report(False, (b"a", b"b"))),
        ((b"FAIL",), failed()),
        ((b"FAIL", b"raw"), failed()),
        ((b"FAIL", b"PARAM-JSON: ["), failed()),
        ((b"FAIL", b"PARAM-JSON: []"), failed()),
        ((b"FAIL", said(error="e", code="c")), failed(error={"error": "e", "code": "c"})),
        ((b"FAIL", said(type="T", traceback="t")), failed(error={"type": "T", "traceback": "t"})),
        ((b"FAIL", said(error="x" * 20_001)), failed(error={"error": "x" * 20_000})),
        ((b"FAIL", said(error=7, other="o")), failed()),
        ((b"FAIL", said(retry=False)), failed(retry=False)),
        ((b"FAIL", said(retry=0)), failed()),
        ((b"FAIL", said(count=False)), failed(count=False)),
        ((b"FAIL", said(count=None)), failed()),
        ((b"FAIL", said(delay=0)), failed(delay_s=0.0)),
        ((b"FAIL", said(delay=YEAR_S)), failed(delay_s=float(YEAR_S))),
        ((b"FAIL", said(delay=YEAR_S + 1)), failed()),
        ((b"FAIL", said(delay=-0.001)), failed()),
        ((b"FAIL", said(delay=True)), failed()),
        ((b"FAIL", said(delay="1")), failed()),
        ((), failed()),
        ((b"DONE",), failed(error={"code": "bad_reply", "error": "the worker's FINAL begins with b'DONE'"})),
        (
            (b"x" * 50,),
            failed(error={"code": "bad_reply", "error": f"the worker's FINAL begins with b'{'x' * 40}'"}),
        ),
    ],
)
def test_the_end_that_a_worker_of_ours_reports(body: tuple[bytes, ...], report: Report) -> None:
    assert report_of(WorkerFinal(b"t", body), ours=True) == report


@pytest.mark.parametrize(
    ("final", "report"),
    [
        (WorkerFinal(b"t", (b"COMPLETE", b"x")), Report(False, (b"COMPLETE", b"x"), plain=False)),
        (WorkerFinal(b"t", (b"PARAM-RAW: x",)), Report(False, (b"PARAM-RAW: PARAM-RAW: x",), plain=False)),
        (WorkerFinal(b"t", (b"x",), False), Report(False, (b"x",), plain=True)),
        (WorkerFinal(b"t", (said(error="e"),), True), failed(error={"error": "e"})),
        (WorkerFinal(b"t", (b"x",), True), failed()),
    ],
)
def test_the_end_that_a_foreign_worker_reports_is_its_body(final: WorkerFinal, report: Report) -> None:
    assert report_of(final, ours=False) == report


# ---------------------------------------------------------------- on its way


@pytest.mark.parametrize(
    ("body", "note"),
    [
        ((), None),
        ((b"OTHER", b"x"), None),
        ((b"CONT",), Partial(())),
        ((b"CONT", b"a", b"b"), Partial((b"a", b"b"))),
        ((b"LOG",), Log("")),
        ((b"LOG", b"a\xffb"), Log("a\ufffdb")),
        ((b"STACK", b"x" * (256 * 1024 + 1)), Stack("x" * 256 * 1024)),
        ((b"STACK", b"\xff"), Stack("\ufffd")),
        ((b"TOUCH", b"0.5"), Touch(0.5)),
        ((b"TOUCH", b"%d" % YEAR_S), Touch(float(YEAR_S))),
        ((b"TOUCH", b"%d" % (YEAR_S + 1)), None),
        ((b"TOUCH", b"0"), None),
        ((b"TOUCH", b"nan"), None),
        ((b"TOUCH", b"x"), None),
        ((b"TOUCH",), None),
        ((b"SAVE", b'{"a": 1}'), Save('{"a": 1}')),
        ((b"SAVE", b'"' + b"x" * (64 * 1024 - 2) + b'"'), Save('"' + "x" * (64 * 1024 - 2) + '"')),
        ((b"SAVE", b'"' + b"x" * (64 * 1024 - 1) + b'"'), None),
        ((b"SAVE", b"{"), None),
        ((b"SAVE", b"\xff"), None),
        ((b"SAVE",), None),
        ((b"PROGRESS", b'{"done": 0}'), Progress(0.0, None)),
        ((b"PROGRESS", b'{"done": 1, "text": "t"}'), Progress(1.0, "t")),
        ((b"PROGRESS", b'{"done": 0.5, "text": 7}'), Progress(0.5, None)),
        ((b"PROGRESS", said(done=0.5, text="x" * 1_001)[12:]), Progress(0.5, "x" * 1_000)),
        ((b"PROGRESS", b'{"done": 1.01}'), None),
        ((b"PROGRESS", b'{"done": -0.01}'), None),
        ((b"PROGRESS", b'{"done": true}'), None),
        ((b"PROGRESS", b'{"text": "t"}'), None),
        ((b"PROGRESS", b"["), None),
    ],
)
def test_what_a_worker_of_ours_says_on_its_way(body: tuple[bytes, ...], note: object) -> None:
    assert note_of(WorkerPartial(b"t", body), ours=True, rfc=True) == note


def test_what_a_foreign_worker_says_on_its_way_is_a_partial_result() -> None:
    partial = WorkerPartial(b"t", (b"LOG", b"PARAM-RAW: x"))
    value = (b"LOG", b"PARAM-RAW: PARAM-RAW: x")
    assert note_of(partial, ours=False, rfc=True) == Partial(value, plain=False)
    assert note_of(partial, ours=False, rfc=False) == Partial(value, plain=True)


# ---------------------------------------------------------------- HEARTBEAT


@pytest.mark.parametrize(
    ("frames", "beat"),
    [
        ((), Beat()),
        ((b"HOLDS a b", b"HOLDS c"), Beat(holds=[b"a", b"b", b"c"])),
        ((b"CONFIRM",), Beat(confirm=[])),
        ((b"CONFIRM a", b"CONFIRM b"), Beat(confirm=[b"a", b"b"])),
        ((b"RELEASE a",), Beat(release=[b"a"])),
        ((b"HOLDS " + b"x" * 255,), Beat(holds=[b"x" * 255])),
        ((b"HOLDS " + b"x" * 256,), Beat()),
        ((b"SLOTS 0",), Beat(slots=0)),
        ((b"SLOTS 1000",), Beat(slots=1_000)),
        ((b"SLOTS 1001",), Beat()),
        ((b"SLOTS 00001",), Beat()),
        ((b"SLOTS -1", b"SLOTS x", b"SLOTS"), Beat()),
        ((b"MEMORY 12",), Beat(memory_bytes=12)),
        ((b"MEMORY " + b"9" * 19,), Beat(memory_bytes=int("9" * 18))),
        ((b"MEMORY x", b"LATER 1"), Beat()),
    ],
)
def test_the_words_of_a_heartbeat(frames: tuple[bytes, ...], beat: Beat) -> None:
    assert beat_of(frames) == beat


def test_only_so_many_tokens_of_a_frame_are_taken() -> None:
    assert len(beat_of((b"RELEASE " + b"t " * 100_001,)).release) == 100_000


@pytest.mark.parametrize("word", [b"HOLDS", b"CONFIRM", b"RELEASE", b"SLOTS"])
def test_a_heartbeat_of_many_frames_takes_as_long_as_it_is(word: bytes) -> None:
    begun = time.process_time()
    beat = beat_of((word + b" " + b"1 " * 10,) * 20_000)
    assert time.process_time() - begun < 1
    assert {len(beat.holds), len(beat.confirm or []), len(beat.release)} <= {0, 200_000}
