"""zmws.worker.command: `zmws worker FILE` and `WorkerBase.main()` take the same options and end alike."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from zmws.cli.foreground import worker as worker_verb
from zmws.worker.command import OPTIONS, main_of, run_worker

SERVED: list[tuple[list[str], str | None]] = []


class Served:
    """Stands for a worker class: notes what it is run with."""

    def run(self, brokers: Sequence[str], service: str | None) -> int:
        SERVED.append((list(brokers), service))
        return 0


@pytest.fixture(autouse=True)
def installation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty one, as the current folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [])
    monkeypatch.setattr("logging.basicConfig", lambda **_: None)
    SERVED.clear()
    yield tmp_path


def test_both_have_the_same_options(capsys: pytest.CaptureFixture[str]) -> None:
    file, reload, *others = worker_verb.params
    assert (file.name, reload.name) == ("file", "reload"), "what is of `zmws worker` alone"
    assert tuple(others) == OPTIONS
    assert main_of(Served, ["--help"]) == 0
    shown = capsys.readouterr().out
    assert "Stands for a worker class" in shown and "--broker" in shown and "--log-level" in shown
    assert SERVED == []


def test_brokers_and_service_as_given_or_as_the_settings_have_them(installation: Path) -> None:
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
    from zmws.worker.files import load_class

    def load() -> Any:
        return load_class(installation / "broken.py")

    assert run_worker(load) == 2
    assert "there is no worker file" in capsys.readouterr().err
    (installation / "broken.py").write_text("x = 1\ny = x / 0\n")
    assert run_worker(load) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[0].endswith("cannot be imported: ZeroDivisionError: division by zero")
    assert said[1] == f"  {installation / 'broken.py'}:2: y = x / 0"
