"""/ui/jobs/ID: all about one job, and what can be done to it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import shlex
from typing import Any

from starlette.responses import Response

from zmws import ids
from zmws.core.states import FINAL_STATES, REVIVABLE, RUNNING
from zmws.core.why import REASONS_TOLD
from zmws.errors import ZmwsError
from zmws.gateway.answers import API
from zmws.gateway.desk import Visitor, by_of
from zmws.gateway.looks import or_none, patiently
from zmws.gateway.masks import PARTS, has_secrets, marked, record_for_viewers, record_masked, unmarked
from zmws.gateway.pages import kin
from zmws.gateway.pages.confirm import confirm, is_confirmed
from zmws.gateway.pages.forms import fault_of, form_of, option_in, params_in
from zmws.gateway.pages.frame import HEADERS, answer, go_on
from zmws.gateway.pages.life import picture, steps_of
from zmws.gateway.pages.shown import TEXT_MAX, clean, cut, pretty, text_of
from zmws.gateway.problems import Problem
from zmws.wire.values import field_of

ENTRIES_SHOWN = 100  # partial results, and lines of the log: the last
_OF_THE_JOB = (
    "priority",
    "ttr",
    "retries",
    "keep",
    "group",
    "on_complete",
    "on_failed",
)  # options that the form has from it
_COPIED = (*_OF_THE_JOB, "delay", "expires", "unique")
_PARTS = ("params", "result", "error", "attempts", "log", "partials", "meta")
_OWN = re.compile(r'^\s*> File "(.+?)", line (\d+), in (.*)$')
_OF_SCHEDULE = re.compile(r"cron:([A-Za-z0-9._-]{1,64}):")
_STACK_S = 5.0
EDITABLE_MAX = 200_000  # characters of parameters that a form shows
ENTRIES_CHARS_MAX = 8_000  # of all partial results, and of the log
TRACE_MAX = 4_000  # characters of a traceback: the last
TRACES_SHOWN = 3  # attempts with their tracebacks: the last


async def page(visitor: Visitor) -> Response:
    """GET /ui/jobs/ID?reveal=1."""
    record = await _record(visitor)
    return await _shown(visitor, record)


async def _record(visitor: Visitor) -> dict[str, Any]:
    found: dict[str, Any] = await patiently(visitor.ask("zmws.job", {"id": visitor.path["id"]}))
    return found


def _reveals(visitor: Visitor) -> bool:
    return visitor.request.query_params.get("reveal") == "1" and visitor.who.may(())


def _seen(visitor: Visitor, record: dict[str, Any]) -> dict[str, Any]:
    """The record as this visitor may see it. That secrets were revealed is kept, with who has seen them."""
    if _reveals(visitor):
        if has_secrets([record[name] for name in PARTS]):
            visitor.desk.tell("reveal", record["id"], by_of(visitor.who))
        return record
    return record_for_viewers(record) if visitor.is_masked else record_masked(record)


async def _shown(visitor: Visitor, record: dict[str, Any], stack: dict[str, Any] | None = None) -> Response:
    job_id = record["id"]
    events, why, family = await asyncio.gather(
        or_none(patiently(visitor.ask("zmws.events", {"id": job_id}))),
        or_none(patiently(visitor.ask("zmws.why", {"id": job_id}))),
        or_none(visitor.desk.looks.ask("zmws.family", kin.question(job_id))),
    )
    reveals = _reveals(visitor)
    secret = has_secrets([record[name] for name in PARTS])
    seen = _seen(visitor, record)
    steps = steps_of(record, events or [])
    values = {
        "title": f"{record['service']} {job_id}",
        "current": "/ui/jobs",
        # What is revealed, or was asked of the worker, is of one moment: each look would be one more.
        "live": None if stack is not None or reveals else _stream_of(record),
        "job": seen,
        "steps": steps,
        "life": picture(steps),
        "why": why,
        "reasons": REASONS_TOLD,
        "chain_steps": kin.steps(record, family),
        "tree": kin.tree(family, job_id),
        "tree_is_cut": family is not None and family["next"] is not None,
        "schedule": made[1] if (made := _OF_SCHEDULE.match(job_id)) else None,
        "secret": secret,
        "reveals": reveals,
        "parts": {name: _part(seen, name) for name in ("params", "result", "meta")},
        "attempts": [_attempt(one) for one in reversed(record["attempts"])],
        "traces": TRACES_SHOWN,
        "error": _error(record),
        "log": _last(record["log"]),
        "partials": _last(seen["partials"]),
        "may_cancel": record["state"] not in FINAL_STATES,
        "may_retry": record["state"] in REVIVABLE and record["kind"] == "stored",
        "may_delete": record["state"] in FINAL_STATES and record["kind"] == "stored",
        "may_stack": record["state"] == RUNNING,
        "stack": stack,
        "curl": _curl(visitor, seen),
    }
    return answer(visitor, "job.html", values)


def _stream_of(record: dict[str, Any]) -> str:
    """The query of the page's stream. A job that has ended can still be retried, or deleted: that is looked
    at now and then."""
    return "slow=1" if record["state"] in FINAL_STATES else f"job={record['id']}"


def _part(record: dict[str, Any], name: str) -> dict[str, Any] | None:
    """A value of a record as a page shows it; None where there is none."""
    value, kind = record[name], record.get(f"{name}_kind")
    if value is None and kind in (None, "json"):
        return None
    note = ""
    if kind in ("bytes", "php") and isinstance(value, dict):
        size = len(base64.b64decode(value["base64"]))
        note = f"{size:,} bytes, " + ("as PHP serialises them" if kind == "php" else "in base64")
        value = value["base64"]
    elif kind == "frames":
        note = f"{len(value)} frames"
    text = value if isinstance(value, str) and kind != "json" else pretty(value)
    return {"text": text[:TEXT_MAX], "is_cut": len(text) > TEXT_MAX, "note": note, "chars": len(text)}


def _last(entries: list[Any]) -> list[str]:
    """The last of many entries, as texts, within bounds."""
    found: list[str] = []
    room = ENTRIES_CHARS_MAX
    for one in reversed(entries[-ENTRIES_SHOWN:]):
        text = cut(text_of(one), 1_000)
        room -= len(text)
        if room < 0:
            break
        found.append(text)
    return found[::-1]


def _attempt(one: dict[str, Any]) -> dict[str, Any]:
    return {**one, **_told_error(one.get("error"))}


def _told_error(error: dict[str, Any] | None) -> dict[str, Any]:
    """What an ERROR is called, what it says, and its traceback. It is a worker's, so anything may stand in
    it."""
    known = error or {}
    trace = str(known.get("traceback") or "")
    return {
        "error": error,
        "name": str(known.get("type") or known.get("code") or "failed"),
        "said": str(known.get("error") or ""),
        "trace": trace[-TRACE_MAX:],
        "is_cut": len(trace) > TRACE_MAX,
        "own": own_frames(trace),
    }


def own_frames(trace: str) -> list[dict[str, str]]:
    """The frames of a traceback that are the author's own, the last call first, each with its line."""
    lines, found = trace.splitlines(), []
    for n, line in enumerate(lines):
        if at := _OWN.match(line):
            code = lines[n + 1].strip() if n + 1 < len(lines) else ""
            found.append({"file": at[1], "line": at[2], "function": at[3], "code": code})
    return found[::-1][:8]


