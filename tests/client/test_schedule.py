"""Schedules: added, looked at, steered."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zmws import Client, OptionError, Refused, ServiceUnknown


def test_a_schedule_is_added_and_shown(client: Client) -> None:
    until = datetime.now(UTC) + timedelta(days=9)
    made = client.add_schedule(
        "report",
        "ECHO",
        {"month": 3},
        cron="30 8 * * MON-FRI",
        zone="Europe/Berlin",
        missed="all",
        missed_max=3,
        overlap="skip",
        jitter=timedelta(minutes=1),
        until=until,
        retries=2,
    )
    row = made.status()
    assert made.name == row["name"] == "report" and row["params"] == {"month": 3}
    assert (row["cron"], row["zone"], row["every"]) == ("30 8 * * MON-FRI", "Europe/Berlin", None)
    assert (row["missed"], row["missed_max"], row["overlap"], row["jitter"]) == ("all", 3, "skip", 60)
    assert row["options"] == {"retries": 2} and row["next_at"] is not None
    assert datetime.fromisoformat(row["until"]).date() == until.date()
    assert [one["name"] for one in client.schedules()] == ["report"]


def test_a_schedule_is_run_paused_and_removed(client: Client) -> None:
    one = client.add_schedule("often", "ECHO", b"\x00", every=timedelta(hours=1))
    job = one.run()
    assert job.result(20) == b"\x00" and job.id.startswith("cron:often:run-")
    one.pause()
    assert one.status()["paused"] and one.status()["next_at"] is None
    one.resume()
    assert not client.schedule("often").status()["paused"]
    one.remove()
    for act in (one.status, one.pause, one.run, one.remove):
        with pytest.raises(Refused) as fault:
            act()
        assert fault.value.code == "unknown_schedule"


def test_what_is_wrong_with_a_schedule_is_refused(client: Client) -> None:
    client.add_schedule("s", "ECHO", every=60)
    with pytest.raises(Refused) as fault:
        client.add_schedule("s", "ECHO", every=60)
    assert fault.value.code == "exists"
    client.add_schedule("s", "ECHO", every=90, replace=True)
    assert client.schedule("s").status()["every"] == 90
    assert client.add_schedule("still", "ECHO", every=60, paused=True).status()["paused"]
    with pytest.raises(ServiceUnknown):
        client.add_schedule("t", "NONE", every=60)
    with pytest.raises(Refused, match="its hour cannot be '25'"):
        client.add_schedule("t", "ECHO", cron="30 25 * * *")
    with pytest.raises(OptionError, match="every"):
        client.add_schedule("t", "ECHO", every=float("nan"))
    with pytest.raises(OptionError, match="until"):
        client.add_schedule("t", "ECHO", every=60, until=datetime(2040, 1, 1))
    with pytest.raises(Refused, match="option 'retries'"):
        client.add_schedule("t", "ECHO", every=60, retries="x")
    with pytest.raises(Refused, match="'id' is not for a schedule"):
        client.add_schedule("t", "ECHO", every=60, id="x")
