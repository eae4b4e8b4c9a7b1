"""/ui/submit: a job by a form, which is made of the schema that the service's workers have told."""

from __future__ import annotations

import contextlib
from typing import Any

from starlette.responses import Response

from zmws import ids
from zmws.errors import ZmwsError
from zmws.gateway.desk import Visitor
from zmws.gateway.given import check_service
from zmws.gateway.keys import check_id
from zmws.gateway.looks import patiently
from zmws.gateway.pages.forms import Form, fault_of, form_of, option_in, params_in
from zmws.gateway.pages.frame import answer, go_on
from zmws.gateway.pages.schema_form import BadField, Field, fields_of, params_of
from zmws.gateway.pages.shown import pretty
from zmws.gateway.problems import Problem

OPTIONS = ("id", "priority", "delay", "ttr", "retries", "expires", "unique", "group")
_HINTS = {
    "id": "your own id: the same one twice is one job",
    "priority": "-1000 to 1000; higher goes first",
    "delay": "seconds from now until it may start",
    "ttr": "seconds that an attempt may take",
    "retries": "how many failures it may survive",
    "expires": "seconds in which it must have started",
    "unique": "a key: one unfinished job of this service with it",
    "group": "groups take turns",
}


async def page(visitor: Visitor) -> Response:
    """GET /ui/submit?service=."""
    name = visitor.request.query_params.get("service", "")
    rows = await visitor.desk.looks.ask("zmws.services")
    if not name:
        values = {"title": "Submit", "current": "/ui/submit", "services": [row["service"] for row in rows]}
        return answer(visitor, "submit_which.html", values)
    return await _form(visitor, name, {}, None, None)


async def _form(
    visitor: Visitor, name: str, form: Form, fault: str | None, wrong: BadField | None
) -> Response:
    row = await visitor.desk.looks.ask("zmws.service", {"service": name})
    as_json = _as_json(visitor, form)
    values = {
        "title": f"Submit {name}",
        "current": "/ui/submit",
        "row": row,
        "fields": None if as_json else fields_of(row["params"], form, wrong),
        "has_fields": fields_of(row["params"], {}) is not None,
        "json": form.get("params", ""),
        "options": [
            (option, _HINTS[option], form.get(option, ""), _default(row, option)) for option in OPTIONS
        ],
        "opened": any(form.get(option) for option in OPTIONS),
        # So that a form that is sent twice is one job.
        "new_id": form.get("new_id") or ids.new_id(),
        "fault": fault or (str(wrong) and f"{wrong.name}: {wrong}" if wrong is not None else None),
    }
    return answer(visitor, "submit.html", values, 400 if values["fault"] else 200)


def _as_json(visitor: Visitor, form: Form) -> bool:
    return (form.get("as") or visitor.request.query_params.get("as")) == "json"


def _default(row: dict[str, Any], option: str) -> str:
    known = row["options"].get(option)
    return (
        ""
        if known is None or known["value"] in (None, 0, 0.0)
        else f"{known['value']:g}"
        if isinstance(known["value"], float)
        else str(known["value"])
    )


def _typed(row: dict[str, Any], form: Form) -> str:
    """What stands in the fields of a form, as JSON, as far as it can be."""
    found: dict[str, Any] = {}
    for field in fields_of(row["params"], form) or ():
        with contextlib.suppress(BadField):
            found |= params_of([field], form)
    return pretty(found) if any(form.get(key) for key in form if key.startswith("p.")) else ""


async def submit(visitor: Visitor) -> Response:
    """POST /ui/submit?service=."""
    name, form = visitor.request.query_params.get("service", ""), await form_of(visitor)
    check_service(name)
    row = await patiently(visitor.ask("zmws.service", {"service": name}))
    if form.get("show") == "json":  # what was typed goes along
        return await _form(visitor, name, {**form, "as": "json", "params": _typed(row, form)}, None, None)
    fields: list[Field] | None = None if _as_json(visitor, form) else fields_of(row["params"], form)
    try:
        params = params_in(form.get("params", "")) if fields is None else params_of(fields, form)
        given = {option: option_in(form, option) for option in OPTIONS}
        options = {option: value for option, value in given.items() if value is not None}
        check_id(visitor, options.get("id"))
        options.setdefault("id", form.get("new_id") or ids.new_id())
        job = await visitor.desk.client.submit(name, params, **visitor.bound(name, options))
    except BadField as wrong:
        return await _form(visitor, name, form, None, wrong)
    except (Problem, ZmwsError) as wrong:
        return await _form(visitor, name, form, fault_of(wrong), None)
    return go_on(visitor, f"/ui/jobs/{job.id}", "existing" if job.existing else "submitted")
