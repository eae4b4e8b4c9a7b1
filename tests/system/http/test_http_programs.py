"""The clients and workers of docs/http-programs.md, run as they stand there, by their own interpreters.

Rule 1: a program is the text of its block, and its first line says how it is run.
Rule 2: a worker leads a group of processes, and dies with all of it: nothing is left behind.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests import documents
from tests.peers import REPOSITORY, skip_unless_possible, wait_until
from tests.system.installation import Installation, environment, installation, processes_in
from zmws.client import Client

DOCUMENT = (REPOSITORY / "docs" / "http-programs.md").read_text()
NEEDED = {"bash": ("bash", "curl", "jq"), "php": ("php",), "node": ("node",), "python": ()}
LANGUAGES = tuple(NEEDED)
_HOW = re.compile(r".*(?:#|//) ((\w+) (client|worker)\.\w+) SERVICE(?: PARAMS KEY)?\n")
_SHOWN = re.compile(r"\$ bash worker\.sh REVERSE &\n\$ bash client\.sh .*\n(.*)\n")
_ENDS_S = 30


def _programs() -> dict[tuple[str, str], documents.Block]:
    """The programs of the document, by part and interpreter."""
    found = {}
    for block in documents.blocks(DOCUMENT):
        if block.language not in ("toml", "console"):
            how = _HOW.match(block.text)
            assert how is not None, f"http-programs.md:{block.line}: nobody can tell how this is run"
            found[how[3], how[2]] = block
    return found


PROGRAMS = _programs()


def _service(language: str) -> str:
    """The service that only the worker of this language does."""
    return f"REVERSE-{language}"


def _need(*languages: str) -> None:
    for language in languages:
        missing = [name for name in NEEDED[language] if shutil.which(name) is None]
        skip_unless_possible(not missing, f"{', '.join(missing)} is not installed")


def _runs(language: str) -> bool:
    return all(shutil.which(name) for name in NEEDED[language])


# ---------------------------------------------------------------- programs that run


class Folder:
    """A folder with the programs of the document, and where they are to ask."""

    def __init__(self, path: Path, url: str, client: str = "", worker: str = "") -> None:
        """`url`: of the gateway; `client`, `worker`: their tokens, if there are any."""
        self.path, self.url = path, url
        self._tokens = {"client": client, "worker": worker}
        path.mkdir()
        for block in PROGRAMS.values():
            (path / self._words(block)[1]).write_text(block.text)

    @staticmethod
    def _words(block: documents.Block) -> list[str]:
        how = _HOW.match(block.text)
        assert how is not None
        return how[1].split()

    def environment(self, part: str, url: str | None = None) -> dict[str, str]:
        """What a program is started with."""
        set_ = {"ZMWS_TOKEN": self._tokens[part]} if self._tokens[part] else {}
        return environment(ZMWS_URL=url or self.url, NO_PROXY="127.0.0.1", no_proxy="127.0.0.1", **set_)

    def _command(self, part: str, language: str, *words: str) -> list[str]:
        interpreter, file = self._words(PROGRAMS[part, language])
        return [sys.executable if interpreter == "python" else interpreter, file, *words]

    @contextlib.contextmanager
    def client(
        self, language: str, service: str, params: Any, key: str, url: str | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A client until the block ends."""
        command = self._command("client", language, service, json.dumps(params), key)
        with _group(
            command,
            cwd=self.path,
            env=self.environment("client", url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as popen:
            yield popen

    def ask(self, language: str, service: str, params: Any, key: str, url: str | None = None) -> Told:
        """A client to its end."""
        with self.client(language, service, params, key, url) as popen:
            return Told(popen)

    @contextlib.contextmanager
    def worker(
        self, language: str, service: str, url: str | None = None
    ) -> Iterator[subprocess.Popen[bytes]]:
        """A worker until the block ends; what it writes goes into a file of its own."""
        with (self.path / f"{service}.log").open("ab") as log:
            command = self._command("worker", language, service)
            env = self.environment("worker", url)
            with _group(command, cwd=self.path, env=env, stdout=log, stderr=log) as popen:
                yield popen

    def written(self, service: str) -> str:
        """What the workers of a service have written."""
        return (self.path / f"{service}.log").read_text()


class Told:
    """What a client has printed, and its exit code."""

    def __init__(self, popen: subprocess.Popen[bytes]) -> None:
        out, err = popen.communicate(timeout=_ENDS_S)
        self.code, self.out, self.err = popen.returncode, out.decode(), err.decode()

    def result(self) -> Any:
        """The result. Fails if there is none."""
        assert self.code == 0, self.err
        return json.loads(self.out)


@contextlib.contextmanager
def _group(command: list[str], **options: Any) -> Iterator[subprocess.Popen[bytes]]:
    """A process and its children, which are killed at the end."""
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True, **options) as popen:
        try:
            yield popen
        finally:
            _kill(popen)


def _kill(popen: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(popen.pid, signal.SIGKILL)
    popen.wait(_ENDS_S)


# ---------------------------------------------------------------- installations


@contextlib.contextmanager
def _configured(root: Path, services: str, broker: str = "") -> Iterator[Installation]:
    """An installation with a gateway. It does not run yet, and is ended with the block."""
    with installation(root, "", broker=broker) as zmws:
        zmws.has_http = True
        zmws.configure("", broker, services)
        yield zmws
        assert zmws.run("stop").code == 0
        assert zmws.pids() == {}


def _start(zmws: Installation) -> None:
    started = zmws.run("start")
    assert started.code == 0, started.err


def _url(zmws: Installation) -> str:
    return f"http://127.0.0.1:{zmws.ports[4]}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Folder]:
    """A worker of each language for a service of its own. They were there before the gateway was."""
    (example,) = documents.blocks(DOCUMENT, "toml")
    services = "".join(f"[services.{_service(language)}]\nretries = 0\n" for language in LANGUAGES)
    root = tmp_path_factory.mktemp("installation")
    with _configured(root, example.text + services) as zmws, contextlib.ExitStack() as workers:
        folder = Folder(tmp_path_factory.mktemp("programs") / "folder", _url(zmws))
        for language in filter(_runs, LANGUAGES):
            workers.enter_context(folder.worker(language, _service(language)))
        _start(zmws)
        yield folder
        workers.close()
        wait_until(lambda: not processes_in(folder.path), what="the programs to be gone")


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Folder, Installation]]:
    """Here everybody needs a token, and a lease has a second."""
    services = "".join(f"[services.{_service(language)}]\nbackoff = 0\n" for language in LANGUAGES)
    root = tmp_path_factory.mktemp("installation")
    with _configured(root, services, "lease_ttr = 1.0") as zmws:
        tokens = {}
        for part in ("client", "worker"):
            made = zmws.run("gateway", "token", "new", f"the-{part}", "--role", part)
            assert made.code == 0, made.err
            tokens[part] = made.out.strip()
        _start(zmws)
        folder = Folder(tmp_path_factory.mktemp("programs") / "folder", _url(zmws), **tokens)
        yield folder, zmws
        wait_until(lambda: not processes_in(folder.path), what="the programs to be gone")


