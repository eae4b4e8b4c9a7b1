"""The gateway behind nginx and Caddy, as docs/deploying.md has it: the examples are taken from there.

Rule: an example is changed only where a test has to: the port, the certificate, the gateway's address. A
      prefix that is left in is made as the document says it is.
"""

from __future__ import annotations

import contextlib
import re
import shutil
import socket
import ssl
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests import documents
from tests.gateway.stand import TOKENS, Stream, gateway
from tests.peers import REPOSITORY, process, skip_unless_possible, wait_until
from zmws import WorkerBase
from zmws.settings import GatewaySettings
from zmws.testing import RunningBroker, broker_in_thread, free_ports, worker_in_thread

DOCUMENT = (REPOSITORY / "docs" / "deploying.md").read_text()
NAME, GATEWAY = "zmws.example.com", "127.0.0.1:5580"  # in the document
ROOT, STRIPPED, LEFT_IN = "at the root", "prefix stripped", "prefix left in"
ORIGIN = {"origin": f"https://{NAME}", "sec-fetch-site": "same-origin"}
API = "/api/v1"
HELD = threading.Event()  # what HOLD waits for


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        return params


class Hold(WorkerBase):
    """Says something, then waits until it is let go."""

    service_name = "HOLD"

    def work(self, job_id: str, params: Any) -> Any:
        self.job.partial({"n": 1})
        while not HELD.wait(0.02) and not self.job.cancelled:
            pass
        return "let go"


@pytest.fixture(scope="module")
def broker() -> Iterator[RunningBroker]:
    with broker_in_thread() as broker, contextlib.ExitStack() as stack:
        for kind in (Echo, Hold):
            stack.enter_context(worker_in_thread(kind, broker))
        yield broker


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """One for NAME, and its key."""
    skip_unless_possible(shutil.which("openssl"), "openssl is not installed, which makes the certificate")
    folder = tmp_path_factory.mktemp("certificate")
    made, key = folder / "cert.pem", folder / "key.pem"
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-days",
        "2",
        "-subj",
        f"/CN={NAME}",
    ]
    command += ["-addext", f"subjectAltName=DNS:{NAME}", "-out", str(made), "-keyout", str(key)]
    subprocess.run(command, check=True, capture_output=True, timeout=60)
    return made, key


# ---------------------------------------------------------------- the examples


def _put(text: str, *pairs: tuple[str, str]) -> str:
    """With the second of each pair in place of the first, which stands there once."""
    for was, now in pairs:
        assert text.count(was) == 1, f"{was!r} stands {text.count(was)} times in\n{text}"
        text = text.replace(was, now)
    return text


def _example(language: str, number: int) -> str:
    return documents.blocks(DOCUMENT, language)[number].text


def _settings(place: str) -> dict[str, Any]:
    """`[gateway]` of the document."""
    tables = [tomllib.loads(one.text) for one in documents.blocks(DOCUMENT, "toml")]
    (found,) = [table["gateway"] for table in tables if "gateway" in table]
    if place == LEFT_IN:
        found |= tomllib.loads(re.findall(r"`(root_path = .*?)`", DOCUMENT)[0])
    return dict(found)


def _nginx(folder: Path, place: str, port: int, to: str, certificate: tuple[Path, Path]) -> list[str]:
    site = _example("nginx", 0)
    if place != ROOT:
        there = re.findall(r"^    location / \{\n.*?^    \}\n", site, re.MULTILINE | re.DOTALL)
        site = _put(site, (there[0], _example("nginx", 1)))
    if place == LEFT_IN:
        site = _put(site, (f"{GATEWAY}/", GATEWAY), ("X-Forwarded-Prefix /zmws", 'X-Forwarded-Prefix ""'))
    site = _put(
        site,
        ("listen 443 ssl http2;", f"listen 127.0.0.1:{port} ssl http2;"),
        ("/etc/ssl/certs/zmws.pem", str(certificate[0])),
        ("/etc/ssl/private/zmws.key", str(certificate[1])),
        (GATEWAY, to),
    )
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = "".join(f"    {kind}_temp_path {folder}/{kind};\n" for kind in kinds)
    (folder / "nginx.conf").write_text(
        f"daemon off;\nmaster_process off;\npid {folder}/nginx.pid;\nerror_log stderr;\nevents {{}}\n"
        f"http {{\n    access_log off;\n{paths}{site}}}\n"
    )
    return ["-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")]


