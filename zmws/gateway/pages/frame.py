"""What every page has: its frame, its headers, and what is said when it cannot be shown.

Rule 1: nothing is loaded from another host, nothing stands in a `style` or a script of the page itself: the
        policy has no exceptions.
Rule 2: a page that changed something leads to the next one with a word in `told=`, which is looked up here:
        no text of an address is ever shown as ours.
Rule 3: what went wrong is a page too, with what to do next; and it comes back to life when the broker does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from zmws.gateway.desk import Desk, Visitor, page_path
from zmws.gateway.guard import Visit
from zmws.gateway.pages.shown import FILTERS, clean
from zmws.gateway.problems import Problem
from zmws.gateway.tokens import Who

UI = "/ui"
_HERE = Path(__file__).parent
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
HEADERS = {
    "content-security-policy": _POLICY,
    "referrer-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "cache-control": "no-store",
}
NAV = (
    ("Overview", "/ui/"),
    ("Services", "/ui/services"),
    ("Jobs", "/ui/jobs"),
    ("Batches", "/ui/batches"),
    ("Schedules", "/ui/schedules"),
    ("Failures", "/ui/failures"),
    ("Workers", "/ui/workers"),
    ("System", "/ui/system"),
    ("Submit", "/ui/submit"),
)
_FOR_OPERATORS = ("Submit",)
# What is said on the page that follows something that was done. `n`: of how many.
TOLD: dict[str, str | tuple[str, str]] = {
    "cancelled": "The job is cancelled.",
    "retried": "The job waits again, with all its retries.",
    "deleted": "The record of the job is deleted.",
    "submitted": "The job is accepted.",
    "existing": "There was such a job already: this is it.",
    "many_cancelled": ("1 job is cancelled.", "{n} jobs are cancelled."),
    "many_retried": ("1 job waits again.", "{n} jobs wait again, with all their retries."),
    "many_deleted": ("The record of 1 job is deleted.", "The records of {n} jobs are deleted."),
    "goes_on": "It is being done: there are so many that it takes a while. The list shows how far it is.",
    "paused": "The service is paused: no more of its jobs start.",
    "resumed": "The service goes on.",
    "limits": "The limits hold from now on.",
    "purged": ("1 waiting job is cancelled.", "{n} waiting jobs are cancelled."),
    "closed": "The batch is closed: what is to follow does so when all of its jobs have ended.",
    "scheduled": "The schedule is there.",
    "schedule_paused": "The schedule is paused: it makes no jobs.",
    "schedule_resumed": "The schedule goes on.",
    "schedule_removed": "The schedule is removed.",
    "forgotten": "The service is forgotten.",
    "draining": "The worker gets no more jobs; it leaves when it has done what it holds.",
    "marked": "The moment is marked.",
    "started": "It runs.",
    "stopped": "It is stopped.",
    "restarted": "It was stopped, and runs again.",
    "scaled": "So many copies run now.",
}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages load; its address changes with its content, so a browser may keep it."""

    name: str
    kind: str
    data: bytes

    @property
    def version(self) -> str:
        """What tells it from one of before."""
        return hashlib.sha256(self.data).hexdigest()[:12]


