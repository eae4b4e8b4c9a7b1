"""Well-formed requests with hostile values, built from the broker's own tables: every service inside it,
every option of a job, and what workers say of themselves and of their jobs.

A request is frames for a socket; `JOB` and `TOKEN` in it stand for a job and a live token that there are.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from hypothesis import strategies as st

from zmws.core.desk.questions import QUESTIONS
from zmws.core.options import JOB_OPTIONS
from zmws.core.table import Row
from zmws.wire.values import DEPTH_MAX

JOB, TOKEN = "j0", "@TOKEN@"
JOBS = [f"j{n}" for n in range(6)]
SERVER_LISTS = ("SERVER-JOBS", "SERVER-ACTIVE", "SERVER-HIST", "SERVER-WORKERS")


@dataclass(frozen=True)
class Request:
    """`answers`: how many replies it must get. A worker's command gets none, or a DISCONNECT."""

    frames: tuple[bytes, ...]
    answered: bool = True

    def with_token(self, token: bytes) -> tuple[bytes, ...]:
        return tuple(frame.replace(TOKEN.encode(), token) for frame in self.frames)


# ---------------------------------------------------------------- values, as JSON texts


def _nested(depth: int, begin: str = "[", end: str = "]") -> str:
    return begin * depth + "0" + end * depth


NUMBERS = [
    "0",
    "-1",
    "1",
    "-0.0",
    "0.5",
    "1e-320",
    "1e308",
    "1e999",
    "-1e999",
    "NaN",
    "Infinity",
    "-Infinity",
]
for power in (31, 32, 53, 63, 64, 65, 1024):
    NUMBERS += [str(2**power), str(2**power - 1), str(-(2**power)), str(-(2**power) - 1)]
NUMBERS += ["9" * 18, "9" * 19, "9" * 4_299, "9" * 5_000, "1e17", "1e18", "9007199254740993.5"]
TEXTS = [
    "", "x" * 300, "x" * 70_000, "\0", "\n", "é", "\u2028", "\ud800", "\udfff x", "JOB: x", "SYNC-E",
    "zmws.job", "E", "NOPE", "mmi.x", "9999-12-31T23:59:59.999999-23:59", "0001-01-01T00:00:00+23:59",
    "2030-01-01T00:00:00Z", "2030-01-01", "complete", "failed", "disk", "memory", "off", "nan", "1",
    "9" * 18, "9" * 30, "²", "a/1/b", "//", "a/b/c/1/d", TOKEN, *JOBS,
]  # fmt: skip
DEEP = [
    _nested(depth, begin, end)
    for depth in (1, DEPTH_MAX - 1, DEPTH_MAX, DEPTH_MAX + 1, 900, 978, 985, 990, 995, 1_000, 50_000)
    for begin, end in (("[", "]"), ('{"a":', "}"))
]
_HOSTILE = [
    *NUMBERS,
    *map(json.dumps, TEXTS),
    *DEEP,
    "null",
    "true",
    "false",
    "[]",
    "{}",
    "[null]",
    '{"a": 1}',
]
hostile = st.sampled_from(_HOSTILE) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
).map(json.dumps)


def _text(*values: Any) -> st.SearchStrategy[str]:
    return st.sampled_from([json.dumps(value) for value in values])


_GOOD: dict[str, st.SearchStrategy[str]] = {
    "id": _text(*JOBS),
    "service": _text("E", "X", "NOPE"),
    "token": _text(TOKEN),
    "object": _text({}, {"a": 1}, {"a": [{}]}),
    "seconds": _text(0, 0.001, 0.01, 0.05),
    "number": _text(0.5, 1),
    "whole": _text(0, 1, 5),
    "int": _text(0, 1, 5),
    "page": _text("1", "5"),
    "flag": _text(True, False),
    "text": _text("a text", "ü"),
    "name": _text("E", "X"),
    "key": _text("E", "X"),
    "word": _text("a1", "a2"),
    "verb": _text("stop", "login"),
    "time": _text("2030-01-01T00:00:00Z", "2020-01-01T00:00:00+01:00"),
    "value": _text(
        1, None, {"a": [1]}, {"service": "E"}, {"service": "X", "params": {"a": None}}, [{"service": "E"}]
    ),
    "parsed": _text("E", "X", "nightly"),
}


