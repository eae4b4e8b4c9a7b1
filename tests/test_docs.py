"""What the documents say is what the program does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from tests.peers import REPOSITORY, process, wait_until
from tests.system.installation import ZMWS, environment, free_ports, installation, run
from zmws.core import job
from zmws.core.inspection import Inspection
from zmws.core.jobs import Jobs
from zmws.core.limits import Limits
from zmws.core.options import JOB_OPTIONS, SERVICE_OPTIONS
from zmws.core.roster import Roster
from zmws.core.turn import Turn
from zmws.ids import suppliers

README = (REPOSITORY / "README.md").read_text()


def _document(name: str) -> str:
    return (REPOSITORY / "docs" / name).read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.MULTILINE | re.DOTALL)


def test_the_readme_shows_a_jobs_life_as_the_code_does() -> None:
    drawing = (job.__doc__ or "").split("\n\n")[1]
    assert "dispatch" in drawing and drawing.strip("\n") in README
    for events in job.TRANSITIONS.values():
        for event, state in events.items():
            assert event in drawing and state in drawing


def test_every_error_code_is_explained() -> None:
    pattern = r"(?:\berror\(|\"code\": |\bcode=|Refused\(|refuse\([^\"]*?)\s*\"([a-z_]+)\""
    codes = set()
    for file in (REPOSITORY / "zmws").rglob("*.py"):
        codes |= set(re.findall(pattern, file.read_text()))
    explained = set(re.findall(r"^\| `([a-z_]+)` \|", _document("errors.md"), re.MULTILINE))
    assert {"unknown_service", "worker_lost", "queue_full", "bad_params"} <= codes
    assert codes <= explained, codes - explained


def test_every_option_is_explained() -> None:
    explained = set(re.findall(r"^\| `([a-z_]+)` \|", _document("options.md"), re.MULTILINE))
    assert explained == {*JOB_OPTIONS, *SERVICE_OPTIONS}


def test_every_service_of_the_broker_is_explained() -> None:
    turn = Turn(Limits(), suppliers())
    jobs = Jobs(turn, {}, "memory")
    inspection = Inspection(turn, jobs, Roster(turn, jobs))
    explained = _document("protocol.md")
    for name in (*inspection._lists, *inspection._verbs):
        assert f"`{name}`" in explained, name


def test_the_links_of_the_documents_lead_somewhere() -> None:
    for file in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)]+)\)", file.read_text()):
            assert link.startswith("https://") or (file.parent / link).exists(), f"{file.name}: {link}"


def test_the_readmes_commands_and_programs_work(tmp_path: Path) -> None:
    client, worker, news, mdp = (f"tcp://127.0.0.1:{port}" for port in free_ports(4))
    ports = {
        "ZMWS_BROKER_CLIENT": client,
        "ZMWS_BROKER_WORKER": worker,
        "ZMWS_BROKER_NEWS": news,
        "ZMWS_BROKER_MDP": mdp,
    }
    hello, calling, raw, strict = (
        text.replace("tcp://127.0.0.1:5555", client).replace("tcp://127.0.0.1:5556", worker)
        for text in _blocks("python")
    )
    try_them, call_hello = _blocks("sh")

    def shell(commands: str) -> str:
        script = 'bin/zmws() { "$ZMWS_PYTHON" -P -m zmws "$@"; }\n'.replace("bin/zmws()", "zmws()")
        script += commands.replace("bin/zmws", "zmws")
        ended = subprocess.run(
            ["bash", "-eu", "-c", script],
            cwd=tmp_path,
            env=environment(ZMWS_PYTHON=sys.executable, **ports),
            capture_output=True,
            text=True,
            timeout=90,
        )
        assert ended.returncode == 0, ended.stdout + ended.stderr
        return ended.stdout

    def python(program: str) -> str:
        ended = subprocess.run(
            [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    with installation(tmp_path, "") as zmws:
        (tmp_path / "etc" / "zmws.toml").write_text((REPOSITORY / "etc" / "zmws.toml").read_text())
        (tmp_path / "README.md").write_text(README)
        assert run("start", cwd=tmp_path, **ports).code == 0
        told = shell(try_them)
        assert told.startswith("dlrow ,olleH\n") and "state: complete" in told and "STR-REV" in told

        (tmp_path / "workers" / "hello.py").write_text(hello)
        with (tmp_path / "etc" / "zmws.toml").open("a") as file:
            file.write("".join(_blocks("toml")))
        assert shell(call_hello).endswith("Hello, you!\n")

        answers = python(calling).splitlines()
        assert answers[0] == "cba" and answers[2].startswith("ValueError STR-REV needs 'str'")
        answers = python(raw).splitlines()
        assert re.fullmatch(r"\[b'JOB: \S+ SLEEP'\]", answers[0])
        assert re.fullmatch(
            r"\[b'MDPC02', b'\\x03', b'STR-REV', b'COMPLETE: STR-REV \[\S+\]', b'PARAM-JSON: \"cba\"'\]",
            answers[1],
        )

        with process([sys.executable, "-c", strict], tmp_path / "strict.log") as served:
            listed = [*ZMWS, "services", "--json"]

            def registered() -> bool:
                told = subprocess.run(listed, cwd=tmp_path, env=environment(**ports), capture_output=True)
                return b"UPPER" in told.stdout

            wait_until(registered, what="the strict worker")
            caller = (
                "import zmq; s = zmq.Context().socket(zmq.DEALER); s.RCVTIMEO = 10000; s.LINGER = 0\n"
                f"s.connect({client!r})\n"
                "s.send_multipart([b'MDPC02', b'\\x01', b'SYNC-UPPER', b'abc'])\n"
                "print(s.recv_multipart()[-1])"
            )
            assert python(caller) == "b'ABC'\n"
            assert served.popen.wait(10) == 0, served.text()
        assert run("stop", cwd=tmp_path, **ports).code == 0
        assert zmws.pids() == {}