ASSETS = {
    name: Asset(name, kind, (_HERE / "assets" / name).read_bytes())
    for name, kind in (
        ("zmws.css", "text/css; charset=utf-8"),
        ("zmws.js", "text/javascript; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
    )
}


def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.filters["path"] = lambda text: quote(text, safe="")
    made.globals.update(nav=NAV)
    return made


_TEMPLATES = _environment()


async def asset(visitor: Visitor) -> Response:
    """GET /ui/assets/NAME."""
    found = ASSETS.get(visitor.path["name"])
    if found is None:
        raise Problem(404, "no_such_page", "there is no such file of the pages")
    # During an upgrade an older gateway may be asked for the file of a newer one: nobody is to keep that.
    is_it = visitor.request.query_params.get("v") == found.version
    kept = {"cache-control": "public, max-age=31536000, immutable" if is_it else "no-cache"}
    return Response(found.data, 200, {**HEADERS, **kept}, found.kind)


def answer(visitor: Visitor, template: str, values: Mapping[str, Any], status: int = 200) -> Response:
    """A page. `values` name at least its `title`; `live`: the query of its stream, None for a page that does
    not change."""
    desk, request = visitor.desk, visitor.request
    return HTMLResponse(
        _rendered(desk, request, visitor.visit, visitor.who, template, values), status, HEADERS
    )


def _rendered(
    desk: Desk, request: Request, visit: Visit, who: Who | None, template: str, values: Mapping[str, Any]
) -> str:
    def url(path: str, **query: Any) -> str:
        given = {name: value for name, value in query.items() if value not in (None, "")}
        return visit.prefix + path + (f"?{urlencode(given)}" if given else "")

    is_operator = who is not None and who.may(())
    here = {
        "url": url,
        "asset": lambda name: f"{visit.prefix}/ui/assets/{name}?v={ASSETS[name].version}",
        "here": _here(request),
        "who": who,
        "operator": is_operator,
        "needs_login": desk.guard.needs_token,
        "told": _told(request),
        "live": None,
        "now": datetime.now(UTC).isoformat(),
        "hidden_nav": () if is_operator else _FOR_OPERATORS,
        "current": None,
    }
    return clean(_TEMPLATES.get_template(template).render({**here, **values}))


def _here(request: Request) -> str:
    """The address of the page, to come back to."""
    left = [(name, one) for name, one in request.query_params.multi_items() if name not in ("told", "n")]
    return page_path(request) + (f"?{urlencode(left)}" if left else "")


def service_path(name: str) -> str:
    """Where a service has its page."""
    return f"{UI}/services/{quote(name, safe='')}"


def _told(request: Request) -> str | None:
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        return None  # no form of ours led here
    text = TOLD.get(request.query_params.get("told", ""))
    count = request.query_params.get("n", "")
    if text is None or isinstance(text, str):
        return text
    if not (count.isascii() and count.isdigit() and len(count) < 19):
        return None
    return text[int(count) != 1].replace("{n}", f"{int(count):,}")


def go_on(
    visitor: Visitor, path: str, told: str | None = None, n: int | None = None, **query: Any
) -> Response:
    """The answer to a form: the page to look at next, and what to say there."""
    given = {**query, "told": told, "n": n}
    words = urlencode({name: value for name, value in given.items() if value is not None})
    more = ("&" if "?" in path else "?") + words if words else ""
    return RedirectResponse(visitor.url(path) + more, 303, HEADERS)


# ---------------------------------------------------------------- when it cannot be shown

_HEADLINES = {
    "no_broker": "The broker is not there",
    "no_such_page": "There is no such page",
    "unknown_job": "There is no such job",
    "unknown_service": "There is no such service",
    "unknown_worker": "There is no such worker",
    "unknown_batch": "There is no such batch",
    "unknown_schedule": "There is no such schedule",
    "not_allowed": "This is not for your token",
    "wrong_origin": "Another page has asked for this",
    "no_token": "You are not logged in any more",
    "closing": "The gateway is about to end",
    "tokens_unreadable": "The tokens cannot be read",
}
_NEXT = {
    "no_broker": "This page comes back by itself when the broker does. On its machine, 'zmws status' says "
    "how it is, and 'zmws start --servers' starts it.",
    "unknown_job": "Its record may be over: records are kept for a while only (option 'keep' of a job).",
    "unknown_batch": "Its record may be over: one is kept for a while after its end.",
    "unknown_service": "A service is there as soon as a worker registers it, or the configuration names it.",
    "not_allowed": "Log in with another token; 'zmws gateway token new NAME --role operator' makes one.",
    "no_token": "Log in in another tab, then come back and load this page again: it sends the same again.",
    "wrong_origin": "Go to this gateway by its own address, and do it there.",
    "no_such_page": "The pages there are stand in the line at the top.",
    "changed": "Somebody has changed it since you looked. Look again, then decide.",
    "not_possible": "Its state has changed meanwhile, perhaps. Go back and look again.",
}
LIVES_AGAIN = ("no_broker", "closing", "no_answer")


def problem_page(
    desk: Desk, request: Request, visit: Visit | None, who: Who | None, problem: Problem
) -> Response:
    """The page that says what went wrong; for who is not logged in the way to do so."""
    visit = visit or Visit("", "http", "")
    if problem.status == 401 and request.method in ("GET", "HEAD"):
        return _to_login(desk, request, visit)
    was_sent = request.method == "POST"
    headline = _HEADLINES.get(problem.code, f"{HTTPStatus(problem.status).phrase}")
    values = {
        "title": headline,
        "text": str(problem) if problem.code != "no_token" else "",
        "next": _NEXT.get(problem.code) if not (was_sent and problem.code in LIVES_AGAIN) else None,
        "code": problem.code,
        "status": problem.status,
        "live": "" if problem.code in LIVES_AGAIN and not was_sent else None,
        "maybe": was_sent and problem.code in LIVES_AGAIN,
    }
    page = _rendered(desk, request, visit, who, "problem.html", values)
    return HTMLResponse(page, problem.status, {**HEADERS, **problem.headers})


def _to_login(desk: Desk, request: Request, visit: Visit) -> Response:
    """The cookie of a login does not come with a link of another page (SameSite=Strict): then this page asks
    for itself once more, and it does."""
    if request.headers.get("sec-fetch-site") in ("cross-site", "same-site"):
        page = _rendered(desk, request, visit, None, "again.html", {"title": "One moment"})
        return HTMLResponse(page, 401, HEADERS)
    asked = page_path(request) + (f"?{request.url.query}" if request.url.query else "")
    way = f"?{urlencode({'next': asked})}" if asked != "/ui/" else ""
    return RedirectResponse(f"{visit.prefix}/login{way}", 303, HEADERS)


def is_browser(request: Request) -> bool:
    """Whether a person looks on: a browser asks for HTML."""
    return "text/html" in request.headers.get("accept", "")
