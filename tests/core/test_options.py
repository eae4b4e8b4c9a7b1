"""zmws.core.options: the options of a job and of a service."""

from __future__ import annotations

import json
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from zmws.core.options import (
    BACKOFF_S_MAX,
    JOB_OPTIONS,
    KEEP_S,
    SERVICE_OPTIONS,
    WORKER_OPTIONS,
    JobOptions,
    ServiceOptions,
    job_options,
    job_options_of,
    service_options,
    with_defaults,
    worker_options,
)
from zmws.core.table import KEY_BYTES_MAX
from zmws.errors import OptionError

# The first text that hypothesis draws on a machine builds its tables, which takes seconds.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


def refusal_of(given: Any) -> OptionError:
    with pytest.raises(OptionError) as caught:
        job_options_of(given)
    assert caught.value.code == "bad_option"
    return caught.value


def test_a_job_without_options_has_none() -> None:
    assert job_options(None) == job_options(b"{}") == JobOptions()
    assert all(getattr(job_options(None), field.name) is None for field in fields(JobOptions))


def test_every_option_of_a_job_is_taken() -> None:
    options = job_options(
        b'{"id": "A361-07A2", "priority": -3, "delay": 1.5, "ttr": 10, "retries": 0, "backoff": 0,'
        b' "expires": 60, "unique": "k\xc3\xa9y", "keep": 0, "durability": "memory", "group": "tenant 1"}'
    )
    assert options == JobOptions(
        id="A361-07A2",
        priority=-3,
        delay=1.5,
        ttr=10.0,
        retries=0,
        backoff=0.0,
        expires=60.0,
        unique="k\u00e9y",
        keep=0.0,
        durability="memory",
        group="tenant 1",
    )


def test_null_is_an_option_that_was_not_given() -> None:
    assert job_options(json.dumps(dict.fromkeys(JOB_OPTIONS)).encode()) == JobOptions()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1970-01-01T00:00:10Z", 10.0),
        ("1970-01-01T01:00:10.5+01:00", 10.5),
        ("1970-01-01 00:00:10+00:00", 10.0),
        ("19700101T000010Z", 10.0),
    ],
)
def test_a_time_with_its_zone_is_taken(text: str, seconds: float) -> None:
    assert job_options_of({"at": text}).at == seconds


@pytest.mark.parametrize(
    "value", ["1970-01-01T00:00:10", "1970-01-01", "tomorrow", "", 10, True, "9999-99-99T00:00Z"]
)
def test_a_time_without_zone_or_sense_is_refused(value: Any) -> None:
    assert "ISO 8601" in str(refusal_of({"at": value}))


def test_delay_and_at_exclude_each_other() -> None:
    assert refusal_of({"delay": 1, "at": "2027-01-31T08:00:00Z"}).option == "at"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", -1000),
        ("priority", 1000),
        ("priority", 5.0),
        ("delay", 0),
        ("ttr", 0.001),
        ("retries", 0),
        ("keep", 366 * 86400),
        ("id", "a"),
        ("id", "A-Za.z0:9_" + "x" * 118),
        ("unique", "x" * KEY_BYTES_MAX),
        ("group", "with space and \u00e9"),
        ("durability", "disk"),
    ],
)
def test_a_value_at_the_edge_of_its_range_is_taken(name: str, value: Any) -> None:
    assert getattr(job_options_of({name: value}), name) == value


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", -1001),
        ("priority", 1001),
        ("priority", 1.5),
        ("priority", "1"),
        ("priority", True),
        ("priority", []),
        ("delay", -0.001),
        ("delay", 366 * 86400 + 1),
        ("delay", float("nan")),
        ("delay", float("inf")),
        ("delay", -float("inf")),
        ("delay", 10**400),
        ("ttr", 0),
        ("expires", 0),
        ("retries", -1),
        ("retries", False),
        ("backoff", -1),
        ("id", ""),
        ("id", "x" * 129),
        ("id", "a b"),
        ("id", "a\n"),
        ("id", "\u00e9"),
        ("id", 5),
        ("unique", ""),
        ("unique", "x" * (KEY_BYTES_MAX + 1)),
        ("unique", "\u00e9" * 128),
        ("unique", "tab\t"),
        ("unique", "\ud800"),
        ("unique", 5),
        ("group", ["a"]),
        ("durability", "Disk"),
        ("durability", None.__class__.__name__),
        ("durability", ["disk"]),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_name_and_value(name: str, value: Any) -> None:
    wrong = refusal_of({name: value})
    assert wrong.option == name
    assert f"option '{name}' is " in str(wrong)
    assert "must be" in str(wrong)


