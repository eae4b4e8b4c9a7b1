"""/SERVICE, /SYNC-SERVICE and /SERVER-*, to the letter."""

from __future__ import annotations

import base64
import socket
import threading
from typing import Any

import httpx
import pytest

from tests.gateway.stand import Gateway, gateway
from tests.peers import wait_until

FORM = "application/x-www-form-urlencoded"
PART = b"--b\r\nContent-Disposition: form-data; "
RESERVED = ["zmws.stats", "mmi.service", "SYNC-zmws.purge", "titanic.request", "a b", "a%00b"]


def params(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["params"]


def test_a_get_submits_and_says_where_to_look(ask: httpx.Client) -> None:
    answer = ask.get("/ECHO?a=1")
    told = answer.json()
    assert answer.status_code == 202 and answer.headers["location"] == f"/api/v1/jobs/{told['id']}"
    assert answer.headers["cache-control"] == "no-store"
    assert told["links"]["result"] == f"/api/v1/jobs/{told['id']}/result" and told["durability"] == "disk"
    result = ask.get(told["links"]["result"], params={"wait": 10})
    assert result.json() == {"params": {"a": "1"}, "meta": None}


@pytest.mark.parametrize(
    ("query", "given"),
    [
        ("", {}),
        ("?a=1&b=x+y%26", {"a": "1", "b": "x y&"}),
        ("?a=1&a=2&a=3", {"a": ["1", "2", "3"]}),
        ("?a[]=1", {"a": ["1"]}),
        ("?a[]=1&a[]=2&b=", {"a": ["1", "2"], "b": ""}),
        ("?%C3%BC=%E2%82%AC", {"ü": "€"}),
    ],
)
def test_parameters_of_a_query(ask: httpx.Client, query: str, given: Any) -> None:
    assert params(ask.get(f"/SYNC-ECHO{query}")) == given


@pytest.mark.parametrize(
    ("sent", "given"),
    [
        ({"json": {"a": [1, None]}}, {"a": [1, None]}),
        ({"json": [1, 2]}, [1, 2]),
        ({"json": 12345678901234567890}, 12345678901234567890),
        ({"data": {"a": "1", "b": "ü"}}, {"a": "1", "b": "ü"}),
        ({"content": b""}, {}),
        ({"json": {"b": 2}, "params": {"a": "1", "b": "x"}}, {"a": "1", "b": 2}),
        ({"data": {"b": "2"}, "params": {"a": "1"}}, {"a": "1", "b": "2"}),
    ],
)
def test_parameters_of_a_body(ask: httpx.Client, sent: Any, given: Any) -> None:
    assert params(ask.post("/SYNC-ECHO", **sent)) == given


def test_files_of_a_form_come_as_base64(ask: httpx.Client) -> None:
    files = {"photo": ("a.png", b"\x89PNG\x00", "image/png")}
    given = params(ask.post("/SYNC-ECHO", files=files, data={"title": "x"}))
    data = base64.b64encode(b"\x89PNG\x00").decode()
    assert given == {"title": "x", "photo": {"name": "a.png", "type": "image/png", "base64": data}}


@pytest.mark.parametrize(
    ("sent", "status", "text"),
    [
        ({"content": b"{", "headers": {"content-type": "application/json"}}, 400, "not JSON"),
        (
            {"content": b'{"a":1}', "headers": {"content-type": "application/x-www-form-urlencoded"}},
            400,
            "-H",
        ),
        ({"content": b"x", "headers": {"content-type": "text/csv"}}, 415, "application/json"),
        ({"content": b"x"}, 415, "says no Content-Type"),
        ({"json": [1], "params": {"a": "1"}}, 400, "JSON object"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data"}}, 400, "boundary"),
        ({"content": b"x", "headers": {"content-type": "multipart/form-data; boundary=b"}}, 400, "form"),
        *(
            (
                {
                    "content": b"x",
                    "headers": {"content-type": f"multipart/form-data; boundary=b; charset={name}"},
                },
                400,
                "charset",
            )
            for name in ("undefined", "idna", "punycode", "unicode_escape", "utf-16", "zip", "x", '""', "a.b")
        ),
        ({"content": b"[" * 5000, "headers": {"content-type": "application/json"}}, 400, "not JSON"),
    ],
)
def test_a_body_that_cannot_be_read_says_why(ask: httpx.Client, sent: Any, status: int, text: str) -> None:
    answer = ask.post("/SYNC-ECHO", **sent)
    assert answer.status_code == status and text in answer.json()["detail"], answer.text
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    "body",
    [
        PART + b'name="a"\r\n\r\nx\r\n' + PART + b'name="b"\r\n\r\ny',
        b"--b\r\nContent-Disposition: form-data; name=\"a\"; filename*=utf-8''x\r\n\r\nx\r\n--b--\r\n",
    ],
)
def test_a_form_that_would_be_read_in_part_is_400(ask: httpx.Client, body: bytes) -> None:
    answer = ask.post("/SYNC-ECHO", content=body, headers={"content-type": "multipart/form-data; boundary=b"})
    assert answer.status_code == 400


@pytest.mark.parametrize("key", [".", "..", "cancel", "many", "delete"])
def test_a_job_can_be_asked_for_whatever_its_key(ask: httpx.Client, key: str) -> None:
    answer = ask.post("/ECHO", headers={"idempotency-key": key})
    assert ask.get(answer.headers["location"]).json()["service"] == "ECHO"


def test_a_result_comes_in_its_own_type(ask: httpx.Client) -> None:
    answer = ask.get("/SYNC-ECHO?bytes=1")
    assert answer.content == b"\x00\xff" and answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_job_that_fails_is_500_with_its_error(ask: httpx.Client) -> None:
    answer = ask.get("/SYNC-ECHO?fail=1", headers={"idempotency-key": "fails"})
    told = answer.json()
    assert answer.status_code == 500 and told["code"] == "job_failed" and told["id"] == "fails"
    assert told["error"] == "as asked" and told["exception"] == "ValueError" and "traceback" in told


def test_what_nobody_serves_is_404(ask: httpx.Client) -> None:
    for path in ("/NOPE", "/SYNC-NOPE"):
        answer = ask.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_service")


@pytest.mark.parametrize(
    "name", ["zmws.stats", "mmi.service", "SYNC-zmws.purge", "titanic.request", "a b", "a%00b"]
)
def test_the_brokers_own_services_have_no_old_door(ask: httpx.Client, name: str) -> None:
    assert ask.get(f"/{name}").status_code in (400, 404)


def test_head_and_other_methods_are_405_and_submit_nothing(ask: httpx.Client) -> None:
    before = ask.get("/api/v1/jobs?service=ECHO").json()
    for method in ("HEAD", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"):
        answer = ask.request(method, "/ECHO")
        assert answer.status_code == 405 and answer.headers["allow"] == "GET, POST", method
    assert ask.get("/api/v1/jobs?service=ECHO").json() == before


@pytest.mark.parametrize("name", ["WORKERS", "JOBS", "ACTIVE", "HIST"])
def test_the_lists_of_the_php_program(ask: httpx.Client, name: str) -> None:
    for path in (f"/SERVER-{name}", f"/SYNC-SERVER-{name}"):
        answer = ask.get(path)
        assert answer.status_code == 200 and isinstance(answer.json(), list)
    if name == "WORKERS":
        assert {row["service"] for row in answer.json()} == {"ECHO", "HOLD"}


def test_a_call_past_its_time_is_504_with_the_id_and_can_be_come_back_for(
    ask: httpx.Client, held: threading.Event
) -> None:
    headers = {"idempotency-key": "late", "prefer": "wait=0.2"}
    answer = ask.get("/SYNC-HOLD", headers=headers)
    assert (answer.status_code, answer.json()["code"], answer.json()["id"]) == (504, "timeout", "late")
    held.set()
    again = ask.get("/SYNC-HOLD", headers={"idempotency-key": "late"})
    assert again.status_code == 200 and again.json() == "let go"


def test_a_repeat_with_its_key_is_one_job(ask: httpx.Client) -> None:
    headers = {"idempotency-key": '"once-1"'}
    first, second = (ask.post("/ECHO", json={"a": 1}, headers=headers) for _ in range(2))
    assert first.json()["id"] == second.json()["id"] == "once-1"
    assert (first.json()["existing"], second.json()["existing"]) == (False, True)
    for key in (b"x y", "ü€".encode(), b"k" * 1024):
        told = ask.post("/ECHO", headers={"idempotency-key": key}).json()  # type: ignore[dict-item]
        assert told["id"].startswith("ik-") and len(told["id"]) == 67


@pytest.mark.parametrize("path", ["/ECHO", "/SYNC-ECHO"])
def test_a_key_with_other_parameters_is_422_and_with_the_same_it_is_the_same(
    ask: httpx.Client, path: str
) -> None:
    for n, (given, other) in enumerate(
        [(None, {"a": 1}), ({}, []), ({"a": 1}, {"a": True}), ({"a": 1}, {"a": 1.0}), ([], 0), ("", False)]
    ):
        headers = {"idempotency-key": f"{path[1:]}-{n}"}
        sent = {} if given is None else {"json": given}
        first, again = (ask.post(path, headers=headers, **sent) for _ in range(2))
        assert first.status_code in (200, 202) and again.status_code in (200, 202), again.text
        refused = ask.post(path, headers=headers, json=other)
        assert (refused.status_code, refused.json()["code"]) == (422, "key_reused"), (given, other)


def test_a_caller_who_goes_before_the_result_leaves_no_job_behind(ask: httpx.Client, http: Gateway) -> None:
    with socket.create_connection(http.address) as gone:
        gone.sendall(b"GET /SYNC-HOLD HTTP/1.1\r\nHost: localhost\r\n\r\n")
        wait_until(lambda: http.desk.streams == 1, what="it to wait")
    wait_until(lambda: http.desk.streams == 0)
    wait_until(
        lambda: all(not row["jobs"] for row in ask.get("/api/v1/workers").json()),
        what="the worker to be free",
    )


def test_a_gateway_that_ends_tells_who_waits_for_a_result(broker: Any, tmp_path: Any) -> None:
    with gateway(broker, tmp_path) as http:
        found: list[httpx.Response] = []
        url = f"{http.url}/SYNC-HOLD"
        waiting = threading.Thread(target=lambda: found.append(httpx.get(url, timeout=20, trust_env=False)))
        waiting.start()
        wait_until(lambda: http.desk.streams == 1)
        http.loop.call_soon_threadsafe(http.server.end)
        waiting.join(10)
        assert (found[0].status_code, found[0].json()["code"]) == (503, "closing")


def test_a_fixed_door_wins_over_a_service_of_its_name(ask: httpx.Client) -> None:
    assert ask.get("/healthz").json() == {"status": "ok"}


def test_limits_on_waiting_jobs_are_429(ask: httpx.Client, http: Gateway) -> None:
    ask.patch("/api/v1/services/HOLD", json={"max_waiting": 1, "paused": True})
    try:
        answers = [ask.get("/HOLD") for _ in range(3)]
        codes = [answer.status_code for answer in answers]
        assert codes[0] == 202 and codes[-1] == 429 and answers[-1].headers["retry-after"] == "1"
    finally:
        ask.post("/api/v1/services/HOLD/purge")
        ask.patch("/api/v1/services/HOLD", json={"max_waiting": None, "paused": False})


def test_without_a_broker_it_is_503_soon_with_the_id(tmp_path: Any) -> None:
    with gateway("tcp://127.0.0.1:9", tmp_path) as http, http.client() as ask:
        for path in ("/ECHO", "/SYNC-ECHO", "/SERVER-WORKERS", "/api/v1/services"):
            answer = ask.get(path, timeout=2.5)
            assert (answer.status_code, answer.json()["code"]) == (503, "no_broker"), path
        assert answer.headers["retry-after"] == "1"
        told = ask.get("/ECHO").json()
        assert told["id"] and told["maybe_accepted"] is False
        assert ask.get("/healthz").status_code == 200 and ask.get("/readyz").status_code == 503
