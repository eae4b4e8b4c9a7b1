"""What the documents say is what the program does."""

from __future__ import annotations

import json
import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import click
import pytest

from tests import documents, reference, shipped
from tests.documents import Reader
from tests.mailbox import Mailbox, served
from tests.peers import REPOSITORY, process, wait_until
from tests.system.installation import installation, run
from zmws import cron
from zmws.cli import cli
from zmws.core import job, states
from zmws.core.broker import Broker
from zmws.core.desk.questions import QUESTIONS
from zmws.core.limits import Limits
from zmws.core.options import JOB_OPTIONS, SERVICE_OPTIONS
from zmws.core.question import Question
from zmws.core.schedule import SCHEDULE
from zmws.ids import suppliers
from zmws.settings import StoreSettings
from zmws.testing import free_ports
from zmws.wire import mdp
from zmws.wire.messages import ReplyTo

README = (REPOSITORY / "README.md").read_text()


def _document(name: str) -> str:
    return (REPOSITORY / "docs" / name).read_text()


def _blocks(language: str) -> list[str]:
    return [one.text for one in documents.blocks(README, language)]


@pytest.mark.interpreted  # a compiled module has no docstring
def test_the_readme_shows_a_jobs_life_as_the_code_does() -> None:
    drawing = (states.__doc__ or "").split("\n\n")[1]
    assert "dispatch" in drawing and drawing.strip("\n") in README
    for events in states.TRANSITIONS.values():
        for event, state in events.items():
            assert event in drawing and state in drawing
    several = {"cancel": states.CANCELLED, "expire": states.EXPIRED, "revive": states.WAITING}
    for event, state in several.items():
        drawn = re.search(rf"{event}: (.+?) +--> {state}", drawing)
        assert drawn is not None, event
        assert drawn[1].split(", ") == [was for was, events in states.TRANSITIONS.items() if event in events]


def test_every_error_code_is_explained() -> None:
    calls = r"\berror\(|Refused\(|Problem\(\s*\d+, |refuse\((?:[^\"()]|\([^()]*\))*?"
    pattern = rf"(?:{calls}|\"code\": |\bcode(?:, text)? ?= ?)\s*\"([a-z_]+)\""
    codes = set()
    for file in (REPOSITORY / "zmws").rglob("*.py"):
        codes |= set(re.findall(pattern, file.read_text()))
    rows = re.findall(r"^\| (`[a-z_]+`(?:, `[a-z_]+`)*) \|", _document("errors.md"), re.MULTILINE)
    explained = {code for row in rows for code in re.findall(r"`([a-z_]+)`", row)}
    assert {"unknown_service", "worker_lost", "queue_full", "disk_full", "token_dead", "bad_params"} <= codes
    assert codes <= explained, codes - explained


def _explained_options() -> tuple[set[str], set[str]]:
    """Of jobs, services and schedules, and of the store."""
    jobs, store = _document("options.md").split("\n## Of the store\n")
    pattern = re.compile(r"^\| (`[a-z0-9_]+`(?:, `[a-z0-9_]+`)*) \|", re.MULTILINE)

    def names(text: str) -> set[str]:
        return {name for row in pattern.findall(text) for name in re.findall(r"`(\w+)`", row)}

    return names(jobs), names(store)


def test_every_option_is_explained() -> None:
    assert _explained_options()[0] == {*JOB_OPTIONS, *SERVICE_OPTIONS, *SCHEDULE}


def test_every_setting_of_the_store_is_explained() -> None:
    names = {field.name for field in fields(StoreSettings)}
    assert _explained_options()[1] == names
    text = shipped.settings_text()
    section = re.split(r"\n(?:# )?\[", text.partition("[store]")[2])[0]
    assert set(re.findall(r"^(?:# )?([a-z_]+) = ", section, re.MULTILINE)) == names


def _broker() -> Broker:
    broker = Broker(Limits(), {}, suppliers(cron), "memory")
    assert broker.held.register("STR-REV") is not None
    info = b'{"zmws": 1, "id": "w"}'
    ready = mdp.decode("worker", [mdp.MDPW02, mdp.W_READY, b"STR-REV", info])
    broker.receive(("worker", b"W", ""), ready)
    broker.take()
    return broker