def _error(record: dict[str, Any]) -> dict[str, Any] | None:
    """Its ERROR, where no attempt shows it."""
    error = record["error"]
    shown = (one["error"] for one in record["attempts"] if one.get("error"))
    if error is None or any(_essence(one) == _essence(error) for one in shown):
        return None
    return _told_error(error)


def _essence(error: dict[str, Any]) -> tuple[Any, Any]:
    return error.get("error"), error.get("traceback") or ""


def _curl(visitor: Visitor, record: dict[str, Any]) -> str | None:
    """The command that submits the same again."""
    if record["params_kind"] not in (None, "json"):
        return None
    body: dict[str, Any] = {"service": record["service"]}
    if record["params"] is not None:
        body["params"] = record["params"]
    body |= {name: record[name] for name in ("priority", "group") if record[name]}
    text = json.dumps(body, ensure_ascii=False)
    if len(text) > TEXT_MAX:
        return None
    at = f"{visitor.visit.scheme}://{visitor.visit.host}{visitor.url(f'{API}/jobs')}"
    token = " -H 'Authorization: Bearer TOKEN'" if visitor.desk.guard.needs_token else ""
    return f"curl {shlex.quote(at)}{token} -H 'Content-Type: application/json' -d {shlex.quote(text)}"


async def part(visitor: Visitor) -> Response:
    """GET /ui/jobs/ID/PART: all of a part of its record, as text."""
    name = visitor.path["part"]
    if name not in _PARTS:
        raise Problem(404, "no_such_page", f"a job's record has {', '.join(_PARTS)}, and not {name[:40]!a}")
    value = _seen(visitor, await _record(visitor))[name]
    text = "\n".join(map(text_of, value)) if name in ("log", "partials") else pretty(value)
    return Response(clean(text), 200, HEADERS, "text/plain; charset=utf-8")


