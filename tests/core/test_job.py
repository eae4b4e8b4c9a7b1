"""A job: its transitions, its history, its record as people see it."""

from __future__ import annotations

import pytest

from tests.core.jobs import a_job
from zmws.core.job import (
    LISTED_ERROR_CHARS,
    STATES_KEPT,
    Caller,
    error_json,
    events,
    iso,
    leased,
    listed_error,
    record,
    summary,
)
from zmws.core.states import FINAL_STATES, REVIVABLE, STATES, TRANSITIONS
from zmws.core.tokens import job_id_of, make_token
from zmws.wire.messages import ReplyTo

ALLOWED = {
    ("scheduled", "due"): "waiting",
    ("scheduled", "cancel"): "cancelled",
    ("scheduled", "expire"): "expired",
    ("waiting", "dispatch"): "running",
    ("waiting", "cancel"): "cancelled",
    ("waiting", "expire"): "expired",
    ("running", "complete"): "complete",
    ("running", "give_back"): "waiting",
    ("running", "back_off"): "scheduled",
    ("running", "exhaust"): "failed",
    ("running", "cancel"): "cancelled",
    ("failed", "revive"): "waiting",
    ("cancelled", "revive"): "waiting",
    ("expired", "revive"): "waiting",
}
EVENTS = sorted({event for _, event in ALLOWED})


@pytest.mark.parametrize("state", STATES)
def test_a_state_changes_only_as_the_readme_draws_it(state: str) -> None:
    for event in EVENTS:
        job = a_job(state=state, attempt=2)
        if (state, event) in ALLOWED:
            job.move(event, 5.0)
            assert job.state == ALLOWED[state, event] and job.states == ((1, 5.0, job.state, 2),)
        else:
            with pytest.raises(AssertionError):
                job.move(event, 5.0)
    assert a_job(state=state).final is (state in ("complete", "failed", "cancelled", "expired"))
    assert set(TRANSITIONS) == set(STATES) and len(STATES) == 7
    assert {"failed", "cancelled", "expired"} == set(REVIVABLE) and set(REVIVABLE) < FINAL_STATES


def test_of_very_many_changes_the_newest_are_kept() -> None:
    assert STATES_KEPT == 100
    job = a_job(state="running")
    for n in range(1, STATES_KEPT + 6):
        job.enter(float(n))
        assert len(job.states) == min(n, STATES_KEPT)
    assert job.states[0][:2] == (6, 6.0) and job.states[-1][:2] == (105, 105.0) and job.events == 105


def test_an_attempt_that_ends_stands_in_the_history_of_which_the_newest_are_kept() -> None:
    job = a_job(worker="w", started_at=3.0, token=b"t")
    for n in range(1, 6):
        job.attempt = n
        job.ends_attempt(float(n), None if n < 5 else {"code": "worker_lost"}, kept_max=3)
        assert job.token is None and len(job.attempts) == min(n, 3)
        assert job.suspect is (n == 5)
    assert [entry["attempt"] for entry in job.attempts] == [3, 4, 5]
    assert job.attempts[0] == {"attempt": 3, "worker": "w", "started_at": 3.0, "ended_at": 3.0}
    assert job.attempts[2]["error"] == {"code": "worker_lost"}
    assert not a_job().suspect


def test_a_caller_is_the_same_where_the_answer_goes_the_same_way() -> None:
    to = ReplyTo("native", (b"1", b""))
    one = Caller(("client", b"a", ""), to)
    assert one.same_as(Caller(("client", b"a", ""), ReplyTo("native", (b"1", b""))))
    for other in (
        Caller(("client", b"b", ""), to),
        Caller(("client", b"a", ""), ReplyTo("native", (b"2", b""))),
        Caller(("client", b"a", ""), to, bundle=object()),
        Caller(("client", b"a", ""), to, place=1),
    ):
        assert not one.same_as(other)


@pytest.mark.parametrize(
    ("token", "job_id"),
    [
        (make_token("a/b", 3, "n"), "a/b"),
        (b"j/1/x", "j"),
        (b"//", ""),
        (b"j/1", None),
        (b"", None),
        ("é/1/x".encode(), None),
    ],
)
def test_a_token_tells_its_job(token: bytes, job_id: str | None) -> None:
    assert job_id_of(token) == job_id
    assert make_token("j", 2, "nonce") == b"j/2/nonce"


