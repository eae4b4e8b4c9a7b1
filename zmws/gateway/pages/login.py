"""/login: a token is traded for a cookie, so that a browser may come in; /logout (docs/http.md)."""

from __future__ import annotations

import time

from starlette.responses import RedirectResponse, Response

from zmws.gateway.desk import Visitor, by_of, log
from zmws.gateway.given import params_of
from zmws.gateway.guard import unknown
from zmws.gateway.pages.forms import own_path
from zmws.gateway.pages.frame import HEADERS, answer, is_browser
from zmws.gateway.problems import Problem


async def form(visitor: Visitor) -> Response:
    """GET /login?next=."""
    return _form(visitor, visitor.request.query_params.get("next"), None)


def _form(visitor: Visitor, then: str | None, fault: str | None) -> Response:
    values = {"title": "Log in", "next": own_path(then, "/ui/"), "fault": fault}
    return answer(visitor, "login.html", values, 401 if fault else 200)


async def login(visitor: Visitor) -> Response:
    """POST /login, a form or JSON with `token`."""
    if visitor.request.query_params:
        raise Problem(400, "bad_request", "the token goes into the body: addresses are written down")
    given = await params_of(visitor.request)
    given = given if isinstance(given, dict) else {}
    token, then = given.get("token"), given.get("next")
    then = then if isinstance(then, str) else None
    guard, settings = visitor.desk.guard, visitor.desk.settings
    who = guard.tokens.who(token.strip()) if isinstance(token, str) else None
    if who is None:
        client = visitor.request.scope.get("client") or ("somewhere", 0)
        log.warning("a login with what is no token, from %s", client[0])
        if is_browser(visitor.request):
            return _form(visitor, then, "This is no token of this gateway.")
        raise unknown("this is no token of this gateway")
    visitor.desk.tell("login", who.name, by_of(who))
    answered = RedirectResponse(visitor.url(own_path(then, "/ui/")), 303, HEADERS)
    answered.set_cookie(
        guard.cookie,
        guard.tokens.cookie(who, settings.login_for, time.time()),
        max_age=int(settings.login_for),
        path=visitor.visit.prefix or "/",
        secure=visitor.visit.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answered


async def logout(visitor: Visitor) -> Response:
    """POST /logout."""
    answered = RedirectResponse(visitor.url("/login"), 303, HEADERS)
    answered.delete_cookie(visitor.desk.guard.cookie, path=visitor.visit.prefix or "/")
    return answered