def test_every_service_of_the_broker_is_explained() -> None:
    desk = _broker().desk
    explained = set(re.findall(r"^\| `(zmws\.[a-z]+)` \|", _document("protocol.md"), re.MULTILINE))
    assert explained == set(desk._verbs)
    assert {*QUESTIONS, "zmws.submit"} == set(desk._verbs)
    for name in desk._lists.of_old:
        assert f"`{name}`" in _document("protocol.md"), name


def _shape(after: str) -> list[str]:
    """The names in the first braces behind these words."""
    braces = _document("protocol.md").partition(after)[2].partition("{")[2].partition("}")[0]
    return [name.strip() for name in braces.split(",")]


@pytest.mark.parametrize("name", ["zmws.hello", "zmws.services", "zmws.workers", "zmws.stats"])
def test_the_shapes_of_answers_are_as_the_broker_makes_them(name: str) -> None:
    broker = _broker()
    caller = job.Caller(("client", b"C", ""), ReplyTo("native", ()))
    broker.desk._verbs[name](Question(broker.turn, caller, name, {}))
    answer: Any = json.loads(broker.turn.sends[0].message.body[1])
    assert _shape(f"| `{name}` |") == list(answer[0] if isinstance(answer, list) else answer)


def test_the_shape_of_a_job_is_as_the_broker_makes_it() -> None:
    one = job.Job(id="a", service="S", kind="stored", body=(), created_at=0.0, ready_at=0.0, rank=0.0)
    names = list(job.record(one, 0.0))
    assert _shape("A job is `") == names
    assert names[len(job.summary(one, 0.0))] == "meta", "lists leave out `meta` and what follows it"


def test_every_verb_of_the_command_line_is_explained() -> None:
    table = README.partition("## The command line")[2].partition("## ")[0]
    told = re.findall(r"`zmws ([^`]+)`", table)
    context = click.Context(cli)
    for name in cli.list_commands(context):
        verb = cli.get_command(context, name)
        rows = [words for words in told if name in re.split(r"[ ,]+", words)]
        assert rows, f"zmws {name}"
        if isinstance(verb, click.Group):
            for part in verb.commands:
                assert any(part in re.split(r"[ ,]+", words) for words in rows), f"zmws {name} {part}"


def test_the_commands_of_the_page_about_http_work(tmp_path: Path) -> None:
    *ports, http = free_ports(5)
    reader = Reader(tmp_path, *(f"tcp://127.0.0.1:{port}" for port in ports), http=f"127.0.0.1:{http}")
    with installation(tmp_path, ""):
        (tmp_path / "etc" / "zmws.toml").write_text(shipped.settings_text())
        assert run("start", cwd=tmp_path, **reader.endpoints).code == 0
        short, api, workflows, token = (block.text for block in documents.blocks(_document("http.md"), "sh"))
        told = reader.shell(short)
        assert told.startswith('"dlrow ,olleH"{"id":"') and '"service":"STR-REV"' in told
        told = reader.shell(api)
        assert '"existing":false' in told and '"cba"' in told and "event: state" in told
        assert '"max_running":{"value":4,"from":"operator"}' in told
        told = reader.shell(workflows)
        assert '"first":"twice:1"' in told and '"state":"complete"' in told and '"name":"nightly"' in told
        assert '"id":' in reader.shell(token)
        wait_until(lambda: '"code":"no_token"' in reader.shell(short), what="the token to be needed")


def test_the_links_of_the_documents_lead_somewhere() -> None:
    for file in (REPOSITORY / "README.md", *(REPOSITORY / "docs").glob("*.md")):
        for link in re.findall(r"\]\(([^)]+)\)", file.read_text()):
            path, _, title = link.partition("#")
            there = file.parent / path if path else file
            assert link.startswith("https://") or there.exists(), f"{file.name}: {link}"
            if title:
                titles = re.findall(r"^#+ (.+)$", there.read_text(), re.MULTILINE)
                assert f"#{title}" in [reference.anchor(one) for one in titles], f"{file.name}: {link}"


def test_comments_cite_documents_that_are_here() -> None:
    folders = [REPOSITORY / name for name in ("zmws", "tests", "workers", "bin", "benchmarks")]
    found = [path for folder in folders for path in folder.rglob("*") if path.suffix in _OF_TEXT]
    files = [path for path in found if path.is_file() and "build" not in path.parts]
    assert len(files) > 150
    for path in files:
        text = path.read_text()
        assert not re.search(r"\b[A-Z]{4,} sections? \d", text), f"{path} cites a section of no document"
        for cited in re.findall(r"(?<![\w/.-])((?:docs/)?[A-Za-z-]+\.md)\b", text):
            places = (REPOSITORY / cited, REPOSITORY / "docs" / cited)
            assert any(place.is_file() for place in places), f"{path} cites {cited}, which is not here"