@pytest.mark.parametrize(
    ("at", "text"),
    [
        (None, None),
        (0.0, "1970-01-01T00:00:00.000Z"),
        (1.5, "1970-01-01T00:00:01.500Z"),
        (-5.9e10, "0100-05-12T23:06:40.000Z"),
        (-6.0e10, None),
        (2.4e11, "9575-04-30T18:40:00.000Z"),
        (2.5e11, None),
        (float("nan"), None),
    ],
)
def test_times_are_iso_8601_where_a_calendar_has_them(at: float | None, text: str | None) -> None:
    found = iso(at)
    assert (found is None) is (text is None)
    if at in (0.0, 1.5):
        assert found == text


def test_a_summary_has_the_times_as_the_wall_has_them() -> None:
    job = a_job(ready_at=1.0, expires_at=9.0)
    shown = summary(job, lead=60.0)
    assert (shown["ready_at"], shown["expires_at"], shown["created_at"]) == (iso(61.0), iso(69.0), iso(0.0))
    assert summary(a_job(ready_at=1.0, by_wall=True), lead=60.0)["ready_at"] == iso(1.0)
    assert list(shown) == [
        *("id", "service", "state", "kind", "attempt", "failures", "retries", "priority", "group", "unique"),
        *("created_at", "ready_at", "started_at", "ended_at", "expires_at", "ttr", "worker"),
        *("progress", "progress_text", "error", "parent", "batch", "chain"),
    ]
    assert (shown["retries"], shown["ttr"], shown["state"], shown["priority"]) == (3, 3600.0, "waiting", 0)


def test_a_listed_error_is_short() -> None:
    assert LISTED_ERROR_CHARS == 200
    assert listed_error(None) is None
    assert listed_error({}) == {"code": "", "error": ""}
    long = {"code": "c", "error": "x" * 300, "type": "T" * 300, "traceback": "t"}
    assert listed_error(long) == {"code": "c", "error": "x" * 200, "type": "T" * 200}


def test_a_record_shows_the_result_only_of_a_complete_job() -> None:
    for state, result, kind in (("complete", 5, "json"), ("failed", None, None), ("running", None, None)):
        job = a_job(state=state, result=(b"PARAM-JSON: 5",), error={"code": "c", "error": "x" * 300})
        shown = record(job, 0.0)
        assert (shown["result"], shown["result_kind"]) == (result, kind)
        assert shown["error"] == job.error and shown["params_kind"] == "bytes"


@pytest.mark.parametrize(
    ("body", "params", "kind"),
    [
        ((b"PARAM: i:1;",), {"base64": "aToxOw=="}, "php"),
        ((b"PARAM-JSON: 5",), 5, "json"),
        ((b"",), None, None),
    ],
)
def test_a_record_shows_what_a_job_was_given_as_parameters(
    body: tuple[bytes, ...], params: object, kind: str | None
) -> None:
    shown = record(a_job(body=body), 0.0)
    assert (shown["params"], shown["params_kind"]) == (params, kind)


def test_events_come_in_their_order_past_a_number() -> None:
    job = a_job(events=5)
    job.states = ((1, 0.0, "waiting", 0), (3, 1.0, "running", 1))
    job.history = [(2, 0.5, "log", "line"), (4, 2.0, "partial", (b"PARAM-JSON: 7",))]
    job.progress, job.progress_text, job.progress_at, job.progress_n = 0.5, "half", 3.0, 5
    found = events(job, 0)
    assert [event["n"] for event in found] == [1, 2, 3, 4, 5]
    assert found[0] == {"n": 1, "at": iso(0.0), "kind": "state", "state": "waiting", "attempt": 0}
    assert found[1] == {"n": 2, "at": iso(0.5), "kind": "log", "text": "line"}
    assert found[3] == {"n": 4, "at": iso(2.0), "kind": "partial", "value": 7, "value_kind": "json"}
    assert found[4] == {"n": 5, "at": iso(3.0), "kind": "progress", "done": 0.5, "text": "half"}
    assert [event["n"] for event in events(job, 3)] == [4, 5] and events(job, 5) == []


def test_a_leased_job_has_its_token_and_the_time_that_is_left() -> None:
    job = a_job(state="running", token=b"j/1/x")
    job.deadline_mono = 70.1234
    assert [leased(job, 0.0, now)["ttr"] for now in (10.0, 50.0, 80.0)] == [60.123, 20.123, 0.0]
    assert leased(job, 0.0, 10.0)["token"] == "j/1/x"


def test_an_error_goes_out_as_json() -> None:
    assert error_json({"code": "c", "error": "é"}) == b'{"code": "c", "error": "\\u00e9"}'
