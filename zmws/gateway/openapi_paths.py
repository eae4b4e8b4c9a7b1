"""The operations of the OpenAPI document: every door of doors.py, its methods, and all that each can answer.

Rule: a test compares the doors and their roles.
"""

from __future__ import annotations

from zmws.core.desk.questions import QUESTIONS
from zmws.gateway.answers import API
from zmws.gateway.given import FORM, MULTIPART, NDJSON_TYPES
from zmws.gateway.old_doors import LISTS, SYNC
from zmws.gateway.openapi_parts import (
    ANY,
    AT,
    BATCH,
    BATCH_LINKS,
    CHAIN,
    ETAG,
    EVENTS,
    FAMILY,
    FILTER,
    FOLLOW,
    FREE,
    ID,
    IF_MATCH,
    IF_NONE,
    JOB_FAILED,
    JSON,
    KEY,
    LAST,
    LAST_TOO,
    LATER,
    LINKS,
    NAME,
    OPERATE,
    PREFER,
    RESULT,
    SCHEDULE,
    SUBMIT,
    TOO_LATE,
    VIEW,
    WAIT,
    WAITED,
    WORK,
    WORKER,
    Answers,
    Roles,
    Told,
    accepted,
    answer,
    asked_in,
    body_of,
    header,
    in_path,
    of_audit,
    of_batches,
    of_failures,
    of_lanes,
    of_series,
    ok,
    operation,
    params_of,
    problem,
    tagged,
)
from zmws.gateway.openapi_schemas import TEXT, Schema, listed, of_row, ref

# ---------------------------------------------------------------- the short way


def short_way(name: str | None, path: str, params: Schema, tag: str = "short way") -> dict[str, Told]:
    """The two paths of a service, submit and call. `name`: None for whichever; `params`: of a POST."""
    whose = [in_path("service", "the service's name", example="ECHO")] if name is None else []
    of, key = ("", "") if name is None else (f" {name}", f".{name}")
    body = params_of(params)

    def both(verb: str, text: str, answers: Answers, *given: Told) -> Told:
        wrong = (404, 409, 413, 422, 429)
        return {
            method: operation(
                f"{verb}By{how}{key}", text, ("client",), answers, wrong, *whose, *given, body=sent
            )
            for method, how, sent in (("get", "Get", None), ("post", "Post", body))
        }

    ended = {200: RESULT, 500: JOB_FAILED, 504: TOO_LATE}
    found = {
        f"/{path}": both("submit", f"Submit a job{of}", {202: accepted()}, KEY, FREE),
        f"/{SYNC}{path}": both("call", f"Call{of}: wait for the result", ended, KEY, PREFER, FREE),
    }
    return tagged(tag, found)


def _old_list(path: str) -> Told:
    row = ref("OldWorker" if path.endswith("WORKERS") else "OldJob")
    return {"get": operation(path, "A list of the PHP program's gateway", VIEW, ok("The list.", listed(row)))}


# ---------------------------------------------------------------- /api/v1


def _act(verb: str, text: str, status: int = 200, roles: Roles = OPERATE) -> Told:
    answers = {status: answer("It is done.", ref("Acted"))}
    return operation(f"{verb}Job", text, roles, answers, (*_CHANGED, 422), ID)


def _act_on_many(verb: str, text: str, roles: Roles = OPERATE) -> Told:
    body = body_of(ref("JobFilter"))
    return {"post": operation(f"{verb}Jobs", text, roles, _COUNTED, (409, 429), body=body)}


def _of_schedule(verb: str, text: str) -> Told:
    return operation(f"{verb}Schedule", text, OPERATE, ok("It.", ref("Schedule")), (404, 409, 429), SCHEDULE)


