"""The codec: frames <-> messages, for MDP/0.2 (RFC 18), MDP/0.1 (RFC 7) and the zmws dialects of
docs/protocol.md.

Rule 1: which dialect a message is in is decided by the socket and its first frames, never by
        guessing at its body. Bodies pass untouched.
Rule 2: two command tables. 0x02 is PARTIAL to a client and REQUEST to a worker; one table for both
        is how the nearest relatives of this program went wrong.
Rule 3: a reply goes out in the dialect and envelope of its request; `ReplyTo` and `Link` remember them.
Rule 4: whatever comes in, the answer is a message or ProtocolError, never another exception.

The routing id that a ROUTER adds is the shell's matter and appears nowhere here.
"""

from __future__ import annotations

import json
from typing import Any

from zmws.errors import ProtocolError
from zmws.wire import php
from zmws.wire.at_client import C_FINAL, C_PARTIAL, C_REQUEST, MDPC02
from zmws.wire.messages import (
    BARE,
    DISCONNECT,
    MDP01,
    NATIVE,
    PHP,
    RFC,
    STRICT,
    Accepted,
    Answer,
    ClientPartial,
    ClientRequest,
    Completed,
    Failed,
    FromPeer,
    FromWorker,
    Heartbeat,
    Link,
    Ready,
    ReplyTo,
    ToClient,
    ToWorker,
    WorkerFinal,
    WorkerPartial,
    WorkerRequest,
)
from zmws.wire.names import TOKEN_BYTES_MAX, bad_token, service_and_mode, service_text
from zmws.wire.values import (
    PARAM_JSON,
    with_raw,
    without_options,
    without_raw,
)
from zmws.wire.words import worker_info

MDPC01, MDPW02, MDPW01 = b"MDPC01", b"MDPW02", b"MDPW01"

# RFC 18, "MDP/Worker"; the other table, "MDP/Client", is in at_client.py.
W_READY, W_REQUEST, W_PARTIAL, W_FINAL, W_HEARTBEAT, W_DISCONNECT = (
    b"\x01",
    b"\x02",
    b"\x03",
    b"\x04",
    b"\x05",
    b"\x06",
)
_ASCII = {bytes([48 + n]): bytes([n]) for n in range(1, 7)}
# RFC 7 numbers its worker's commands otherwise: REPLY, which is final, is 0x03, HEARTBEAT 0x04,
# DISCONNECT 0x05. What a worker may send, as RFC 18 numbers it:
_MDP01_COMMANDS = {b"\x01": W_READY, b"\x03": W_FINAL, b"\x04": W_HEARTBEAT, b"\x05": W_DISCONNECT}

JOB_JSON = b"JOB-JSON: "
_NO_ENVELOPE = (b"JOB:", b"PARAM", b"JSON-PARAM", b"OPTS-JSON")
ENVELOPE_BYTES_MAX = 4_096  # it is kept with the request; a proxy's frame has at most 255


# ---------------------------------------------------------------- decoding, at the broker


def decode(socket: str, frames: list[bytes]) -> FromPeer:
    """The message in `frames` (routing id removed) that came to `socket`: client, worker or mdp.

    Raises ProtocolError for whatever no dialect of that socket allows.
    """
    if not frames:
        raise ProtocolError("empty", "a message without frames")
    start = 1 if frames[0] == b"" else 0
    if start == len(frames):
        raise ProtocolError("empty", "a message of one empty frame")
    first = frames[start]
    if first in (MDPW02, MDPW01):
        return _decode_rfc_worker(frames, start)
    if socket == "worker":
        message = php.decode_worker(frames, start)
        if message is not None:
            return message
    return _decode_client(frames, strict=socket == "mdp")


def _decode_client(frames: list[bytes], strict: bool) -> ClientRequest:
    first = frames[0]
    if first in (MDPC02, MDPC01) or (not strict and first.startswith(_NO_ENVELOPE)):
        start = 0
        envelope: tuple[bytes, ...] = ()
    else:
        try:
            start = frames.index(b"") + 1
        except ValueError:
            raise ProtocolError("no_command", "neither a command nor an envelope") from None
        envelope = tuple(frames[:start])
        if sum(map(len, envelope)) > ENVELOPE_BYTES_MAX:
            raise ProtocolError("bad_envelope", f"an envelope of more than {ENVELOPE_BYTES_MAX} bytes")
        if start == len(frames):
            raise ProtocolError("empty", "an envelope and nothing in it")
        first = frames[start]
    if first == MDPC02:
        if len(frames) < start + 3:
            raise ProtocolError("short", "a client's command without a service")
        command = frames[start + 1]
        if command == C_REQUEST:
            return _native_request(frames, start + 2, envelope, strict, ascii=False)
        if command == b"1":
            if strict:
                return _native_request(frames, start + 2, envelope, strict, ascii=True)
            return php.decode_request(frames, start + 2, envelope)
        raise ProtocolError("bad_command", f"{command[:8]!r} is no command of a client")
    if first == MDPC01:
        if len(frames) < start + 2:
            raise ProtocolError("short", "MDPC01 without a service")
        # RFC 7 knows one reply, the result, also on `client`: its programs' built-in port is that one's.
        service, sync = service_and_mode(frames[start + 1], to_the_letter=True)
        body = with_raw(tuple(frames[start + 2 :]))
        return ClientRequest(service, sync, None, body, ReplyTo(MDP01, envelope))
    if not strict and first.startswith(_NO_ENVELOPE):
        return _bare_request(frames, start, envelope)
    raise ProtocolError("no_command", f"{first[:16]!r} is neither a command nor a job's frame")