_OF_TEXT = (".py", ".txt", ".sql", ".sh", "")


@pytest.mark.timeout(240)  # some forty processes, one after the other
def test_the_readmes_commands_and_programs_work(tmp_path: Path) -> None:
    *ports, http = free_ports(5)
    reader = Reader(tmp_path, *(f"tcp://127.0.0.1:{port}" for port in ports), http=f"127.0.0.1:{http}")
    hello, calling, leasing, raw, strict, testing = _blocks("python")
    try_them, by_http, kill_it, look_after, look_why, together, call_hello = _blocks("sh")

    with installation(tmp_path, "") as zmws:
        (tmp_path / "etc" / "zmws.toml").write_text(shipped.settings_text())
        (tmp_path / "README.md").write_text(README)
        assert run("start", cwd=tmp_path, **reader.endpoints).code == 0
        told = reader.shell(try_them)
        assert told.startswith("dlrow ,olleH\n") and "state: complete" in told and "STR-REV" in told

        told = reader.shell(by_http)
        assert (
            told.startswith('"dlrow ,olleH"{"id":"') and '"workerid"' in told and told.count('"links"') == 2
        )

        told = reader.shell(kill_it)
        assert "state: complete" in told and "attempt: 1" in told and "running, attempt 1" in told

        told = reader.shell(look_after)
        purged = re.search(r"^cancelled: (\d+) jobs of STR-REV$", told, re.MULTILINE)
        assert purged is not None and int(purged[1]) == len(README.splitlines())
        assert "waits again: 1 job\n" in told and "copy.db: nothing wrong" in told

        told = reader.shell(look_why)
        assert "marked: deploy 1.4" in told and "ValueError: STR-REV needs" in told
        assert "waits again: " in told and "waited " in told and "submitted " in told

        told = reader.shell(together)
        assert "complete" in told and "hourly" in told and "Europe/Berlin" in told

        (tmp_path / "workers" / "hello.py").write_text(hello)
        with (tmp_path / "etc" / "zmws.toml").open("a") as file:
            file.write("".join(_blocks("toml")))
        assert reader.shell(call_hello).endswith("Hello, you!\n")

        answers = reader.python(calling).splitlines()
        assert answers[0] == "cba" and answers[2].startswith("ValueError STR-REV needs 'str'")
        assert reader.python(leasing) == ""
        answers = reader.python(raw).splitlines()
        assert re.fullmatch(r"\[b'JOB: \S+ SLEEP'\]", answers[0])
        assert re.fullmatch(
            r"\[b'MDPC02', b'\\x03', b'STR-REV', b'COMPLETE: STR-REV \[\S+\]', b'PARAM-JSON: \"cba\"'\]",
            answers[1],
        )

        (tmp_path / "test_hello.py").write_text(testing)
        assert "3 passed" in reader.pytest("test_hello.py")

        with process([sys.executable, "-c", reader.own(strict)], tmp_path / "strict.log") as served:

            def registered() -> bool:
                return "UPPER" in run("services", "--json", cwd=tmp_path, **reader.endpoints).out

            wait_until(registered, what="the strict worker")
            caller = (
                "import zmq; s = zmq.Context().socket(zmq.DEALER); s.RCVTIMEO = 10000; s.LINGER = 0\n"
                "s.connect('tcp://127.0.0.1:5555')\n"
                "s.send_multipart([b'MDPC02', b'\\x01', b'SYNC-UPPER', b'abc'])\n"
                "print(s.recv_multipart()[-1])"
            )
            assert reader.python(caller) == "b'ABC'\n"
            assert served.popen.wait(10) == 0, served.text()
        assert run("stop", cwd=tmp_path, **reader.endpoints).code == 0
        assert zmws.pids() == {}


# ---------------------------------------------------------------- documents that are followed