def test_a_refusal_names_the_range() -> None:
    assert "from -1000 to 1000" in str(refusal_of({"priority": 5000}))
    assert "above 0" in str(refusal_of({"ttr": 0}))
    assert "disk, memory" in str(refusal_of({"durability": "ram"}))


def test_a_refusal_of_a_long_value_is_short() -> None:
    assert len(str(refusal_of({"id": "x" * 100_000}))) < 300
    assert len(str(refusal_of({"x" * 100_000: 1}))) < 400


def test_an_unknown_option_is_refused_with_the_nearest_name() -> None:
    wrong = refusal_of({"retrys": 1})
    assert wrong.option == "retrys"
    assert "did you mean 'retries'" in str(wrong)
    assert "priority" in str(refusal_of({"zzzzzz": 1}))  # nothing is near: all are listed


def test_an_option_of_a_service_is_none_of_a_job() -> None:
    assert refusal_of({"max_running": 1}).option == "max_running"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"{",
        b"nonsense",
        b"[]",
        b"5",
        b"null",
        b'"id"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"priority": NaN}',
    ],
)
def test_a_frame_that_is_no_json_object_is_refused(frame: bytes) -> None:
    with pytest.raises(OptionError):
        job_options(frame)


def test_a_deeply_nested_value_is_refused_and_not_a_crash() -> None:
    # Near the interpreter's limit there are depths that can just be read, but not be written again.
    for depth in range(1, 1_100):
        with pytest.raises(OptionError):
            job_options(b'{"priority": ' + b"[" * depth + b"]" * depth + b"}")


@patient
@given(st.binary())
def test_no_frame_raises_anything_but_option_error(frame: bytes) -> None:
    try:
        job_options(frame)
    except OptionError as wrong:
        assert str(wrong)


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@patient
@given(st.dictionaries(st.sampled_from([*JOB_OPTIONS, "other"]), JSON_VALUES, max_size=4))
def test_no_value_raises_anything_but_option_error(given: dict[str, Any]) -> None:
    try:
        job_options(json.dumps(given).encode())
    except OptionError as wrong:
        assert wrong.option in given


def test_a_service_without_options_has_the_defaults() -> None:
    assert service_options({}) == ServiceOptions()
    defaults = ServiceOptions()
    assert (defaults.priority, defaults.ttr, defaults.retries, defaults.backoff) == (0, 3600.0, 3, 2.0)
    assert (defaults.durability, defaults.ageing, defaults.paused) == ("disk", 60.0, False)


def test_every_option_of_a_service_is_taken() -> None:
    given = {
        "priority": 5,
        "delay": 1,
        "ttr": 60,
        "retries": 5,
        "backoff": 1,
        "expires": 10,
        "keep": 60,
        "durability": "memory",
        "ageing": 30,
        "max_running": 4,
        "rate": 0.5,
        "max_waiting": 100,
        "paused": True,
        "on_complete": "WEBHOOK",
        "on_failed": "MAIL",
    }
    assert set(given) == set(SERVICE_OPTIONS)
    options = service_options(given)
    assert {name: getattr(options, name) for name in given} == given


def test_ageing_can_be_turned_off() -> None:
    assert service_options({"ageing": "off"}).ageing is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ageing", 0),
        ("ageing", "on"),
        ("ageing", True),
        ("ageing", float("nan")),
        ("max_running", 0),
        ("max_running", 1.5),
        ("rate", 0),
        ("rate", float("inf")),
        ("max_waiting", 0),
        ("paused", 1),
        ("paused", "true"),
        ("retries", None),
    ],
)
def test_an_option_of_a_service_out_of_its_range_is_refused(name: str, value: Any) -> None:
    with pytest.raises(OptionError, match=f"option '{name}' is "):
        service_options({name: value})


@pytest.mark.parametrize("name", ["id", "at", "unique", "group"])
def test_what_belongs_to_one_job_is_no_option_of_a_service(name: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}' is no option of a service"):
        service_options({name: "x"})


YEAR_S = 366 * 24 * 3600


