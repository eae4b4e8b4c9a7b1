"""What the verbs that look on show on a terminal of 80 columns, whatever the broker tells them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import click
import pytest

from zmws.cli import looking, options, tables
from zmws.cli.job import job
from zmws.client import asked as asking
from zmws.client.synchronous import Client

AT = "2027-01-31T08:00:00.000Z"
ID = "01945f1e-7c1a-7f3e-9d5b-" + "0123456789ab"
WORKER = {
    "id": ID,
    "host": "a-host-with-a-long-name.of.a-department.example.org",
    "pid": 4_194_304,
    "services": [f"SERVICE-NUMBER-{n}" for n in range(12)],
    "slots": 1000,
    "state": "draining",
    "jobs": [
        {"id": f"{ID}-{n}", "service": "S", "since": AT, "state": ("running", "hung")[n % 2]}
        for n in range(9)
    ],
    "since": AT,
    "done": 1_000_000_000,
    "failed": 1_000_000,
    "memory_bytes": None,
    "heard_at": AT,
}
SERVICE = {
    "service": "N" * 255,
    "waiting": 123_456_789,
    "oldest_s": 5.0,
    "paused": True,
    "options": {
        "ttr": {"value": 3600.0, "from": "configuration"},
        "ageing": {"value": None, "from": "default"},
        "expires": {"value": None, "from": "worker"},
        "retries": {"value": 1_000_000, "from": "worker"},
    },
    "params": {
        "$ref": "#/$defs/Order",
        "$defs": {
            "Order": {
                "type": "object",
                "required": ["path"],
                "properties": {
                    "path": {"type": "string", "description": "where the file is, " * 9},
                    "rows": {"anyOf": [{"type": "integer"}, {"type": "null"}], "default": None},
                    "kind": {"enum": ["csv", 7]},
                    "of": {"type": "array", "items": {"$ref": "#/$defs/Order"}},
                    "any": {},
                    "either": {"type": ["string", "null"], "title": "Either"},
                    "n" * 90: {"type": 5},
                    "odd": [],
                },
            }
        },
    },
}
RECORD = {
    "id": ID * 3,
    "service": "S",
    "state": "failed",
    "worker": ID * 3,
    "params": {"words": ["many words"] * 30},
    "result": "x" * 300,
    "error": {"code": "job_failed", "type": "T", "error": "it broke, " * 30, "traceback": "  File x" * 40},
    "attempts": [
        {
            "attempt": 1,
            "started_at": AT,
            "ended_at": AT,
            "worker": ID,
            "error": {"code": "c", "error": "why " * 50},
        }
    ],
    "log": ["日本" * 60, "short"],
    "partials": [],
}

Asked = list[tuple[str, Any]]
Run = Callable[..., list[str]]


class FakeClient(Client):
    """Answers what it was told to."""

    def __init__(self, answers: Mapping[str, Any], asked: Asked) -> None:
        self.answers, self.asked = answers, asked

    def ask_future(self, service: str, question: Any = None, takes_s: float = 0.0) -> Any:
        self.asked.append((service, dict(question or {})))
        answer: asking.Asked[Any] = asking.Asked()
        told = self.answers[service]
        answer.settle((200, [] if service == "zmws.events" and len(self.asked) > 1 else told))
        return answer

    def close(self) -> None:
        """Nothing is open."""


@pytest.fixture
def asked() -> Asked:
    return []


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: Asked) -> Run:
    """Runs a verb against a broker that tells this; the lines that a terminal shows."""

    def run(command: click.Command, answers: Mapping[str, Any], *args: str, columns: int = 80) -> list[str]:
        monkeypatch.setattr(options, "_client", lambda *_: FakeClient(answers, asked))
        monkeypatch.setattr(tables, "terminal_width", lambda: columns)
        command.main([*args], standalone_mode=False)
        return capsys.readouterr().out.splitlines()

    return run


def widest(lines: list[str]) -> int:
    return max(map(tables.width, lines))


@pytest.mark.parametrize("columns", [80, 100])
def test_workers_fit_the_terminal_and_their_ids_are_whole(run: Run, columns: int) -> None:
    lines = run(looking.workers, {"zmws.workers": [WORKER, {**WORKER, "id": "x" * 128}]}, columns=columns)
    assert widest(lines) <= columns
    assert ID in lines and any("draining" in line for line in lines)
    heads = ["ID", "SERVICE", "STATE", "HOST", "PID", "DONE", "FAILED", "SINCE", "HEARD", "JOBS"]
    assert " ".join(lines).split()[: len(heads)] == heads


def test_a_workers_id_service_and_state_stand_on_one_line(run: Run) -> None:
    lines = run(looking.workers, {"zmws.workers": [WORKER]})
    assert widest(lines) <= 80
    assert lines[0].split()[:3] == ["ID", "SERVICE", "STATE"]
    assert any(line.startswith(f"{ID}  SERVICE-NUMBER-") and "  draining" in line for line in lines)


def test_into_a_file_a_worker_is_one_line_and_whole(run: Run) -> None:
    lines = run(looking.workers, {"zmws.workers": [{**WORKER, "id": "x" * 128}]}, columns=1_000_000)
    assert len(lines) == 2 and "x" * 128 in lines[1] and f"{ID}-1 (hung)" in lines[1]
    assert "SERVICE-NUMBER-0, SERVICE-NUMBER-1, " in lines[1]


def test_of_what_was_sent_ahead_it_is_told_how_many(run: Run) -> None:
    jobs = [{"id": f"j{n}", "service": "S", "since": AT, "state": "ahead"} for n in range(64)]
    jobs.insert(0, {"id": "first", "service": "S", "since": AT, "state": "running"})
    lines = run(looking.workers, {"zmws.workers": [{**WORKER, "jobs": jobs}]}, columns=1_000_000)
    assert lines[1].endswith("  first, 64 ahead")


def test_a_service_is_shown_with_its_options_and_its_parameters(run: Run, asked: Asked) -> None:
    lines = run(looking.services, {"zmws.service": SERVICE}, "show", "S")
    assert asked == [("zmws.service", {"service": "S"})] and widest(lines) <= 80
    rows = {line.split()[0]: line.split()[1:] for line in lines if line}
    assert rows["waiting"] == ["123456789"] and rows["oldest"] == ["5.0", "s"] and rows["paused"] == ["yes"]
    assert rows["ttr"] == ["3600", "configuration"] and rows["ageing"] == ["off", "default"]
    assert rows["expires"] == ["-", "worker"] and rows["retries"] == ["1000000", "worker"]
    wide = run(looking.services, {"zmws.service": SERVICE}, "show", "S", columns=1_000)
    rows = {line.split()[0]: line.split()[1:] for line in wide if line}
    assert rows["path"][:3] == ["string", "yes", "where"]
    assert rows["rows"] == ["integer", "|", "null", "default", "null"]
    assert rows["kind"][:3] == ['"csv"', "|", "7"] and rows["of"][:3] == ["array", "of", "Order"]
    assert rows["any"][0] == "any" and rows["either"][:4] == ["string", "|", "null", "Either"]
    assert "odd" not in rows


@pytest.mark.parametrize("params", [None, {"type": "object"}, {"$ref": "#/$defs/None"}, {"properties": []}])
def test_a_service_without_a_schema_that_names_parameters_is_shown(run: Run, params: Any) -> None:
    lines = run(looking.services, {"zmws.service": {**SERVICE, "params": params}}, "show", "S")
    assert any("(all)" in line for line in lines) is (params is not None)


def test_for_programs_a_service_is_what_the_broker_tells(run: Run) -> None:
    (line,) = run(looking.services, {"zmws.service": {"a": 1}}, "show", "S", "--json")
    assert line == '{"a": 1}'


def test_workers_are_drained_by_id_or_by_service(run: Run, asked: Asked) -> None:
    told = {"zmws.drain": {"count": 2}}
    assert run(looking.workers, told, "drain", "w-1") == ["draining: w-1"]
    assert run(looking.workers, told, "drain", "--service", "S") == ["draining: 2 workers of S"]
    assert run(looking.workers, told, "drain", "--service", "S", "--json") == ['{"count": 2}']
    assert [(one["worker"], one["service"]) for _, one in asked] == [("w-1", None), (None, "S"), (None, "S")]
    for given in ([], ["w-1", "--service", "S"]):
        with pytest.raises(click.UsageError, match="give the ID of a worker"):
            run(looking.workers, told, "drain", *given)


def test_a_record_fits_the_terminal_and_loses_nothing(run: Run) -> None:
    lines = run(job, {"zmws.job": RECORD}, "show", "j")
    assert widest(lines) <= 80
    text = "".join("".join(lines).split())
    assert ID * 3 in text and "x" * 300 in text and "日本" * 60 in text
    assert text.count("itbroke,") == 30 and text.count("why") == 50
    (line,) = [
        one for one in run(job, {"zmws.job": RECORD}, "show", "j", columns=1_000_000) if one[:3] == "id:"
    ]
    assert line == f"id: {ID * 3}"


def test_a_stack_is_printed_line_by_line(run: Run, asked: Asked) -> None:
    told = {"stack": "work.py, line 7\n  in \x1bwork", "worker": "w", "at": AT}
    assert run(job, {"zmws.stack": told}, "stack", "j", "--timeout", "2s") == [
        "work.py, line 7",
        "  in  work",
    ]
    assert asked == [("zmws.stack", {"id": "j", "timeout": 2.0})]
    (line,) = run(job, {"zmws.stack": told}, "stack", "j", "--json")
    assert line.startswith('{"stack": "work.py') and asked[-1][1]["timeout"] == 5.0


def test_an_event_of_several_lines_is_shown_in_several_lines(run: Run) -> None:
    event = {"n": 1, "at": AT, "kind": "log", "text": "its stack:\n  work.py\n"}
    lines = run(job, {"zmws.events": [event]}, "events", "j")
    assert lines[0].endswith("  log       its stack:") and lines[1:] == ["      work.py"]