def _caddy(folder: Path, place: str, port: int, to: str, certificate: tuple[Path, Path]) -> list[str]:
    site = _example("caddyfile", 0 if place == ROOT else 1)
    if place == LEFT_IN:
        site = _put(site, ("handle_path", "handle"), ("X-Forwarded-Prefix /zmws", "-X-Forwarded-Prefix"))
    tls = f"\tbind 127.0.0.1\n\ttls {certificate[0]} {certificate[1]}\n"
    site = _put(site, (f"{NAME} {{\n", f"https://{NAME}:{port} {{\n{tls}"), (GATEWAY, to))
    (folder / "Caddyfile").write_text(f"{{\n\tadmin off\n\tauto_https disable_redirects\n}}\n{site}")
    return ["run", "--config", str(folder / "Caddyfile"), "--adapter", "caddyfile"]


PROXIES = {"nginx": _nginx, "caddy": _caddy}

# ---------------------------------------------------------------- the proxies


class Through(httpx.HTTPTransport):
    """To the proxy, whatever name is asked for."""

    def __init__(self, port: int, certificate: Path) -> None:
        super().__init__(verify=ssl.create_default_context(cafile=str(certificate)), trust_env=False)
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return super().handle_request(
            httpx.Request(
                request.method,
                request.url.copy_with(host="127.0.0.1", port=self._port),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": NAME},
            )
        )


@dataclass
class Site:
    """A gateway behind a proxy, as a browser finds it. `prefix`: below which path."""

    prefix: str
    port: int
    certificate: Path
    token: str

    def client(self, with_token: bool = True) -> httpx.Client:
        headers = {"authorization": f"Bearer {self.token}"} if with_token else {}
        through = Through(self.port, self.certificate)
        return httpx.Client(base_url=f"https://{NAME}", timeout=30, transport=through, headers=headers)


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


CASES = [(name, place) for name in PROXIES for place in (ROOT, STRIPPED, LEFT_IN)]


