"""The schemas of the OpenAPI document: what may come in, and what goes out.

Rule 1: what is checked by a table (core/table.py) is told out of that table: a name, a range or a help text
        stands nowhere twice.
Rule 2: what comes in may have no other field; what goes out has all that are named, and may get more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from zmws.core.desk.questions import QUESTIONS
from zmws.core.options import JOB_OPTIONS, LIMITS
from zmws.core.record import COLUMNS, Column
from zmws.core.rows import BATCH_STATES
from zmws.core.schedule import MISSED, OVERLAP, SCHEDULE
from zmws.core.series import SHARES
from zmws.core.states import STATES
from zmws.core.table import (
    ID_PATTERN,
    KEY_BYTES_MAX,
    OBJECT_BYTES_MAX,
    VERB_PATTERN,
    WORD_CHARS_MAX,
    YEAR_S,
    Row,
)
from zmws.wire.names import TOKEN_BYTES_MAX

Schema = dict[str, Any]

# ---------------------------------------------------------------- what comes in: rows of tables

_KINDS: dict[str, Schema] = {
    "int": {"type": "integer"},
    "whole": {"type": "integer"},
    "number": {"type": "number"},
    "seconds": {"type": "number"},
    "time": {"type": "string", "format": "date-time"},
    "page": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    "flag": {"type": "boolean"},
    "choice": {"type": "string"},
    "text": {"type": "string"},
    "name": {"type": "string"},
    "service": {"type": "string"},
    "word": {"type": "string", "minLength": 1, "maxLength": WORD_CHARS_MAX},
    "verb": {"type": "string", "pattern": f"^{VERB_PATTERN.pattern.removesuffix(chr(92) + 'Z')}$"},
    "key": {"type": "string", "minLength": 1, "maxLength": KEY_BYTES_MAX},
    "id": {"type": "string", "pattern": f"^{ID_PATTERN.pattern.removesuffix(chr(92) + 'Z')}$"},
    "token": {"type": "string", "minLength": 1, "maxLength": TOKEN_BYTES_MAX},
    "object": {"type": "object", "description": f"At most {OBJECT_BYTES_MAX:,} bytes of JSON."},
    "value": {},
    "parsed": {"type": "string", "minLength": 1},
}
_RANGED = ("int", "whole", "number", "seconds")


def of_row(row: Row, text: str = "", null: bool = False) -> Schema:
    """What a row lets in. `null`: null, too, for what is not given."""
    schema = dict(_KINDS[row.kind])
    if row.kind in _RANGED:
        schema["exclusiveMinimum" if row.above_low else "minimum"] = row.low
        if not isinstance(row.high, str):  # else a setting says it
            schema["maximum"] = YEAR_S if row.high is None else row.high
    if row.choices:
        schema["enum"] = [*row.choices, *([None] if null else [])]
    if null and "type" in schema:
        schema["type"] = [schema["type"], "null"]
    told = " ".join(one for one in (text or row.help, schema.get("description")) if one)
    return {**schema, **({"description": told} if told else {})}


def _given(
    rows: Mapping[str, Row],
    texts: Mapping[str, str] | None = None,
    leave_out: Iterable[str] = (),
    **more: Any,
) -> Schema:
    """An object of these fields and no other; null is not given, where a field may be left out."""
    kept = {name: row for name, row in rows.items() if name not in leave_out}
    fields = {
        name: of_row(row, (texts or {}).get(name, ""), null=not row.needed) for name, row in kept.items()
    }
    needed = [name for name, row in kept.items() if row.needed]
    required = {"required": needed} if needed else {}
    return {"type": "object", "properties": fields, **required, "additionalProperties": False, **more}


def ref(name: str) -> Schema:
    """One of the schemas by its name."""
    return {"$ref": f"#/components/schemas/{name}"}


def listed(schema: Schema, **more: Any) -> Schema:
    """A list of such."""
    return {"type": "array", "items": schema, **more}


def _with(schema: Schema, **fields: Schema) -> Schema:
    """The same, with other schemas for some of its fields."""
    return {**schema, "properties": {**schema["properties"], **fields}}


def _maybe(schema: Schema, text: str = "") -> Schema:
    return {"anyOf": [schema, {"type": "null"}], **({"description": text} if text else {})}


_WHAT = {
    "service": Row("service", "the service that is to do it", needed=True),
    "params": Row("value", "its parameters, any JSON"),
    "params_base64": Row("text", "the parameters as bytes, in base64; instead of `params`"),
}
FILTER_TEXTS = {
    "service": "jobs of this service",
    "state": "jobs in this state",
    "group": "jobs of this group",
    "since": "jobs that were made at this time or later: ISO 8601 with its zone",
    "before": "jobs that were made before this time",
    "cause": "jobs that have failed for this cause (`GET /failures`)",
    "parent": "jobs that this job's end has made",
    "chain": "jobs that are steps of this chain",
    "batch": "jobs of this batch",
    "submitter": "only what this key or token has submitted",
    "all": "true: all jobs there are, where nothing else is named",
    "dry_run": "true: they are counted, and nothing is done",
}
_REPORT_TEXTS = {
    "token": "the token that came with the job",
    "kind": "what is told; the other fields are for one kind or the other (docs/protocol.md, Leases)",
    "done": "progress: from 0 to 1",
    "text": "progress, log: a text",
    "value": "partial: a part of the result; save: what the next attempt is to be given",
    "value_base64": "partial: the same as bytes, in base64",
    "result": "complete: the result, any JSON",
    "result_base64": "complete: the result as bytes, in base64",
    "code": "fail: one word for programs",
    "error": "fail: a text for people",
    "type": "fail: the kind of exception",
    "traceback": "fail: where it came from",
    "cause": "fail: why, in words that are the same each time: {type, message, frame}",
    "retry": "fail: false: not to be tried again",
    "delay": "fail: seconds until the next try",
    "enqueue": "complete: jobs that follow from it, a list of NewJob and NewChain",
    "ask": "an id of the asker's own for this report: a repeat under it gets the first answer",
}
_EXTEND_TEXTS = {
    "token": _REPORT_TEXTS["token"],
    "seconds": "how long the attempt may run from now",
    "ask": _REPORT_TEXTS["ask"],
}
_LEASE_TEXTS = {
    "lease": "an id of the worker's own for this asking: a repeat gets the same job",
    "ttr": "seconds until the job goes to another, if nothing is said (60)",
}
_BATCH_TEXTS = {
    "id": "an id of your own, at most 100 characters: a repeat gets the batch that is there",
    "then": "a job that is made when all of its jobs have completed: service, params, options",
    "failed": "a job that is made when all of its jobs have ended, and one at least otherwise",
    "keep": "seconds that it is kept after its end",
    "meta": "a JSON object of the caller's own",
}
_CHAIN = {
    "chain": Row("value", "the steps", needed=True),
    "id": Row("id", "an id of your own, at most 120 characters: its jobs are ID:1, ID:2 and so on"),
    "batch": Row("id", "the open batch of which its jobs are members"),
}
_PREVIOUS = Row(
    "value",
    'where in `params` the result of the step before goes: JSON Pointers (RFC 6901), or `[""]`: it is all of '
    "them. Not of the first step",
)
_NOT_OF_STEP = ("id", "at", "batch")
_MARK_TEXTS = {"text": "what happened, such as a deploy", "service": "of this service alone"}
_CHANGES = {**LIMITS, "paused": Row("flag", "true: its jobs wait; false: they start again")}

COMING: dict[str, Schema] = {
    "JobOptions": _given(JOB_OPTIONS, description="The options of a job; `delay` or `at`, not both."),
    "NewJob": _given(
        {**_WHAT, **JOB_OPTIONS},
        description="A job: its service, its parameters, its options (as JobOptions).",
        examples=[{"service": "MAIL", "params": {"to": "a@example.com"}, "retries": 5}],
    ),
    "JobChanges": _given(
        {**_WHAT, "service": Row("service", "another service"), **JOB_OPTIONS},
        description="What is to be other than in the job that is copied; `id` is the new job's.",
    ),
    "JobFilter": _given(
        QUESTIONS["zmws.cancel"],
        FILTER_TEXTS,
        ("id", "ask", "by"),
        description="Which jobs: all that is named must fit. Name one thing at least, or `all`.",
    ),
    "NewStep": _given(
        {
            **_WHAT,
            "previous": _PREVIOUS,
            **{name: row for name, row in JOB_OPTIONS.items() if name not in _NOT_OF_STEP},
        },
        description="A step of a chain: it begins when the one before has completed.",
    ),
    "NewChain": _with(
        _given(
            _CHAIN,
            description="Jobs of which each begins when the one before has completed.",
            examples=[
                {"chain": [{"service": "FETCH", "params": {"n": 1}}, {"service": "STORE", "previous": [""]}]}
            ],
        ),
        chain=listed(ref("NewStep"), minItems=1),
    ),
    "NewBatch": _with(
        _given(
            {
                **{name: row for name, row in QUESTIONS["zmws.open"].items() if name not in ("ask", "by")},
                "jobs": Row("value", "its jobs, a list of NewJob: they are added, and the batch is closed"),
            },
            _BATCH_TEXTS,
            description="Jobs whose end together is waited for.",
        ),
        then=_maybe(ref("NewJob"), _BATCH_TEXTS["then"]),
        failed=_maybe(ref("NewJob"), _BATCH_TEXTS["failed"]),
        jobs=_maybe(listed(ref("NewJob")), "its jobs: they are added, and the batch is closed"),
    ),
    "NewSchedule": _given(
        {**QUESTIONS["zmws.schedule"], "service": replace(SCHEDULE["service"], needed=True)},
        {"replace": "true: in the place of the one of this name, if there is one"},
        ("do", "ask", "by"),
        description="A recurring job: `cron` or `every` says when (docs/options.md).",
        examples=[
            {"name": "report", "service": "REPORT", "cron": "30 8 * * MON-FRI", "zone": "Europe/Berlin"}
        ],
    ),
    "ScheduleChange": _given(
        {
            **SCHEDULE,
            "service": replace(SCHEDULE["service"], needed=True),
        },
        description="The same; its name stands in the address.",
    ),
    "ServiceChange": _given(
        _CHANGES, minProperties=1, description="What is to be changed; a limit of null: as it is configured."
    ),
    "LeaseRequest": _given({"lease": Row("id"), "ttr": QUESTIONS["zmws.lease"]["ttr"]}, _LEASE_TEXTS),
    "Extension": _given(QUESTIONS["zmws.extend"], _EXTEND_TEXTS, ("by",)),
    "Report": _given(QUESTIONS["zmws.report"], _REPORT_TEXTS, ("by",)),
    "NewMark": _given(QUESTIONS["zmws.mark"], _MARK_TEXTS, ("ask", "by")),
    "Login": {
        "type": "object",
        "properties": {"token": {"type": "string", "description": "a token of this gateway"}},
        "required": ["token"],
    },
}

# ---------------------------------------------------------------- what goes out

TEXT: Schema = {"type": "string"}
WHOLE: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
FLAG: Schema = {"type": "boolean"}
ANY: Schema = {}
TIME: Schema = {"type": "string", "format": "date-time"}


def of(what: str = "", may: Mapping[str, Schema] | None = None, /, **fields: Schema) -> Schema:
    """An object that has these fields. `may`: those that it need not have."""
    told = {"description": what} if what else {}
    every = {**fields, **(may or {})}
    return {"type": "object", **told, "properties": every, "required": list(fields)}


def _or_null(schema: Schema) -> Schema:
    return {**schema, "type": [schema["type"], "null"]}


_TYPES: dict[Any, Schema] = {str: TEXT, int: WHOLE, float: NUMBER, bool: FLAG}


def _of_column(column: Column) -> Schema:
    if column.name == "error":
        return {"anyOf": [ref("Error"), {"type": "null"}]}
    if column.name == "state":
        return ref("State")
    schema = TIME if column.name.endswith("_at") else _TYPES[column.type]
    return _or_null(schema) if column.null else schema


_KIND = {"enum": ["json", "bytes", "php", "frames", None], "description": "how to read it (docs/protocol.md)"}
_JOB_ROW = {
    **{column.name: _of_column(column) for column in COLUMNS if "shown" in column.marks},
    "kind": {"type": "string", "enum": ["stored", "memory"]},
}
_ATTEMPT = of(
    "An attempt that has ended.",
    {"error": ref("Error"), "counted": FLAG},
    attempt=WHOLE,
    worker=_or_null(TEXT),
    started_at=_or_null(TIME),
    ended_at=_or_null(TIME),
)
_TOLD_OF_BATCH = of(
    "What became of a batch, as the job that follows it is told.",
    batch=TEXT,
    **{"as": {"enum": ["then", "failed"]}},
    **dict.fromkeys(("total", "complete", "failed", "cancelled", "expired"), WHOLE),
    first=listed(TEXT),
)
_STEP = {
    "step": {**_or_null(WHOLE), "description": "of a chain: which step it is, from 1"},
    "steps": {**_or_null(WHOLE), "description": "and of how many"},
}
_JOB = {
    **_STEP,
    "on_complete": {**_or_null(TEXT), "description": JOB_OPTIONS["on_complete"].help},
    "on_failed": {**_or_null(TEXT), "description": JOB_OPTIONS["on_failed"].help},
    "concludes": {"anyOf": [_TOLD_OF_BATCH, {"type": "null"}]},
    "submitter": {**_or_null(TEXT), "description": "the key or token by which it was submitted"},
    "meta": {"type": ["object", "null"], "description": JOB_OPTIONS["meta"].help},
    "cause": {"type": ["string", "null"], "description": "of a failed job: its key in `GET /failures`"},
    "params": ANY,
    "params_kind": _KIND,
    "result": ANY,
    "result_kind": _KIND,
    "attempts": listed(_ATTEMPT, description="those that have ended"),
    "partials": listed(ANY),
    "partials_cut": {**WHOLE, "description": "how many were not kept"},
    "log": listed(TEXT),
    "log_cut": {**WHOLE, "description": "how many bytes were not kept"},
}
_BATCH: dict[str, Schema] = {
    "id": TEXT,
    "state": {"type": "string", "enum": list(BATCH_STATES)},
    "created_at": TIME,
    "closed": {**FLAG, "description": "no client adds to it any more"},
    **dict.fromkeys(("total", "unfinished", "complete", "failed", "cancelled", "expired"), WHOLE),
    "first": listed(TEXT, description="jobs of it that ended first without completing"),
    "then_service": _or_null(TEXT),
    "failed_service": _or_null(TEXT),
    "then_id": {**_or_null(TEXT), "description": "the job that followed when all had completed"},
    "then_at": _or_null(TIME),
    "failed_id": {**_or_null(TEXT), "description": "the job that followed when not all had"},
    "failed_at": _or_null(TIME),
    "ended_at": _or_null(TIME),
    "by": _or_null(TEXT),
    "group": {**_or_null(TEXT), "description": "of which tenant it is: the keys and tokens of that share it"},
    "meta": {"type": ["object", "null"]},
}
_LAST: Schema = of(
    "Its last job.",
    id=TEXT,
    state=ref("State"),
    started_at=_or_null(TIME),
    ended_at=_or_null(TIME),
    error={"anyOf": [ref("Error"), {"type": "null"}]},
)
_SCHEDULE: dict[str, Schema] = {
    "name": TEXT,
    "service": TEXT,
    "params": ANY,
    "params_kind": _KIND,
    "options": {"type": "object"},
    "cron": _or_null(TEXT),
    "every": _or_null(NUMBER),
    "zone": TEXT,
    "missed": {"enum": list(MISSED)},
    "missed_max": WHOLE,
    "overlap": {"enum": list(OVERLAP)},
    "jitter": NUMBER,
    "until": _or_null(TIME),
    "paused": FLAG,
    "fixed": {**FLAG, "description": "it stands in the settings"},
    "last_at": {**_or_null(TIME), "description": "the last time that it was due"},
    "fired_at": {**_or_null(TIME), "description": "when it last made a job"},
    "late_s": {**_or_null(NUMBER), "description": "how late that job began"},
    "next_at": _or_null(TIME),
    "fired": {**WHOLE, "description": "how often, ever"},
    "by": _or_null(TEXT),
    "last": {"anyOf": [_LAST, {"type": "null"}]},
}
_SERVICE_ROW = {
    "service": TEXT,
    **dict.fromkeys(("waiting", "scheduled", "running", "failed", "complete", "workers", "idle"), WHOLE),
    "oldest_s": {"type": ["number", "null"], "description": "how long the oldest job has waited"},
    "paused": FLAG,
    "calls_complete": WHOLE,
    "calls_failed": WHOLE,
}
_SHARES = of("Seconds; null: there was none.", **dict.fromkeys(SHARES, _or_null(NUMBER)))
_USUAL: Schema = {
    "anyOf": [of("How long its jobs wait and run, usually.", wait=_SHARES, run=_SHARES), {"type": "null"}]
}
_OPTION = of(value=ANY, **{"from": {"enum": ["operator", "configuration", "worker", "default"]}})
_HELD = of(id=TEXT, service=TEXT, since=TIME, state={"enum": ["running", "ahead", "hung"]})
_OLD_JOB = of(id=TEXT, service=TEXT, state=ref("State"), attempt=WHOLE)

GOING: dict[str, Schema] = {
    "Problem": of(
        "What went wrong (RFC 9457). `code` is one word that programs may rely on (docs/errors.md).",
        {
            "id": {**TEXT, "description": "of the job, where one is known"},
            "maybe_accepted": {**FLAG, "description": "no_broker: the job may have been accepted"},
            "cancelled": {**FLAG, "description": "token_dead: because the job was cancelled"},
            "state": ref("State"),
            "attempts": {**WHOLE, "description": "of a job that failed: how often it was begun"},
            "error": {**TEXT, "description": "of a job that failed: what its worker said"},
            "exception": TEXT,
            "traceback": TEXT,
        },
        type={"type": "string", "format": "uri"},
        title=TEXT,
        status={"type": "integer", "minimum": 400, "maximum": 599},
        detail={**TEXT, "description": "for people"},
        code=TEXT,
    ),
    "Error": of(
        "The ERROR of a job (docs/errors.md).", {"type": TEXT, "traceback": TEXT}, code=TEXT, error=TEXT
    ),
    "State": {"type": "string", "enum": list(STATES)},
    "Accepted": of(
        "A job that was accepted, and where to look for it.",
        id=TEXT,
        service=TEXT,
        existing={**FLAG, "description": "true: it was there already"},
        durability={"type": "string", "enum": ["disk", "memory"]},
        links=of(job=TEXT, result=TEXT, events=TEXT),
    ),
    "Verdict": {
        "anyOf": [
            of(status={"enum": [200, 202]}, id=TEXT, existing=FLAG, durability=TEXT),
            of("It was refused.", status=WHOLE, code=TEXT, error=TEXT),
        ]
    },
    "JobRow": of("A job as lists show it.", **_JOB_ROW),
    "Job": of("A job's whole record (docs/protocol.md, A job is).", **_JOB_ROW, **_JOB),
    "Family": of(
        "The jobs that followed from each other's ends: the first, then each behind its parent.",
        jobs=listed(of("A job as lists show it.", **_JOB_ROW, depth=WHOLE, **_STEP)),
        next={**_or_null(TEXT), "description": "null: that is all"},
    ),
    "Batch": of("Jobs whose end together is waited for (docs/protocol.md).", **_BATCH),
    "OpenedBatch": of(
        "The batch.",
        {"jobs": listed(ref("Verdict"), description="where jobs came with it; a refusal leaves it open")},
        **_BATCH,
        existing={**FLAG, "description": "true: it was there already"},
    ),
    "BatchPage": of(
        batches=listed(ref("Batch")), next={**_or_null(TEXT), "description": "the next `cursor`"}
    ),
    "AcceptedChain": of(
        "A chain that was accepted, and where to look for its jobs.",
        id={**TEXT, "description": "of the chain"},
        first={**TEXT, "description": "of the job that is its first step"},
        steps=WHOLE,
        existing=FLAG,
        links=of(first=TEXT, family=TEXT),
    ),
    "Schedule": of("A recurring job, and how it goes (docs/protocol.md).", **_SCHEDULE),
    "ScheduleList": of(schedules=listed(ref("Schedule"))),
    "ScheduleRun": of(id={**TEXT, "description": "of the job"}, links=of(job=TEXT, result=TEXT)),
    "JobPage": of(
        "",
        {
            "looked": {**WHOLE, "description": "of a search: how many jobs this page has looked at"},
            "looked_to": {**_or_null(TIME), "description": "and when the oldest of them was made"},
        },
        jobs=listed(ref("JobRow")),
        next={**_or_null(TEXT), "description": "the next `cursor`"},
    ),
    "Series": of(
        "Figures in steps of time (docs/protocol.md, zmws.series).",
        service=_or_null(TEXT),
        step={"type": "integer", "enum": [1, 60, 3600]},
        **{"from": TIME},
        before=TIME,
        points=WHOLE,
        figures={"type": "object", "additionalProperties": listed(_or_null(NUMBER))},
        total={"type": "object", "additionalProperties": NUMBER},
        wait=_SHARES,
        run=_SHARES,
        marks=listed(ref("Mark")),
    ),
    "Lanes": of(
        "What each worker did in the last minutes (docs/protocol.md, zmws.lanes).",
        now=TIME,
        **{"from": TIME},
        step={**NUMBER, "description": "short bars that begin within so many seconds are one"},
        lanes=listed(ref("Lane"), description="those that are here first, then those that are gone"),
        more={**WHOLE, "description": "workers that are not shown"},
        marks=listed(ref("Mark")),
    ),
    "Lane": of(
        "One worker.",
        worker=TEXT,
        host=_or_null(TEXT),
        pid=_or_null(WHOLE),
        services=listed(TEXT),
        slots=WHOLE,
        since=TIME,
        state={"enum": ["lost", "hung", "deaf", "draining", "idle", "silent", "busy", "gone"]},
        gone_at=_or_null(TIME),
        why={**_or_null(TEXT), "description": "it is gone"},
        bars=listed(ref("Bar")),
    ),
    "Bar": of(
        "An attempt, or several short ones.",
        start={**NUMBER, "description": "seconds since `from`; less than 0: it began before"},
        end={**_or_null(NUMBER), "description": "null: it runs"},
        row={**WHOLE, "description": "from 0; bars of a row do not overlap"},
        service={**_or_null(TEXT), "description": "null: of several"},
        jobs=WHOLE,
        failed=WHOLE,
        other={**WHOLE, "description": "given back, cancelled, or lost with their worker"},
        id={**_or_null(TEXT), "description": "the job's, where it is one"},
    ),
    "Mark": of("", {"kind": TEXT, "by": _or_null(TEXT)}, at=TIME, text=TEXT, service=_or_null(TEXT)),
    "AuditPage": of(
        "It may be short, even empty, and still have a `next`.",
        entries=listed(ref("Act")),
        next={**_or_null(TEXT), "description": "the next `cursor`"},
    ),
    "Act": of(
        "What an operator did (docs/protocol.md, zmws.audit).",
        number=WHOLE,
        at=TIME,
        by=TEXT,
        verb=TEXT,
        on={**_or_null(TEXT), "description": "a job's id, a service, a worker, a process"},
        detail={"type": ["object", "null"], "description": "what was asked beside that"},
        count={**_or_null(WHOLE), "description": "jobs or workers that it was done to"},
        outcome={**TEXT, "description": "`done`, or the code of the refusal"},
    ),
    "CausePage": of(causes=listed(ref("Cause")), next={**_or_null(TEXT), "description": "the next `cursor`"}),
    "Cause": of(
        "Why jobs of a service have failed.",
        cause={**TEXT, "description": "its key, for filters of jobs"},
        service=TEXT,
        type=_or_null(TEXT),
        message=TEXT,
        frame={**_or_null(TEXT), "description": "the last place in the author's own code"},
        count={**WHOLE, "description": "jobs that are failed for it now"},
        total={**WHOLE, "description": "and that ever did"},
        first_at=TIME,
        last_at=TIME,
        last_job=TEXT,
        trend=listed(WHOLE, description="how many in each of the last 24 hours, the last one last"),
    ),
    "Why": of(
        "Why a job waits or waited (docs/protocol.md, zmws.why).",
        id=TEXT,
        service=TEXT,
        state=ref("State"),
        attempt=WHOLE,
        at={**TIME, "description": "when it was so"},
        now={"anyOf": [of(reason=TEXT, text=TEXT, next=_or_null(TEXT), at=_or_null(TIME)), {"type": "null"}]},
        ahead={"anyOf": [of(jobs=WHOLE, at_least=FLAG, groups=WHOLE), {"type": "null"}]},
        waited_s=NUMBER,
        reasons=listed(of(reason=TEXT, seconds=NUMBER)),
        running_s=_or_null(NUMBER),
        progress=_or_null(NUMBER),
        usual=_USUAL,
        left_s=_or_null(NUMBER),
        left_by={"enum": ["progress", "usual", None]},
    ),
    "Warning": of(
        "What is wrong, or will be.",
        code=TEXT,
        text=TEXT,
        next=_or_null(TEXT),
        service=_or_null(TEXT),
        worker=_or_null(TEXT),
        job=_or_null(TEXT),
    ),
    "Lease": of(
        "A job to be done: its record, and what it is reported with.",
        {"saved": {"description": "what an attempt before has left"}},
        **{**_JOB_ROW, "ttr": {**NUMBER, "description": "the seconds that are left to run"}},
        **_JOB,
        token={**TEXT, "description": "for bodies alone: whoever has it may report"},
    ),
    "Acted": of(id=TEXT, count=WHOLE),
    "Count": of(
        "How many.", {"passed_over": {**WHOLE, "description": "could not be done after all"}}, count=WHOLE
    ),
    "ServiceRow": of("A service as lists show it.", **_SERVICE_ROW),
    "Service": of(
        "A service, the options of its new jobs, and where each is from.",
        **_SERVICE_ROW,
        version={**TEXT, "description": "another after each change by an operator; also the `ETag`"},
        options={"type": "object", "additionalProperties": _OPTION},
        params={"type": ["object", "null"], "description": "the JSON Schema of its jobs' parameters"},
        usual=_USUAL,
    ),
    "Worker": of(
        id=TEXT,
        host=_or_null(TEXT),
        pid=_or_null(WHOLE),
        services=listed(TEXT),
        slots=WHOLE,
        state={"enum": ["lost", "hung", "deaf", "draining", "idle", "silent", "busy"]},
        jobs=listed(_HELD, description="what it holds"),
        since=TIME,
        done=WHOLE,
        failed=WHOLE,
        memory_bytes=_or_null(WHOLE),
        heard_at=TIME,
    ),
    "Stats": of(
        "The broker: docs/protocol.md, zmws.stats.",
        version=TEXT,
        started_at=TIME,
        uptime_s=NUMBER,
        pid=WHOLE,
        store_is_full=FLAG,
        workers=WHOLE,
        services=WHOLE,
        counters={"type": "object", "additionalProperties": NUMBER},
        limits={"type": "object"},
    ),
    "OldJob": {**_OLD_JOB, "description": "A job in SERVER-JOBS, SERVER-ACTIVE and SERVER-HIST."},
    "OldWorker": of("A worker in SERVER-WORKERS.", hb=NUMBER, service=TEXT, workerid=TEXT, state=TEXT),
    "Home": of(zmws=TEXT, call=TEXT, submit=TEXT, api=TEXT, services=TEXT, pages=TEXT, health=TEXT),
}
SCHEMAS: dict[str, Schema] = {**COMING, **GOING}