class Gate:
    """A way to the gateway where things go wrong.

    `refused`: where the first request is told 503; `lost`: where the first answer is lost; `held`: where
    requests come, and no further. They are ends of paths. `keys`: the Idempotency-Keys of new jobs, as they
    came.
    """

    def __init__(self, to: str, refused: tuple[str, ...] = (), lost: str = "-", held: str = "-") -> None:
        self.keys: list[str | None] = []
        self.holds, self._over = threading.Event(), threading.Event()
        self._to = to.removeprefix("http://")
        self._refused, self._lost, self._held = refused, lost, held
        self._seen: Counter[str] = Counter()
        gate = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                gate._pass(self)

            do_GET = do_POST

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever)

    def __enter__(self) -> Gate:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def _pass(self, request: BaseHTTPRequestHandler) -> None:
        path = request.path.partition("?")[0]
        body = request.rfile.read(int(request.headers.get("content-length", 0)))
        if path.endswith("/jobs"):
            self.keys.append(request.headers.get("idempotency-key"))
        if path.endswith(self._held):
            self.holds.set()
            self._over.wait(_ENDS_S)
            return
        self._seen[path] += 1
        if self._seen[path] == 1 and path.endswith(self._refused):
            self._answer(request, 503, b'{"code": "no_broker", "detail": "as the test has it"}')
            return
        connection = http.client.HTTPConnection(self._to, timeout=_ENDS_S)
        with contextlib.closing(connection):
            connection.request(request.command, request.path, body, dict(request.headers))
            answer = connection.getresponse()
            told = answer.read()
        if self._seen[path] > 1 or not path.endswith(self._lost):
            self._answer(request, answer.status, told)

    @staticmethod
    def _answer(request: BaseHTTPRequestHandler, status: int, body: bytes) -> None:
        with contextlib.suppress(ConnectionError):
            request.send_response(status)
            if status != 204:
                request.send_header("content-type", "application/json")
                request.send_header("content-length", str(len(body)))
            request.end_headers()
            request.wfile.write(body)