_NAMED: Schema = {"type": "object", "properties": {"name": TEXT}, "required": ["name"]}
_CHANGED = (404, 409, 429)
_COUNTED = ok("How many.", ref("Count"))
_REPORTED = ok("It was taken.", {"type": "object"})
_SERVICE = ok("The service.", ref("Service"), ETAG)
_RECORD = {
    **ok("The record.", ref("Job"), ETAG),
    304: answer("It is still as you have it.", None, ETAG),
}
_THERE = answer(
    "It was there already; or it has ended within `Prefer: wait`: then its record.",
    {"anyOf": [ref("Accepted"), ref("Job")]},
    {**AT, **WAITED},
)
_STATE: Schema = {"type": "object", "properties": {"id": TEXT, "state": ref("State")}, "required": ["id"]}
_NOT_YET = {
    200: RESULT,
    202: answer("It has not ended yet.", _STATE, LATER),
    409: problem("It failed, was cancelled, or expired: its ERROR."),
}
_FOLLOWED = {
    200: answer("Events until the job's end.", TEXT, None, EVENTS),
    204: answer("It has ended, and nothing more will come."),
}
_LEASED = {200: answer("A job, with its token.", ref("Lease")), 204: answer("None came.")}
_PEEKED: Schema = {"type": "object", "properties": {"jobs": listed(ref("JobRow"))}, "required": ["jobs"]}
_MANY = {
    "required": True,
    "content": {
        JSON: {"schema": listed(ref("NewJob"))},
        **{kind: {"schema": {"description": "A NewJob a line."}} for kind in NDJSON_TYPES},
    },
}