# ---------------------------------------------------------------- act


async def cancel(visitor: Visitor) -> Response:
    """POST /ui/jobs/ID/cancel."""
    return await _act(visitor, "zmws.cancel", "cancelled")


async def retry(visitor: Visitor) -> Response:
    """POST /ui/jobs/ID/retry."""
    return await _act(visitor, "zmws.retry", "retried")


async def _act(visitor: Visitor, service: str, told: str) -> Response:
    job_id = visitor.path["id"]
    await patiently(visitor.ask(service, {"id": job_id}))
    return go_on(visitor, f"/ui/jobs/{job_id}", told)


async def delete(visitor: Visitor) -> Response:
    """POST /ui/jobs/ID/delete, confirmed."""
    job_id, form = visitor.path["id"], await form_of(visitor)
    if not is_confirmed(form, 1):
        record = await _record(visitor)
        text = f"Delete the record of this {record['service']} job?"
        note = f"{job_id}: its parameters, its result and its log are gone then."
        return confirm(visitor, text, "Delete", form, 1, f"/ui/jobs/{job_id}", note)
    await patiently(visitor.ask("zmws.delete", {"id": job_id}))
    return go_on(visitor, "/ui/jobs", "deleted")


async def stack(visitor: Visitor) -> Response:
    """GET /ui/jobs/ID/stack: where its work() is at this moment."""
    job_id = visitor.path["id"]
    await _record(visitor)  # where there is none, that is what is told
    asked = visitor.ask("zmws.stack", {"id": job_id, "timeout": _STACK_S}, _STACK_S)
    told = await visitor.patiently(asked, None)
    return await _shown(visitor, await _record(visitor), told or {"stack": "", "worker": None, "at": None})


async def again(visitor: Visitor) -> Response:
    """GET /ui/jobs/ID/again: the form of a new job like this one."""
    return _again(visitor, await _record(visitor), {}, None)


def _again(visitor: Visitor, record: dict[str, Any], form: dict[str, str], fault: str | None) -> Response:
    params, _ = _editable(record)
    known = {name: "" if record.get(name) is None else str(record.get(name)) for name in _OF_THE_JOB}
    values = {
        "title": "Run again with changes",
        "current": "/ui/jobs",
        "job": record,
        "params": form.get("params", params),
        "options": {name: form.get(name, known.get(name, "")) for name in _COPIED},
        "service": form.get("service", record["service"]),
        "secret": has_secrets(record["params"]),
        "new_id": form.get("new_id") or ids.new_id(),
        "fault": fault,
    }
    return answer(visitor, "again_form.html", values, 400 if fault else 200)


def _editable(record: dict[str, Any]) -> tuple[str | None, dict[str, Any]]:
    """Its parameters as a text to change, with the secrets masked, and these; None where that cannot be."""
    if record["params_kind"] not in (None, "json"):
        return None, {}
    if record["params"] is None:
        return "", {}
    shown, secrets = marked(record["params"])
    text = pretty(shown)
    return (text, secrets) if len(text) <= EDITABLE_MAX else (None, {})


async def run_again(visitor: Visitor) -> Response:
    """POST /ui/jobs/ID/again: what is left as it is stays as it was, secrets too."""
    record, form = await _record(visitor), await form_of(visitor)
    question: dict[str, Any] = {"id": record["id"], "new_id": form.get("new_id") or ids.new_id()}
    known, secrets = _editable(record)
    try:
        if known is not None and form.get("params", known).strip() != known.strip():
            question |= field_of("params", unmarked(params_in(form["params"]), secrets))
        if (service := form.get("service", "").strip()) and service != record["service"]:
            question["service"] = service
        for name in _COPIED:
            value = option_in(form, name)
            if value is not None and value != record.get(name):
                question[name] = value
        told = await patiently(visitor.ask("zmws.copy", question))
    except (Problem, ZmwsError, ValueError) as wrong:
        return _again(visitor, record, form, fault_of(wrong))
    return go_on(visitor, f"/ui/jobs/{told['id']}", "existing" if told["existing"] else "submitted")
