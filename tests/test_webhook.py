"""workers/webhook.py, with a real server on a free port."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.peers import REPOSITORY
from zmws.testing import JobOutcome, run_job
from zmws.work.files import load_class

RECORD = {"id": "j1", "service": "SLEEP", "state": "failed", "params": {"seconds": 1}, "meta": None}
SECRET = base64.b64encode(b"s" * 32).decode()


@dataclass
class Receiver:
    """A server that keeps what is posted, and answers as it is told."""

    url: str = ""
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict)
    got: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.got.append((self.path, headers, body))
            self.send_response(receiver.status)
            for name, value in receiver.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0" if receiver.status == 204 else "5")
            self.end_headers()
            if receiver.status != 204:
                self.wfile.write(b"sorry")

        def log_message(self, format: str, *args: Any) -> None:
            pass

    for name in ("URL", "ALLOW", "SECRET"):
        monkeypatch.delenv(f"ZMWS_WEBHOOK_{name}", raising=False)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        serving = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        serving.start()
        receiver.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield receiver
        finally:
            server.shutdown()
            serving.join()


@pytest.fixture
def configured(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Receiver:
    monkeypatch.setenv("ZMWS_WEBHOOK_URL", f"{receiver.url}/jobs?key=k")
    return receiver


def post(params: Any, **given: Any) -> JobOutcome:
    return run_job(load_class(REPOSITORY / "workers" / "webhook.py"), params, **given)


def test_the_record_of_a_job_is_posted_as_it_is(configured: Receiver) -> None:
    done = post(RECORD, job_id="j1:on_failed-1")
    assert done.result == {"status": 204}
    [(path, headers, body)] = configured.got
    assert path == "/jobs?key=k" and json.loads(body) == RECORD
    assert headers["content-type"] == "application/json"
    assert headers["idempotency-key"] == headers["webhook-id"] == "j1:on_failed-1"
    assert "webhook-signature" not in headers


def test_any_body_is_posted(configured: Receiver) -> None:
    for body in ({"text": "hellö"}, [1], None, "x"):
        assert post({"body": body}).ok
        assert json.loads(configured.got[-1][2]) == body


def test_a_post_is_signed_as_standard_webhooks_has_it(
    configured: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for secret in (f"whsec_{SECRET}", SECRET):
        monkeypatch.setenv("ZMWS_WEBHOOK_SECRET", secret)
        assert post(RECORD, job_id="a.b").ok
        _, headers, body = configured.got[-1]
        assert headers["webhook-id"] == "a%2Eb" and abs(int(headers["webhook-timestamp"]) - time.time()) < 60
        signed = b".".join((b"a%2Eb", headers["webhook-timestamp"].encode(), body))
        expected = hmac.new(b"s" * 32, signed, hashlib.sha256).digest()
        assert headers["webhook-signature"] == f"v1,{base64.b64encode(expected).decode()}"


def test_without_a_url_the_job_fails_and_says_what_to_set(receiver: Receiver) -> None:
    failed = post(RECORD)
    assert not failed.retried and str(failed.message).startswith("no URL is configured: set ZMWS_WEBHOOK_URL")
    assert (
        post({"text": "x"}).message == "WEBHOOK needs 'body', which is posted as JSON, or the record of a job"
    )
    assert post([1]).code == "bad_params"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("URL", "hooks.example.com"),
        ("URL", "file:///etc/passwd"),
        ("URL", "https://me:secret@example.com/"),
        ("URL", "https://example.com:99999/"),
        ("ALLOW", "example.com"),
        ("SECRET", "whsec_%"),
    ],
)
def test_settings_that_are_wrong_are_told_before_any_job(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(f"ZMWS_WEBHOOK_{name}", value)
    with pytest.raises(ValueError) as wrong:
        post(RECORD)
    assert "secret" not in str(wrong.value)


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503])
def test_what_may_go_well_later_is_tried_again(configured: Receiver, status: int) -> None:
    configured.status = status
    failed = post(RECORD)
    assert failed.retried and failed.counted and failed.delay is None
    assert f" answered {status} " in str(failed.message) and str(failed.message).endswith(": sorry")
    assert "key=k" not in str(failed.message) + str(failed.traceback).rpartition("Retry")[2]


@pytest.mark.parametrize("status", [400, 401, 404, 410, 422])
def test_what_is_refused_has_failed_for_good(configured: Receiver, status: int) -> None:
    configured.status = status
    failed = post(RECORD)
    assert failed.state == "failed" and not failed.retried and f"answered {status}" in str(failed.message)


@pytest.mark.parametrize(
    ("asked", "delay"),
    [
        ("7", 7.0),
        ("0", 1.0),
        ("999999999", 86_400.0),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 1.0),
        ("soon", None),
        ("-5", None),
        ("\u00b2", None),
        ("9" * 5000, None),
    ],
)
def test_a_server_says_when_to_come_again(configured: Receiver, asked: str, delay: float | None) -> None:
    configured.status, configured.headers = 429, {"Retry-After": asked}
    assert post(RECORD).delay == delay


def test_a_server_says_when_to_come_again_by_a_date(configured: Receiver) -> None:
    configured.status, configured.headers = 503, {"Retry-After": formatdate(time.time() + 600, usegmt=True)}
    assert 550 < (post(RECORD).delay or 0) <= 600


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(configured: Receiver, status: int) -> None:
    configured.status, configured.headers = status, {"Location": f"{configured.url}/elsewhere"}
    failed = post(RECORD)
    assert not failed.retried and f"answered {status}" in str(failed.message)
    assert [path for path, _, _ in configured.got] == ["/jobs?key=k"]


def test_a_server_that_is_away_is_asked_again(configured: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    monkeypatch.setenv("ZMWS_WEBHOOK_URL", f"http://127.0.0.1:{port}/secret")
    failed = post(RECORD)
    assert failed.retried and "ConnectionRefusedError" in str(failed.message)
    assert "/secret" not in str(failed.message)


def test_a_server_that_speaks_something_else_or_nothing_is_asked_again(
    configured: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answers(said: bytes) -> None:
        taken, _ = odd.accept()
        with taken:
            taken.recv(65_536)
            taken.sendall(said)

    for said in (b"220 I am a mail server\r\n", b""):
        with socket.create_server(("127.0.0.1", 0)) as odd:
            monkeypatch.setenv("ZMWS_WEBHOOK_URL", f"http://127.0.0.1:{odd.getsockname()[1]}/")
            thread = threading.Thread(target=answers, args=(said,))
            thread.start()
            failed = post(RECORD)
            thread.join()
        assert failed.retried and "cannot be asked" in str(failed.message)


def test_a_server_that_says_nothing_holds_the_worker_for_a_while_only(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("ZMWS_WEBHOOK_URL", f"http://127.0.0.1:{silent.getsockname()[1]}/")
        cls = load_class(REPOSITORY / "workers" / "webhook.py")
        monkeypatch.setitem(vars(cls)["post"].__globals__, "TIMEOUT_S", 0.05)
        failed = run_job(cls, RECORD)
    assert failed.retried and "TimeoutError" in str(failed.message)


def test_a_proxy_of_the_environment_is_not_asked(
    configured: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert post(RECORD).ok


# ---------------------------------------------------------------- where a job says itself where to


def test_a_job_names_a_url_of_a_server_that_is_listed(
    configured: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZMWS_WEBHOOK_ALLOW", f"https://example.com {configured.url}")
    assert post({**RECORD, "meta": {"webhook": f"{configured.url}/mine"}}).ok
    assert post({"url": f"{configured.url}/own?a=b#c", "body": 1}).ok
    assert post({**RECORD, "meta": {"other": 1}}).ok
    assert post({**RECORD, "meta": "x"}).ok
    assert [path for path, _, _ in configured.got] == ["/mine", "/own?a=b", "/jobs?key=k", "/jobs?key=k"]


@pytest.mark.parametrize(
    "named",
    [
        "http://127.0.0.1:1/",  # another port
        "http://localhost:PORT/",  # another name
        "https://127.0.0.1:PORT/",
        "http://127.0.0.1:PORT@evil.example/",
        "http://evil.example\\@127.0.0.1:PORT/",
        "http://evil@127.0.0.1:PORT/",
        "http://127.0.0.1:PORT.evil.example/",
        "http://127.0.0.1:PORT/ HTTP/1.1\r\nX: y",
        "http:/127.0.0.1:PORT/",
        "file:///etc/passwd",
        "http://[::ffff:127.0.0.1]:PORT/",
        "http://[/",
        "//127.0.0.1:PORT/",
        ["http://127.0.0.1:PORT/"],
        7,
    ],
)
def test_any_other_url_is_refused(configured: Receiver, monkeypatch: pytest.MonkeyPatch, named: Any) -> None:
    monkeypatch.setenv("ZMWS_WEBHOOK_ALLOW", configured.url)
    if isinstance(named, str):
        named = named.replace("PORT", configured.url.rpartition(":")[2])
    for params in ({**RECORD, "meta": {"webhook": named}}, {"url": named, "body": 1}):
        failed = post(params)
        assert failed.state == "failed" and not failed.retried and configured.got == []


def test_without_a_list_no_job_names_a_url(configured: Receiver) -> None:
    refused = post({"url": f"{configured.url}/own", "body": 1})
    assert "not in ZMWS_WEBHOOK_ALLOW" in str(refused.message) and configured.got == []
    assert post({**RECORD, "meta": {"webhook": f"{configured.url}/own"}}).ok  # it is the job's own affair
    assert [path for path, _, _ in configured.got] == ["/jobs?key=k"]