_JOBS: dict[str, Told] = {
    "/jobs": {
        "get": operation(
            "listJobs",
            "A page of jobs, newest first; for a client of its own",
            FOLLOW,
            ok("The page.", ref("JobPage"), {"Link": header('the next page, rel="next"', needed=False)}),
            (429,),
            *FILTER,
        ),
        "post": operation(
            "submitJob",
            "Submit a job",
            SUBMIT,
            {200: {**_THERE, "links": LINKS}, 202: accepted(**WAITED)},
            (404, 409, 413, 422, 429),
            *(KEY, PREFER),
            body=body_of(ref("NewJob")),
        ),
    },
    "/jobs/many": {
        "post": operation(
            "submitJobs",
            "Submit many jobs, as a list or one a line (NDJSON)",
            SUBMIT,
            ok("A verdict for each, in their order.", listed(ref("Verdict"))),
            (),
            KEY,
            body=_MANY,
        )
    },
    "/jobs/cancel": _act_on_many("cancel", "Cancel all jobs that a filter names; a client its own", SUBMIT),
    "/jobs/retry": _act_on_many("retry", "Let all failed jobs that a filter names wait again"),
    "/jobs/delete": _act_on_many("delete", "Forget all ended jobs that a filter names"),
    "/jobs/{id}": {
        "get": operation("showJob", "The record of a job", FOLLOW, _RECORD, (404,), ID, IF_NONE),
        "delete": _act("delete", "Forget a job that has ended"),
    },
    "/jobs/{id}/result": {
        "get": operation("getResult", "The result of a job", FOLLOW, _NOT_YET, (404,), ID, WAIT)
    },
    "/jobs/{id}/cancel": {"post": _act("cancel", "Cancel a job; a client its own", roles=SUBMIT)},
    "/jobs/{id}/retry": {"post": _act("retry", "Let a job that has failed wait again", 202)},
    "/jobs/{id}/copy": {
        "post": operation(
            "copyJob",
            "Run a job again as a new one, with changes",
            OPERATE,
            {202: accepted()},
            _CHANGED,
            *(ID, KEY),
            body=body_of(ref("JobChanges"), needed=False),
        )
    },
}
_WORKFLOWS: dict[str, Told] = {
    "/jobs/{id}/family": {
        "get": operation(
            "showFamily",
            "The jobs that followed from each other's ends, of which one is this",
            FOLLOW,
            ok("They.", ref("Family")),
            (404, 429),
            *(ID, FAMILY),
        )
    },
    "/chains": {
        "post": operation(
            "submitChain",
            "Submit jobs of which each begins when the one before has completed",
            SUBMIT,
            {
                200: answer("It was there already.", ref("AcceptedChain"), AT),
                202: answer("It was accepted.", ref("AcceptedChain"), AT),
            },
            (404, 409, 413, 422, 429),
            KEY,
            body=body_of(ref("NewChain")),
        )
    },
    "/chains/{id}/cancel": {
        "post": operation(
            "cancelChain",
            "Cancel the step of a chain that has not ended; none comes after it",
            SUBMIT,
            {200: answer("It is done.", ref("Acted"))},
            (*_CHANGED, 422),
            CHAIN,
        )
    },
    "/batches": {
        "get": operation(
            "listBatches",
            "A page of batches, newest first",
            VIEW,
            ok("The page.", ref("BatchPage"), {"Link": header('the next page, rel="next"', needed=False)}),
            (429,),
            *of_batches(),
        ),
        "post": operation(
            "openBatch",
            "Open a batch; with its jobs it is closed, too",
            SUBMIT,
            {
                200: answer("It was there already.", ref("OpenedBatch"), AT),
                201: {**answer("It is there.", ref("OpenedBatch"), AT), "links": BATCH_LINKS},
            },
            (404, 409, 413, 422, 429),
            KEY,
            body=body_of(ref("NewBatch"), needed=False),
        ),
    },
    "/batches/{id}": {
        "get": operation(
            "showBatch",
            "A batch; with `wait` when it has ended",
            FOLLOW,
            {**ok("The batch.", ref("Batch")), 202: answer("It has not ended yet.", ref("Batch"), LATER)},
            (404, 429),
            *(BATCH, WAIT),
        )
    },
    "/batches/{id}/jobs": {
        "post": operation(
            "addToBatch",
            "Add jobs to an open batch, as a list or one a line (NDJSON)",
            SUBMIT,
            ok("A verdict for each, in their order.", listed(ref("Verdict"))),
            (404, 429),
            *(BATCH, KEY),
            body=_MANY,
        )
    },
    "/batches/{id}/close": {
        "post": operation(
            "closeBatch",
            "Say that no client adds to a batch any more",
            SUBMIT,
            ok("The batch.", ref("Batch")),
            (404, 429),
            BATCH,
        )
    },
    "/batches/{id}/cancel": {
        "post": operation(
            "cancelBatch",
            "Cancel all jobs of a batch that have not ended; a client its own",
            SUBMIT,
            {200: answer("It is done.", ref("Acted"))},
            _CHANGED,
            BATCH,
        )
    },
    "/schedules": {
        "get": operation(
            "listSchedules", "The schedules there are", VIEW, ok("The list.", ref("ScheduleList")), (429,)
        ),
        "post": operation(
            "addSchedule",
            "Add a schedule",
            OPERATE,
            {
                200: answer("It stands in the place of the one before.", ref("Schedule"), AT),
                201: answer("It is there.", ref("Schedule"), AT),
            },
            (404, 409, 422, 429),
            body=body_of(ref("NewSchedule")),
        ),
    },
    "/schedules/{name}": {
        "get": operation(
            "showSchedule", "A schedule", VIEW, ok("It.", ref("Schedule")), (404, 429), SCHEDULE
        ),
        "put": operation(
            "putSchedule",
            "Add a schedule, or put it in the place of the one of its name",
            OPERATE,
            {
                200: answer("It stands in the place of the one before.", ref("Schedule"), AT),
                201: answer("It is there.", ref("Schedule"), AT),
            },
            (404, 409, 422, 429),
            SCHEDULE,
            body=body_of(ref("ScheduleChange")),
        ),
        "delete": operation(
            "removeSchedule",
            "Remove a schedule; its jobs stay",
            OPERATE,
            ok("It is gone.", _NAMED),
            (404, 409, 429),
            SCHEDULE,
        ),
    },
    "/schedules/{name}/pause": {"post": _of_schedule("pause", "Let a schedule make no jobs")},
    "/schedules/{name}/resume": {"post": _of_schedule("resume", "Let a schedule go on")},
    "/schedules/{name}/run": {
        "post": operation(
            "runSchedule",
            "Make a job of a schedule now, by hand",
            OPERATE,
            {202: answer("It was made.", ref("ScheduleRun"), AT)},
            (404, 409, 429),
            SCHEDULE,
        )
    },
}
_STREAMS: dict[str, Told] = {
    "/jobs/{id}/events": {
        "get": operation(
            "followJob",
            "Server-sent events of a job: state, progress, partial, log",
            FOLLOW,
            _FOLLOWED,
            (404,),
            *(ID, LAST, LAST_TOO),
        )
    },
    "/events": {
        "get": operation(
            "followAll",
            "Server-sent events of all jobs and workers",
            VIEW,
            ok("Events without end.", TEXT, None, EVENTS),
            (501,),
            asked_in("query", "service", "of this service alone"),
        )
    },
}
_SERVICES: dict[str, Told] = {
    "/services": {
        "get": operation(
            "listServices",
            "The services there are",
            FOLLOW,
            ok("The list.", listed(ref("ServiceRow"))),
        )
    },
    "/services/{name}": {
        "get": operation(
            "showService",
            "A service, with its options and the schema of its parameters",
            FOLLOW,
            _SERVICE,
            (404,),
            NAME,
        ),
        "patch": operation(
            "changeService",
            "Pause or resume a service, and limit it",
            OPERATE,
            _SERVICE,
            (*_CHANGED, 412),
            *(NAME, IF_MATCH),
            body=body_of(ref("ServiceChange")),
        ),
    },
    "/services/{name}/purge": {
        "post": operation(
            "purgeService", "Cancel all that waits for a service", OPERATE, _COUNTED, _CHANGED, NAME
        )
    },
    "/services/{name}/peek": {
        "get": operation(
            "peekService",
            "The jobs of a service that are next",
            VIEW,
            ok("They.", _PEEKED),
            (404,),
            *(NAME, asked_in("query", "limit", "how many (10)", of_row(QUESTIONS["zmws.peek"]["limit"]))),
        )
    },
    "/workers": {
        "get": operation(
            "listWorkers", "The workers that are connected", VIEW, ok("The list.", listed(ref("Worker")))
        )
    },
    "/workers/{id}/drain": {
        "post": operation(
            "drainWorker",
            "Let a worker finish what it holds, and leave",
            OPERATE,
            _COUNTED,
            _CHANGED,
            WORKER,
        )
    },
    "/services/{name}/series": {
        "get": operation(
            "showServiceSeries",
            "What a service did over time",
            VIEW,
            ok("The figures.", ref("Series")),
            (404, 429),
            *(NAME, *of_series()),
        )
    },
    "/services/{name}/failures": {
        "get": operation(
            "listServiceFailures",
            "Why jobs of a service have failed",
            VIEW,
            ok("The page.", ref("CausePage")),
            (404, 429),
            *(NAME, *of_failures()),
        )
    },
    "/stats": {
        "get": operation("showStats", "What the broker counts", VIEW, ok("The figures.", ref("Stats")))
    },
}
_INSIGHT: dict[str, Told] = {
    "/series": {
        "get": operation(
            "showSeries",
            "What all services did over time",
            VIEW,
            ok("The figures.", ref("Series")),
            (429,),
            *of_series(),
        )
    },
    "/lanes": {
        "get": operation(
            "showLanes",
            "What each worker did in the last minutes, as bars of a picture",
            VIEW,
            ok("The lanes.", ref("Lanes")),
            (404, 429),
            *of_lanes(),
        )
    },
    "/failures": {
        "get": operation(
            "listFailures",
            "Why jobs have failed, by cause",
            VIEW,
            ok("The page.", ref("CausePage")),
            (429,),
            *of_failures(),
        )
    },
    "/warnings": {
        "get": operation(
            "listWarnings",
            "What is wrong, and the next step",
            VIEW,
            ok("They.", listed(ref("Warning"))),
        )
    },
    "/audit": {
        "get": operation(
            "listAudit",
            "What operators did, the newest first",
            OPERATE,
            ok("The page.", ref("AuditPage")),
            (429,),
            *of_audit(),
        )
    },
    "/marks": {
        "post": operation(
            "addMark",
            "Mark a moment in the figures, such as a deploy",
            OPERATE,
            ok("It is there.", ref("Mark")),
            (404, 409, 429),
            body=body_of(ref("NewMark")),
        )
    },
    "/jobs/{id}/why": {
        "get": operation(
            "whyJob",
            "Why a job waits or waited, and how long such jobs take",
            FOLLOW,
            ok("Why.", ref("Why")),
            (404, 429),
            ID,
        )
    },
}
_LEASES: dict[str, Told] = {
    "/services/{name}/lease": {
        "post": operation(
            "lease",
            "Ask for a job to do",
            WORK,
            _LEASED,
            (404, 429),
            *(NAME, WAIT, KEY),
            body=body_of(ref("LeaseRequest"), needed=False),
        )
    },
    "/leases/extend": {
        "post": operation(
            "extendLease",
            "Ask for more time for a job",
            WORK,
            _REPORTED,
            (409, 429),
            body=body_of(ref("Extension")),
        )
    },
    "/leases/report": {
        "post": operation(
            "reportLease",
            "Tell of a job: its progress, parts of its result, its end",
            WORK,
            _REPORTED,
            (409, 429),
            body=body_of(ref("Report")),
        )
    },
}