@pytest.fixture(scope="module", params=CASES, ids=", ".join)
def site(
    request: pytest.FixtureRequest,
    broker: RunningBroker,
    certificate: tuple[Path, Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    name, place = request.param
    program = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    skip_unless_possible(program, f"{name} is not installed")
    folder = tmp_path_factory.mktemp(name)
    with gateway(broker, folder, roles={"op": "operator"}, **_settings(place)) as behind:
        (port,) = free_ports(1)
        to = behind.url.removeprefix("http://")
        command = [str(program), *PROXIES[name](folder, place, port, to, certificate)]
        home = {part: str(folder) for part in ("HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")}
        with process(command, folder / "log.txt", more=home) as proxy:
            wait_until(
                lambda: _listens(port) or proxy.popen.poll() is not None, what=f"{name}: {proxy.text()}"
            )
            assert proxy.popen.poll() is None, proxy.text()
            yield Site("" if place == ROOT else "/zmws", port, certificate[0], TOKENS["op"])
            proxy.popen.terminate()
            proxy.popen.wait(20)


@pytest.fixture(autouse=True)
def held() -> Iterator[None]:
    HELD.clear()
    yield
    HELD.set()


def test_a_call_is_answered(site: Site) -> None:
    with site.client() as ask:
        answer = ask.get(f"{site.prefix}/SYNC-ECHO?a=%C3%BC+%26")
        assert (answer.status_code, answer.json()) == (200, {"a": "ü &"})


def test_links_lead_through_the_proxy(site: Site) -> None:
    with site.client() as ask:
        answer = ask.post(f"{site.prefix}/ECHO", json={"a": 1})
        told = answer.json()
        at = f"{site.prefix}{API}/jobs/{told['id']}"
        assert (answer.status_code, answer.headers["location"]) == (202, at)
        assert told["links"] == {"job": at, "result": f"{at}/result", "events": f"{at}/events"}
        assert ask.get(told["links"]["result"], params={"wait": 20}).json() == {"a": 1}
        home = ask.get(f"{site.prefix}/").json()
        assert ask.get(home["services"]).status_code == ask.get(home["health"]).status_code == 200


def test_events_come_one_by_one(site: Site) -> None:
    with site.client() as ask:
        stream = Stream(ask, ask.post(f"{site.prefix}/HOLD").json()["links"]["events"])
        assert stream.response.headers["content-type"].startswith("text/event-stream")
        while (event := stream.next())[0] != "partial":
            assert event[0] != "end"
        HELD.set()  # so that it cannot have ended when that event came
        kind, told = stream.all()[-1]
        assert (kind, told["state"]) == ("state", "complete")
        assert ask.get(stream.response.url.path, headers={"last-event-id": stream.last_id}).status_code == 204


def test_a_page_of_the_same_origin_may_post_and_one_of_another_may_not(site: Site) -> None:
    with site.client() as ask:
        assert ask.post(f"{site.prefix}/ECHO", headers=ORIGIN).status_code == 202
        for origin in (
            "https://evil.example",
            "https://evil.zmws.example.com",
            f"https://{NAME}:444",
            "null",
        ):
            answer = ask.post(f"{site.prefix}/ECHO", headers={"origin": origin})
            assert (answer.status_code, answer.json()["code"]) == (403, "wrong_origin"), origin


def test_a_login_is_for_the_gateway_alone_and_never_without_tls(site: Site) -> None:
    with site.client(with_token=False) as ask:
        assert ask.get(f"{site.prefix}{API}/services").status_code == 401
        assert ask.get(f"{site.prefix}/login").status_code == 200
        answer = ask.post(f"{site.prefix}/login", data={"token": site.token}, headers=ORIGIN)
        assert (answer.status_code, answer.headers["location"]) == (303, f"{site.prefix}/ui/")
        said = {part.strip().lower() for part in answer.headers["set-cookie"].split(";")[1:]}
        assert {f"path={site.prefix or '/'}", "httponly", "samesite=strict", "secure"} <= said
        assert ask.get(f"{site.prefix}{API}/services").status_code == 200
        assert ask.post(f"{site.prefix}/logout", headers=ORIGIN).headers["location"] == f"{site.prefix}/login"
        assert ask.get(f"{site.prefix}{API}/services").status_code == 401


def test_what_a_client_says_of_proxies_is_not_believed(site: Site) -> None:
    evil = {"x-forwarded-host": "evil.example", "x-forwarded-prefix": "/evil", "x-forwarded-proto": "http"}
    with site.client(with_token=False) as ask:
        answer = ask.post(f"{site.prefix}/login", data={"token": site.token}, headers={**ORIGIN, **evil})
        assert (answer.status_code, answer.headers["location"]) == (303, f"{site.prefix}/ui/")
        assert "; Secure" in answer.headers["set-cookie"]


def test_a_body_is_taken_up_to_the_bound_and_no_larger(site: Site) -> None:
    most = GatewaySettings().body_bytes_max
    with site.client() as ask:
        for size, status in ((most - 64 * 1024, 202), (most + 1, 413)):
            answer = ask.post(f"{site.prefix}/ECHO", json="x" * (size - 2))
            assert answer.status_code == status, size


def test_the_path_without_its_slash_leads_to_the_gateway(site: Site) -> None:
    if site.prefix:
        with site.client() as ask:
            answer = ask.get(site.prefix)
            assert answer.status_code in (301, 302) and answer.headers["location"].endswith("/zmws/")


def test_the_examples_wait_longer_than_the_gateway_and_close_sooner() -> None:
    known = GatewaySettings()
    waits = [int(text) for text in re.findall(r"proxy_read_timeout (\d+)s;", DOCUMENT)]
    longest = max(known.sync_timeout, known.wait_max) + known.reconnect_timeout
    assert len(waits) == 2 and min(waits) > longest > known.stream_ping
    keeps = [int(text) for text in re.findall(r"^\t+keepalive (\d+)s$", DOCUMENT, re.MULTILINE)]
    assert len(keeps) == 2 and max(keeps) < known.keep_alive


# ---------------------------------------------------------------- tokens, made and deleted while it runs


def test_the_first_token_is_asked_for_as_soon_as_it_is_made(broker: RunningBroker, tmp_path: Path) -> None:
    with gateway(broker, tmp_path) as http, http.client() as ask:
        assert ask.get(f"{API}/services").status_code == 200
        token = http.tokens.new("op", role="operator")
        wait_until(lambda: ask.get(f"{API}/services").status_code == 401, what="a token to be needed")
        with http.client(token) as known:
            assert known.get(f"{API}/services").status_code == 200


def test_off_the_loopback_nobody_may_anything_without_a_token(broker: RunningBroker, tmp_path: Path) -> None:
    with (
        gateway(broker, tmp_path, {"op": "operator"}, http="0.0.0.0:0") as http,
        http.client(TOKENS["op"]) as known,
        http.client() as ask,
    ):
        assert known.get(f"{API}/services").status_code == 200
        http.tokens.delete("op")
        wait_until(lambda: known.get(f"{API}/services").status_code == 401, what="it to be deleted")
        assert ask.get(f"{API}/services").status_code == 401


# ---------------------------------------------------------------- bodies that nobody reads


@pytest.mark.parametrize("size", [9 << 20, 24 << 20])
def test_who_sends_too_much_is_told_so_and_not_cut_off(
    broker: RunningBroker, tmp_path: Path, size: int
) -> None:
    with gateway(broker, tmp_path) as http:
        head = f"POST /ECHO HTTP/1.1\r\nHost: localhost\r\nContent-Length: {size}\r\n\r\n"
        answer = http.raw(head.encode() + bytes(size))
        assert answer.startswith(b"HTTP/1.1 413 ") and b"connection: close" in answer.lower()
        assert answer.endswith(b"}") and b'"too_large"' in answer
