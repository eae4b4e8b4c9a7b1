"""/login: a token is traded for a cookie, so that a browser may come in; /logout (docs/http.md)."""

from __future__ import annotations

import time

from starlette.responses import HTMLResponse, RedirectResponse, Response

from zmws.gateway.desk import Visitor, by_of
from zmws.gateway.given import params_of
from zmws.gateway.guard import COOKIE, unknown
from zmws.gateway.problems import Problem

_POLICY = "default-src 'none'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
_FORM = """<!doctype html> <html lang="en"><meta charset="utf-8"><meta name="viewport"
content="width=device-width"> <title>zmws: log in</title> <h1>zmws</h1> <form method="post"><p><label>Token
<input name="token" type="password" autocomplete="current-password" required autofocus> </label> <button>Log
in</button></p></form> <p>An operator makes one: <code>zmws gateway token new NAME --role
viewer</code></p></html> """


async def form(visitor: Visitor) -> Response:
    """GET /login."""
    headers = {"content-security-policy": _POLICY, "cache-control": "no-store"}
    return HTMLResponse(_FORM, headers=headers)


async def login(visitor: Visitor) -> Response:
    """POST /login, a form or JSON with `token`."""
    if visitor.request.query_params:
        raise Problem(400, "bad_request", "the token goes into the body: addresses are written down")
    given = await params_of(visitor.request)
    token = given.get("token") if isinstance(given, dict) else None
    guard, settings = visitor.desk.guard, visitor.desk.settings
    who = guard.tokens.who(token.strip()) if isinstance(token, str) else None
    if who is None:
        raise unknown("this is no token of this gateway")
    visitor.desk.tell("login", who.name, by_of(who))
    answer = RedirectResponse(visitor.url("/"), 303, {"cache-control": "no-store"})
    answer.set_cookie(
        COOKIE,
        guard.tokens.cookie(who, settings.login_for, time.time()),
        max_age=int(settings.login_for),
        path=visitor.visit.prefix or "/",
        secure=visitor.visit.scheme == "https",
        httponly=True,
        samesite="strict",
    )
    return answer


async def logout(visitor: Visitor) -> Response:
    """POST /logout."""
    answer = RedirectResponse(visitor.url("/login"), 303)
    answer.delete_cookie(COOKIE, path=visitor.visit.prefix or "/")
    return answer
