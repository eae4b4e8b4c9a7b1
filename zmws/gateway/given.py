"""What a request asks for: parameters out of the query, JSON, a form; options; how long to wait.

Rule 1: whatever way they come, a worker gets parameters as JSON.
Rule 2: a file of a form is `{"name", "type", "base64"}`.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException
from starlette.requests import Request

from zmws.core.desk.questions import QUESTIONS
from zmws.core.table import no_such
from zmws.errors import BadJson
from zmws.gateway.guard import joined
from zmws.gateway.problems import Problem
from zmws.wire.names import is_reserved
from zmws.wire.values import json_in

JSON_TYPES = ("application/json", "application/merge-patch+json")
NDJSON_TYPES = ("application/x-ndjson", "application/ndjson", "application/jsonl", "application/json-lines")
FORM, MULTIPART = "application/x-www-form-urlencoded", "multipart/form-data"
CHARSETS = ("utf-8", "utf8", "us-ascii", "iso-8859-1", "iso-8859-15", "windows-1252")  # of a form with files
FIELDS_MAX, FILES_MAX = 1_000, 100
_SECONDS = re.compile(r"\d{1,9}(?:\.\d{1,9})?", re.ASCII)
_WAIT = re.compile(r"(?:^|,)\s*wait\s*=\s*\"?(\d{1,9}(?:\.\d{1,9})?)\"?\s*(?:[,;]|$)", re.IGNORECASE)


def content_type(request: Request) -> str:
    """The type of the body, without its parameters; "" where none is said."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


async def json_body(request: Request, types: tuple[str, ...] = JSON_TYPES) -> Any:
    """The JSON of a body, {} for none. Raises Problem."""
    body = await request.body()
    kind = content_type(request)
    if kind not in types and (body or kind) and not kind.endswith("+json"):
        said = f"is {kind[:80]!a}" if kind else "says no Content-Type"
        raise Problem(415, "wrong_type", f"the body {said}, but must be {' or '.join(types)}")
    return _json(body) if body else {}


async def json_object(request: Request) -> dict[str, Any]:
    """The JSON object of a body. Raises Problem."""
    found = await json_body(request)
    if not isinstance(found, dict):
        raise Problem(400, "bad_request", "the body must be a JSON object")
    return found


def _json(body: bytes) -> Any:
    try:
        return json_in(body)
    except BadJson as wrong:
        raise Problem(400, "bad_request", f"the body is not JSON: {wrong}") from None


async def params_of(request: Request) -> Any:
    """The parameters that a request to an old door brings, None for none. Raises Problem."""
    query = _gathered(request.query_params.multi_items())
    if request.method == "GET":
        return query or None
    body, kind = await request.body(), content_type(request)
    if not body and kind not in (MULTIPART,):
        return query or None
    if kind in JSON_TYPES or kind.endswith("+json"):
        found = _json(body)
        if not query:
            return found
        if not isinstance(found, dict):
            raise Problem(400, "bad_request", "with parameters in the query, the body must be a JSON object")
        return {**query, **found}
    if kind in (FORM, MULTIPART):
        return {**query, **await _form(request, body, kind)} or None
    said = f"is {kind[:80]!a}" if kind else "says no Content-Type"
    text = f"the body {said}, but must be application/json, {FORM} or {MULTIPART}"
    raise Problem(415, "wrong_type", text)


async def _form(request: Request, body: bytes, kind: str) -> dict[str, Any]:
    if kind == FORM and body.lstrip()[:1] in (b"{", b"["):
        text = "the body looks like JSON and is sent as a form; say -H 'Content-Type: application/json'"
        raise Problem(400, "bad_request", text)
    if kind == MULTIPART:
        _check_multipart(body, parse_options_header(request.headers["content-type"])[1])
    try:
        form = await request.form(max_files=FILES_MAX, max_fields=FIELDS_MAX, max_part_size=len(body) + 1)
    except MultiPartException as wrong:
        raise Problem(400, "bad_request", f"the form cannot be read: {wrong.message}") from None
    try:
        return _gathered([(name, await _field(value)) for name, value in form.multi_items()])
    finally:
        await form.close()


