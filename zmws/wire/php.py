"""The PHP program's dialect, both generations (docs/protocol.md, "PHP").

Rule: its frames stand in an order of their own: parameters before the name, the job's id last.
"""

from __future__ import annotations

from zmws.wire.messages import (
    PHP,
    PHP1,
    PHP2,
    ClientRequest,
    Disconnect,
    FromWorker,
    Heartbeat,
    Link,
    Ready,
    ReplyTo,
    ToWorker,
    WorkerFinal,
    WorkerPartial,
    WorkerRequest,
)
from zmws.wire.names import TOKEN_BYTES_MAX, bad_token, service_and_mode, service_text
from zmws.wire.values import JSON_PARAM, PARAM, PARAM_JSON, PARAM_PHP, PARAM_RAW, without_options, without_raw

_MDPC02 = b"MDPC02"
_BEFORE_SERVICE = (b"PARAM", b"JSON-PARAM", b"OPTS-JSON")
_VALUES = (PARAM_JSON, JSON_PARAM, PARAM, PARAM_PHP, PARAM_RAW)


def decode_request(frames: list[bytes], at: int, envelope: tuple[bytes, ...]) -> ClientRequest:
    """The PHP program's second generation: parameters stand before the name, which is last."""
    rest = frames[at:]
    name = rest.pop(-1 if rest[0].startswith(_BEFORE_SERVICE) else 0)
    service, sync = service_and_mode(name, to_the_letter=False)
    options, body = without_options(rest)
    return ClientRequest(service, sync, options, body, ReplyTo(PHP, envelope, True))


def decode_worker(frames: list[bytes], start: int) -> FromWorker | None:
    """A message of the PHP program's workers, or None if it has neither generation's shape."""
    rest = frames[start:]
    dialect = PHP1
    if rest[0] == _MDPC02 and len(rest) > 2 and rest[1] == b"3":
        dialect, rest = PHP2, rest[2:]
    link = Link(dialect, empty=start == 1, ascii=True)
    if rest == [b"HEARTBEAT"]:
        return Heartbeat((), link)
    last = rest[-1]
    if last == b"READY" and len(rest) == 2:
        return Ready(service_text(rest[0]), None, link)
    verb, separator, token = last.partition(b": ")
    if not separator or len(rest) < 2 or verb not in (b"COMPLETE", b"CONT", b"FAIL"):
        return None
    # First generation: the value, then the service; second: the service first. What stands in the
    # service's place and is plainly a value is one: a service's name cannot hold a space.
    body = rest[:-1]
    place = -1 if dialect == PHP1 else 0
    if body[place].startswith(_VALUES):
        place = -1 - place
    if not body[place].startswith(_VALUES):
        del body[place]
    if len(token) > TOKEN_BYTES_MAX:
        raise bad_token(token)
    if verb == b"CONT":
        return WorkerPartial(token, tuple(body), link)
    return WorkerFinal(token, tuple(body), verb == b"FAIL", link)


def encode_to_worker(message: ToWorker, link: Link) -> list[bytes]:
    if isinstance(message, WorkerRequest):
        service = message.service.encode()
        job, body = b"JOB: " + message.token, without_raw(message.body)
        if link.dialect == PHP1:
            return [message.token, b"", *(body or (b"JOB: " + service,)), job]
        return [b"", _MDPC02, b"1", *(body or (service,)), job]
    # Neither generation knows DISCONNECT; a worker that hears nothing more comes back by itself.
    return [] if isinstance(message, Disconnect) else [b"HEARTBEAT"]
