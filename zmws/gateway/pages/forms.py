"""What a form of a page brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl

from zmws.core.options import JOB_OPTIONS
from zmws.errors import BadJson, BrokerUnreachable, JobTimeout
from zmws.gateway.desk import Visitor
from zmws.gateway.given import FORM, content_type
from zmws.gateway.problems import Problem
from zmws.wire.values import json_in

Form = dict[str, str]
FIELDS_MAX = 1_000
_OWN_PATH = re.compile(r"/ui/[\w/.:?&=%+~,;@!$'()*-]*\Z", re.ASCII)
_AGO = re.compile(r"(\d{1,6})\s?(s|m|h|d)\Z", re.ASCII)
_NUMBER = re.compile(r"-?\d{1,18}(\.\d{1,9})?\Z", re.ASCII)


async def form_of(visitor: Visitor) -> Form:
    """The fields of a form, of several of one name the last. Raises Problem."""
    body, kind = await visitor.request.body(), content_type(visitor.request)
    if body and kind != FORM:
        raise Problem(415, "wrong_type", f"the body is {kind[:80]!a}, but must be {FORM}")
    try:
        fields = parse_qsl(body.decode(), keep_blank_values=True, max_num_fields=FIELDS_MAX)
    except ValueError as wrong:
        raise Problem(400, "bad_request", f"the form cannot be read: {wrong}") from None
    return {name: text.replace("\r\n", "\n") for name, text in fields}


def number_of(form: Mapping[str, str], name: str) -> int | float | None:
    """The number in a field, None for an empty one. Raises Problem."""
    text = form.get(name, "").strip()
    if not text:
        return None
    if not _NUMBER.match(text):
        raise Problem(400, "bad_request", f"'{name}' is {text[:80]!a}, but must be a number")
    return float(text) if "." in text else int(text)


def time_of(name: str, text: str) -> str:
    """A time as a person writes it: 2h (ago), a day, a day and a time, with a zone or in UTC. Raises
    Problem."""
    if ago := _AGO.match(text):
        seconds = int(ago[1]) * {"s": 1, "m": 60, "h": 3_600, "d": 86_400}[ago[2]]
        return (datetime.now(UTC) - timedelta(seconds=seconds)).isoformat()
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        wanted = "2h, 3d, 2026-01-31, 2026-01-31 12:00 (UTC), or with a zone"
        raise Problem(400, "bad_request", f"'{name}' is {text[:80]!a}, but must be like {wanted}") from None
    return (at if at.tzinfo is not None else at.replace(tzinfo=UTC)).isoformat()


def fault_of(wrong: Exception) -> str:
    """What is wrong with a form, to be shown in it once more. Raises what is none of the form's fault."""
    if isinstance(wrong, BrokerUnreachable | JobTimeout) or (
        isinstance(wrong, Problem) and wrong.status != 400
    ):
        raise wrong
    return str(wrong)


def own_path(text: str | None, otherwise: str) -> str:
    """A path of the pages that a form or an address names; anything else is `otherwise`: nobody is led
    elsewhere by a link to here."""
    if not text or not _OWN_PATH.match(text):
        return otherwise
    parts = text.partition("?")[0].split("/")
    return otherwise if {".", ".."} & {*parts} or "" in parts[1:-1] else text


def params_in(text: str) -> Any:
    """The parameters that a field brings, None for an empty one. Raises Problem."""
    if not text.strip():
        return None
    try:
        return json_in(text.encode())
    except BadJson as wrong:
        raise Problem(400, "bad_request", f"the parameters are not JSON: {wrong}") from None


def option_in(form: dict[str, str], name: str) -> Any:
    """An option of a job as a field has it, None for an empty one. Raises Problem."""
    text = form.get(name, "").strip()
    if not text:
        return None
    kind = JOB_OPTIONS[name].kind
    return number_of(form, name) if kind in ("whole", "seconds") else text