# ---------------------------------------------------------------- the document


def test_each_language_has_a_client_and_a_worker_of_less_than_30_lines() -> None:
    assert set(PROGRAMS) == {(part, language) for part in ("client", "worker") for language in LANGUAGES}
    for block in PROGRAMS.values():
        assert len(block.text.splitlines()) < 30, f"http-programs.md:{block.line}"


def test_the_example_at_the_top_prints_what_it_shows(folder: Folder, tmp_path: Path) -> None:
    _need("bash")
    (example,) = documents.blocks(DOCUMENT, "console")
    shown = _SHOWN.fullmatch(example.text)
    assert shown is not None, example.text
    typed = "".join(line[2:] + "\n" for line in example.text.splitlines() if line.startswith("$ "))
    printed = tmp_path / "printed"
    with (
        printed.open("wb") as out,
        _group(["bash", "-c", typed], cwd=folder.path, env=folder.environment("client"), stdout=out) as popen,
    ):
        assert popen.wait(_ENDS_S) == 0
    assert printed.read_text() == shown[1] + "\n"


# ---------------------------------------------------------------- clients and workers

TEXT = 'Grüße, "Welt"\n\\ 😀'


@pytest.mark.parametrize("worker", LANGUAGES)
@pytest.mark.parametrize("client", LANGUAGES)
def test_every_client_gets_its_result_from_every_worker(folder: Folder, client: str, worker: str) -> None:
    _need(client, worker)
    told = folder.ask(client, _service(worker), {"str": TEXT}, f"{client}-asks-{worker}")
    assert told.result() == TEXT[::-1] and told.err == "", folder.written(_service(worker))


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_job_that_fails_is_told_with_its_code(folder: Folder, language: str) -> None:
    _need(language)
    told = folder.ask(language, _service(language), {"str": 3}, f"{language}-fails")
    assert told.code == 1 and told.out == ""
    assert re.match(r"bad_text: \S", told.err), told.err
    after = folder.ask(language, _service(language), {"str": "abc"}, f"{language}-goes-on")
    assert after.result() == "cba"


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_key_that_came_with_other_parameters_is_refused(folder: Folder, language: str) -> None:
    _need(language)
    key = f"{language}-twice"
    assert folder.ask(language, _service(language), {"str": "abc"}, key).result() == "cba"
    assert folder.ask(language, _service(language), {"str": "abc"}, key).result() == "cba"
    told = folder.ask(language, _service(language), {"str": "def"}, key)
    assert told.code == 1 and told.err.startswith("key_reused: "), told.err


@pytest.mark.parametrize("language", LANGUAGES)
def test_who_asks_for_a_service_that_nobody_named_is_told_so(folder: Folder, language: str) -> None:
    _need(language)
    told = folder.ask(language, f"NOBODY-{language}", {}, f"{language}-nobody")
    assert told.code == 1 and told.err.startswith("unknown_service: "), told.err
    with folder.worker(language, f"NOBODY-{language}") as worker:
        worker.wait(_ENDS_S)
    assert "unknown_service" in folder.written(f"NOBODY-{language}")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_client_whose_answer_is_lost_asks_again_with_the_same_key(folder: Folder, language: str) -> None:
    _need(language)
    key = f"{language}-lost"
    with Gate(folder.url, lost="/jobs") as gate:
        assert folder.ask(language, _service(language), {"str": "abc"}, key, gate.url).result() == "cba"
    assert gate.keys == [key, key]


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_job_of_a_worker_that_is_killed_is_done_by_another(
    guarded: tuple[Folder, Installation], language: str
) -> None:
    """Both ask through a gate that tells them 503 at first, and the report of the worker does not arrive."""
    _need(language)
    folder, zmws = guarded
    service, key = _service(language), f"{language}-killed"
    refused = ("/jobs", "/lease", "/result")
    with (
        Gate(folder.url, refused, held="/leases/report") as gate,
        folder.worker(language, service, gate.url) as worker,
        folder.client(language, service, {"str": "abc"}, key, gate.url) as client,
    ):
        assert gate.holds.wait(_ENDS_S), folder.written(service)
        _kill(worker)
        with folder.worker(language, service):
            assert Told(client).result() == "cba", folder.written(service)
    with Client(zmws.client) as broker:
        record = broker.ask("zmws.job", {"id": f"the-client:{key}"})
    assert record["state"] == "complete" and record["attempt"] == 2
    assert [attempt["error"]["code"] for attempt in record["attempts"] if attempt.get("error")] == ["timeout"]
