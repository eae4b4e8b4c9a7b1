"""The samples, each run in this process, with a broker of nobody."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests import shipped
from tests.peers import REPOSITORY
from zmws.testing import JobOutcome, run_job
from zmws.wire.messages import WorkerRequest
from zmws.work import JobInHand, WorkerBase
from zmws.work.declared import work_fault
from zmws.work.files import WorkerFileError, load_class
from zmws.work.job_log import in_hand


class Ear:
    """What a job says goes here instead of to a broker."""

    def __init__(self) -> None:
        self.said: list[tuple[bytes, ...]] = []
        self.cancelled = False

    def say(self, token: bytes, body: tuple[bytes, ...]) -> None:
        self.said.append(body)

    def is_cancelled(self, token: bytes) -> bool:
        return self.cancelled


IN_HAND = contextlib.ExitStack()


@pytest.fixture(autouse=True)
def _in_hand() -> Iterator[None]:
    """The jobs of one test are over with it."""
    with IN_HAND:
        yield


def sample(name: str, cancelled: bool = False) -> tuple[WorkerBase, Ear]:
    worker, ear = load_class(REPOSITORY / "workers" / f"{name}.py")(), Ear()
    ear.cancelled = cancelled
    request = WorkerRequest(b"1/1/0", worker.service_name, b'{"id": "1", "attempt": 1, "ttr": 60}', ())
    IN_HAND.enter_context(in_hand(JobInHand(ear, request), output=False))
    return worker, ear


def test_reverse_turns_a_text_around() -> None:
    worker, _ = sample("reverse")
    assert worker.service_name == "STR-REV"
    assert worker.work("1", {"str": "Hello, wörld"}) == "dlröw ,olleH"
    assert worker.work("1", {"str": ""}) == ""


@pytest.mark.parametrize("params", [{}, {"str": 3}, {"str": None}, [], b"raw", {"str": ["a"]}])
def test_reverse_refuses_what_is_no_text(params: Any) -> None:
    with pytest.raises(ValueError, match="STR-REV needs 'str', a text; it was given"):
        sample("reverse")[0].work("1", params)


def test_sleep_sleeps_and_tells_how_far_it_is() -> None:
    worker, ear = sample("sleep")
    assert worker.work("1", {"seconds": 0}) is None and ear.said == []
    assert worker.work("1", {"seconds": 0.01}) is None and ear.said[0][0] == b"PROGRESS"


def test_sleep_takes_a_text_as_an_address_has_it() -> None:
    assert sample("sleep")[0].work("1", {"seconds": "0.01"}) is None


def test_sleep_wakes_up_when_it_is_cancelled() -> None:
    assert sample("sleep", cancelled=True)[0].work("1", {"seconds": 1000}) is False


@pytest.mark.parametrize("seconds", ["x", "-1", None, -1, True, float("nan")])
def test_sleep_refuses_what_is_no_time(seconds: Any) -> None:
    with pytest.raises(ValueError, match="SLEEP needs 'seconds'"):
        sample("sleep")[0].work("1", {"seconds": seconds})


def test_random_stream_says_a_hundred_parts() -> None:
    worker, ear = sample("random_stream")
    assert worker.work("1", {}) is None
    assert len(ear.said) == 100 and {body[0] for body in ear.said} == {b"CONT"}
    assert len(set(ear.said)) == 100


def test_logger_keeps_its_file_open_until_it_is_idle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    worker: Any = sample("logger")[0]
    worker.idle()
    assert worker.work("1", {"line": "one\ntwo"}) is None
    opened = worker.file
    assert worker.work("2", {"line": "three"}) is None and worker.file is opened
    assert Path("logs/messages.log").read_text() == "one two\nthree\n"
    worker.idle()
    assert opened.closed and worker.file is None
    assert worker.work("3", {"line": "four"}) is None
    worker.idle()
    assert Path("logs/messages.log").read_text().endswith("four\n")
    with pytest.raises(ValueError, match="LOG needs 'line'"):
        worker.work("4", {})


def run_sample(name: str, params: Any, **given: Any) -> JobOutcome:
    return run_job(load_class(REPOSITORY / "workers" / f"{name}.py"), params, **given)


def test_wordcount_counts(tmp_path: Path) -> None:
    file = tmp_path / "text"
    file.write_bytes(b"one two\nthree\xff\n\n")
    assert run_sample("wordcount", {"path": str(file)}).result == {"lines": 3, "words": 3, "bytes": 16}
    file.write_bytes(b"")
    assert run_sample("wordcount", {"path": str(file)}).result == {"lines": 0, "words": 0, "bytes": 0}


def test_wordcount_says_which_file_is_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "none", tmp_path):
        missing = run_sample("wordcount", {"path": str(path)})
        assert missing.code == "bad_params" and "there is no file" in str(missing.message)
    assert run_sample("wordcount", {"path": 3}).message == "'path': expected 'str', got 'int'"


def test_primes_are_counted_and_saved_on_the_way() -> None:
    counted = run_sample("primes", {"below": 25_000})
    assert counted.result == {"below": 25_000, "primes": 2_762}
    assert counted.saved == [[1_229, 10_002], [2_262, 20_002], [2_762, 25_000]]
    assert [done for done, _ in counted.progress] == [10_002 / 25_000, 20_002 / 25_000, 1.0]


def test_primes_go_on_from_what_was_saved() -> None:
    resumed = run_sample("primes", {"below": 25_000}, attempt=2, saved=[2_262, 20_002])
    assert resumed.result == {"below": 25_000, "primes": 2_762} and len(resumed.saved) == 1
    assert run_sample("primes", {"below": 25_000}, cancel=True).state == "failed"
    assert run_sample("primes", {"below": "many"}).code == "bad_params"


def test_slug_makes_a_part_of_an_address() -> None:
    assert (
        run_sample("slug", {"title": "How do I begin, déjà vu?", "words": 5}).result == "how-do-i-begin-deja"
    )
    assert (
        run_sample("slug", {"titel": "x"}).message == "there is no parameter 'titel'; did you mean 'title'?"
    )


def test_every_sample_is_in_the_settings_and_short_enough_to_copy() -> None:
    named = shipped.settings_text()
    for name in shipped.WORKERS:
        file = REPOSITORY / "workers" / f"{name}.py"
        cls = load_class(file)
        assert f'file = "workers/{file.name}"' in named and f'service = "{cls.service_name}"' in named
        assert len(file.read_text().splitlines()) < (140 if name in ("mail", "webhook") else 40)


# ---------------------------------------------------------------- what cannot be a worker

WORKLESS = [
    ("pass", "W has no work()"),
    ("def wrok(self, job_id, params): return 1", "W has no work()"),
    ("work = None", "W.work is no method, but NoneType"),
    ("work = 'job'", "W.work is no method, but str"),
]


@pytest.mark.parametrize(("body", "fault"), WORKLESS)
def test_a_file_whose_class_has_no_work_is_refused(tmp_path: Path, body: str, fault: str) -> None:
    file = tmp_path / "workless.py"
    file.write_text(
        f"from zmws import WorkerBase\nclass W(WorkerBase):\n    service_name = 'W'\n    {body}\n"
    )
    with pytest.raises(WorkerFileError) as refused:
        load_class(file)
    assert str(refused.value) == f"{file}: {fault}; write 'def work(self, job_id, params):' in it"


@pytest.mark.parametrize(("body", "fault"), WORKLESS)
def test_a_class_without_work_does_not_run(body: str, fault: str) -> None:
    names: dict[str, Any] = {"WorkerBase": WorkerBase}
    exec(f"class W(WorkerBase):\n    service_name = 'W'\n    {body}", names)
    with pytest.raises(ValueError, match=re.escape(f"{fault}; write 'def work(self, job_id, params):'")):
        names["W"]().run(["tcp://127.0.0.1:1"], handle_signals=False)


def test_a_work_that_is_inherited_or_set_on_the_object_is_a_work(tmp_path: Path) -> None:
    (tmp_path / "base_of_it.py").write_text(
        "from zmws import WorkerBase\nclass Base(WorkerBase):\n    def work(self, job_id, params): return 1\n"
    )
    file = tmp_path / "derived.py"
    file.write_text("from base_of_it import Base\nclass W(Base):\n    service_name = 'W'\n")
    assert load_class(file)().work("1", {}) == 1

    class OnTheObject(WorkerBase):
        service_name = "W"

    worker = OnTheObject()
    vars(worker)["work"] = lambda job_id, params: 2
    assert work_fault(worker) is None