@pytest.mark.parametrize(
    ("name", "taken", "refused"),
    [
        ("priority", [-1000, 1000], [-1001, 1001]),
        ("delay", [0, YEAR_S], [-0.001, YEAR_S + 1]),
        ("ttr", [0.001, YEAR_S], [0, YEAR_S + 1]),
        ("retries", [0, 1_000_000], [-1, 1_000_001]),
        ("backoff", [0, YEAR_S], [-0.001, YEAR_S + 1]),
        ("expires", [0.001, YEAR_S], [0, YEAR_S + 1]),
        ("keep", [0, YEAR_S], [-0.001, YEAR_S + 1]),
        ("ageing", [0.001, YEAR_S], [0, YEAR_S + 1]),
        ("max_running", [1, 1_000_000], [0, 1_000_001]),
        ("rate", [0.001, 1_000_000], [0, 1_000_001]),
        ("max_waiting", [1, 1_000_000_000], [0, 1_000_000_001]),
    ],
)
def test_the_edges_of_each_range_are_taken_and_what_is_beyond_is_not(
    name: str, taken: list[float], refused: list[float]
) -> None:
    for value in taken:
        assert getattr(service_options({name: value}), name) == value
        if name in JOB_OPTIONS:
            assert getattr(job_options_of({name: value}), name) == value
    for value in refused:
        with pytest.raises(OptionError, match=f"'{name}'"):
            service_options({name: value})


def test_records_are_kept_for_a_day_and_a_failed_jobs_for_thirty() -> None:
    day = 24 * 3600
    assert {"complete": day, "cancelled": day, "expired": day, "failed": 30 * day} == KEEP_S
    assert BACKOFF_S_MAX == 3600


def test_a_services_jobs_must_be_able_to_start_before_they_expire() -> None:
    assert service_options({"delay": 4.5, "expires": 5}).expires == 5
    with pytest.raises(OptionError, match="its jobs can only expire: 'delay' is 5 s, and 'expires' 5 s"):
        service_options({"delay": 5, "expires": 5})


def test_a_worker_gives_the_options_of_its_jobs_in_their_types_and_null_is_not_given() -> None:
    assert set(WORKER_OPTIONS) == {"retries", "ttr", "backoff", "expires", "keep", "priority"}
    told = worker_options({"retries": 5.0, "ttr": 10, "keep": None, "priority": -3})
    assert told == {"retries": 5, "ttr": 10.0, "priority": -3}
    assert type(told["retries"]) is int and type(told["ttr"]) is float


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ([], "'defaults' must be a JSON object"),
        (None, "'defaults' must be a JSON object"),
        (
            {"durability": "memory"},
            "option 'durability' is not for a worker to give: that may be retries, ttr",
        ),
        ({"delay": 1}, "option 'delay' is not for a worker"),
        ({"paused": True}, "option 'paused' is not for a worker"),
        ({"retrys": 1}, "did you mean 'retries'?"),
        ({"ttr": 0}, "option 'ttr' is 0, but must be a number of seconds above 0"),
        ({"retries": True}, "option 'retries' is true"),
    ],
)
def test_what_a_worker_may_not_give_is_said(given: Any, why: str) -> None:
    with pytest.raises(OptionError) as caught:
        worker_options(given)
    assert why in str(caught.value)


def test_what_the_configuration_gives_goes_before_a_worker_and_what_it_does_not_behind() -> None:
    configured = service_options({"ttr": 3600, "delay": 5})
    assert configured.gives("ttr") and configured.gives("delay") and not configured.gives("retries")
    both = with_defaults(configured, {"ttr": 10.0, "retries": 0})
    assert (both.ttr, both.retries, both.delay, both.backoff) == (3600.0, 0, 5.0, 2.0)
    assert with_defaults(both, {"retries": 7}).retries == 7, "what a worker told is not given"
    with pytest.raises(OptionError, match="its jobs can only expire: 'delay' is 5 s, and 'expires' 5 s"):
        with_defaults(configured, {"expires": 5.0})


def test_of_options_made_by_hand_those_that_are_not_the_default_are_given() -> None:
    made = ServiceOptions(retries=0, ttr=3600.0)
    assert made.gives("retries") and not made.gives("ttr")
    assert made.values() == {**ServiceOptions().values(), "retries": 0} and set(made.values()) == set(
        SERVICE_OPTIONS
    )
    assert service_options({"retries": 3}).gives("retries") and not ServiceOptions().gives("retries")