def _check_multipart(body: bytes, said: Mapping[bytes, bytes]) -> None:
    """Raises Problem for what would be read in part, or as something else. `said`: of the form, by its
    Content-Type."""
    if b"boundary" not in said:
        raise Problem(400, "bad_request", "the Content-Type of the form names no boundary")
    # Python knows more: some are no character sets, and one takes the square of a text's length.
    charset = said.get(b"charset", b"utf-8").decode("latin-1")
    if charset.lower() not in CHARSETS:
        text = f"the form's charset is {charset[:80]!a}, but must be one of {', '.join(CHARSETS)}"
        raise Problem(400, "bad_request", text)
    if b"--" + said[b"boundary"] + b"--" not in body:
        raise Problem(400, "bad_request", "the form has no end: its last boundary is missing")
    for head in re.findall(rb"(?i)^content-disposition:[^\r\n]*", body, re.MULTILINE):
        if b"filename*=" in head and b"filename=" not in head:
            raise Problem(
                400, "bad_request", "a file of a form has its name in 'filename', not only in 'filename*'"
            )


async def _field(value: str | UploadFile) -> Any:
    if isinstance(value, str):
        return value
    data = base64.b64encode(await value.read()).decode()
    return {"name": value.filename, "type": value.content_type, "base64": data}


def _gathered(items: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Names and values; a name that comes several times, or ends with [] as PHP has it, is a list."""
    found: dict[str, Any] = {}
    several: set[str] = set()
    for name, value in items:
        is_list = name.endswith("[]") and len(name) > 2
        name = name[:-2] if is_list else name
        if name in several:
            found[name].append(value)
        elif name in found or is_list:
            several.add(name)
            found[name] = [found[name], value] if name in found else [value]
        else:
            found[name] = value
    return found


def check_service(name: str) -> str:
    """The name of a service that jobs may be for. Raises Problem for one of the broker's own."""
    if is_reserved(name):
        text = f"{name[:80]!a} is the broker's own, and takes no jobs; /api/v1 has what it can be asked"
        raise Problem(404, "unknown_service", text)
    return name


def wait_of(request: Request, most_s: float) -> float:
    """The seconds that ?wait= asks for, at most so many; 0 for none. Raises Problem."""
    text = request.query_params.get("wait")
    if text is None:
        return 0.0
    if not _SECONDS.fullmatch(text):
        raise Problem(400, "bad_request", f"'wait' is {text[:80]!a}, but must be a number of seconds")
    return min(float(text), most_s)


def preferred_wait(request: Request, most_s: float) -> float | None:
    """The seconds of `Prefer: wait=` (RFC 7240), at most so many; None for none."""
    found = _WAIT.search(joined(request.headers, "prefer") or "")
    return None if found is None else min(float(found[1]), most_s)


def query_of(request: Request, service: str, leave_out: Iterable[str] = ()) -> dict[str, Any]:
    """The question to a `zmws.*` service that a query asks; an empty field is not given, as forms send them.
    Raises Problem for a field that there is not, or that is no number or no flag where it must be one."""
    rows = {name: row for name, row in QUESTIONS[service].items() if name not in leave_out}
    question: dict[str, Any] = {}
    for name, text in request.query_params.items():
        if name not in rows:
            raise Problem(400, "bad_request", no_such(name, "field of this query", rows))
        if not text:
            continue
        kind = rows[name].kind
        if kind == "int":
            question[name] = _whole(name, text)
        elif kind == "seconds":
            question[name] = _seconds(name, text)
        else:
            question[name] = _flag(name, text) if kind == "flag" else text
    return question


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise Problem(400, "bad_request", f"'{name}' is {text[:80]!a}, but must be a whole number")
    return int(text)


def _seconds(name: str, text: str) -> float:
    if _SECONDS.fullmatch(text) is None:
        raise Problem(400, "bad_request", f"'{name}' is {text[:80]!a}, but must be a number of seconds")
    return float(text)


def _flag(name: str, text: str) -> bool:
    if text not in ("true", "false", "1", "0"):
        raise Problem(400, "bad_request", f"'{name}' is {text[:80]!a}, but must be true or false")
    return text in ("true", "1")
