"""What a form of a page brings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import parse_qsl

from zmws.gateway.desk import Visitor
from zmws.gateway.given import FORM, content_type
from zmws.gateway.problems import Problem

Form = dict[str, str]
FIELDS_MAX = 1_000
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


def own_path(text: str | None, otherwise: str) -> str:
    """A path of the pages that a form or an address names; anything else is `otherwise`: nobody is led
    elsewhere by a link to here."""
    if text and re.match(r"/ui/[\w/.:?&=%+~,-]*\Z", text, re.ASCII) and "//" not in text:
        return text
    return otherwise
