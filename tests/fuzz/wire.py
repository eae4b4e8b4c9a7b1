"""Targets: what comes over the wire, at the broker, at workers and at clients."""

from __future__ import annotations

import json
from typing import Any

from tests.fuzz.target import REFUSED, Target, check_plain, frames_in, same, taken
from zmws.client.answers import accepted, answer_of, error_in, error_of, result_of
from zmws.core.tokens import job_id_of
from zmws.errors import BadJson, BadParams, BadValue, ProtocolError, ZmwsError
from zmws.wire import at_client, causes, mdp, php_values, values, words
from zmws.wire.messages import (
    NATIVE,
    Accepted,
    Answer,
    ClientPartial,
    ClientRequest,
    Completed,
    Disconnect,
    Failed,
    Heartbeat,
    Link,
    Log,
    Partial,
    Progress,
    Ready,
    Report,
    Save,
    Stack,
    Touch,
    WorkerFinal,
    WorkerPartial,
    WorkerRequest,
)

SOCKETS = ("client", "worker", "mdp")
_ERROR = b'{"code": "job_failed", "error": "x"}'

# ---------------------------------------------------------------- frames


def check_frames(data: bytes) -> None:
    """Frames at each socket, and what would be answered; at a worker; at a client."""
    frames = frames_in(data)
    for socket in SOCKETS:
        message = taken(ProtocolError, mdp.decode, socket, list(frames))
        if message is REFUSED:
            continue
        if isinstance(message, ClientRequest):
            _check_request(socket, message)
        else:
            _check_from_worker(socket, message)
    to_worker = taken(ProtocolError, mdp.decode_at_worker, list(frames))
    if to_worker is not REFUSED:
        again = mdp.decode_at_worker(mdp.encode_to_worker(to_worker, Link(ours=True)))
        assert again == to_worker, (to_worker, again)


def _check_request(socket: str, asked: ClientRequest) -> None:
    to, name, body = asked.reply_to, asked.service, asked.body
    message: Any
    for message in (
        Accepted(name, "a1", "disk", False, to),
        ClientPartial(name, "a1", body, True, to),
        Completed(name, "a1", body, True, to),
        Completed(name, "a1", (), False, to),
        Failed(name, "a1", _ERROR, True, to),
        Failed(name, None, _ERROR, False, to),
        Answer(name, (b"200", b"{}"), to),
    ):
        sent = mdp.encode_to_client(message)
        assert tuple(sent[: len(to.envelope)]) == to.envelope or not sent, message
    if to.dialect == NATIVE:
        _check_native(socket, asked)
    taken(ProtocolError, mdp.encode_to_worker, WorkerRequest(b"t/1/n", name, b"{}", body), Link(mdp.PHP))


def _check_native(socket: str, asked: ClientRequest) -> None:
    """It arrives as it left, were it our client's."""
    options = values.json_object(asked.options) if asked.options is not None else {}
    if not options or not asked.service or asked.service.startswith(("SYNC-", "JOB:")):
        return
    sent = at_client.encode_request(b"7", asked.service, asked.sync, options, asked.body)
    again = mdp.decode(socket, sent)
    assert isinstance(again, ClientRequest), again
    assert (again.service, again.sync, again.body) == (asked.service, asked.sync, asked.body)
    assert again.options is not None and same(json.loads(again.options), options)


def _check_from_worker(socket: str, message: Any) -> None:
    link = message.link if isinstance(message, Ready) else Link()
    for command in (WorkerRequest(b"t/1/n", "E", b"{}", (b"x",)), Heartbeat((b"DONE x",)), Disconnect()):
        assert all(isinstance(frame, bytes) for frame in mdp.encode_to_worker(command, link or Link()))
    if isinstance(message, WorkerFinal | WorkerPartial) and message.link is None:
        command = mdp.W_FINAL if isinstance(message, WorkerFinal) else mdp.W_PARTIAL
        again = mdp.decode(socket, mdp.encode_from_worker(command, message.token, message.body))
        assert again == message, (again, message)
    if isinstance(message, WorkerFinal | WorkerPartial):
        job_id_of(message.token)
        _check_words(message)
    if isinstance(message, Heartbeat):
        words.beat_of(message.frames)


