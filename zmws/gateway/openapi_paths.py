"""The operations of the OpenAPI document: every door of doors.py, its methods, and all that each can answer.

Rule: what can be answered is told, also what hardly ever is; a test compares the doors and their roles.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from zmws.core.desk.questions import QUESTIONS
from zmws.core.question import FILTER_KEYS
from zmws.gateway.answers import API, BYTES
from zmws.gateway.given import FORM, JSON_TYPES, MULTIPART, NDJSON_TYPES
from zmws.gateway.keys import KEY_CHARS_MAX
from zmws.gateway.old_doors import LISTS, SYNC
from zmws.gateway.openapi_schemas import FILTER_TEXTS, NUMBER, TEXT, WHOLE, Schema, listed, of_row, ref
from zmws.gateway.tokens import Role

Told = dict[str, Any]  # a piece of the document
Answers = dict[int, Told]  # by status
Roles = tuple[Role, ...] | None  # None: everybody, also without a token

_JSON, _PROBLEM, _EVENTS = "application/json", "application/problem+json", "text/event-stream"
_ANY: Roles = ("viewer", "client", "worker")
_VIEW: Roles = ("viewer",)
_FOLLOW: Roles = ("viewer", "client")
_SUBMIT: Roles = ("client",)
_WORK: Roles = ("worker",)
_OPERATE: Roles = ()

# ---------------------------------------------------------------- what is answered


def _header(text: str, schema: Schema = TEXT, needed: bool = True) -> Told:
    return {"description": text, "required": needed, "schema": schema}


_LATER = {"Retry-After": _header("seconds until it is worth another try", WHOLE)}
_WAITED = {"Preference-Applied": _header("the `wait` that held", needed=False)}
_AT = {"Location": _header("the job's address")}
_ETAG = {"ETag": _header("for If-None-Match, or If-Match")}


def _answer(text: str, schema: Schema | None = None, headers: Told | None = None, kind: str = _JSON) -> Told:
    content = {} if schema is None else {"content": {kind: {"schema": schema}}}
    return {"description": text, **({"headers": headers} if headers else {}), **content}


def _ok(text: str, schema: Schema | None = None, headers: Told | None = None, kind: str = _JSON) -> Answers:
    return {200: _answer(text, schema, headers, kind)}


def _problem(text: str, headers: Told | None = None) -> Told:
    return _answer(text, ref("Problem"), headers, _PROBLEM)


_WITH_ALLOW = {"Allow": _header("the methods that there are")}
_WITH_REALM = {"WWW-Authenticate": _header("Bearer")}
PROBLEMS: dict[int, Told] = {
    400: _problem("The request cannot be read, or something in it is wrong; the text says what."),
    401: _problem("no_token: there is no token, or one that is unknown.", _WITH_REALM),
    403: _problem("not_allowed: the token's role does not do; wrong_origin: a page of another site asks."),
    404: _problem("There is no such service, job, worker or page."),
    405: _problem("no_such_method.", _WITH_ALLOW),
    408: _problem("too_slow: the body did not come in time."),
    409: _problem("not_possible in its state now; id_conflict: the id is another's; token_dead."),
    412: _problem("changed: somebody has changed it since; look at it again."),
    413: _problem("too_large."),
    415: _problem("wrong_type: the body is of no type that is read here."),
    421: _problem("wrong_host: the host is none of this gateway's."),
    422: _problem("key_reused: the Idempotency-Key came before with other parameters."),
    429: _problem("queue_full, or too many of something: later.", _LATER),
    431: _problem("too_large: the headers are."),
    500: _problem("gateway_fault, broker_fault: our own fault; a log says where."),
    501: _problem("no_news: the broker is too old to tell its news."),
    503: _problem("no_broker, disk_full, or too many connections or requests that wait: later.", _LATER),
    504: _problem("timeout: the broker has not answered in time."),
    505: _problem("bad_request: this is neither HTTP/1.1 nor HTTP/1.0."),
}
_ALWAYS = (400, 401, 421, 431, 500, 503, 505)
_OF_BODY = (408, 413, 415)
_JOB_FAILED = _problem("The job failed, or was cancelled: its ERROR. Or our own fault.")
_TOO_LATE = _problem("No result in time; come back with the same Idempotency-Key. Or the job expired.")


def _link(operation: str, parameter: str = "id") -> Told:
    return {"operationId": operation, "parameters": {parameter: "$response.body#/id"}}


_LINKS = {name: _link(name) for name in ("showJob", "getResult", "cancelJob", "retryJob", "copyJob")}


def _accepted(**headers: Told) -> Told:
    return {**_answer("It was accepted.", ref("Accepted"), {**_AT, **headers}), "links": _LINKS}


_RESULT = {
    "description": "The result, in its own type.",
    "content": {_JSON: {"schema": {}}, BYTES: {"schema": {}}},
}


# ---------------------------------------------------------------- what is asked


def _in(where: str, name: str, text: str, schema: Schema = TEXT, **more: Any) -> Told:
    return {"name": name, "in": where, "description": text, "schema": schema, **more}


def _path(name: str, text: str, schema: Schema | None = None, **more: Any) -> Told:
    return _in("path", name, text, schema or {**TEXT, "minLength": 1}, required=True, **more)


_ID = _path("id", "the job's id", of_row(QUESTIONS["zmws.job"]["id"]))
_NAME = _path("name", "the service's name", example="ECHO")
_WORKER = _path("id", "the worker's id, as in the list of workers")
_SECONDS: Schema = {**NUMBER, "minimum": 0}
_WAIT = _in("query", "wait", "seconds to wait for it, at most `wait_max` of the settings (60)", _SECONDS)
_PREFER = _in("header", "Prefer", "`wait=SECONDS`: wait so long for the end, at most `wait_max` (60)")
_KEY = _in(
    "header",
    "Idempotency-Key",
    f"a repeat with the same key is the same job: up to {KEY_CHARS_MAX:,} characters",
    {**TEXT, "minLength": 1},
)
_IF_NONE = _in("header", "If-None-Match", "the ETags that are known: 304 if one of them holds")
_IF = _in("header", "If-Match", "change it only if its ETag is still this one")
_LAST = _in("header", "Last-Event-ID", "the id of the last event that came: go on after it")
_LAST_TOO = _in("query", "last_event_id", "the same, for who can send no headers")
_FILTER_TEXTS = {
    **{name: FILTER_TEXTS[name] for name in FILTER_KEYS},
    "q": "jobs in which this text stands: in the id or the error, for operators in parameters or result too",
    "limit": "how many (100), at most `list_rows_max` of the broker (1,000)",
    "cursor": "the `next` of the page before",
    "memory": "true: synchronous calls and memory jobs instead",
}
_FILTER = [
    _in("query", name, f"{text}; empty: not given", {"anyOf": [of_row(row), {"const": ""}]})
    for name, text, row in (
        (name, text, QUESTIONS["zmws.jobs"][name]) for name, text in _FILTER_TEXTS.items()
    )
]
_FREE = _in(
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
        _in("query", name, text, {"anyOf": [of_row(rows[name]), {"const": ""}]})
        for name, text in texts.items()
    ]


def _of_series() -> list[Told]:
    return _query(
        "zmws.series",
        {
            "step": "second, of the last ten minutes; minute, of a day; or hour",
            "since": "from this time on: ISO 8601 with its zone",
            "before": "up to this time",
            "figures": "the names of those that are wanted, with commas between",
        },
    )


def _of_failures() -> list[Told]:
    return _query(
        "zmws.failures",
        {"limit": "how many (100)", "cursor": "the `next` of the page before"},
    )


def _body(schema: Schema, kinds: Iterable[str] = JSON_TYPES, needed: bool = True) -> Told:
    return {"required": needed, "content": {kind: {"schema": schema} for kind in kinds}}


def _params(schema: Schema) -> Told:
    """The parameters of a job: any JSON, or a form, where all are texts or files."""
    content = {
        **_body(schema, (_JSON,))["content"],
        **_body({"type": "object"}, (FORM, MULTIPART))["content"],
    }
    return {"required": False, "content": content}


def _op(
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


def _tagged(tag: str, paths: Mapping[str, Told]) -> dict[str, Told]:
    """The same under a heading."""
    return {
        path: {method: {"tags": [tag], **told} for method, told in methods.items()}
        for path, methods in paths.items()
    }


# ---------------------------------------------------------------- the short way


def short_way(name: str | None, path: str, params: Schema, tag: str = "short way") -> dict[str, Told]:
    """The two paths of a service, submit and call. `name`: None for whichever; `params`: of a POST."""
    whose = [_path("service", "the service's name", example="ECHO")] if name is None else []
    of, key = ("", "") if name is None else (f" {name}", f".{name}")
    body = _params(params)

    def both(verb: str, text: str, answers: Answers, *given: Told) -> Told:
        wrong = (404, 409, 413, 422, 429)
        return {
            method: _op(f"{verb}By{how}{key}", text, ("client",), answers, wrong, *whose, *given, body=sent)
            for method, how, sent in (("get", "Get", None), ("post", "Post", body))
        }

    ended = {200: _RESULT, 500: _JOB_FAILED, 504: _TOO_LATE}
    found = {
        f"/{path}": both("submit", f"Submit a job{of}", {202: _accepted()}, _KEY, _FREE),
        f"/{SYNC}{path}": both("call", f"Call{of}: wait for the result", ended, _KEY, _PREFER, _FREE),
    }
    return _tagged(tag, found)


def _old_list(path: str) -> Told:
    row = ref("OldWorker" if path.endswith("WORKERS") else "OldJob")
    return {"get": _op(path, "A list of the PHP program's gateway", _VIEW, _ok("The list.", listed(row)))}


# ---------------------------------------------------------------- /api/v1


def _act(verb: str, text: str, status: int = 200) -> Told:
    answers = {status: _answer("It is done.", ref("Acted"))}
    return _op(f"{verb}Job", text, _OPERATE, answers, (*_CHANGED, 422), _ID)


def _act_on_many(verb: str, text: str) -> Told:
    body = _body(ref("JobFilter"))
    return {"post": _op(f"{verb}Jobs", text, _OPERATE, _COUNTED, (409, 429), body=body)}


_CHANGED = (404, 409, 429)
_COUNTED = _ok("How many.", ref("Count"))
_REPORTED = _ok("It was taken.", {"type": "object"})
_SERVICE = _ok("The service.", ref("Service"), _ETAG)
_RECORD = {
    **_ok("The record.", ref("Job"), _ETAG),
    304: _answer("It is still as you have it.", None, _ETAG),
}
_THERE = _answer(
    "It was there already; or it has ended within `Prefer: wait`: then its record.",
    {"anyOf": [ref("Accepted"), ref("Job")]},
    {**_AT, **_WAITED},
)
_STATE: Schema = {"type": "object", "properties": {"id": TEXT, "state": ref("State")}, "required": ["id"]}
_NOT_YET = {
    200: _RESULT,
    202: _answer("It has not ended yet.", _STATE, _LATER),
    409: _problem("It failed, was cancelled, or expired: its ERROR."),
}
_FOLLOWED = {
    200: _answer("Events until the job's end.", TEXT, None, _EVENTS),
    204: _answer("It has ended, and nothing more will come."),
}
_LEASED = {200: _answer("A job, with its token.", ref("Lease")), 204: _answer("None came.")}
_PEEKED: Schema = {"type": "object", "properties": {"jobs": listed(ref("JobRow"))}, "required": ["jobs"]}
_MANY = {
    "required": True,
    "content": {
        _JSON: {"schema": listed(ref("NewJob"))},
        **{kind: {"schema": {"description": "A NewJob a line."}} for kind in NDJSON_TYPES},
    },
}

_JOBS: dict[str, Told] = {
    "/jobs": {
        "get": _op(
            "listJobs",
            "A page of jobs, newest first",
            _VIEW,
            _ok("The page.", ref("JobPage"), {"Link": _header('the next page, rel="next"', needed=False)}),
            (429,),
            *_FILTER,
        ),
        "post": _op(
            "submitJob",
            "Submit a job",
            _SUBMIT,
            {200: {**_THERE, "links": _LINKS}, 202: _accepted(**_WAITED)},
            (404, 409, 413, 422, 429),
            *(_KEY, _PREFER),
            body=_body(ref("NewJob")),
        ),
    },
    "/jobs/many": {
        "post": _op(
            "submitJobs",
            "Submit many jobs, as a list or one a line (NDJSON)",
            _SUBMIT,
            _ok("A verdict for each, in their order.", listed(ref("Verdict"))),
            (),
            _KEY,
            body=_MANY,
        )
    },
    "/jobs/cancel": _act_on_many("cancel", "Cancel all jobs that a filter names"),
    "/jobs/retry": _act_on_many("retry", "Let all failed jobs that a filter names wait again"),
    "/jobs/delete": _act_on_many("delete", "Forget all ended jobs that a filter names"),
    "/jobs/{id}": {
        "get": _op("showJob", "The record of a job", _FOLLOW, _RECORD, (404,), _ID, _IF_NONE),
        "delete": _act("delete", "Forget a job that has ended"),
    },
    "/jobs/{id}/result": {
        "get": _op("getResult", "The result of a job", _FOLLOW, _NOT_YET, (404,), _ID, _WAIT)
    },
    "/jobs/{id}/cancel": {"post": _act("cancel", "Cancel a job")},
    "/jobs/{id}/retry": {"post": _act("retry", "Let a job that has failed wait again", 202)},
    "/jobs/{id}/copy": {
        "post": _op(
            "copyJob",
            "Run a job again as a new one, with changes",
            _OPERATE,
            {202: _accepted()},
            _CHANGED,
            *(_ID, _KEY),
            body=_body(ref("JobChanges"), needed=False),
        )
    },
}
_STREAMS: dict[str, Told] = {
    "/jobs/{id}/events": {
        "get": _op(
            "followJob",
            "Server-sent events of a job: state, progress, partial, log",
            _FOLLOW,
            _FOLLOWED,
            (404,),
            *(_ID, _LAST, _LAST_TOO),
        )
    },
    "/events": {
        "get": _op(
            "followAll",
            "Server-sent events of all jobs and workers",
            _VIEW,
            _ok("Events without end.", TEXT, None, _EVENTS),
            (501,),
            _in("query", "service", "of this service alone"),
        )
    },
}
_SERVICES: dict[str, Told] = {
    "/services": {
        "get": _op(
            "listServices",
            "The services there are",
            _FOLLOW,
            _ok("The list.", listed(ref("ServiceRow"))),
        )
    },
    "/services/{name}": {
        "get": _op(
            "showService",
            "A service, with its options and the schema of its parameters",
            _FOLLOW,
            _SERVICE,
            (404,),
            _NAME,
        ),
        "patch": _op(
            "changeService",
            "Pause or resume a service, and limit it",
            _OPERATE,
            _SERVICE,
            (*_CHANGED, 412),
            *(_NAME, _IF),
            body=_body(ref("ServiceChange")),
        ),
    },
    "/services/{name}/purge": {
        "post": _op(
            "purgeService", "Cancel all that waits for a service", _OPERATE, _COUNTED, _CHANGED, _NAME
        )
    },
    "/services/{name}/peek": {
        "get": _op(
            "peekService",
            "The jobs of a service that are next",
            _VIEW,
            _ok("They.", _PEEKED),
            (404,),
            *(_NAME, _in("query", "limit", "how many (10)", of_row(QUESTIONS["zmws.peek"]["limit"]))),
        )
    },
    "/workers": {
        "get": _op(
            "listWorkers", "The workers that are connected", _VIEW, _ok("The list.", listed(ref("Worker")))
        )
    },
    "/workers/{id}/drain": {
        "post": _op(
            "drainWorker",
            "Let a worker finish what it holds, and leave",
            _OPERATE,
            _COUNTED,
            _CHANGED,
            _WORKER,
        )
    },
    "/services/{name}/series": {
        "get": _op(
            "showServiceSeries",
            "What a service did over time",
            _VIEW,
            _ok("The figures.", ref("Series")),
            (404, 429),
            *(_NAME, *_of_series()),
        )
    },
    "/services/{name}/failures": {
        "get": _op(
            "listServiceFailures",
            "Why jobs of a service have failed",
            _VIEW,
            _ok("The page.", ref("CausePage")),
            (404, 429),
            *(_NAME, *_of_failures()),
        )
    },
    "/stats": {"get": _op("showStats", "What the broker counts", _VIEW, _ok("The figures.", ref("Stats")))},
}
_INSIGHT: dict[str, Told] = {
    "/series": {
        "get": _op(
            "showSeries",
            "What all services did over time",
            _VIEW,
            _ok("The figures.", ref("Series")),
            (429,),
            *_of_series(),
        )
    },
    "/failures": {
        "get": _op(
            "listFailures",
            "Why jobs have failed, by cause",
            _VIEW,
            _ok("The page.", ref("CausePage")),
            (429,),
            *_of_failures(),
        )
    },
    "/warnings": {
        "get": _op(
            "listWarnings",
            "What is wrong, and the next step",
            _VIEW,
            _ok("They.", listed(ref("Warning"))),
        )
    },
    "/marks": {
        "post": _op(
            "addMark",
            "Mark a moment in the figures, such as a deploy",
            _OPERATE,
            _ok("It is there.", ref("Mark")),
            (404, 409, 429),
            body=_body(ref("NewMark")),
        )
    },
    "/jobs/{id}/why": {
        "get": _op(
            "whyJob",
            "Why a job waits or waited, and how long such jobs take",
            _FOLLOW,
            _ok("Why.", ref("Why")),
            (404, 429),
            _ID,
        )
    },
}
_LEASES: dict[str, Told] = {
    "/services/{name}/lease": {
        "post": _op(
            "lease",
            "Ask for a job to do",
            _WORK,
            _LEASED,
            (404, 429),
            *(_NAME, _WAIT, _KEY),
            body=_body(ref("LeaseRequest"), needed=False),
        )
    },
    "/leases/extend": {
        "post": _op(
            "extendLease",
            "Ask for more time for a job",
            _WORK,
            _REPORTED,
            (409, 429),
            body=_body(ref("Extension")),
        )
    },
    "/leases/report": {
        "post": _op(
            "reportLease",
            "Tell of a job: its progress, parts of its result, its end",
            _WORK,
            _REPORTED,
            (409, 429),
            body=_body(ref("Report")),
        )
    },
}

# ---------------------------------------------------------------- all of it


def _own(name: str, text: str, answers: Answers, roles: Roles = None) -> Told:
    """What this process answers by itself."""
    return {"get": _op(name, text, roles, answers, asks=False)}


_COOKIE = {"Set-Cookie": _header("the cookie"), "Location": _header("the page that is next")}
_STATUS: Schema = {"type": "object", "properties": {"status": TEXT}, "required": ["status"]}
_GATEWAY: dict[str, Told] = {
    "/": _own("home", "What there is", _ok("Where to go on.", ref("Home"))),
    "/healthz": _own("healthz", "Whether this process answers", _ok("It does.", _STATUS)),
    "/readyz": _own("readyz", "Whether the broker takes jobs; else 503", _ok("It does.", _STATUS)),
    "/metrics": _own("metrics", "For Prometheus", _ok("Metrics.", TEXT, None, "text/plain"), _VIEW),
    "/login": {
        "get": _op(
            "loginForm", "A form for the token", None, _ok("A page.", TEXT, None, "text/html"), asks=False
        ),
        "post": _op(
            "login",
            "Trade a token for the cookie of a browser",
            None,
            {303: _answer("Logged in.", None, _COOKIE)},
            (403,),
            body=_body(ref("Login"), (_JSON, FORM, MULTIPART)),
            asks=False,
        ),
    },
    "/logout": {
        "post": _op(
            "logout",
            "Give the cookie back",
            None,
            {303: _answer("Logged out.", None, _COOKIE)},
            (403,),
            asks=False,
        )
    },
    f"{API}/openapi.json": _own("openapi", "This document", _ok("It.", {"type": "object"}), _ANY),
}
PATHS: dict[str, Told] = {
    **short_way(None, "{service}", {}),
    **_tagged("short way", {f"/{at}": _old_list(at) for name in LISTS for at in (name, f"{SYNC}{name}")}),
    **_tagged("jobs", {f"{API}{path}": told for path, told in _JOBS.items()}),
    **_tagged("events", {f"{API}{path}": told for path, told in _STREAMS.items()}),
    **_tagged("services", {f"{API}{path}": told for path, told in _SERVICES.items()}),
    **_tagged("insight", {f"{API}{path}": told for path, told in _INSIGHT.items()}),
    **_tagged("leases", {f"{API}{path}": told for path, told in _LEASES.items()}),
    **_tagged("gateway", _GATEWAY),
}
