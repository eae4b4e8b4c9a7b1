"""Who may come in: hosts, pages of other sites, tokens and their roles, logins."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.gateway.stand import TOKENS, Gateway, gateway
from tests.gateway.test_api_jobs import problem
from tests.peers import wait_until
from zmws.gateway import doors
from zmws.gateway.guard import host_name
from zmws.gateway.tokens import ROLES
from zmws.testing import RunningBroker

API = "/api/v1"


# ---------------------------------------------------------------- hosts (DNS rebinding)


@pytest.mark.parametrize(
    "host", ["localhost", "LOCALHOST:80", "127.0.0.1", "127.0.0.1:5580", "[::1]", "[::1]:80", "10.1.2.3"]
)
def test_a_host_that_no_name_can_be_made_to_stand_for_is_answered(ask: httpx.Client, host: str) -> None:
    assert ask.get("/healthz", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.nip.io",
        "localhost@evil",
        "",
        "a/b",
        "[::1",
        "a:b",
    ],
)
def test_any_other_host_is_421(ask: httpx.Client, host: str) -> None:
    for path in ("/healthz", "/SYNC-ECHO", f"{API}/jobs"):
        assert problem(ask.get(path, headers={"host": host})) == (421, "wrong_host")


def test_the_settings_name_more_hosts(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, hosts=("jobs.example.org",)) as http, http.client() as ask:
        assert ask.get("/healthz", headers={"host": "Jobs.example.org:8080"}).status_code == 200
        assert ask.get("/healthz", headers={"host": "example.org"}).status_code == 421
    with gateway(broker, tmp_path, hosts=("*",)) as http, http.client() as ask:
        assert ask.get("/healthz", headers={"host": "any.example"}).status_code == 200


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("A.b:5", "a.b"),
        ("[::1]:5", "::1"),
        ("a:b", None),
        ("u@a", None),
        ("a/b", None),
        ("a?b", None),
        ("a#b", None),
    ],
)
def test_the_name_in_a_host_header(host: str, name: str | None) -> None:
    assert host_name(host) == name


@pytest.mark.parametrize(
    "head",
    [b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nHost: evil\r\n\r\n"],
)
def test_no_host_and_two_hosts_are_400(http: Gateway, head: bytes) -> None:
    assert http.raw(head).startswith(b"HTTP/1.1 400 ")


# ---------------------------------------------------------------- pages of other sites (CSRF)

WRITES = [
    ("GET", "/ECHO"),
    ("GET", "/SYNC-ECHO"),
    ("POST", "/ECHO"),
    ("POST", f"{API}/jobs"),
    ("POST", f"{API}/jobs/cancel"),
    ("DELETE", f"{API}/jobs/x"),
    ("PATCH", f"{API}/services/ECHO"),
    ("POST", "/login"),
]


@pytest.mark.parametrize(("method", "path"), WRITES)
@pytest.mark.parametrize(
    "headers",
    [
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://localhost.evil.example"},
        {"origin": "http://127.0.0.1:1", "sec-fetch-site": "same-site"},
    ],
)
def test_a_page_of_another_site_changes_nothing(
    ask: httpx.Client, method: str, path: str, headers: Any
) -> None:
    before = ask.get(f"{API}/jobs?limit=1").json()
    assert problem(ask.request(method, path, headers=headers)) == (403, "wrong_origin")
    assert ask.get(f"{API}/jobs?limit=1").json() == before


@pytest.mark.parametrize("site", ["same-origin", "none"])
def test_ones_own_page_and_a_typed_address_may(ask: httpx.Client, http: Gateway, site: str) -> None:
    assert ask.get("/ECHO", headers={"sec-fetch-site": site}).status_code == 202
    assert ask.post("/ECHO", headers={"sec-fetch-site": site, "origin": http.url}).status_code == 202


def test_reading_is_left_to_the_browsers_own_rules(ask: httpx.Client) -> None:
    assert ask.get(f"{API}/services", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_origins_of_the_settings_may_and_are_told_so(broker: RunningBroker, tmp_path: Path) -> None:
    ours, other = {"origin": "https://app.example"}, {"origin": "https://evil.example"}
    with gateway(broker, tmp_path, origins=("https://app.example",)) as http, http.client() as ask:
        answer = ask.post("/ECHO", headers={**ours, "sec-fetch-site": "cross-site"})
        assert answer.status_code == 202 and answer.headers["access-control-allow-origin"] == ours["origin"]
        assert (
            answer.headers["vary"] == "origin"
            and "location" in answer.headers["access-control-expose-headers"]
        )
        answer = ask.options(f"{API}/jobs", headers={**ours, "access-control-request-method": "POST"})
        assert answer.status_code == 204 and "POST" in answer.headers["access-control-allow-methods"]
        assert "authorization" in answer.headers["access-control-allow-headers"]
        answer = ask.options(f"{API}/jobs", headers={**other, "access-control-request-method": "POST"})
        assert answer.status_code == 405 and "access-control-allow-origin" not in answer.headers
        assert problem(ask.post("/ECHO", headers=other)) == (403, "wrong_origin")


def test_without_origins_nobody_is_told_so(ask: httpx.Client) -> None:
    answer = ask.get(f"{API}/services", headers={"origin": "https://app.example"})
    assert "access-control-allow-origin" not in answer.headers


# ---------------------------------------------------------------- tokens


@pytest.fixture(scope="module")
def closed(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway with a token of each role."""
    with gateway(broker, tmp_path_factory.mktemp("closed"), {role: role for role in ROLES}) as found:
        yield found