def _check_words(message: WorkerFinal | WorkerPartial) -> None:
    for ours in (True, False):
        if isinstance(message, WorkerFinal):
            check_report(words.report_of(message, ours))
        else:
            check_note(words.note_of(message, ours, not ours))


# ---------------------------------------------------------------- words


def check_words(data: bytes) -> None:
    """What a worker says in READY, FINAL, PARTIAL and HEARTBEAT, and what is to follow and to be saved."""
    frames = tuple(frames_in(data))
    info = taken(ProtocolError, words.worker_info, frames[0])
    if info is not REFUSED and info is not None:
        check_plain([info.id, info.host, info.pid, info.ping_s])
        assert 1 <= info.slots <= words.SLOTS_MAX and 0 <= info.prefetch <= words.SLOTS_MAX
        assert all(token.isascii() for token in (*info.holding, *info.finished))
    for failed in (None, True, False):
        for ours in (True, False):
            check_report(taken((), words.report_of, WorkerFinal(b"t/1/n", frames, failed), ours))
    for ours in (True, False):
        check_note(taken((), words.note_of, WorkerPartial(b"t/1/n", frames), ours, not ours))
    beat = taken((), words.beat_of, frames)
    assert beat.slots is None or 0 <= beat.slots <= words.SLOTS_MAX
    assert beat.memory_bytes is None or beat.memory_bytes < 2**63
    check_report(taken((), words.with_jobs, frames[1:], frames[0]))
    check_note(taken((), words.saved_of, frames[0]))


def check_report(report: Report) -> None:
    """An end can be stored and told."""
    if report.failed:
        check_plain(report.error)
        for name in ("code", "error", "type", "traceback"):
            assert len(report.error.get(name) or "") <= words.ERROR_TEXT_MAX
        causes.cause_of(report.error).key("E")
    assert report.delay_s is None or 0 <= report.delay_s <= words.SECONDS_MAX


def check_note(note: Any) -> None:
    """What a job says on its way can be stored and told."""
    if isinstance(note, Progress):
        check_plain([note.done, note.text])
        assert 0 <= note.done <= 1
    elif isinstance(note, Log | Stack):
        check_plain(note.text)
    elif isinstance(note, Touch):
        assert 0 < note.seconds <= words.SECONDS_MAX
    elif isinstance(note, Save):
        values.json_in(note.json.encode())
    elif note is not None:
        assert isinstance(note, Partial), note


# ---------------------------------------------------------------- values


def check_php(data: bytes) -> None:
    """What PHP serialised; what is taken is written, and read again, as the same."""
    value = taken(ProtocolError, php_values.decode, data)
    if value is REFUSED:
        return
    again = php_values.decode(php_values.encode(value))
    assert same(again, value), (again, value)
    inside = [value]
    while inside:
        one = inside.pop()
        assert not isinstance(one, int) or -(2**63) <= one < 2**63, one
        inside += one if isinstance(one, list) else one.values() if isinstance(one, dict) else ()


def check_values(data: bytes) -> None:
    """Bodies: parameters, results, and what is shown of both."""
    frames = frames_in(data)
    for body in {(data,), tuple(frames)}:
        params = taken(BadParams, values.decode_params, body)
        shown = taken((), values.shown, body, True)
        check_plain_or_escaped(shown[0])
        known = taken(BadParams, values.params_from, *shown)
        assert known is params is REFUSED or same(known, params), (known, params)
        result = taken(ZmwsError, values.value_of, body)
        shown = taken((), values.shown, body)
        check_plain_or_escaped(shown[0])
        known = taken(ZmwsError, values.result_from, *shown)
        assert known is result is REFUSED or same(known, result), (known, result)
        for value in (params, result):
            if value is not REFUSED:
                _check_sent(value)
        assert values.without_raw(values.with_raw(body)) == body or any(
            frame.startswith(values.PARAM_RAW) for frame in body
        )


