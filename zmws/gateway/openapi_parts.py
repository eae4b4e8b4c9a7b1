"""What the operations of the OpenAPI document are put together from: answers, problems, parameters, bodies.

Rule: what can be answered is told, also what hardly ever is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zmws.core.desk.questions import QUESTIONS
from zmws.core.question import FILTER_KEYS
from zmws.gateway.answers import BYTES
from zmws.gateway.given import FORM, JSON_TYPES, MULTIPART
from zmws.gateway.keys import KEY_CHARS_MAX
from zmws.gateway.openapi_schemas import FILTER_TEXTS, NUMBER, TEXT, WHOLE, Schema, of_row, ref
from zmws.gateway.tokens import Role

Told = dict[str, Any]  # a piece of the document
Answers = dict[int, Told]  # by status
Roles = tuple[Role, ...] | None  # None: everybody, also without a token

JSON, PROBLEM, EVENTS = "application/json", "application/problem+json", "text/event-stream"
ANY: Roles = ("viewer", "client", "worker")
VIEW: Roles = ("viewer",)
FOLLOW: Roles = ("viewer", "client")
SUBMIT: Roles = ("client",)
WORK: Roles = ("worker",)
OPERATE: Roles = ()

# ---------------------------------------------------------------- what is answered


def header(text: str, schema: Schema = TEXT, needed: bool = True) -> Told:
    return {"description": text, "required": needed, "schema": schema}


LATER = {"Retry-After": header("seconds until it is worth another try", WHOLE)}
WAITED = {"Preference-Applied": header("the `wait` that held", needed=False)}
AT = {"Location": header("the job's address")}
ETAG = {"ETag": header("for If-None-Match, or If-Match")}


def answer(text: str, schema: Schema | None = None, headers: Told | None = None, kind: str = JSON) -> Told:
    content = {} if schema is None else {"content": {kind: {"schema": schema}}}
    return {"description": text, **({"headers": headers} if headers else {}), **content}


def ok(text: str, schema: Schema | None = None, headers: Told | None = None, kind: str = JSON) -> Answers:
    return {200: answer(text, schema, headers, kind)}


def problem(text: str, headers: Told | None = None) -> Told:
    return answer(text, ref("Problem"), headers, PROBLEM)


_WITH_ALLOW = {"Allow": header("the methods that there are")}
_WITH_REALM = {"WWW-Authenticate": header("Bearer")}
PROBLEMS: dict[int, Told] = {
    400: problem("The request cannot be read, or something in it is wrong; the text says what."),
    401: problem("no_token: there is no token, or one that is unknown.", _WITH_REALM),
    403: problem("not_allowed: the token's role does not do; wrong_origin: a page of another site asks."),
    404: problem("There is no such service, job, batch, schedule, worker or page."),
    405: problem("no_such_method.", _WITH_ALLOW),
    408: problem("too_slow: the body did not come in time."),
    409: problem("not_possible in its state now; id_conflict: the id is another's; exists; token_dead."),
    412: problem("changed: somebody has changed it since; look at it again."),
    413: problem("too_large."),
    415: problem("wrong_type: the body is of no type that is read here."),
    421: problem("wrong_host: the host is none of this gateway's."),
    422: problem("key_reused: the Idempotency-Key came before with other parameters."),
    429: problem("queue_full, or too many of something: later.", LATER),
    431: problem("too_large: the headers are."),
    500: problem("gateway_fault, broker_fault: our own fault; a log says where."),
    501: problem("no_news: the broker is too old to tell its news."),
    503: problem("no_broker, disk_full, or too many connections or requests that wait: later.", LATER),
    504: problem("timeout: the broker has not answered in time."),
    505: problem("bad_request: this is neither HTTP/1.1 nor HTTP/1.0."),
}
_ALWAYS = (400, 401, 421, 431, 500, 503, 505)
_OF_BODY = (408, 413, 415)
JOB_FAILED = problem("The job failed, or was cancelled: its ERROR. Or our own fault.")
TOO_LATE = problem("No result in time; come back with the same Idempotency-Key. Or the job expired.")


def _link(operation: str, parameter: str = "id") -> Told:
    return {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}


BATCH_LINKS = {name: _link(name) for name in ("showBatch", "addToBatch", "closeBatch", "cancelBatch")}
LINKS = {name: _link(name) for name in ("showJob", "getResult", "cancelJob", "retryJob", "copyJob")}


def accepted(**headers: Told) -> Told:
    return {**answer("It was accepted.", ref("Accepted"), {**AT, **headers}), "links": LINKS}


RESULT = {
    "description": "The result, in its own type.",
    "content": {JSON: {"schema": {}}, BYTES: {"schema": {}}},
}


# ---------------------------------------------------------------- what is asked


def asked_in(where: str, name: str, text: str, schema: Schema = TEXT, **more: Any) -> Told:
    return {"name": name, "in": where, "description": text, "schema": schema, **more}


def in_path(name: str, text: str, schema: Schema | None = None, **more: Any) -> Told:
    return asked_in("path", name, text, schema or {**TEXT, "minLength": 1}, required=True, **more)


ID = in_path("id", "the job's id", of_row(QUESTIONS["zmws.job"]["id"]))
NAME = in_path("name", "the service's name", example="ECHO")
BATCH = in_path("id", "the batch's id", of_row(QUESTIONS["zmws.batch"]["id"]))
CHAIN = in_path("id", "the chain's id", of_row(QUESTIONS["zmws.cancel"]["chain"]))
SCHEDULE = in_path("name", "the schedule's name", {**TEXT, "pattern": "^[A-Za-z0-9._-]{1,64}$"})
FAMILY = asked_in("query", "limit", "how many (1,000)", of_row(QUESTIONS["zmws.family"]["limit"]))
WORKER = in_path("id", "the worker's id, as in the list of workers")
_SECONDS: Schema = {**NUMBER, "minimum": 0}
WAIT = asked_in("query", "wait", "seconds to wait for it, at most `wait_max` of the settings (60)", _SECONDS)
PREFER = asked_in("header", "Prefer", "`wait=SECONDS`: wait so long for the end, at most `wait_max` (60)")
KEY = asked_in(
    "header",
    "Idempotency-Key",
    f"a repeat with the same key is the same job: up to {KEY_CHARS_MAX:,} characters",
    {**TEXT, "minLength": 1},
)
IF_NONE = asked_in("header", "If-None-Match", "the ETags that are known: 304 if one of them holds")
IF_MATCH = asked_in("header", "If-Match", "change it only if its ETag is still this one")
LAST = asked_in("header", "Last-Event-ID", "the id of the last event that came: go on after it")
LAST_TOO = asked_in("query", "last_event_id", "the same, for who can send no headers")
_FILTER_TEXTS = {
    **{name: FILTER_TEXTS[name] for name in FILTER_KEYS},
    "q": "jobs in which this text stands: in the id or the error, for operators in parameters or result too",
    "limit": "how many (100), at most `list_rows_max` of the broker (1,000)",
    "cursor": "the `next` of the page before",
    "memory": "true: synchronous calls and memory jobs instead",
}
FILTER = [
    asked_in("query", name, f"{text}; empty: not given", {"anyOf": [of_row(row), {"const": ""}]})
    for name, text, row in (
        (name, text, QUESTIONS["zmws.jobs"][name]) for name, text in _FILTER_TEXTS.items()
    )
]
FREE = asked_in(
    "query",
    "params",
    "the parameters, by any names, as texts; a name that comes several times, or ends with `[]`, is a list",
    {"type": "object"},
    style="form",
    explode=True,
)


def _query(service: str, texts: Mapping[str, str]) -> list[Told]:
    """The fields of a query that asks a service of the broker."""
    rows = QUESTIONS[service]
    return [
        asked_in("query", name, text, {"anyOf": [of_row(rows[name]), {"const": ""}]})
        for name, text in texts.items()
    ]


def of_series() -> list[Told]:
    return _query(
        "zmws.series",
        {
            "step": "second, of the last ten minutes; minute, of a day; or hour",
            "since": "from this time on: ISO 8601 with its zone",
            "before": "up to this time",
            "figures": "the names of those that are wanted, with commas between",
        },
    )


def of_lanes() -> list[Told]:
    return _query(
        "zmws.lanes",
        {
            "since": "from this time on, no longer ago than the broker's `lanes`: ISO 8601 with its zone",
            "worker": "this one alone",
            "service": "those that serve this alone",
            "limit": "of how many workers (50)",
            "step": "short bars that begin within so many seconds are one (1)",
        },
    )


def of_failures() -> list[Told]:
    return _query(
        "zmws.failures",
        {"limit": "how many (100)", "cursor": "the `next` of the page before"},
    )


def of_batches() -> list[Told]:
    return _query(
        "zmws.batches",
        {
            "state": "those that are so",
            "limit": "how many (100)",
            "cursor": "the `next` of the page before",
        },
    )


def of_audit() -> list[Told]:
    return _query(
        "zmws.audit",
        {
            "by": "who: acts by this one alone",
            "verb": "what: cancel, pause, start and so on",
            "on": "the job, service, worker or process that it was done to",
            "since": "from this time on: ISO 8601 with its zone",
            "before": "up to this time",
            "limit": "how many (100)",
            "cursor": "the `next` of the page before",
        },
    )


def body_of(schema: Schema, kinds: Iterable[str] = JSON_TYPES, needed: bool = True) -> Told:
    return {"required": needed, "content": {kind: {"schema": schema} for kind in kinds}}


def params_of(schema: Schema) -> Told:
    """The parameters of a job: any JSON, or a form, where all are texts or files."""
    content = {
        **body_of(schema, (JSON,))["content"],
        **body_of({"type": "object"}, (FORM, MULTIPART))["content"],
    }
    return {"required": False, "content": content}


def operation(
    name: str,
    text: str,
    roles: Roles,
    answers: Answers,
    problems: Iterable[int] = (),
    *parameters: Told,
    body: Told | None = None,
    asks: bool = True,
) -> Told:
    """One operation. `problems`: beside those that every one can have; `asks`: it asks the broker."""
    wrong = {*_ALWAYS, *problems, *((504,) if asks else ()), *(_OF_BODY if body else ())}
    wrong |= {403} if roles is not None else set()
    responses = {**{status: {"$ref": f"#/components/responses/{status}"} for status in wrong}, **answers}
    may = None if roles is None else [*roles, "operator"]
    who = "For everybody, also without a token." if may is None else f"Roles: {', '.join(may)}."
    return {
        "operationId": name,
        "summary": text,
        "description": who,
        **({"security": []} if may is None else {"x-roles": may}),
        **({"parameters": list(parameters)} if parameters else {}),
        **({"requestBody": body} if body else {}),
        "responses": {str(status): responses[status] for status in sorted(responses)},
    }


def tagged(tag: str, paths: Mapping[str, Told]) -> dict[str, Told]:
    """The same under a heading."""
    return {
        path: {method: {"tags": [tag], **told} for method, told in methods.items()}
        for path, methods in paths.items()
    }