def request(ask: httpx.Client, method: str, path: str) -> httpx.Response:
    path = path.replace("{id}", "x").replace("{name}", "NOPE")
    return ask.request(method, path, json={} if method in ("POST", "PATCH") else None)


ALL = [
    (method, door)
    for door in (*doors.FIXED.values(), *doors.BY_PATTERN, doors.OLD)
    for method in door.methods
]


@pytest.mark.parametrize(("method", "door"), ALL, ids=[f"{method} {door.path}" for method, door in ALL])
def test_each_door_is_open_to_its_roles_and_to_no_other(
    closed: Gateway, method: str, door: doors.Door
) -> None:
    roles = door.methods[method][1]
    if door.path in ("/login", "/logout"):
        assert roles is None
        return
    if door.path in (f"{API}/events", "/ui/live"):
        assert roles == ("viewer",)  # a stream: its refusals are like all others
        with closed.client(TOKENS["client"]) as ask:
            assert problem(ask.get(door.path)) == (403, "not_allowed")
        return
    with closed.client() as ask:
        answer = request(ask, method, door.path)
        assert (answer.status_code != 401) == (roles is None)
        if roles is not None:
            assert problem(answer) == (401, "no_token") and "Bearer" in answer.headers["www-authenticate"]
    for role in ROLES:
        with closed.client(TOKENS[role]) as ask:
            answer = request(ask, method, door.path)
            allowed = roles is None or role == "operator" or role in roles
            assert (answer.status_code == 403) == (not allowed), (role, answer.text)
            assert answer.status_code != 401
            if not allowed:
                assert answer.json()["code"] == "not_allowed" and f"'{role}'" in answer.json()["detail"]


@pytest.mark.parametrize("header", ["Bearer x", "Basic eDp4", "Bearer", "", "Bearer " + "x" * 5000])
def test_a_text_that_is_no_token_is_401(closed: Gateway, header: str) -> None:
    with closed.client() as ask:
        assert problem(ask.get(f"{API}/jobs", headers={"authorization": header})) == (401, "no_token")


def test_health_needs_no_token_and_says_nothing_of_the_jobs(closed: Gateway) -> None:
    with closed.client() as ask:
        assert ask.get("/healthz").status_code == ask.get("/readyz").status_code == 200
        assert ask.get("/metrics").status_code == 401