def check_plain_or_escaped(value: Any) -> None:
    """It goes out as JSON, half a surrogate pair escaped."""
    json.dumps(value, allow_nan=False).encode()


def _check_sent(value: Any) -> None:
    frames = taken(BadValue, values.encode_value, value)
    if frames is REFUSED or (isinstance(value, list) and any(isinstance(one, bytes) for one in value)):
        return
    assert same(values.value_of(frames), value), (values.value_of(frames), value)


def check_json(data: bytes) -> None:
    """JSON of a bounded depth, and the values of questions in it."""
    for depth in (1, 3, values.DEPTH_MAX):
        value = taken(BadJson, values.json_in, data, depth)
        if value is not REFUSED:
            assert not values.is_deeper(value, depth)
            json.dumps(value).encode()
    found = taken((), values.json_object, data)
    if found is None:
        return
    for name in ("params", "value", "result"):
        frames = taken(BadJson, values.frames_of, found, name)
        if frames is not REFUSED and (value := taken(ZmwsError, values.value_of, frames)) is not REFUSED:
            again = values.frames_of(json.loads(json.dumps(values.field_of(name, value))), name)
            assert same(values.value_of(again), value)


# ---------------------------------------------------------------- causes


def check_causes(data: bytes) -> None:
    """Why a job failed: bounded, and the same whether the worker or the broker looks for it."""
    text = data.decode("utf-8", "replace")
    lines = text.partition("\n")
    masked = taken((), causes.masked, text)
    assert len(masked) <= causes.MESSAGE_MAX and "\n" not in masked
    again = causes.masked(masked)
    assert again == masked, (masked, again)
    error = {"code": "job_failed", "type": lines[0], "error": lines[2], "traceback": text}
    cause = taken((), causes.cause_of, error)
    assert all(len(word or "") <= causes.WORD_MAX for word in (cause.type, cause.frame)), cause
    assert causes.cause_of({"cause": cause._asdict()}) == cause
    assert len(cause.key("E")) == 12
    report = taken((), words.failure_of, {**error, "cause": cause._asdict()}, "x")
    check_report(report)
    assert causes.cause_of(report.error).key("E") == cause.key("E")


# ---------------------------------------------------------------- answers, at the client


def check_answers(data: bytes) -> None:
    """What a broker answers, at a client of ours."""
    reply = taken(ProtocolError, at_client.decode_at_client, frames_in(data))
    if reply is REFUSED:
        return
    for reader in (accepted, answer_of):
        taken(ZmwsError, reader, reply)
    taken(ZmwsError, result_of, reply, "a1")
    if reply.kind == "failed":
        fault = taken((), error_of, taken((), error_in, reply.body), "a1")
        assert isinstance(fault, ZmwsError)


# ---------------------------------------------------------------- what they begin with

_HELLO = b'PARAM-JSON: {"str": "Hello"}'
_READY = b'{"zmws": 1, "id": "a", "slots": 2, "prefetch": 1, "holding": ["a/1/b"], "finished": [], "host": "h", "pid": 7, "ping": 2.5, "services": {"E": {"slots": 1, "defaults": {"retries": 1}, "params": {}}}}'  # noqa: E501
_FAIL = b'PARAM-JSON: {"code": "job_failed", "error": "x", "type": "ValueError", "traceback": "> File \\"a.py\\", line 3, in f", "delay": 1, "retry": false, "cause": {"type": "a", "message": "m", "frame": "b"}}'  # noqa: E501