def _native_request(
    frames: list[bytes], at: int, envelope: tuple[bytes, ...], strict: bool, ascii: bool
) -> ClientRequest:
    service, sync = service_and_mode(frames[at], to_the_letter=strict)
    if strict:
        # RFC 18: the body is opaque, whatever it looks like.
        body = with_raw(tuple(frames[at + 1 :]))
        return ClientRequest(service, sync, None, body, ReplyTo(STRICT, envelope, ascii))
    options, body = without_options(frames[at + 1 :])
    return ClientRequest(service, sync, options, body, ReplyTo(NATIVE, envelope))


def _bare_request(frames: list[bytes], at: int, envelope: tuple[bytes, ...]) -> ClientRequest:
    """`JOB: [SYNC-]SERVICE`, with parameters before or after it."""
    rest = frames[at:]
    for n, frame in enumerate(rest):
        if frame.startswith(b"JOB:"):
            del rest[n]
            service, sync = service_and_mode(frame, to_the_letter=False)
            options, body = without_options(rest)
            return ClientRequest(service, sync, options, body, ReplyTo(BARE, envelope))
    raise ProtocolError("short", "parameters without a JOB: frame")


def _decode_rfc_worker(frames: list[bytes], start: int) -> FromWorker:
    if len(frames) < start + 2:
        raise ProtocolError("short", "a worker's header without a command")
    command, link, old = frames[start + 1], None, False
    if start or command in _ASCII or frames[start] == MDPW01:
        ascii, old = command in _ASCII, frames[start] == MDPW01
        if ascii:
            command = _ASCII[command]
        if old:
            command = _MDP01_COMMANDS.get(command, b"")
        link = Link(MDP01 if old else RFC, start == 1, ascii)
    at = start + 2
    if command in (W_FINAL, W_PARTIAL):
        if len(frames) == at:
            raise ProtocolError("short", "a worker's reply without its token")
        token = frames[at]
        if len(token) > TOKEN_BYTES_MAX:
            raise bad_token(token)
        # Lenient: programs in the wild leave out the "" after the address.
        first = at + 2 if len(frames) > at + 1 and frames[at + 1] == b"" else at + 1
        body = tuple(frames[first:])
        if command == W_FINAL:
            return WorkerFinal(token, body, None, link)
        return WorkerPartial(token, body, link)
    if command == W_HEARTBEAT:
        return Heartbeat(tuple(frames[at:]), link)
    if command == W_READY:
        if len(frames) == at:
            raise ProtocolError("short", "READY without a service")
        info = worker_info(frames[at + 1]) if len(frames) == at + 2 and not old else None
        link = link or Link()
        link.ours = info is not None
        return Ready(service_text(frames[at]), info, link)
    if command == W_DISCONNECT:
        return DISCONNECT
    raise ProtocolError("bad_command", f"{frames[start + 1][:8]!r} is no command of a worker")


# ---------------------------------------------------------------- encoding, at the broker


def encode_to_client(message: ToClient) -> list[bytes]:
    """The frames of an answer, without the routing id, in the dialect its request came in. None at
    all where it has no such answer."""
    to = message.reply_to
    dialect = to.dialect
    if dialect == NATIVE:
        return [*to.envelope, MDPC02, *_native_reply(message)]
    if dialect == STRICT:
        partial = isinstance(message, ClientPartial)
        command = (b"2" if partial else b"3") if to.ascii else (C_PARTIAL if partial else C_FINAL)
        return [*to.envelope, MDPC02, command, message.service.encode(), *_strict_body(message)]
    if dialect == MDP01:
        if isinstance(message, ClientPartial):
            return []  # RFC 7 knows one reply, and a REQ socket takes but one
        return [*to.envelope, MDPC01, message.service.encode(), *_strict_body(message)]
    body = _text_body(message)
    if dialect == PHP and not isinstance(message, (ClientPartial, Answer)):
        if isinstance(message, Failed) and message.job_made:
            body = (body[0], b"")  # this generation knows that a job failed, and no errors
        return [*to.envelope, MDPC02, b"3", message.service.encode(), *body]
    # Bare, and what the PHP program sent without a header. The reply begins with "" whether the
    # request did (REQ) or not (DEALER): its client relies on it.
    return [*(to.envelope or (b"",)), *body]