_NUMERIC = ("seconds", "number", "whole", "int", "page")


def _good(field: Row) -> st.SearchStrategy[str]:
    return _text(*field.choices) if field.kind == "choice" else _GOOD[field.kind]


def _bad(field: Row) -> st.SearchStrategy[str]:
    # Of a number, numbers are the worst.
    return st.sampled_from(NUMBERS) | hostile if field.kind in _NUMERIC else hostile


def _one_bad(fields: Mapping[str, Row], *needed: str) -> st.SearchStrategy[str]:
    """An object in which all is well but for one field; now and then it is all well, or all bad."""
    good = {name: _good(what) for name, what in fields.items()}
    bad = {name: _bad(what) for name, what in fields.items()}
    wholes = [_dict({name: good[name] for name in needed}, good), _dict({}, bad | {"nope": hostile})]
    for victim in fields:
        musts = {name: good[name] for name in needed} | {victim: bad[victim]}
        wholes.append(_dict(musts, good))
    return st.one_of(wholes)


def _dict(
    musts: dict[str, st.SearchStrategy[str]], others: dict[str, st.SearchStrategy[str]]
) -> st.SearchStrategy[str]:
    others = {name: value for name, value in others.items() if name not in musts}
    return st.fixed_dictionaries(musts, optional=others).map(_joined)


def _joined(items: dict[str, str]) -> str:
    return "{" + ", ".join(f"{json.dumps(name)}: {value}" for name, value in items.items()) + "}"


# ---------------------------------------------------------------- requests


def _request(name: str, body: str, prefix: bytes = b"") -> Request:
    return Request((b"MDPC02", b"\x01", name.encode("utf-8", "replace"), prefix + body.encode()))


def _question(name: str) -> st.SearchStrategy[Request]:
    fields = QUESTIONS[name]
    # A filter has to have something in it, and a job is what most questions are about.
    needed = [field for field, what in fields.items() if what.needed or field == "id"]
    body = st.one_of(_one_bad(fields, *needed), _one_bad(fields, *needed), _one_bad(fields), hostile)
    prefixed = st.sampled_from([b"", b"", b"PARAM-JSON: ", b"JSON-PARAM: "])
    names = st.sampled_from([name, name, f"SYNC-{name}", f"JOB: {name}"])
    return st.builds(_request, names, body, prefixed)


_ITEM_FIELDS = {"service": Row("service"), "params": Row("value"), "params_base64": Row("text")}
_PLAIN = _one_bad({**JOB_OPTIONS, **_ITEM_FIELDS}, "service")
_STEP = _one_bad(
    {**JOB_OPTIONS, **_ITEM_FIELDS, "previous": Row("choice", choices=([""], ["/a"]))}, "service"
)
_STEPS = st.lists(_STEP | _text({"service": "E"}) | hostile, max_size=3)
_CHAIN = st.builds(
    lambda steps, job_id: f'{{"chain": [{", ".join(steps)}], "id": {job_id}}}',
    _STEPS,
    _GOOD["id"] | hostile,
)
_ITEM = _PLAIN | _CHAIN


def _submits() -> st.SearchStrategy[Request]:
    many = st.lists(_ITEM | hostile, max_size=4).map(lambda items: "[" + ", ".join(items) + "]")
    return st.builds(_request, st.just("zmws.submit"), many | hostile)


def _with_options(name: str, options: str, params: str, raw: bool) -> Request:
    body = params.encode() if raw else b"PARAM-JSON: " + params.encode()
    return Request((b"MDPC02", b"\x01", name.encode(), b"OPTS-JSON: " + options.encode(), body))


