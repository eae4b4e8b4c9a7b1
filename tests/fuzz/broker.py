"""Target: a few messages of a few peers, to the whole of a broker, on a clock of its own (tests/stage.py).

    cA          the peer: c, w or m for the socket (client, worker, mdp), and its name
    MDPC02      a frame a line
    --          then the next message

`@TOKEN` stands for the token that a worker was sent last.
"""

from __future__ import annotations

import json
import re

from tests.fuzz.target import Target, frames_in, taken
from tests.fuzz.wire import FRAME_WORDS, JSON_WORDS, SOCKETS, WORD_WORDS
from tests.stage import Stage
from zmws.core.desk.questions import QUESTIONS
from zmws.core.options import JOB_OPTIONS, service_options
from zmws.wire import mdp

MESSAGES_MAX = 12
_SOCKETS = {socket[:1].encode(): socket for socket in SOCKETS}
_NEXT = b"\n--\n"
_TOKEN = re.compile(rb"[A-Za-z0-9._:-]+/[0-9]+/[0-9a-f]{16}")


def check_broker(data: bytes) -> None:
    """No message is too much for the broker, and whoever asks in good faith is answered afterwards."""
    stage = Stage()
    stage.services["E"] = service_options({})
    stage.services["X"] = service_options({"retries": 0, "max_running": 1})
    stage.news_wanted = True
    token = b"job-1/1/0000000000000001"
    for message in data.split(_NEXT)[:MESSAGES_MAX]:
        peer, *frames = frames_in(message)
        socket = _SOCKETS.get(peer[:1], "client")
        name = f"{socket}-{peer[1:9].decode('latin-1')}"
        frames = [frame.replace(b"@TOKEN", token) for frame in frames]
        taken((), stage.receive, socket, name, frames)
        for sent in stage.sent.get(name, []):
            token = next((frame for frame in sent if _TOKEN.fullmatch(frame)), token)
    taken((), stage.pass_time, 20.0)
    stage.receive("client", "in good faith", [b"7", b"", mdp.MDPC02, b"\x01", b"zmws.stats"])
    stage.pass_time(1.0)
    answer = stage.sent["in good faith"][-1]
    assert answer[-2] == b"200" and json.loads(answer[-1]), answer
    assert stage.core.turn.counters["questions_broken"] == 0


def _asked(service: str, question: str, peer: str = "cA") -> bytes:
    return f"{peer}\n7\n\nMDPC02\n\x01\n{service}\n{question}".encode()


_READY = b'wW\nMDPW02\n\x01\nE\n{"zmws": 1, "id": "w1", "slots": 2, "services": {"E": {}, "X": {"slots": 1}}}'
_SUBMIT = b'cA\n7\n\nMDPC02\n\x01\nE\nOPTS-JSON: {"id": "j1", "retries": 1, "keep": 5}\nPARAM-JSON: {"a": 1}'
_FINAL = b"wW\nMDPW02\n\x04\n@TOKEN\n\n"


def _seeds() -> tuple[bytes, ...]:
    done = _FINAL + b'COMPLETE\nPARAM-JSON: 1\nJOBS-JSON: [{"service": "X", "id": "j2"}]'
    failed = _FINAL + b'FAIL\nPARAM-JSON: {"code": "job_failed", "error": "x", "delay": 1}'
    said = b'wW\nMDPW02\n\x03\n@TOKEN\n\nPROGRESS\n{"done": 0.5}'
    item = '{"service": "E", "id": "j3", "params": [1], "on_failed": "X", "batch": "b1"}'
    chain = '{"id": "ch", "chain": [{"service": "E"}, {"service": "X", "params": "$PREVIOUS"}]}'
    return tuple(
        _NEXT.join(messages)
        for messages in (
            (_READY, _SUBMIT, said, done, _asked("zmws.wait", '{"id": "j1", "timeout": 1}')),
            (
                _SUBMIT,
                _READY,
                failed,
                failed,
                _asked("zmws.failures", "{}"),
                _asked("zmws.why", '{"id": "j1"}'),
            ),
            (
                _asked("zmws.open", '{"id": "b1", "then": {"service": "X"}}'),
                _asked("zmws.submit", f"[{item}, {chain}]"),
            ),
            (_asked("zmws.submit", f"[{chain}]"), _READY, done, _asked("zmws.family", '{"id": "ch:1"}')),
            (
                _SUBMIT,
                _asked("zmws.lease", '{"service": "E", "lease": "l1", "wait": 1}'),
                _SUBMIT,
                b"wV\nMDPW02\n\x06",
            ),
            (
                _asked("zmws.schedule", '{"do": "add", "name": "n", "service": "E", "every": 5}'),
                _asked("zmws.schedules", "{}"),
                _asked("zmws.schedule", '{"do": "run", "name": "n"}'),
            ),
            (b"mA\n\nMDPC01\nE\nx", b"mW\n\nMDPW01\n\x01\nE", b"mW\n\nMDPW01\n\x03\n@TOKEN\n\ny"),
            (b"mA\n\nMDPC02\n\x01\nE\nx", b"mW\n\nMDPW02\n\x01\nE", b"mW\n\nMDPW02\n\x04\n@TOKEN\n\ny"),
            (b"cA\n\nPARAM-JSON: 1\nJOB: SYNC-E", b"wP\nE\nREADY", b"wP\nPARAM-JSON: 2\nE\nCOMPLETE: @TOKEN"),
            (
                _SUBMIT,
                _asked("zmws.cancel", '{"service": "E", "all": true}'),
                _asked("zmws.retry", '{"id": "j1"}'),
            ),
            (
                _SUBMIT,
                _asked("zmws.copy", '{"id": "j1", "new_id": "j9", "delay": 1}'),
                _asked("zmws.jobs", "{}"),
            ),
            (
                _READY,
                _SUBMIT,
                b"wW\nMDPW02\n\x05\nRELEASE @TOKEN\nSLOTS 1\nHOLDS @TOKEN\nMEMORY 5",
                b"wW\nMDPW02\n\x06",
            ),
            *((_SUBMIT, _asked(service, "{}")) for service in QUESTIONS),
            *((_asked(service, ""),) for service in ("mmi.service", "SERVER-JOBS", "SERVER-HIST")),
        )
    )


BROKER = Target(
    "broker",
    check_broker,
    tuple(
        dict.fromkeys(
            (
                *FRAME_WORDS,
                *WORD_WORDS,
                *JSON_WORDS,
                *(
                    _NEXT,
                    b"cA",
                    b"cB",
                    b"wW",
                    b"wV",
                    b"mM",
                    b"@TOKEN",
                    _READY + _NEXT,
                    _SUBMIT + _NEXT,
                ),
                *(_FINAL, _NEXT + b"cA\n7\n\nMDPC02\n\x01\n"),
                *(service.encode() for service in QUESTIONS),
                *(f'"{name}": '.encode() for rows in QUESTIONS.values() for name in rows),
                *(f'"{name}": '.encode() for name in JOB_OPTIONS),
            )
        )
    ),
    _seeds(),
)
