"""Idempotency-Key: which job a key stands for, and that a repeat asks for the same
(draft-ietf-httpapi-idempotency-key).

Rule 1: the key is the job's id; one that no id can be is hashed, never cut. With a token it is `NAME:KEY`.
Rule 2: a repeat with another service or other parameters is told so (422), at every door that takes a key.
Rule 3: an id that would be another token's key is not for this one to give.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from starlette.requests import Request

from zmws import ids
from zmws.core.table import ID_PATTERN
from zmws.gateway.desk import Visitor
from zmws.gateway.problems import Problem
from zmws.gateway.tokens import Who
from zmws.wire.values import params_from

KEY_CHARS_MAX = 1_024
ID_CHARS_MAX = 128
_HASHED = "ik-"


def job_id_of(request: Request, who: Who) -> str | None:
    """The id that an Idempotency-Key stands for, None where there is none. Raises Problem."""
    keys = request.headers.getlist("idempotency-key")
    if not keys:
        return None
    if len(keys) > 1:
        raise Problem(400, "bad_request", "give one Idempotency-Key")
    key = keys[0]
    if len(key) >= 2 and key[0] == key[-1] == '"':
        key = key[1:-1]
    if not key or len(key) > KEY_CHARS_MAX:
        text = f"the Idempotency-Key must have 1 to {KEY_CHARS_MAX:,} characters"
        raise Problem(400, "bad_request", text)
    return as_id(f"{who.name}:{key}" if who.name else key)


def as_id(text: str, chars_max: int = ID_CHARS_MAX) -> str:
    """A text as an id of so many characters: itself, or its hash."""
    plain = ID_PATTERN.match(text) and text not in (".", "..")  # which no address can hold
    plain = plain and len(text) <= chars_max
    return text if plain else f"{_HASHED}{hashlib.sha256(text.encode()).hexdigest()}"


def own_id(visitor: Visitor, options: dict[str, Any]) -> str | None:
    """Give the options the id of the new job: their own, what an Idempotency-Key stands for (which is
    returned), or a new one. Raises Problem for two, and for one that is another's."""
    key_id = job_id_of(visitor.request, visitor.who)
    if key_id is not None and options.get("id") not in (None, key_id):
        raise Problem(400, "bad_request", "give an Idempotency-Key or an 'id', not both")
    check_id(visitor, options.get("id"))
    options.setdefault("id", key_id or ids.new_id())
    return key_id


def check_id(visitor: Visitor, given: Any) -> None:
    """An id that was given is no other token's key, and can be asked for. Raises Problem."""
    if given in (".", ".."):
        raise Problem(400, "bad_option", f"option 'id' is '{given}', which no address can hold")
    if isinstance(given, str) and visitor.who.name and given.startswith(_HASHED):
        raise Problem(403, "not_allowed", f"ids that begin with '{_HASHED}' are made of Idempotency-Keys")
    if isinstance(given, str) and visitor.who.name and ":" in given:
        others = visitor.desk.guard.tokens.names() - {visitor.who.name}
        if given.partition(":")[0] in others:
            text = f"ids that begin with '{given.partition(':')[0]}:' are for keys of the token of that name"
            raise Problem(403, "not_allowed", text)


async def check_same(visitor: Visitor, job_id: str, service: str, params: Any) -> None:
    """The job that was there is the one that is asked for. Raises Problem."""
    record = await visitor.ask("zmws.job", {"id": job_id})
    known = params_from(record["params"], record["params_kind"])
    name = visitor.who.name
    if name and record["submitter"] not in (None, name):
        raise Problem(409, "id_conflict", "the job that this Idempotency-Key stands for is another's")
    if record["service"] != service or _plain(known) != _plain(params):
        raise reused()


def _plain(params: Any) -> Any:
    """As what is compared: 1, 1.0 and true are three values; none are an empty object, as a worker has
    them."""
    if isinstance(params, bytes):
        return params
    return json.dumps({} if params is None else params, sort_keys=True)


def reused() -> Problem:
    """The refusal of a key that stands for something else."""
    return Problem(
        422, "key_reused", "this Idempotency-Key came before with another service or other parameters"
    )
