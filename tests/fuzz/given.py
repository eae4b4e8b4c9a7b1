"""Targets: what a request by HTTP asks for, and who may come in. A request is its text, with LF for CRLF, as
h11 takes it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import unquote

import h11
from starlette.requests import Request

from tests.fuzz import stand
from tests.fuzz.target import REFUSED, Target, check_time, taken
from tests.fuzz.wire import JSON_WORDS
from zmws.core.desk.questions import QUESTIONS
from zmws.errors import BadValue
from zmws.gateway import given
from zmws.gateway.app import _Request
from zmws.gateway.guard import host_name
from zmws.gateway.keys import as_id, job_id_of
from zmws.gateway.pages import forms
from zmws.gateway.problems import Problem, as_json
from zmws.gateway.tokens import ANYBODY, ROLES, Who
from zmws.wire import values

HEAD_BYTES_MAX = 32 * 1024


def request_in(data: bytes) -> Request | None:
    """The request that these bytes are, as uvicorn would hand it on; None where h11 takes none of it. What
    follows the head is its body, whatever its Content-Length says."""
    head, _, body = data.partition(b"\n\n")
    if len(head) > HEAD_BYTES_MAX:
        return None
    connection = h11.Connection(h11.SERVER, HEAD_BYTES_MAX)
    try:
        connection.receive_data(head + b"\n\n")
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return None
    if not isinstance(event, h11.Request):
        return None
    raw_path, _, query = event.target.partition(b"?")
    scope = {
        "type": "http",
        "method": event.method.decode("ascii"),
        "path": unquote(raw_path.decode("ascii")),
        "raw_path": raw_path,
        "query_string": query,
        "headers": list(event.headers),
        "client": ("127.0.0.1", 5),
    }

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(_: Any) -> None:
        raise AssertionError("nothing is to be sent")

    return _Request(scope, receive, send)


def _awaited(asked: Callable[..., Coroutine[Any, Any, Any]], *more: Any) -> Any:
    def run(*more: Any) -> Any:
        return stand.loop().run_until_complete(asked(*more))

    return _told(run, *more)


def _told(parser: Callable[..., Any], *more: Any) -> Any:
    """As `taken`; and a Problem can be sent."""

    def run(*more: Any) -> Any:
        try:
            return parser(*more)
        except Problem as wrong:
            wrong.response()
            raise

    run.__name__ = parser.__name__
    return taken(Problem, run, *more)


# ---------------------------------------------------------------- bodies and queries


def check_given(data: bytes) -> None:
    """Parameters, options, and how long to wait."""
    request = request_in(data)
    if request is None:
        return
    params = _awaited(given.params_of, request)
    if params is not REFUSED:
        _check_params(params)
    _awaited(given.json_object, request)
    for most in (0.0, 60.0):
        for wait in (_told(given.wait_of, request, most), _told(given.preferred_wait, request, most)):
            assert wait is REFUSED or wait is None or 0 <= wait <= most, wait
    for service in QUESTIONS:
        question = _told(given.query_of, request, service)
        if question is not REFUSED:
            as_json(question)
    for who in (ANYBODY, Who("client")):
        key = _told(job_id_of, request, who)
        assert key is REFUSED or key is None or as_id(key) == key, key
    _check_form(request)


def _check_params(params: Any) -> None:
    """They can be sent on, and shown."""
    frames = taken(BadValue, values.encode_value, params)
    if frames is not REFUSED:
        values.decode_params(frames)
        as_json(values.shown(frames, params=True)[0])


def _check_form(request: Request) -> None:
    class Asking:
        def __init__(self) -> None:
            self.request = request

    form = _awaited(forms.form_of, Asking())
    if form is REFUSED:
        return
    for name, text in list(form.items())[:5]:
        number = _told(forms.number_of, form, name)
        assert number is REFUSED or number is None or abs(number) <= 10**18
        _told(forms.time_of, name, text)
        path = _told(forms.own_path, text, "/ui/")
        assert path.isascii() and path.startswith("/ui/")
        value = _told(forms.params_in, text)
        if value is not REFUSED:
            json.dumps(value).encode()


# ---------------------------------------------------------------- who may come in


def check_guard(data: bytes) -> None:
    """The host, what proxies say, the page that asks, tokens and logins."""
    taken((), host_name, data[:HEAD_BYTES_MAX].decode("latin-1"))
    request = request_in(data)
    if request is None:
        return
    begun = time.process_time()
    for guard in stand.guards():
        visit = _told(guard.visit, request.headers, "127.0.0.1")
        if visit is REFUSED:
            continue
        assert visit.prefix.isascii() and visit.scheme in ("http", "https")
        _told(guard.check_page, request.headers, visit)
        _told(guard.check_own_page, request.headers, visit)
        who = _told(guard.who, request.headers)
        assert who is REFUSED or who is None or who is ANYBODY or who.name in ROLES, who
    check_time(begun, "the guard")


_MULTIPART = (
    b"POST /ECHO?a=1 HTTP/1.1\nHost: localhost\nContent-Type: multipart/form-data; boundary=b\n\n"
    b'--b\r\nContent-Disposition: form-data; name="x[]"\r\n\r\n1\r\n'
    b'--b\r\nContent-Disposition: form-data; name="f"; filename="a.txt"\r\n'
    b"Content-Type: text/plain\r\n\r\nabc\r\n"
    b"--b--\r\n"
)
GIVEN_WORDS = (
    *(b"GET ", b"POST ", b" HTTP/1.1\n", b"Host: localhost\n", b"Content-Type: ", b"application/json"),
    *(b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=b", b"; charset="),
    *(b"Prefer: wait=5\n", b"Prefer: ", b"Idempotency-Key: k\n", b"wait=", b"a[]=1&", b"&", b"=", b"%ff"),
    *(b"--b\r\n", b"--b--", b"\r\n\r\n", b'Content-Disposition: form-data; name="', b'; filename="'),
    *(b"utf-8", b"utf-16", b"utf-7", b"idna", b"punycode", b"undefined", b"unicode_escape", b"zip"),
    *(b"\n\n", b"?", b"%00", b"limit=1", b"; boundary=", b"filename*=utf-8''", b"mbcs", b"\\"),
    *(b"Content-Transfer-Encoding: base64\r\n", b"2h", b"2026-01-31T12:00", b"/ui/x?a=%20"),
    *JSON_WORDS[:12],
)  # fmt: skip
GUARD_WORDS = (
    *(
        b"GET / HTTP/1.1\n",
        b"POST /ui/ HTTP/1.1\n",
        b"Host: ",
        b"localhost",
        b"127.0.0.1:5580",
        b"[::1]",
        b"%25eth0",
    ),
    *(
        b"work.example",
        b"X-Forwarded-Host: ",
        b"X-Forwarded-Proto: https\n",
        b"X-Forwarded-Prefix: /work\n",
        b"\n",
    ),
    *(
        b"Origin: null\n",
        b"Origin: https://app.example\n",
        b"Origin: ",
        b"http://",
        b"Sec-Fetch-Site: cross-site\n",
    ),
    *(
        b"Sec-Fetch-Site: none\n",
        b"Sec-Purpose: prefetch\n",
        b"Authorization: Bearer zmws_viewer\n",
        b"Cookie: ",
    ),
    *(
        b"zmws-5580=",
        b"; ",
        b'"',
        b'\\"',
        b"\\134",
        b"@",
        b":",
        b"/",
        b"?",
        b"#",
        b".",
        b"\t",
        b"\xe9",
        b"\xb2",
    ),
    stand.cookie("operator").encode(),
)
TARGETS = (
    Target(
        "given",
        check_given,
        GIVEN_WORDS,
        (
            b"GET /ECHO?a=1&a=2&b[]=3&wait=5 HTTP/1.1\nHost: localhost\nPrefer: respond-async, wait=10\n\n",
            b"POST /ECHO?a=1 HTTP/1.1\nHost: localhost\nContent-Type: application/json\n\n" + b'{"x": [1]}',
            b"POST /ECHO HTTP/1.1\nHost: localhost\nContent-Type: application/x-www-form-urlencoded\n\n"
            b"a=1&a=2&b[]=3&next=/ui/jobs?x=1&at=2h&p={}",
            _MULTIPART,
            _MULTIPART.replace(b"boundary=b", b"boundary=b; charset=utf-8"),
            b"GET /?limit=5&since=2030-01-01&state=failed&all=1&seconds=0.5 HTTP/1.1\nHost: a\n"
            b'Idempotency-Key: "k"\n\n',
        ),
    ),
    Target(
        "guard",
        check_guard,
        GUARD_WORDS,
        (
            b"GET / HTTP/1.1\nHost: localhost:5580\n\n",
            b"POST / HTTP/1.1\nHost: 127.0.0.1\nOrigin: http://127.0.0.1\nSec-Fetch-Site: same-origin\n\n",
            b"POST / HTTP/1.1\nHost: a\nX-Forwarded-Host: b, work.example\nX-Forwarded-Proto: https\n"
            b"X-Forwarded-Prefix: /work\nOrigin: https://work.example\n\n",
            b"GET / HTTP/1.1\nHost: localhost\nAuthorization: Bearer zmws_client\n\n",
            b"GET / HTTP/1.1\nHost: localhost\nCookie: a=b; " + stand.cookie("viewer").encode() + b"\n\n",
            b"[::1]:5580",
        ),
        grown_bytes=HEAD_BYTES_MAX,
    ),
)  # fmt: skip