FRAME_WORDS = (
    b"MDPC01", b"MDPC02", b"MDPW01", b"MDPW02", b"\n", b"\n\n", b"\x01", b"\x02", b"\x03", b"\x04",
    b"\x05", b"\x06",
    b"READY", b"HEARTBEAT", b"JOB: ", b"SYNC-", b"COMPLETE: ", b"FAIL: ", b"CONT: ", b"COMPLETE", b"FAIL",
    b"PARAM", b"PARAM: ", b"PARAM-RAW: ", b"PARAM-PHP: ", b"PARAM-JSON: ", b"JSON-PARAM: ", b"OPTS-JSON: {}",
    b"JOBS-JSON: []", b"JOB-JSON: {}", b"zmws.submit", _READY, _FAIL, _HELLO, b"t/1/n",
)  # fmt: skip
WORD_WORDS = (
    *(
        b"COMPLETE",
        b"FAIL",
        b"CONT",
        b"PROGRESS",
        b"LOG",
        b"TOUCH",
        b"SAVE",
        b"STACK",
        b"HOLDS ",
        b"CONFIRM ",
    ),
    *(
        b"RELEASE ",
        b"SLOTS ",
        b"MEMORY ",
        b"JOBS-JSON: ",
        b"PARAM-JSON: ",
        b"\n",
        b'{"done": 0.5, "text": "x"}',
    ),
    *(b'"zmws": 1', b'"id": ', b'"holding": ', b'"slots": ', b'"services": ', b'"ping": ', b'"pid": '),
    *(
        b'"code": ',
        b'"delay": ',
        b'"cause": {',
        b'"\\ud800"',
        b"1e999",
        b"NaN",
        b"Infinity",
        b"-1",
        b"true",
        b"null",
    ),
)
JSON_WORDS = (
    *(
        b"{",
        b"}",
        b"[",
        b"]",
        b'"',
        b":",
        b", ",
        b"null",
        b"true",
        b"NaN",
        b"-Infinity",
        b"1e999",
        b"-0.0",
        b"1e-320",
    ),
    *(
        b"\\ud800",
        b"\\u0000",
        b"\xef\xbb\xbf",
        b"\xff\xfe",
        b"\x00",
        b"_base64",
        b'"params": ',
        b'"value_base64": "',
    ),
    *(b"QQ==", b"9223372036854775808"),
)