def _native_reply(message: ToClient) -> list[bytes]:
    service = message.service.encode()
    if isinstance(message, Completed):
        head = b"COMPLETE: %b [%b]" % (service, message.job_id.encode())
        return [C_FINAL, service, head, *message.body]
    if isinstance(message, ClientPartial):
        head = b"CONT: %b [%b]" % (service, message.job_id.encode())
        return [C_PARTIAL, service, head, *message.body]
    if isinstance(message, Accepted):
        existing = b"true" if message.existing else b"false"
        note = b'OPTS-JSON: {"durability": "%b", "existing": %b}' % (message.durability.encode(), existing)
        return [C_FINAL, service, b"JOB: %b %b" % (message.job_id.encode(), service), note]
    if isinstance(message, Failed):
        return [C_FINAL, service, fail_head(message.service, message.job_id), PARAM_JSON + message.error]
    return [C_FINAL, service, *message.body]


def _text_body(message: ToClient) -> tuple[bytes, ...]:
    """Bare and PHP replies: without a value an empty frame stands there."""
    service = message.service
    if isinstance(message, Accepted):
        return (f"JOB: {message.job_id} {service}".encode(),)
    if isinstance(message, Failed):
        head = fail_head(service, message.job_id)
        return (head, PARAM_JSON + message.error) if message.job_made else (head,)
    if isinstance(message, Answer):
        return message.body
    verb = "CONT" if isinstance(message, ClientPartial) else "COMPLETE"
    body = without_raw(message.body)
    return (f"{verb}: {service} [{message.job_id}]".encode(), *(body or (b"",)))


def _strict_body(message: ToClient) -> tuple[bytes, ...]:
    """RFC 18: the worker's frames and nothing else; of our workers the bare value."""
    if isinstance(message, (ClientPartial, Completed)):
        if not message.body:
            return (b"",)
        if message.plain and message.body[0].startswith(PARAM_JSON):
            return (message.body[0][len(PARAM_JSON) :], *message.body[1:])
        return without_raw(message.body)
    if isinstance(message, Failed):
        return (fail_head(message.service, message.job_id), PARAM_JSON + message.error)
    return _text_body(message)


def fail_head(service: str, job_id: str | None) -> bytes:
    """`FAIL: SERVICE [ID]`, or without the id where there is none."""
    return (f"FAIL: {service} [{job_id}]" if job_id else f"FAIL: {service}").encode()


def encode_to_worker(message: ToWorker, link: Link) -> list[bytes]:
    """The frames of a command to a worker, without the routing id, as its READY spoke. None at all
    where its dialect has no such command."""
    if link.dialect != RFC:
        if link.dialect == MDP01:
            return _encode_mdp01_worker(message, link)
        return php.encode_to_worker(message, link)
    head = [b"", MDPW02] if link.empty else [MDPW02]
    if isinstance(message, WorkerRequest):
        frames = [*head, b"2" if link.ascii else W_REQUEST, message.token, b""]
        if link.ours:
            return [*frames, JOB_JSON + message.job, *message.body]
        return [*frames, *(without_raw(message.body) or (b"",))]
    if isinstance(message, Heartbeat):
        frames = [*head, b"5" if link.ascii else W_HEARTBEAT]
        return [*frames, *message.frames] if link.ours else frames
    return [*head, b"6" if link.ascii else W_DISCONNECT]


def _encode_mdp01_worker(message: ToWorker, link: Link) -> list[bytes]:
    head = [b"", MDPW01] if link.empty else [MDPW01]
    if isinstance(message, WorkerRequest):
        command = b"2" if link.ascii else b"\x02"
        return [*head, command, message.token, b"", *(without_raw(message.body) or (b"",))]
    if isinstance(message, Heartbeat):
        return [*head, b"4" if link.ascii else b"\x04"]
    return [*head, b"5" if link.ascii else b"\x05"]


# ---------------------------------------------------------------- the worker's side of the wire


def encode_ready(service: str, info: dict[str, Any]) -> list[bytes]:
    """READY with our extension's frame."""
    return [MDPW02, W_READY, service.encode(), json.dumps(info).encode()]


def encode_from_worker(command: bytes, token: bytes, body: tuple[bytes, ...]) -> list[bytes]:
    """PARTIAL (W_PARTIAL) or FINAL (W_FINAL) of a worker."""
    return [MDPW02, command, token, b"", *body]


def decode_at_worker(frames: list[bytes]) -> ToWorker:
    """What a broker sent to a worker of ours. Raises ProtocolError."""
    if len(frames) < 2 or frames[0] != MDPW02:
        raise ProtocolError("no_command", "not a broker's command to a worker")
    command = frames[1]
    if command == W_REQUEST:
        if len(frames) < 5 or frames[3] != b"" or not frames[4].startswith(JOB_JSON):
            raise ProtocolError("short", "a REQUEST without token or JOB-JSON")
        return WorkerRequest(frames[2], "", frames[4][len(JOB_JSON) :], tuple(frames[5:]))
    if command == W_HEARTBEAT:
        return Heartbeat(tuple(frames[2:]))
    if command == W_DISCONNECT:
        return DISCONNECT
    raise ProtocolError("bad_command", f"{command[:8]!r} is no command to a worker")
