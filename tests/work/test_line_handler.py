"""zmws.work.line_handler: a line made without a record is what logging would have written."""

from __future__ import annotations

import io
import json
import logging
import time

import pytest

from zmws.work.command import set_up_log
from zmws.work.line_handler import LineHandler

LINES = [
    (1_700_000_000.0, "INFO", " [E 1/1]", "complete in %.3f s", (0.0123,)),
    (1_700_000_000.999, "WARNING", "", "100 % of nothing", ()),
    (1_700_000_059.0004, "INFO", " [E ü/2]", "after %.3f s: %s", (1.0, "again\nand again")),
]


@pytest.fixture
def log() -> logging.Logger:
    made = logging.getLogger("tests.line_handler")
    made.setLevel(logging.INFO)
    return made


@pytest.mark.parametrize("as_json", [False, True])
def test_a_line_is_what_a_record_would_have_made(
    log: logging.Logger, monkeypatch: pytest.MonkeyPatch, as_json: bool
) -> None:
    monkeypatch.setattr(logging.Formatter, "converter", time.gmtime)
    mine, theirs = io.StringIO(), io.StringIO()
    LineHandler(mine, as_json).write_lines(log.name, LINES)
    handler = LineHandler(theirs, as_json)
    for at, level, job, text, values in LINES:
        record = log.makeRecord(log.name, logging.getLevelName(level), __file__, 0, text, values, None)
        record.created, record.msecs, record.zmws = at, (at - int(at)) * 1000, job
        handler.handle(record)
    assert mine.getvalue() == theirs.getvalue() and mine.getvalue().count("\n") == (3 if as_json else 4)


def test_whatever_is_on_its_way_is_noticed(log: logging.Logger) -> None:
    root, beside, other = logging.getLogger(), logging.NullHandler(), logging.NullHandler()
    handler, before = LineHandler(io.StringIO()), logging.getLogger().handlers[:]
    root.handlers[:] = [handler, beside]

    def refuse(record: logging.LogRecord) -> bool:
        return True

    try:
        assert handler.is_all(log, beside)
        for change, undo in (
            (lambda: root.addHandler(other), lambda: root.removeHandler(other)),
            (lambda: log.addHandler(other), lambda: log.removeHandler(other)),
            (lambda: log.addFilter(refuse), lambda: log.removeFilter(refuse)),
            (lambda: handler.addFilter(refuse), lambda: handler.removeFilter(refuse)),
            (lambda: root.addFilter(refuse), lambda: root.removeFilter(refuse)),
            (lambda: handler.setLevel(logging.ERROR), lambda: handler.setLevel(0)),
            (lambda: setattr(log, "propagate", False), lambda: setattr(log, "propagate", True)),
            (lambda: setattr(log, "disabled", True), lambda: setattr(log, "disabled", False)),
        ):
            change()
            assert not handler.is_all(log, beside)
            undo()
            assert handler.is_all(log, beside)
        handler.setFormatter(logging.Formatter())
        assert not handler.is_all(log, beside)
        root.removeHandler(handler)
        assert not LineHandler(io.StringIO()).is_all(log, beside)
    finally:
        root.handlers[:] = before


def test_the_log_of_a_worker_goes_that_way(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[logging.Handler] = []
    monkeypatch.setattr(logging, "basicConfig", lambda **how: given.extend(how["handlers"]))
    monkeypatch.setattr(logging.Formatter, "converter", time.gmtime)
    set_up_log("info")
    assert [type(one) for one in given] == [LineHandler]


def test_as_json_a_line_says_what_it_is_of_and_what_went_wrong(log: logging.Logger) -> None:
    out = io.StringIO()
    handler = LineHandler(out, as_json=True)
    handler.write_lines(log.name, LINES)
    log.addHandler(handler)
    try:
        try:
            raise LookupError("nothing\nthere")
        except LookupError:
            log.exception("it failed: %s", "ü")
    finally:
        log.removeHandler(handler)
    first, second, third, failed = map(json.loads, out.getvalue().splitlines())
    assert first == {
        "at": "2023-11-14T22:13:20.000Z",
        "level": "INFO",
        "logger": log.name,
        "message": "complete in 0.012 s",
        "service": "E",
        "job": "1",
        "attempt": 1,
    }
    assert "service" not in second and third["message"] == "after 1.000 s: again\nand again"
    assert failed["message"] == "it failed: ü" and failed["traceback"].endswith("LookupError: nothing\nthere")