# ---------------------------------------------------------------- all of it


def _own(name: str, text: str, answers: Answers, roles: Roles = None) -> Told:
    """What this process answers by itself."""
    return {"get": operation(name, text, roles, answers, asks=False)}


_COOKIE = {"Set-Cookie": header("the cookie"), "Location": header("the page that is next")}
_STATUS: Schema = {"type": "object", "properties": {"status": TEXT}, "required": ["status"]}
_GATEWAY: dict[str, Told] = {
    "/": _own("home", "What there is", ok("Where to go on.", ref("Home"))),
    "/healthz": _own("healthz", "Whether this process answers", ok("It does.", _STATUS)),
    "/readyz": _own("readyz", "Whether the broker takes jobs; else 503", ok("It does.", _STATUS)),
    "/metrics": _own("metrics", "For Prometheus", ok("Metrics.", TEXT, None, "text/plain"), VIEW),
    "/login": {
        "get": operation(
            "loginForm", "A form for the token", None, ok("A page.", TEXT, None, "text/html"), asks=False
        ),
        "post": operation(
            "login",
            "Trade a token for the cookie of a browser",
            None,
            {303: answer("Logged in.", None, _COOKIE)},
            (403,),
            body=body_of(ref("Login"), (JSON, FORM, MULTIPART)),
            asks=False,
        ),
    },
    "/logout": {
        "post": operation(
            "logout",
            "Give the cookie back",
            None,
            {303: answer("Logged out.", None, _COOKIE)},
            (403,),
            asks=False,
        )
    },
    f"{API}/openapi.json": _own("openapi", "This document", ok("It.", {"type": "object"}), ANY),
}
PATHS: dict[str, Told] = {
    **short_way(None, "{service}", {}),
    **tagged("short way", {f"/{at}": _old_list(at) for name in LISTS for at in (name, f"{SYNC}{name}")}),
    **tagged("jobs", {f"{API}{path}": told for path, told in _JOBS.items()}),
    **tagged("workflows", {f"{API}{path}": told for path, told in _WORKFLOWS.items()}),
    **tagged("events", {f"{API}{path}": told for path, told in _STREAMS.items()}),
    **tagged("services", {f"{API}{path}": told for path, told in _SERVICES.items()}),
    **tagged("insight", {f"{API}{path}": told for path, told in _INSIGHT.items()}),
    **tagged("leases", {f"{API}{path}": told for path, told in _LEASES.items()}),
    **tagged("gateway", _GATEWAY),
}