jobs = st.builds(
    _with_options,
    st.sampled_from(["E", "E", "X", "JOB: E", "NOPE"]),
    st.one_of(_one_bad(JOB_OPTIONS), _one_bad(JOB_OPTIONS), hostile),
    hostile,
    st.booleans(),
)
lists = st.sampled_from(SERVER_LISTS).map(lambda name: _request(name, "{}"))
questions = st.one_of([_question(name) for name in QUESTIONS])
requests = st.one_of(questions, questions, _submits(), jobs, lists)

_tokens = hostile | st.just(f'["{TOKEN}"]')
_ONES = dict.fromkeys(("slots", "ping", "pid", "host"), hostile | st.just("1"))
_READY = _dict(
    {"zmws": st.just("1"), "id": st.just('"w"') | hostile},
    {**_ONES, "holding": _tokens, "finished": _tokens},
)
_ERROR = _dict({}, dict.fromkeys(("code", "error", "type", "traceback", "retry", "delay"), hostile))
_PROGRESS = _dict({}, {"done": hostile | st.just("0.5"), "text": hostile})


def _command(command: bytes, *body: bytes) -> Request:
    return Request((b"MDPW02", command, TOKEN.encode(), b"", *body), answered=False)


commands = st.one_of(
    _READY.map(lambda info: Request((b"MDPW02", b"\x01", b"E", info.encode()), answered=False)),
    _PROGRESS.map(lambda said: _command(b"\x03", b"PROGRESS", said.encode())),
    hostile.map(lambda said: _command(b"\x03", b"TOUCH", said.strip('"').encode())),
    hostile.map(lambda said: _command(b"\x03", b"LOG", said.encode())),
    hostile.map(lambda said: _command(b"\x03", b"CONT", b"PARAM-JSON: " + said.encode())),
    _ERROR.map(lambda said: _command(b"\x04", b"FAIL", b"PARAM-JSON: " + said.encode())),
    hostile.map(lambda said: _command(b"\x04", b"COMPLETE", b"PARAM-JSON: " + said.encode())),
    (hostile | st.lists(_ITEM | hostile, max_size=3).map(lambda items: f"[{', '.join(items)}]")).map(
        lambda said: _command(b"\x04", b"COMPLETE", b"JOBS-JSON: " + said.encode())
    ),
)


# ---------------------------------------------------------------- each field with each value


def each_bad_value() -> Iterator[Request]:
    """Every field of every question, and every option of a job in each place for them, with every value."""
    for name, fields in QUESTIONS.items():
        for body in _each(fields):
            yield _request(name, body)
    for body in _each(JOB_OPTIONS):
        yield _with_options("E", body, "1", False)
        yield _with_options("SYNC-NOPE", body, "1", False)
    for item in _each({**JOB_OPTIONS, **_ITEM_FIELDS}, "service"):
        yield _request("zmws.submit", f"[{item}]")
        yield _request("zmws.submit", f'[{{"chain": [{{"service": "E"}}, {item}]}}]')
        yield _request("zmws.open", f'{{"then": {item}}}')
    for value in _HOSTILE:
        yield _request("zmws.submit", value)
        yield _with_options("E", value, value, True)


def _each(fields: Mapping[str, Row], *needed: str) -> Iterator[str]:
    musts = {name: _example(what) for name, what in fields.items() if what.needed}
    musts |= {name: _example(fields[name]) for name in (*needed, "id") if name in fields}
    if "kind" in fields:
        for kind in fields["kind"].choices:
            for victim in fields:
                for value in _HOSTILE:
                    yield _joined({**musts, "done": "0.5", "text": '"x"', "kind": f'"{kind}"', victim: value})
        return
    for victim in fields:
        for value in _HOSTILE:
            yield _joined({**musts, victim: value})


def _example(field: Row) -> str:
    return json.dumps(field.choices[0]) if field.kind == "choice" else _EXAMPLE[field.kind]


_EXAMPLE = {"id": f'"{JOB}"', "service": '"E"', "token": f'"{TOKEN}"', "seconds": "1", "parsed": '"E"'}
_EXAMPLE |= {"key": '"a text"', "word": '"a1"', "verb": '"stop"'}
