"""`zmws audit`: what was done at the command line stands there, with who did it."""

from __future__ import annotations

import os
import pwd
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from tests.system.installation import Installation, installation, worker_table
from zmws import settings
from zmws.cli import telling, who
from zmws.client.synchronous import Client
from zmws.supervisor import processes

ME = f"{pwd.getpwuid(os.getuid()).pw_name} (command line)"


def audited(zmws: Installation, *flags: str) -> list[dict[str, Any]]:
    """The entries, the oldest first."""
    found: list[dict[str, Any]] = zmws.run("audit", *flags, "--json").json()["entries"][::-1]
    return found


def test_what_is_changed_at_the_command_line_is_listed_with_who_did_it(zmws: Installation) -> None:
    job_id = zmws.run("submit", "LOG", "--delay", "1h").out.strip()
    since = zmws.run("jobs", "--json").json()["jobs"][0]["created_at"]
    steps: list[tuple[tuple[str, ...], int, str, str | None, str]] = [
        (("job", "cancel", job_id), 0, "cancel", job_id, "done"),
        (("job", "retry", job_id), 0, "retry", job_id, "done"),
        (("job", "delete", job_id), 4, "delete", job_id, "not_possible"),
        (("job", "cancel", "--service", "LOG", "--state", "scheduled"), 0, "cancel", "LOG", "done"),
        (("job", "copy", job_id, "--delay", "1h"), 0, "copy", job_id, "done"),
        (("pause", "LOG"), 0, "pause", "LOG", "done"),
        (("resume", "LOG"), 0, "resume", "LOG", "done"),
        (("limit", "LOG", "--rate", "5"), 0, "limit", "LOG", "done"),
        (("purge", "LOG", "--yes"), 0, "purge", "LOG", "done"),
        (("mark", "deploy 1.4"), 0, "mark", None, "done"),
        (("services", "forget", "LOG"), 4, "forget", "LOG", "not_possible"),
        (("workers", "drain", "nobody"), 4, "drain", "nobody", "unknown_worker"),
    ]
    for flags, code, *_ in steps:
        assert zmws.run(*flags).code == code, flags
    zmws.run("limit", "LOG", "--rate", "default")
    found = audited(zmws, "--since", since)[: len(steps)]
    assert [(one["verb"], one["on"], one["outcome"]) for one in found] == [tuple(one[2:]) for one in steps]
    assert {one["by"] for one in found} == {ME}
    assert [one["count"] for one in found[:3]] == [1, 1, None]
    assert found[3]["detail"] == {"state": "scheduled"} and found[7]["detail"] == {"rate": 5.0}
    assert found[9]["detail"] == {"text": "deploy 1.4"}


def test_the_audit_is_a_table_for_people_and_goes_on_with_a_cursor(zmws: Installation) -> None:
    for n in range(3):
        zmws.run("mark", f"step {n}")
    ran = zmws.run("audit", "--verb", "mark", "--limit", "2")
    lines = ran.out.splitlines()
    assert lines[0].split() == ["AT", "BY", "VERB", "ON", "COUNT", "OUTCOME", "NOTE"] and len(lines) == 3
    assert ME in lines[1] and "text step 2" in lines[1] and "text step 1" in lines[2]
    assert "there are more than 2; --cursor" in ran.err
    page = zmws.run("audit", "--verb", "mark", "--limit", "2", "--json").json()
    rest = zmws.run("audit", "--verb", "mark", "--limit", "1", "--cursor", page["next"], "--json").json()
    assert rest["entries"][0]["detail"] == {"text": "step 0"}
    assert audited(zmws, "--by", "nobody") == [] == audited(zmws, "--on", "nothing")
    assert zmws.run("audit", "--verb", "No Such").code == 4


def test_what_is_done_to_processes_is_told_after_it_or_before_the_broker_stops(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("say", "say.py")) as zmws:
        (tmp_path / "say.py").write_text(
            "from zmws import worker\n\n\n@worker('SAY')\ndef say():\n    return 'said'\n"
        )
        assert zmws.run("start").code == 0
        assert zmws.run("scale", "say=2").code == 0
        assert zmws.run("stop", "say").code == 0
        assert zmws.run("start", "--workers").code == 0
        assert zmws.run("restart").code == 0
        assert zmws.run("reload").code == 0
        assert zmws.run("stop").code == 0
        assert zmws.run("stop").out == "nothing is running\n"
        assert zmws.run("start", "--servers").code == 0
        found = audited(zmws)
        assert [(one["verb"], one["on"]) for one in found] == [
            ("start", "everything"),
            ("scale", "say"),
            ("stop", "say"),
            ("start", "workers"),
            ("restart", "everything"),
            ("reload", "everything"),
            ("stop", "everything"),
            ("start", "servers"),
        ]
        assert {one["by"] for one in found} == {ME}
        assert found[1]["detail"]["counts"] == {"say": 2}
        assert set(found[2]["detail"]["stopped"]) == {"say", "say_01"}
        assert "broker" in found[6]["detail"]["processes"]


def test_a_python_client_is_named_only_if_it_says_so(zmws: Installation) -> None:
    with Client(zmws.client) as client:
        client.ask("zmws.mark", {"text": "unnamed"})
        client.ask("zmws.mark", {"text": "named", "by": "a program"})
    assert [one["detail"]["text"] for one in audited(zmws, "--by", "a program")] == ["named"]
    assert all(one["detail"]["text"] != "unnamed" for one in audited(zmws, "--verb", "mark"))


def test_a_user_without_a_name_is_somebody_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: Any) -> Any:
        raise KeyError("no such user")

    monkeypatch.setattr(pwd, "getpwuid", nobody)
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    assert who.who() == f"user {os.getuid()} (command line)"
    monkeypatch.setenv("LOGNAME", "x" * 100 + "\n")
    assert who.who() == "x" * 49 + " (command line)"


def test_a_broker_that_does_not_answer_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        (tmp_path / "etc").mkdir()
        port = deaf.getsockname()[1]
        (tmp_path / "etc" / "zmws.toml").write_text(f'[broker]\nclient = "tcp://127.0.0.1:{port}"\n')
        here = processes.Installation(settings.load(tmp_path / "etc" / "zmws.toml", environ={}))
        began = time.monotonic()
        telling.tell(here, "stop", "everything", processes=["broker"])
        assert telling.TELL_S * 0.5 < time.monotonic() - began < 4 * telling.TELL_S
    began = time.monotonic()
    telling.tell(here, "stop", "everything", processes=["broker"])
    assert time.monotonic() - began < telling.TELL_S