def test_a_key_with_a_token_is_that_tokens_own(closed: Gateway) -> None:
    ids = []
    for role in ("client", "operator"):
        with closed.client(TOKENS[role]) as ask:
            ids.append(ask.post("/ECHO", headers={"idempotency-key": "k"}).json()["id"])
    assert ids == ["client:k", "operator:k"]


def test_a_token_that_is_deleted_is_none_within_a_second(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, {"a": "viewer", "b": "viewer"}) as http, http.client(TOKENS["a"]) as ask:
        assert ask.get(f"{API}/services").status_code == 200
        http.tokens.delete("a")
        begun = time.monotonic()
        wait_until(lambda: ask.get(f"{API}/services").status_code == 401)
        assert time.monotonic() - begun < 3
        with http.client(TOKENS["b"]) as other:
            assert other.get(f"{API}/services").status_code == 200


def test_what_an_operator_does_is_told_to_the_broker_with_the_name(
    closed: Gateway, broker: RunningBroker
) -> None:
    noted: list[str] = []
    turn = broker.server.node.broker.turn
    note, turn.note = turn.note, lambda level, text: noted.append(text)  # type: ignore[method-assign]
    try:
        with closed.client(TOKENS["operator"]) as ask:
            ask.post(f"{API}/services/ECHO/purge")
    finally:
        turn.note = note  # type: ignore[method-assign]
    assert any("zmws.purge by operator (http)" in text for text in noted)


# ---------------------------------------------------------------- logins


def test_a_token_is_traded_for_a_cookie_that_scripts_cannot_read(closed: Gateway) -> None:
    with closed.client() as ask:
        assert (
            "<form" in ask.get("/login").text
            and "default-src 'none'" in ask.get("/login").headers["content-security-policy"]
        )
        for sent in ({"data": {"token": TOKENS["viewer"]}}, {"json": {"token": TOKENS["viewer"]}}):
            ask.cookies.clear()
            answer = ask.post("/login", **sent)
            assert answer.status_code == 303 and answer.headers["location"] == "/ui/"
            cookie = answer.headers["set-cookie"].lower()
            assert "httponly" in cookie and "samesite=strict" in cookie and "path=/" in cookie
            assert TOKENS["viewer"] not in answer.headers["set-cookie"] and "max-age=43200" in cookie
            assert ask.get(f"{API}/services").status_code == 200
            assert problem(ask.post("/ECHO")) == (403, "not_allowed"), "the cookie's role is the token's"
        assert ask.post("/logout").headers["location"] == "/login"
        assert ask.get(f"{API}/services").status_code == 401


@pytest.mark.parametrize(
    "sent", [{"data": {"token": "x"}}, {"json": {}}, {"json": []}, {"json": {"token": 5}}, {}]
)
def test_a_login_with_what_is_no_token_is_401(closed: Gateway, sent: Any) -> None:
    with closed.client() as ask:
        assert problem(ask.post("/login", **sent)) == (401, "no_token")


def test_a_cookie_that_was_changed_or_is_over_is_none(closed: Gateway) -> None:
    tokens = closed.tokens
    who = tokens.who(TOKENS["viewer"])
    assert who is not None
    good = tokens.cookie(who, 100, time.time())
    name, until, signed = good.split(".")
    bad = [
        tokens.cookie(who, -1, time.time()),
        f"operator.{until}.{signed}",
        f"{name}.{int(until) + 1}.{signed}",
        f"{name}.{until}.{signed[:-1]}",
        f"{name}.{until}.",
        "nobody.99999999999.x",
        "x",
        "..",
        "é.1.2".encode().decode("latin-1"),
    ]
    with closed.client() as ask:
        for cookie in bad:
            answer = ask.get(
                f"{API}/services",
                headers={"cookie": f"{closed.desk.guard.cookie}={cookie}".encode("latin-1")},
            )
            assert answer.status_code == 401, cookie
        assert (
            ask.get(
                f"{API}/services", headers={"cookie": f"a=b; {closed.desk.guard.cookie}={good}"}
            ).status_code
            == 200
        )


