"""Tracing is off until it is switched on, and then nothing of it is loaded."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.peers import REPOSITORY
from tests.tracing.kept import Kept
from zmws import SettingsError, WorkerBase, ZmwsError, settings, tracing
from zmws.gateway import server
from zmws.testing import FakeClient, free_ports
from zmws.testing.processes import environment


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: object) -> object:
        return self.job.meta


def python(program: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment(),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


LOADED = "print(sorted(name for name in sys.modules if name.partition('.')[0] == 'opentelemetry'))"


@pytest.mark.parametrize(
    "program",
    [
        "import zmws",
        "import zmws; zmws.Client, zmws.AsyncClient, zmws.WorkerBase, zmws.worker",
        "import zmws.cli.calls, zmws.work.command, zmws.work.child, zmws.gateway.server",
        "from zmws.testing import FakeClient; FakeClient().submit_many([{'service': 'A'}])",
    ],
)
def test_nothing_of_opentelemetry_is_imported_as_long_as_it_is_off(program: str) -> None:
    assert python(f"import sys; {program}; {LOADED}") == "[]"


def test_nor_by_the_command_line() -> None:
    (port,) = free_ports(1)
    program = f"""
import sys
from click.testing import CliRunner
from zmws.cli import cli
for words in (["--help"], ["call", "ECHO", "--broker", "tcp://127.0.0.1:{port}", "--timeout", "0.01"]):
    assert CliRunner().invoke(cli, words).output
"""
    assert python(program + LOADED) == "[]"


def test_a_job_is_as_it_was_as_long_as_it_is_off() -> None:
    with FakeClient(workers=[Echo]) as client:
        assert client.call("ECHO") is None
        assert client.call("ECHO", meta={"a": 1}) == {"a": 1}


def test_where_the_package_is_missing_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "zmws.tracing.spans", raising=False)
    with pytest.raises(ZmwsError, match=r"pip install 'zmws\[otel\]'"):
        tracing.instrument()
    known = settings.load(None, {"gateway.tracing": True}, environ={}, cwd=tmp_path, upward=False)
    with pytest.raises(SettingsError, match=r"gateway.tracing is true: .*pip install 'zmws\[otel\]'"):
        server.check(known)
    assert tracing.on is None


def test_it_can_be_switched_off_again(kept: Kept) -> None:
    with FakeClient(workers=[Echo]) as client:
        client.call("ECHO")
        count = len(kept.all())
        tracing.uninstrument()
        assert client.call("ECHO") is None
    assert count and len(kept.all()) == count


def test_who_has_set_no_provider_sends_nothing_along() -> None:
    tracing.instrument()
    try:
        with FakeClient(workers=[Echo]) as client:
            assert client.call("ECHO") is None
            assert client.call("ECHO", meta={"a": 1}) == {"a": 1}
    finally:
        tracing.uninstrument()


def test_opentelemetry_instrument_finds_it() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    (where,) = project["entry-points"]["opentelemetry_instrumentor"].values()
    instrumentor = EntryPoint("zmws", where, "opentelemetry_instrumentor").load()()
    found = Kept()
    instrumentor.instrument(tracer_provider=found.provider, skip_dep_check=True)
    try:
        with FakeClient(workers=[Echo]) as client:
            client.call("ECHO")
        assert found.all("process ECHO")
    finally:
        instrumentor.uninstrument()
    assert tracing.on is None