@pytest.mark.timeout(240)
@pytest.mark.parametrize("name", ["writing-a-worker.md", "testing-a-worker.md", "tracing.md"])
def test_a_documents_examples_work(tmp_path: Path, name: str) -> None:
    with installation(tmp_path, "") as zmws:
        (tmp_path / "etc" / "zmws.toml").unlink()
        for sample in (tmp_path / "workers").iterdir():
            sample.unlink()
        reader = Reader(tmp_path, *(f"tcp://127.0.0.1:{port}" for port in zmws.ports[:4]))
        reader.follow(REPOSITORY / "docs" / name)
        if zmws.pids():
            ran = run("status", cwd=tmp_path, **reader.endpoints)
            assert ran.code == 0, ran.out
            assert run("stop", cwd=tmp_path, **reader.endpoints).code == 0


@pytest.mark.timeout(240)
def test_the_chapter_on_workflows_works_to_the_last_mail(tmp_path: Path) -> None:
    with installation(tmp_path, "") as zmws, served(Mailbox()) as mailbox:
        for sample in (tmp_path / "workers").iterdir():
            if sample.name != "mail.py":
                sample.unlink()
        reader = Reader(tmp_path, *(f"tcp://127.0.0.1:{port}" for port in zmws.ports[:4]))
        reader.mail = f"127.0.0.1:{mailbox.port}"
        try:
            reader.follow(REPOSITORY / "docs" / "workflows.md")
        finally:
            run("stop", cwd=tmp_path, **reader.endpoints)
        assert zmws.pids() == {}
    subjects = [message["subject"] for _, _, message in mailbox.got]
    assert subjects[0] == "Your pictures are there" and subjects.count(subjects[0]) == 1, subjects
    assert "All gray" in subjects and any("FETCH" in subject for subject in subjects), subjects


_WORKS = """
```python
# folder/one.py
text = "tcp://127.0.0.1:5555"
```

```python
from folder.one import text

assert text == "tcp://127.0.0.1:1"
```

```python
# test_one.py
def test_it():
    from folder.one import text
```

```console
$ id=$(zmws --version)
$ zmws --version; python -c 'import sys
> print("a", "b", sys.exit("c"))'
zmws...
c
$ python -c 'print(1, end="")'
1
```
"""


def _follow(folder: Path, text: str) -> None:
    (folder / "example.txt").write_text(text)
    Reader(folder, *(f"tcp://127.0.0.1:{port}" for port in (1, 2, 3, 4))).follow(folder / "example.txt")


def test_a_document_is_followed_from_the_top_to_the_end(tmp_path: Path) -> None:
    _follow(tmp_path, _WORKS)


@pytest.mark.parametrize(
    ("said", "instead", "wrong"),
    [
        ('assert text == "tcp://127.0.0.1:1"', "assert 1 == 2", r":8: (.|\n)*line 10, in <module>\nAssert"),
        ("    from folder", "    assert 1 == 2", r":14: (.|\n)*assert 1 == 2"),
        ("def test_it", "def it", r":14: "),
        ("def test_it", "import pytest\n@pytest.mark.skip\ndef test_it", r":14: (.|\n)*1 skipped"),
        (
            "$ id=$(zmws --version)",
            "$ zmws nothing",
            r":20: \$ zmws nothing\nended with 2:(.|\n)*is no command",
        ),
        ("c\n$", "d\n$", r":20: \$ zmws --version(.|\n)*shows\nzmws(.|\n)*and not"),
        ("$ id=$(zmws --version)", "$ zmws --version; exit", r":20: (.|\n)*before the last command"),
        ("$ id=$(zmws --version)", "$ true", r":20: a command is neither of zmws nor of python: \$ true"),
        ("```console\n$ id", "```sh\n$ id", r":20: a block of 'sh', which nothing runs"),
        ("# folder/one.py", "# workers/one.py", r":8: "),
        ("```console", "```console once", r"^8 fences, and 3 blocks that can be read"),
        ("```console", "  ```console", r"^8 fences, and \d blocks that can be read"),
    ],
)
def test_an_example_that_is_wrong_is_noticed(tmp_path: Path, said: str, instead: str, wrong: str) -> None:
    assert said in _WORKS
    with pytest.raises(AssertionError, match=wrong):
        _follow(tmp_path, _WORKS.replace(said, instead))


def test_a_worker_of_a_document_that_nobody_has_started_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=r"example\.txt: nobody has started or imported one"):
        _follow(tmp_path, "```python\n# workers/one.py\n1\n```\n")