# ---------------------------------------------------------------- proxies


def test_what_a_proxy_says_counts_only_from_a_trusted_one(broker: RunningBroker, tmp_path: Path) -> None:
    said = {
        "x-forwarded-host": "jobs.example.org",
        "x-forwarded-proto": "https",
        "x-forwarded-prefix": "/zmws/",
        "origin": "https://jobs.example.org",
    }
    trusted = {"trusted_proxies": ("127.0.0.0/8",), "hosts": ("jobs.example.org",)}
    with gateway(broker, tmp_path, {"op": "operator"}, **trusted) as http, http.client(TOKENS["op"]) as ask:
        answer = ask.post("/ECHO", headers=said)
        assert answer.status_code == 202 and answer.headers["location"].startswith("/zmws/api/v1/jobs/")
        for prefix in ("//evil.example", "evil", "https://evil.example", "/\\evil.example", "/a;b"):
            answer = ask.post("/ECHO", headers={**said, "x-forwarded-prefix": prefix})
            assert answer.headers["location"].startswith("/api/v1/jobs/"), prefix
        answer = ask.post("/ECHO", headers={**said, "x-forwarded-host": "evil.example"})
        assert answer.status_code == 421
    other = gateway(broker, tmp_path, {"op2": "operator"}, trusted_proxies=("10.0.0.0/8",))
    with other as http, http.client(TOKENS["op"]) as ask:
        assert problem(ask.post("/ECHO", headers=said)) == (403, "wrong_origin")


def test_a_path_that_the_proxy_left_in_is_taken_off(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path, root_path="/zmws") as http, http.client() as ask:
        for path in ("/zmws/ECHO", "/ECHO"):
            answer = ask.get(path)
            assert answer.status_code == 202 and answer.headers["location"].startswith("/zmws/api/v1/jobs/")
        assert ask.get("/zmws/healthz").status_code == 200 and ask.get("/zmwsx/healthz").status_code == 404


def test_behind_a_proxy_nobody_comes_in_when_the_last_token_has_gone(
    broker: RunningBroker, tmp_path: Path
) -> None:
    with gateway(broker, tmp_path, {"op": "operator"}, trusted_proxies=("127.0.0.1",)) as http:
        http.tokens.delete("op")
        with http.client(TOKENS["op"]) as ask, http.client() as nobody:
            wait_until(lambda: ask.get(f"{API}/services").status_code == 401, 5)
            assert nobody.post("/ECHO").status_code == 401


@pytest.mark.parametrize(
    ("origin", "host", "status"),
    [
        ("https://127.0.0.1", "127.0.0.1:443", 202),
        ("http://127.0.0.1:80", "127.0.0.1", 202),
        ("http://127.0.0.1", "127.0.0.1:443", 403),
        ("https://127.0.0.1:8443", "127.0.0.1", 403),
    ],
)
def test_a_port_that_is_the_schemes_own_may_be_left_out(
    ask: httpx.Client, origin: str, host: str, status: int
) -> None:
    assert ask.get("/ECHO", headers={"origin": origin, "host": host}).status_code == status


@pytest.mark.parametrize("header", ["sec-purpose", "purpose"])
def test_what_a_browser_asks_for_before_anybody_wants_it_is_not_done(ask: httpx.Client, header: str) -> None:
    assert ask.get("/ECHO", headers={header: "prefetch;prerender"}).status_code == 503
    assert ask.get("/healthz", headers={header: "prefetch"}).status_code == 200


