"""When a schedule fires, in words, and its next times."""

from __future__ import annotations

from typing import Any

import pytest

from zmws.gateway.pages.when import in_words, next_times


def schedule(**more: Any) -> dict[str, Any]:
    return {"cron": None, "every": None, "zone": "UTC", "until": None, "next_at": None, **more}


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("30 8 * * *", "every day at 08:30"),
        ("@daily", "every day at 00:00"),
        ("@hourly", "every hour"),
        ("* * * * *", "every minute"),
        ("*/5 * * * *", "every 5 minutes"),
        ("*/7 * * * *", ""),  # not every 7 minutes: the hour begins anew
        ("15 * * * *", "every hour at minute 15"),
        ("0 */6 * * *", "every 6 hours"),
        ("0 8,12 * * MON-FRI", "Monday to Friday at 08:00 and 12:00"),
        ("0 8 * * 1,3,5", "Monday, Wednesday and Friday at 08:00"),
        ("0 8 * * 7", "Sunday at 08:00"),
        ("0 0 1 * *", "on day 1 of each month at 00:00"),
        ("0 0 L * *", "on the last day of each month at 00:00"),
        ("@yearly", "on day 1 of January at 00:00"),
        ("0 8 * 6-8 *", "every day in June to August at 08:00"),
        ("*/10 * * * sat", "Saturday, every 10 minutes"),
        ("7,22 3-9 * * *", ""),
        ("0 0 1 * MON", ""),  # both hold: that takes more words
        ("0 0 * * MON#1", ""),
        ("0 0 * * 9", ""),
        ("1 2 3", ""),
        ("0,10,20,30,40 8 * * *", ""),
    ],
)
def test_an_expression_is_said_in_words_where_they_say_all_of_it(cron: str, words: str) -> None:
    assert in_words(schedule(cron=cron)) == words


@pytest.mark.parametrize(
    ("every", "words"), [(1.0, "every second"), (30, "every 30 s"), (1.5, "every 1.5 s"), (600, "every 10 m")]
)
def test_seconds_are_said_as_a_person_does(every: float, words: str) -> None:
    assert in_words(schedule(every=every)).replace("\u202f", " ") == words


def test_the_next_five_follow_the_one_that_the_broker_says() -> None:
    row = schedule(cron="0 8 * * *", zone="Europe/Berlin", next_at="2026-10-24T06:00:00Z")
    assert [one[:16] for one in next_times(row)] == [
        "2026-10-24T06:00",
        "2026-10-25T07:00",  # summer time has ended
        "2026-10-26T07:00",
        "2026-10-27T07:00",
        "2026-10-28T07:00",
    ]


def test_none_is_past_until_and_a_paused_one_counts_from_now() -> None:
    row = schedule(every=60, next_at="2026-01-01T00:00:00Z", until="2026-01-01T00:02:00Z")
    assert [one[14:19] for one in next_times(row)] == ["00:00", "01:00", "02:00"]
    assert len(next_times(schedule(cron="* * * * *"))) == 5
    assert next_times(schedule(cron="0 0 1 1 *", until="2020-01-01T00:00:00Z")) == []