MDP = Target(
    "mdp",
    check_frames,
    FRAME_WORDS,
    (
        b"7\n\nMDPC02\n\x01\nSYNC-E\nOPTS-JSON: {\"id\": \"a\"}\n" + _HELLO,
        b"\nMDPC02\n1\n" + _HELLO + b"\nSYNC-STR-REV",
        b"\n" + _HELLO + b"\nJOB: SYNC-STR-REV",
        b"\nMDPC01\necho\nx",
        b"MDPC02\n1\nE\nx",
        b"MDPW02\n\x01\nE\n" + _READY,
        b"\nMDPW02\n4\nt/1/n\n\nCOMPLETE\nPARAM-JSON: 1",
        b"MDPW02\n\x04\nt/1/n\n\nCOMPLETE\nPARAM-JSON: 1\nJOBS-JSON: []",
        b"MDPW02\n\x03\nt/1/n\n\nPROGRESS\n{\"done\": 0.5}",
        b"MDPW02\n\x05\nHOLDS a\nCONFIRM a b\nRELEASE\nSLOTS 1\nMEMORY 5",
        b"MDPW02\n\x06",
        b"\nMDPW01\n\x03\nt/1/n\n\nx",
        b"SLEEP\nREADY",
        b"PARAM-JSON: 1\nSTR-REV\nCOMPLETE: 839B-8E23",
        b"MDPC02\n3\nSTR-REV\nPARAM-JSON: 1\nFAIL: 0D9B-463D",
        b"MDPC02\n3\nHEARTBEAT",
        b"MDPW02\n\x02\nt/1/n\n\nJOB-JSON: {}\n" + _HELLO,
        b"7\n\nMDPC02\n\x03\nE\nCOMPLETE: E [1]\nPARAM-JSON: 1",
    ),
)  # fmt: skip
WORDS = Target(
    "words",
    check_words,
    WORD_WORDS,
    (
        _READY,
        b"COMPLETE\nPARAM-JSON: 1",
        b"COMPLETE\nPARAM-JSON: 1\nJOBS-JSON: [{\"service\": \"E\"}]",
        b"FAIL\n" + _FAIL,
        b"PROGRESS\n{\"done\": 0.5, \"text\": \"x\"}",
        b"LOG\nx",
        b"TOUCH\n30",
        b"SAVE\n{\"a\": [1]}",
        b"STACK\nx",
        b"HOLDS a b\nCONFIRM a\nRELEASE b\nSLOTS 3\nMEMORY 500",
    ),
)  # fmt: skip
PHP_VALUES = Target(
    "php_values",
    check_php,
    (
        b"N;",
        b"b:1;",
        b"i:0;",
        b"d:0.5;",
        b"d:-INF;",
        b"d:NAN;",
        b's:1:"x";',
        b"a:1:{",
        b"}",
        b"O:8:",
        b"i:0;a:1:{",
    ),
    (
        b"N;",
        b"b:1;",
        b"i:-7;",
        b"d:0.5;",
        b"d:1.0E+25;",
        b's:5:"bytes";',
        b'a:2:{i:0;s:1:"a";i:1;d:-INF;}',
        b'a:2:{s:1:"k";a:0:{}i:5;a:1:{i:0;b:0;}}',
    ),
)
VALUES = Target(
    "values",
    check_values,
    (*FRAME_WORDS[20:], *JSON_WORDS),
    (
        _HELLO,
        b"JSON-PARAM: [1, 2.5]",
        b"PARAM-RAW: PARAM",
        b'PARAM: a:1:{i:0;s:1:"a";}',
        b"PARAM-PHP: N;",
        b"a\nb",
        b"PARAM-JSON: NaN",
        b"PARAM-JSON: 1\n\n",
        b"PARAM-JSON: " + b"[" * 201 + b"]" * 201,
    ),
)
JSON = Target(
    "json",
    check_json,
    JSON_WORDS,
    (
        b'{"params": {"a": [1, 2.5, null, "x"]}, "value_base64": "QQ==", "result": 1}',
        b"[[[1]]]",
        b"[" * 201 + b"]" * 201,
        '{"params": "é"}'.encode("utf-16"),
        b"9" * 4_300,
    ),
)
CAUSES = Target(
    "causes",
    check_causes,
    (
        *(b"'", b'"', b"`", b"b'", b"a@b.de", b"0x1f", b"12.5", b"#", b"/", b"\\", b"\n", "'…'".encode()),
        *(b'\n> File "', b'", line 3, in f', b'  File "', b"123e4567-e89b-12d3-a456-426614174000"),
        b"a1b2c3d4e5f6g7",
    ),
    (
        b"ValueError\ncannot read 'a.txt' of me@here.de, line 12:5, id a1b2c3d4e5f6g7",
        b"KeyError\n'x'",
        b'Traceback:\n> File "/srv/app-1.2/jobs/a.py", line 31, in work\n'
        b'  File "b.py", line 5, in g\nOSError: x',
        b"deadbeef 0xdeadbeef 123e4567-e89b-12d3-a456-426614174000 don't 1.2.3.4:80",
    ),
)  # fmt: skip
ANSWERS = Target(
    "answers",
    check_answers,
    (*FRAME_WORDS, *JSON_WORDS, b"200", b'"code": ', b'"error": ', b'"attempts": '),
    (
        b"7\n\nMDPC02\n\x03\nE\nCOMPLETE: E [1]\nPARAM-JSON: 1",
        b"7\n\nMDPC02\n\x02\nE\nCONT: E [1]\nPARAM-JSON: 1",
        b'7\n\nMDPC02\n\x03\nE\nJOB: a1 E\nOPTS-JSON: {"durability": "disk", "existing": false}',
        b"7\n\nMDPC02\n\x03\nE\nFAIL: E [1]\n" + _FAIL,
        b"7\n\nMDPC02\n\x03\nzmws.job\n200\n{}",
        b'7\n\nMDPC02\n\x03\nzmws.job\n404\n{"code": "unknown_job", "error": "x"}',
    ),
)
