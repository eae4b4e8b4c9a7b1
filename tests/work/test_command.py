"""zmws.work.command: `zmws worker FILE` and `WorkerBase.main()` take the same options and end alike."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import click
import pytest

from zmws import WorkerBase
from zmws.cli.foreground import worker as worker_verb
from zmws.errors import ZmwsError
from zmws.work.command import OPTIONS, flags_of, main_of, run_worker

SERVED: list[tuple[list[str], str | None]] = []


class Served(WorkerBase):
    """Stands for a worker class: what it is run with is noted, and it is not run."""

    service_name = "SERVED"


class Noted:
    """Stands for what runs workers."""

    def __init__(
        self,
        workers: Sequence[tuple[WorkerBase, str | None]],
        brokers: Sequence[str],
        client: str | None = None,
        before_end: Any = None,
        manager: Any = None,
        key: Any = None,
        client_key: Any = None,
    ) -> None:
        ((worker, service),) = workers
        RUN.append((worker, client))
        SERVED.append((list(brokers), service))

    def run(self) -> int:
        return 0


RUN: list[tuple[WorkerBase, str | None]] = []


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty one, as the current folder."""
    monkeypatch.setattr("zmws.work.run.Run", Noted)
    RUN.clear()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    SERVED.clear()
    yield tmp_path


def test_both_have_the_same_options(capsys: pytest.CaptureFixture[str]) -> None:
    file, reload, *others = worker_verb.params
    assert (file.name, reload.name) == ("files", "reload"), "what is of `zmws worker` alone"
    assert tuple(others) == OPTIONS
    assert main_of(Served, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Stands for a worker class" in shown and "--broker" in shown and "--log-level" in shown
    assert SERVED == []


def test_brokers_and_service_as_given_or_as_the_settings_have_them(
    installation: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZMWS_SECURITY_INSECURE", "true")
    given = ["--broker", "tcp://a:1", "--broker", "tcp://b:2", "--service", "OTHER"]
    assert main_of(Served, given) == 0
    assert main_of(Served, []) == 0
    file = installation / "mine.toml"
    file.write_text('[broker]\nworker = "tcp://127.0.0.1:7"\n')
    assert main_of(Served, ["-c", str(file)]) == 0
    assert SERVED == [
        (["tcp://a:1", "tcp://b:2"], "OTHER"),
        (["tcp://127.0.0.1:5556"], None),
        (["tcp://127.0.0.1:7"], None),
    ]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--broker", "a:1"], "'a:1' is no endpoint to connect to"),
        (["--log-level", "loud"], "'loud' is no log level"),
        (["--config", "none.toml"], "none.toml"),
        (["--what"], "--what"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_runs(
    given: list[str], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main_of(Served, given) == 2
    assert told in capsys.readouterr().err and SERVED == []


def test_a_file_that_fails_is_told_with_the_place_where(
    installation: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from zmws.work.files import load_class

    def load() -> Any:
        return [load_class(installation / "broken.py")]

    assert run_worker(load) == 2
    assert "there is no worker file" in capsys.readouterr().err
    (installation / "broken.py").write_text("x = 1\ny = x / 0\n")
    assert run_worker(load) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("cannot be imported: ZeroDivisionError: division by zero")
    assert said[1] == f"  {installation / 'broken.py'}:2: y = x / 0"


def test_what_a_setup_raises_is_no_wrong_use_and_keeps_its_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(self: Noted) -> int:
        raise ValueError("of the author's")

    monkeypatch.setattr(Noted, "run", fails)
    assert run_worker(lambda: [Served]) == 1
    said = capsys.readouterr().err
    assert said.startswith("Traceback") and "ValueError: of the author's" in said


# ---------------------------------------------------------------- options of its own


class Writes(Served):
    """Has options of its own."""

    flags = (click.Option(["--path"], default="x.log"), click.Option(["--twice"], is_flag=True))


def test_options_that_a_class_declares_are_given_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert main_of(Writes, ["--path", "y.log", "--service", "OTHER"]) == 0
    assert main_of(Writes, []) == 0
    assert run_worker(lambda: [Writes], ["--twice"]) == 0
    given = [worker.options for worker, _ in RUN]
    assert given == [
        {"path": "y.log", "twice": False},
        {"path": "x.log", "twice": False},
        {"path": "x.log", "twice": True},
    ]
    assert main_of(Writes, ["--help"]) == 0
    assert "--path" in capsys.readouterr().out


def test_an_option_that_a_class_does_not_declare_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(click.UsageError, match="--pth"):
        run_worker(lambda: [Writes], ["--pth", "y"])
    assert main_of(Writes, ["--twice=yes"]) == 2
    assert RUN == []


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        ((click.Option(["--broker"]),), "--broker is taken already"),
        ((click.Option(["--help"]),), "--help is taken already"),
        ((click.Option(["--a"]), click.Option(["--a"])), "--a is taken already"),
        (("--path",), "flags holds '--path'"),
    ],
)
def test_options_that_cannot_be_are_told(flags: Any, told: str) -> None:
    cls = type("Wrong", (Served,), {"flags": flags})
    with pytest.raises(ZmwsError, match=re.escape(told)):
        flags_of([cls])


def test_two_classes_of_one_file_may_share_an_option_of_their_base() -> None:
    one, two = type("One", (Writes,), {}), type("Two", (Writes,), {})
    assert set(flags_of([one, two])) == {"path", "twice"}


def test_the_options_of_the_php_program_say_where_the_brokers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZMWS_SECURITY_INSECURE", "true")
    given = ["--backend-servers", "a, b", "--backend-port", "7000", "--frontend-port", "7001"]
    assert main_of(Served, [*given, "--service-name", "OTHER", "--log-level", "I"]) == 0
    assert main_of(Served, ["--backend-port", "7000"]) == 0
    assert SERVED == [(["tcp://a:7000", "tcp://b:7000"], "OTHER"), (["tcp://127.0.0.1:7000"], None)]
    assert [client for _, client in RUN] == ["tcp://a:7001", None]


def test_the_time_to_stop_that_is_given_goes_before_the_classs() -> None:
    assert main_of(Served, ["--stop-timeout", "2.5"]) == 0
    assert main_of(Served, []) == 0
    assert [worker.stop_timeout for worker, _ in RUN] == [2.5, 30.0]
    assert main_of(Served, ["--stop-timeout", "-1"]) == 2
