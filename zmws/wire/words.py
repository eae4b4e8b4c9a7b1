"""What workers say beyond the commands of RFC 18: our READY's frame, how a job ended or goes on, and the
words of our HEARTBEAT (docs/protocol.md, "The extensions").

Rule 1: whoever said it, and whatever way it came, an end is a Report, and what a job says on its way a Note.
Rule 2: what cannot be understood is None, or an error in a Report: the peer's fault costs its job, not the
        broker.
Rule 3: a text that JSON lets pass and that could be neither stored nor sent (a lone surrogate) is made one
        that can.
"""

from __future__ import annotations

import json
from typing import Any

from zmws.errors import BadJson, ProtocolError
from zmws.wire.causes import cause_of
from zmws.wire.messages import (
    Beat,
    Log,
    Note,
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
from zmws.wire.names import TOKEN_BYTES_MAX
from zmws.wire.values import DEPTH_MAX, JOBS_JSON, PARAM_JSON, json_in, json_object, with_raw

WORKER_ID_MAX = 128
SLOTS_MAX = 1_000  # jobs that one worker may hold at once
NAMED_MAX = 1_000  # tokens that a READY may name as held, and services
TOKENS_MAX = 100_000  # tokens that one frame of a HEARTBEAT may name
HOST_MAX = 255
PING_S_MAX = 3_600.0
TEXT_MAX = 1_000  # characters of a progress text
ERROR_TEXT_MAX = 20_000  # characters of each text of an ERROR
SAVE_BYTES_MAX = 64 * 1024
STACK_CHARS_MAX = 256 * 1024
SECONDS_MAX = 366 * 86400.0  # of a delay, or of an extension
_ERROR_TEXTS = ("code", "error", "type", "traceback")


def printable(text: str, most: int) -> str:
    """The beginning of a text, as it can be stored and sent."""
    return text[:most].encode("utf-8", "replace").decode()


# ---------------------------------------------------------------- READY


def worker_info(frame: bytes) -> WorkerInfo | None:
    """Our workers' frame of READY; None if it is none of ours. Raises ProtocolError."""
    told = json_object(frame)
    if told is None or told.get("zmws") != 1 or "id" not in told:
        return None
    worker_id = told["id"]
    if not _is_ascii_text(worker_id, WORKER_ID_MAX):
        raise ProtocolError("bad_ready", "'id' of READY is not a worker's id")
    info = WorkerInfo(worker_id, _tokens(told, "holding"), _tokens(told, "finished"))
    info.slots = _jobs(told, "slots") if "slots" in told else 1
    info.prefetch = _jobs(told, "prefetch") if "prefetch" in told else 0
    if info.slots + info.prefetch > SLOTS_MAX:
        raise ProtocolError("bad_ready", f"'slots' and 'prefetch' of READY are above {SLOTS_MAX} together")
    host, pid, ping = told.get("host", ""), told.get("pid"), told.get("ping")
    info.host = printable(str(host), HOST_MAX)
    if isinstance(pid, int):
        info.pid = pid % 2**63
    if isinstance(ping, (int, float)) and 0 < ping < PING_S_MAX:
        info.ping_s = float(ping)
    services = told.get("services")
    if services is not None:
        if not isinstance(services, dict) or not 0 < len(services) <= NAMED_MAX:
            raise ProtocolError(
                "bad_ready", f"'services' of READY is not an object of 1 to {NAMED_MAX} names"
            )
        info.services = {}
        for name, given in services.items():
            if not isinstance(given, dict):
                raise ProtocolError("bad_ready", f"'services' of READY says nothing of '{name[:80]}'")
            one = ServiceInfo(None, given.get("defaults"), given.get("params"))
            one.slots = _jobs(given, "slots") if "slots" in given else None
            one.prefetch = _jobs(given, "prefetch") if "prefetch" in given else None
            info.services[name] = one
    return info


def _jobs(told: dict[str, Any], name: str) -> int:
    """How many jobs: `slots` is at least 1."""
    count, low = told[name], int(name == "slots")
    if not isinstance(count, int) or isinstance(count, bool) or not low <= count <= SLOTS_MAX:
        raise ProtocolError("bad_ready", f"'{name}' of READY is not a whole number from {low} to {SLOTS_MAX}")
    return count


def _tokens(told: dict[str, Any], name: str) -> list[bytes]:
    tokens = told.get(name, [])
    if not isinstance(tokens, list) or not all(_is_ascii_text(token, TOKEN_BYTES_MAX) for token in tokens):
        raise ProtocolError("bad_ready", f"'{name}' of READY is not a list of tokens")
    return [token.encode() for token in tokens[:NAMED_MAX]]


def _is_ascii_text(text: Any, most: int) -> bool:
    return isinstance(text, str) and 0 < len(text) <= most and text.isascii() and text.isprintable()


# ---------------------------------------------------------------- an attempt's end


def report_of(final: WorkerFinal, ours: bool) -> Report:
    """What a FINAL says. `ours`: its worker speaks as docs/protocol.md has it, else its body is the
    result."""
    body = final.body
    if not ours:
        body = with_raw(body)
        if final.failed:
            return failure(body)
        return Report(False, body, plain=final.failed is not None)
    verb = body[0] if body else b""
    if verb == b"COMPLETE":
        if body[-1].startswith(JOBS_JSON):
            return with_jobs(body[1:-1], body[-1][len(JOBS_JSON) :])
        return Report(False, body[1:])
    report = failure(body[1:])
    if body and verb != b"FAIL":
        report.error = {"code": "bad_reply", "error": f"the worker's FINAL begins with {verb[:40]!r}"}
    return report


def with_jobs(value: tuple[bytes, ...], jobs: bytes) -> Report:
    """A result, and what is to follow: JSON, a list of items as zmws.submit takes them."""
    try:
        items = json_in(jobs)
    except BadJson as wrong:
        return Report(
            True, error={"code": "bad_follow_up", "error": f"what is to follow is no JSON: {wrong}"}
        )
    if not isinstance(items, list):
        return Report(True, error={"code": "bad_follow_up", "error": "what is to follow is no list of jobs"})
    return Report(False, value, jobs=items)


def _no_follow_up(why: str) -> Report:
    return Report(True, error={"code": "bad_follow_up", "error": why})


def failure(frames: tuple[bytes, ...]) -> Report:
    """What a worker's FAIL says, made whole: its ERROR is in the first frame, if there is one."""
    frame = frames[0] if frames else b""
    said = json_object(frame[len(PARAM_JSON) :]) if frame.startswith(PARAM_JSON) else None
    return failure_of(said or {}, "the worker reported a failure")


def failure_of(said: dict[str, Any], text: str) -> Report:
    """A failure as an object tells it, `text` where that has no words of its own."""
    error: dict[str, Any] = {"code": "job_failed", "error": text}
    for name in _ERROR_TEXTS:
        word = said.get(name)
        if isinstance(word, str):
            error[name] = printable(word, ERROR_TEXT_MAX)
    if isinstance(said.get("cause"), dict):
        cause = cause_of(said)._asdict()
        error["cause"] = {name: word and printable(word, len(word)) for name, word in cause.items()}
    if error["code"] == "worker_lost":
        error["code"] = "job_failed"  # that is for the broker to say
    delay = said.get("delay")
    given = isinstance(delay, (int, float)) and not isinstance(delay, bool) and 0 <= delay <= SECONDS_MAX
    return Report(
        True,
        error=error,
        retry=said.get("retry", True) is not False,
        delay_s=float(delay) if given and delay is not None else None,
        count=said.get("count", True) is not False,
    )


# ---------------------------------------------------------------- what a job says on its way


def note_of(partial: WorkerPartial, ours: bool, rfc: bool) -> Note | None:
    """What a PARTIAL says, None if it is not understood. `rfc`: a foreign worker's frames, which go to a
    strict client as they are."""
    body = partial.body
    if not ours:
        return Partial(with_raw(body), plain=not rfc)
    if not body:
        return None
    verb, value = body[0], body[1] if len(body) > 1 else b""
    if verb == b"CONT":
        return Partial(body[1:])
    if verb == b"PROGRESS":
        return _progress(json_object(value) or {})
    if verb == b"LOG":
        return Log(value.decode("utf-8", "replace"))
    if verb == b"TOUCH":
        return _touch(value)
    if verb == b"SAVE":
        return saved_of(value)
    if verb == b"STACK":
        return Stack(value.decode("utf-8", "replace")[:STACK_CHARS_MAX])
    return None


def _progress(said: dict[str, Any]) -> Progress | None:
    done, text = said.get("done"), said.get("text")
    if not isinstance(done, (int, float)) or isinstance(done, bool) or not 0 <= done <= 1:
        return None
    return Progress(float(done), printable(text, TEXT_MAX) if isinstance(text, str) else None)


def _touch(value: bytes) -> Touch | None:
    try:
        seconds = float(value)
    except ValueError:
        return None
    return Touch(seconds) if 0 < seconds <= SECONDS_MAX else None


def saved_of(value: bytes) -> Save | None:
    """What is to be saved, None if it cannot be: it is no JSON, or too large."""
    if len(value) > SAVE_BYTES_MAX:
        return None
    # It will stand within other JSON: as plain text, and one level deeper.
    try:
        value.decode()
        saved = json_in(value, DEPTH_MAX - 1) if b"\0" not in value and value[:1] != b"\xef" else _NONE
        return Save(json.dumps(saved, allow_nan=False)) if saved is not _NONE else None
    except (BadJson, ValueError):
        return None


_NONE = object()


# ---------------------------------------------------------------- HEARTBEAT


def beat_of(frames: tuple[bytes, ...]) -> Beat:
    """The words of a HEARTBEAT of ours. What is none of them is passed over: a later version's, perhaps."""
    beat = Beat()
    for frame in frames:
        word, _, rest = frame.partition(b" ")
        if word == b"HOLDS":
            beat.holds += _named(rest)
        elif word == b"CONFIRM":
            beat.confirm = [] if beat.confirm is None else beat.confirm
            beat.confirm += _named(rest)  # in place: there may be as many frames as the settings allow
        elif word == b"RELEASE":
            beat.release += _named(rest)
        elif word == b"SLOTS" and rest.isdigit() and len(rest) <= 4 and int(rest) <= SLOTS_MAX:
            beat.slots = int(rest)
        elif word == b"MEMORY" and rest.isdigit():
            beat.memory_bytes = int(rest[:18])
    return beat


def _named(rest: bytes) -> list[bytes]:
    return [token for token in rest.split()[:TOKENS_MAX] if len(token) <= TOKEN_BYTES_MAX]
