"""zmws.wire.words: what workers say beyond RFC 18, at each bound and one past it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from zmws.errors import ProtocolError
from zmws.wire import words
from zmws.wire.messages import (
    Beat,
    Log,
    Partial,
    Progress,
    Report,
    Save,
    ServiceSlots,
    Stack,
    Touch,
    WorkerFinal,
    WorkerInfo,
    WorkerPartial,
)
from zmws.wire.words import beat_of, failure, failure_of, note_of, printable, report_of, worker_info

YEAR_S = 366 * 86400.0


def info_of(**told: Any) -> WorkerInfo:
    info = worker_info(json.dumps({"zmws": 1, "id": "w1", **told}).encode())
    assert info is not None
    return info


def refusal_of(**told: Any) -> str:
    with pytest.raises(ProtocolError) as caught:
        info_of(**told)
    assert caught.value.reason == "bad_ready"
    return str(caught.value)


def test_the_bounds_are_those_of_the_documents() -> None:
    assert (words.WORKER_ID_MAX, words.SLOTS_MAX, words.NAMED_MAX, words.TOKENS_MAX) == (
        128,
        1_000,
        1_000,
        100_000,
    )
    assert (words.HOST_MAX, words.PING_S_MAX, words.TEXT_MAX, words.ERROR_TEXT_MAX) == (
        255,
        3_600.0,
        1_000,
        20_000,
    )
    assert (words.SAVE_BYTES_MAX, words.STACK_CHARS_MAX, words.SECONDS_MAX) == (65_536, 262_144, YEAR_S)


# ---------------------------------------------------------------- READY


def test_a_ready_tells_all_of_its_worker() -> None:
    info = info_of(
        host="box",
        pid=4711,
        ping=0.75,
        slots=3,
        services={"A": {"slots": 2}, "B": {}},
        holding=["t1"],
        finished=["t2"],
    )
    services = {"A": ServiceSlots(2), "B": ServiceSlots(3)}
    assert info == WorkerInfo("w1", [b"t1"], [b"t2"], 3, services, "box", 4711, 0.75)
    assert info_of() == WorkerInfo("w1", [], [], 1, None, "", None, None)


@pytest.mark.parametrize(
    "frame", [b"", b"[]", b"{}", b'{"id": "w1"}', b'{"zmws": 2, "id": "w1"}', b'{"zmws": 1}']
)
def test_a_frame_that_is_none_of_ours_is_a_foreign_workers(frame: bytes) -> None:
    assert worker_info(frame) is None


@pytest.mark.parametrize("worker_id", ["", "x" * 129, "\u00e9", "a\n", 5, None])
def test_an_id_that_is_none_is_refused(worker_id: Any) -> None:
    assert "'id' of READY" in refusal_of(id=worker_id)


def test_an_id_and_a_token_may_have_their_full_length() -> None:
    assert info_of(id="x" * 128).id == "x" * 128
    assert info_of(holding=["t" * 255]).holding == [b"t" * 255]


@pytest.mark.parametrize("name", ["holding", "finished"])
@pytest.mark.parametrize("tokens", ["t", {"t": 1}, ["t" * 256], ["ok", ""], ["\u00e9"], [5], 7])
def test_tokens_that_are_none_are_refused(name: str, tokens: Any) -> None:
    assert f"'{name}' of READY is not a list of tokens" in refusal_of(**{name: tokens})


@pytest.mark.parametrize("name", ["holding", "finished"])
def test_of_very_many_tokens_the_first_are_taken(name: str) -> None:
    tokens = [f"t{n}" for n in range(1_001)]
    assert getattr(info_of(**{name: tokens}), name) == [token.encode() for token in tokens[:1_000]]


@pytest.mark.parametrize("slots", [0, -1, 1_001, 1.0, "1", True, None])
def test_slots_that_are_none_are_refused(slots: Any) -> None:
    assert "from 1 to 1000" in refusal_of(slots=slots)
    assert "from 1 to 1000" in refusal_of(services={"A": {"slots": slots}})


@pytest.mark.parametrize("slots", [1, 1_000])
def test_slots_go_from_one_to_a_thousand(slots: int) -> None:
    assert info_of(slots=slots).slots == slots
    assert info_of(services={"A": {"slots": slots}}).services == {"A": ServiceSlots(slots)}


@pytest.mark.parametrize("services", [{}, [], "A", 5, {f"S{n}": {} for n in range(1_001)}])
def test_services_that_are_none_are_refused(services: Any) -> None:
    assert "an object of 1 to 1000 names" in refusal_of(services=services)


def test_a_thousand_services_are_taken_and_each_says_something_of_itself() -> None:
    services = info_of(services={f"S{n}": {} for n in range(1_000)}).services
    assert services is not None and len(services) == 1_000
    assert "says nothing of 'A'" in refusal_of(services={"A": 2})
    assert refusal_of(services={"n" * 90: 2}).endswith(f"of '{'n' * 80}'")


@pytest.mark.parametrize(
    ("told", "name", "taken"),
    [
        ({"host": "h" * 256}, "host", "h" * 255),
        ({"host": "a\ud800b"}, "host", "a?b"),
        ({"host": 5}, "host", "5"),
        ({"pid": "5"}, "pid", None),
        ({"pid": 2**63}, "pid", 0),
        ({"pid": 2**63 - 1}, "pid", 2**63 - 1),
        ({"ping": 0}, "ping_s", None),
        ({"ping": 0.001}, "ping_s", 0.001),
        ({"ping": 1}, "ping_s", 1.0),
        ({"ping": 3_599.9}, "ping_s", 3_599.9),
        ({"ping": 3_600}, "ping_s", None),
        ({"ping": "1"}, "ping_s", None),
    ],
)
def test_what_is_for_people_is_taken_as_far_as_it_goes(told: dict[str, Any], name: str, taken: Any) -> None:
    assert getattr(info_of(**told), name) == taken


def test_the_ping_is_a_number_with_a_point() -> None:
    assert isinstance(info_of(ping=1).ping_s, float)


# ---------------------------------------------------------------- an attempt's end

ERROR = {"code": "job_failed", "error": "the worker reported a failure"}


@pytest.mark.parametrize(
    ("body", "report"),
    [
        ((b"COMPLETE",), Report(False, ())),
        ((b"COMPLETE", b"PARAM-JSON: 1"), Report(False, (b"PARAM-JSON: 1",))),
        ((b"FAIL",), Report(True, error=ERROR)),
        ((), Report(True, error=ERROR)),
        ((b"FAIL", b'PARAM-JSON: {"code": "mine"}'), Report(True, error={**ERROR, "code": "mine"})),
        ((b"FAIL", b'{"code": "no prefix"}'), Report(True, error=ERROR)),
        ((b"FAIL", b"PARAM-JSON: [1]"), Report(True, error=ERROR)),
        ((b"FAIL", b"PARAM-JSON: {"), Report(True, error=ERROR)),
    ],
)
def test_what_a_final_of_ours_says(body: tuple[bytes, ...], report: Report) -> None:
    assert report_of(WorkerFinal(b"t", body), ours=True) == report


def test_a_final_of_ours_that_begins_with_another_word_is_a_bad_reply() -> None:
    report = report_of(WorkerFinal(b"t", (b"x" * 50, b'PARAM-JSON: {"retry": false}')), ours=True)
    assert report.error == {"code": "bad_reply", "error": f"the worker's FINAL begins with {b'x' * 40!r}"}
    assert (report.failed, report.retry) == (True, False)


@pytest.mark.parametrize(
    ("failed", "body", "report"),
    [
        (None, (b"COMPLETE",), Report(False, (b"COMPLETE",), plain=False)),
        (None, (b"PARAM-RAW: x",), Report(False, (b"PARAM-RAW: PARAM-RAW: x",), plain=False)),
        (False, (b"PARAM-JSON: 1",), Report(False, (b"PARAM-JSON: 1",), plain=True)),
        (True, (), Report(True, error=ERROR)),
        (True, (b'PARAM-JSON: {"error": "no"}',), Report(True, error={**ERROR, "error": "no"})),
    ],
)
def test_what_a_foreign_final_says(failed: bool | None, body: tuple[bytes, ...], report: Report) -> None:
    assert report_of(WorkerFinal(b"t", body, failed), ours=False) == report


@pytest.mark.parametrize("name", ["code", "error", "type", "traceback"])
def test_each_text_of_an_error_is_bounded_and_can_be_stored(name: str) -> None:
    assert failure_of({name: "x" * 20_001}, "t").error[name] == "x" * 20_000
    assert failure_of({name: "a\ud800b"}, "t").error[name] == "a?b"
    assert failure_of({name: 5}, "t").error == {"code": "job_failed", "error": "t"}
    assert failure((b"PARAM-JSON: " + json.dumps({name: "said"}).encode(),)).error[name] == "said"


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({}, (True, None, True)),
        ({"retry": False}, (False, None, True)),
        ({"retry": True}, (True, None, True)),
        ({"retry": None}, (True, None, True)),
        ({"retry": 0}, (True, None, True)),
        ({"count": False}, (True, None, False)),
        ({"count": 0}, (True, None, True)),
        ({"delay": 0}, (True, 0.0, True)),
        ({"delay": 1.5}, (True, 1.5, True)),
        ({"delay": YEAR_S}, (True, YEAR_S, True)),
        ({"delay": YEAR_S + 1}, (True, None, True)),
        ({"delay": -0.1}, (True, None, True)),
        ({"delay": True}, (True, None, True)),
        ({"delay": "5"}, (True, None, True)),
        ({"delay": float("nan")}, (True, None, True)),
    ],
)
def test_what_is_to_come_of_a_failure(
    said: dict[str, Any], expected: tuple[bool, float | None, bool]
) -> None:
    report = failure_of(said, "t")
    assert (report.retry, report.delay_s, report.count) == expected
    assert report.failed and (report.delay_s is None or isinstance(report.delay_s, float))


# ---------------------------------------------------------------- what a job says on its way


def note(*body: bytes) -> Any:
    return note_of(WorkerPartial(b"t", body), ours=True, rfc=True)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ((), None),
        ((b"CONT",), Partial(())),
        ((b"CONT", b"a", b"b"), Partial((b"a", b"b"))),
        ((b"PROGRESS", b'{"done": 0}'), Progress(0.0)),
        ((b"PROGRESS", b'{"done": 1, "text": "all"}'), Progress(1.0, "all")),
        ((b"PROGRESS", b'{"done": 0.5, "text": 5}'), Progress(0.5)),
        ((b"PROGRESS", b'{"done": 1.01}'), None),
        ((b"PROGRESS", b'{"done": -0.01}'), None),
        ((b"PROGRESS", b'{"done": true}'), None),
        ((b"PROGRESS", b'{"done": "0.5"}'), None),
        ((b"PROGRESS", b'{"text": "half"}'), None),
        ((b"PROGRESS", b"[0.5]"), None),
        ((b"PROGRESS",), None),
        ((b"LOG", b"a line \xff"), Log("a line \ufffd")),
        ((b"LOG",), Log("")),
        ((b"TOUCH", b"2.5"), Touch(2.5)),
        ((b"TOUCH", b"%d" % YEAR_S), Touch(YEAR_S)),
        ((b"TOUCH", b"%d" % (YEAR_S + 1)), None),
        ((b"TOUCH", b"0"), None),
        ((b"TOUCH", b"soon"), None),
        ((b"TOUCH", b"nan"), None),
        ((b"TOUCH",), None),
        ((b"SAVE", b'{"page": 5}'), Save('{"page": 5}')),
        ((b"SAVE", b'"' + b"x" * 65_534 + b'"'), Save('"' + "x" * 65_534 + '"')),
        ((b"SAVE", b'"' + b"x" * 65_535 + b'"'), None),
        ((b"SAVE", b"nope"), None),
        ((b"SAVE", b'"\xff"'), None),
        ((b"SAVE",), None),
        ((b"STACK", b"here \xff"), Stack("here \ufffd")),
        ((b"STACK",), Stack("")),
        ((b"LATER", b"of another version"), None),
    ],
    ids=lambda it: repr(it)[:40],
)
def test_what_a_partial_of_ours_says(body: tuple[bytes, ...], told: Any) -> None:
    assert note(*body) == told


def test_the_texts_of_a_job_on_its_way_are_bounded() -> None:
    long = json.dumps({"done": 1, "text": "x" * 1_001}).encode()
    assert note(b"PROGRESS", long).text == "x" * 1_000
    assert len(note(b"STACK", b"x" * 262_145).text) == 262_144
    assert isinstance(note(b"PROGRESS", b'{"done": 1}').done, float)
    assert printable("a\ud800b" * 2, 4) == "a?ba" and printable("", 5) == ""


@pytest.mark.parametrize("rfc", [True, False])
def test_a_foreign_partial_is_a_part_of_the_result_whatever_it_says(rfc: bool) -> None:
    told = note_of(WorkerPartial(b"t", (b"LOG", b"PARAM-RAW: x")), ours=False, rfc=rfc)
    assert told == Partial((b"LOG", b"PARAM-RAW: PARAM-RAW: x"), plain=not rfc)


# ---------------------------------------------------------------- HEARTBEAT


@pytest.mark.parametrize(
    ("frames", "beat"),
    [
        ((), Beat()),
        ((b"HOLDS a b", b"HOLDS c"), Beat(holds=[b"a", b"b", b"c"])),
        ((b"CONFIRM",), Beat(confirm=[])),
        ((b"CONFIRM a", b"CONFIRM b"), Beat(confirm=[b"a", b"b"])),
        ((b"RELEASE a", b"RELEASE b"), Beat(release=[b"a", b"b"])),
        ((b"HOLDS " + b"t" * 255 + b" " + b"u" * 256,), Beat(holds=[b"t" * 255])),
        ((b"SLOTS 0",), Beat(slots=0)),
        ((b"SLOTS 1000",), Beat(slots=1_000)),
        ((b"SLOTS 0005",), Beat(slots=5)),
        ((b"SLOTS 1001",), Beat()),
        ((b"SLOTS 00005",), Beat()),
        ((b"SLOTS -1",), Beat()),
        ((b"SLOTS",), Beat()),
        ((b"MEMORY 4096",), Beat(memory_bytes=4_096)),
        ((b"MEMORY " + b"1" * 19,), Beat(memory_bytes=int("1" * 18))),
        ((b"MEMORY much",), Beat()),
        ((b"LATER 5",), Beat()),
    ],
    ids=lambda it: repr(it)[:40],
)
def test_what_a_heartbeat_of_ours_says(frames: tuple[bytes, ...], beat: Beat) -> None:
    assert beat_of(frames) == beat


def test_of_very_many_tokens_in_a_heartbeat_the_first_are_taken() -> None:
    beat = beat_of((b"HOLDS " + b" ".join(b"%d" % n for n in range(100_001)),))
    assert len(beat.holds) == 100_000 and beat.holds[-1] == b"99999"