def test_headers_in_several_lines_are_read_as_one(closed: Gateway, http: Gateway) -> None:
    who = closed.tokens.who(TOKENS["viewer"])
    assert who is not None
    cookie = closed.tokens.cookie(who, 100, time.time()).encode()
    lines = b"Host: localhost\r\nConnection: close\r\n"
    answer = closed.raw(
        b"GET /api/v1/services HTTP/1.1\r\n"
        + lines
        + b"Cookie: a=1\r\nCookie: "
        + closed.desk.guard.cookie.encode()
        + b"="
        + cookie
        + b"\r\n\r\n"
    )
    assert answer.startswith(b"HTTP/1.1 200 ")
    answer = http.raw(b"GET /ECHO HTTP/1.1\r\n" + lines + b"Idempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_a_probe_without_a_host_is_answered_and_a_whole_address_taken(http: Gateway) -> None:
    assert http.raw(b"GET /healthz HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert http.raw(b"GET /ECHO HTTP/1.0\r\n\r\n").startswith(b"HTTP/1.1 421 ")
    whole = b"GET http://localhost/healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    assert http.raw(whole).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "http://a b", "\xff"])
def test_an_origin_that_is_none_is_refused(ask: httpx.Client, origin: str) -> None:
    answer = ask.get("/ECHO", headers={"origin": origin.encode("latin-1")})  # type: ignore[dict-item]
    assert problem(answer) == (403, "wrong_origin")


def test_other_cookies_of_the_host_do_no_harm(closed: Gateway) -> None:
    who = closed.tokens.who(TOKENS["viewer"])
    assert who is not None
    good = closed.tokens.cookie(who, 100, time.time())
    with closed.client() as ask:
        for other in ('other={"a":1}', "a[0]=x", "theme=dark mode", "=x", "x"):
            assert (
                ask.get(
                    f"{API}/services", headers={"cookie": f"{other}; {closed.desk.guard.cookie}={good}"}
                ).status_code
                == 200
            )


def test_with_a_login_a_get_submits_only_for_ones_own_page(closed: Gateway) -> None:
    who = closed.tokens.who(TOKENS["operator"])
    assert who is not None
    cookie = {"cookie": f"{closed.desk.guard.cookie}={closed.tokens.cookie(who, 100, time.time())}"}
    with closed.client() as ask:
        assert problem(ask.get("/ECHO", headers=cookie)) == (403, "wrong_origin"), "by plain HTTP nobody says"
        assert ask.get("/ECHO", headers={**cookie, "sec-fetch-site": "same-origin"}).status_code == 202
        assert ask.get("/ECHO", headers={**cookie, "origin": closed.url}).status_code == 202
        assert ask.post("/ECHO", headers=cookie).status_code == 202, (
            "a cookie of ours is sent by no other site"
        )
        assert ask.get(f"{API}/services", headers=cookie).status_code == 200


def test_an_id_that_would_be_another_tokens_key_is_not_taken(closed: Gateway) -> None:
    with closed.client(TOKENS["client"]) as ask:
        body = {"service": "ECHO", "id": "viewer:order-7"}
        assert problem(ask.post(f"{API}/jobs", json=body)) == (403, "not_allowed")
        assert ask.post(f"{API}/jobs/many", json=[body]).json()[0]["code"] == "not_allowed"
        assert ask.post(f"{API}/jobs", json={"service": "ECHO", "id": "order:7"}).status_code == 202


def test_names_of_roles_are_as_documented() -> None:
    assert ROLES == ("viewer", "client", "worker", "operator")


@pytest.mark.parametrize("part", ['\\"', "\\", '"', "\\134", "=", ";", "a=b;", "; "])
def test_a_cookie_as_large_as_a_head_takes_no_time(closed: Gateway, part: str) -> None:
    value = f'"{part * (30_000 // len(part))}"'
    with closed.client() as ask:
        for cookie in (f"a={value}", f"{closed.desk.guard.cookie}={value}"):
            begun = time.process_time()
            assert ask.get(f"{API}/services", headers={"cookie": cookie}).status_code == 401
            assert time.process_time() - begun < 1, "the gateway answers nobody meanwhile"
