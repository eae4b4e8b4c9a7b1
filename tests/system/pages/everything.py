"""An installation in which everything has happened that a page can show, hostile texts among it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from tests.peers import wait_until
from tests.system.installation import Installation
from tests.system.pages.conftest import let
from zmws import Client

# Each would run a script, were it not shown as text.
HOSTILE = (
    "<script>stolen()</script>",
    "<img src=x onerror=stolen()>",
    "\"'><svg onload=stolen()>",
    "javascript:stolen()",
    "{{ 7*7 }}{% raw %}",
    "</textarea></pre></title><script>stolen()</script>",
)
HOSTILE_NAME = "EVIL\"'><img_src=x_onerror=stolen()>"  # a service of shop.py


@dataclass
class Everything:
    """The ids of jobs in it, by what has become of them."""

    jobs: dict[str, str]

    @property
    def paths(self) -> list[str]:
        """Every page there is, in all that it can show."""
        job = self.jobs
        return [
            "/ui/",
            "/ui/services",
            "/ui/services?q=nothing-like-this",
            "/ui/services/STEP",
            "/ui/services/STEP?range=24h",
            "/ui/services/FLAKY?range=30d",
            "/ui/services/ORDER",
            "/ui/jobs",
            "/ui/jobs?state=failed&service=FLAKY",
            "/ui/jobs?q=onerror",
            "/ui/jobs?group=nobody&since=2020-01-01T00:00:00Z",
            "/ui/jobs?memory=1",
            f"/ui/jobs/{job['running']}",
            f"/ui/jobs/{job['failed']}",
            f"/ui/jobs/{job['complete']}",
            f"/ui/jobs/{job['complete']}?reveal=1",
            f"/ui/jobs/{job['waiting']}",
            f"/ui/jobs/{job['scheduled']}",
            f"/ui/jobs/{job['cancelled']}",
            f"/ui/jobs/{job['hostile']}",
            f"/ui/jobs/{job['evil']}",
            f"/ui/services/{quote(HOSTILE_NAME, safe='')}",
            f"/ui/submit?{urlencode({'service': HOSTILE_NAME})}",
            f"/ui/failures?{urlencode({'service': HOSTILE_NAME})}",
            f"/ui/workers?{urlencode({'service': HOSTILE_NAME})}",
            f"/ui/jobs?{urlencode({'service': HOSTILE_NAME, 'group': HOSTILE[0], 'q': HOSTILE[1]})}",
            f"/ui/jobs/{job['hostile']}/again",
            f"/ui/jobs/{job['running']}/stack",
            "/ui/batches",
            "/ui/batches?state=complete",
            "/ui/batches/open-one",
            "/ui/batches/running-one",
            "/ui/batches/hostile-one",
            "/ui/batches/no-such-batch",
            "/ui/jobs?batch=hostile-one",
            "/ui/jobs?chain=a-chain",
            f"/ui/jobs?{urlencode({'parent': job['complete'], 'chain': 'x', 'batch': 'y'})}",
            f"/ui/jobs/{job['step']}",
            f"/ui/jobs/{job['told']}",
            f"/ui/jobs/{job['concludes']}",
            "/ui/schedules",
            "/ui/schedules?q=nothing-like-this",
            "/ui/schedules/nightly",
            "/ui/schedules/hostile-one",
            "/ui/schedules/hostile-one?reveal=1",
            "/ui/schedules/by-hand",
            "/ui/schedules/no-such-schedule",
            "/ui/new-schedule",
            f"/ui/new-schedule?{urlencode({'service': HOSTILE_NAME})}",
            "/ui/failures",
            "/ui/failures?service=FLAKY",
            "/ui/workers",
            "/ui/workers?service=STEP",
            "/ui/system",
            "/ui/system/logs/broker",
            "/ui/system/logs/shop_00",
            "/ui/submit",
            "/ui/submit?service=ORDER",
            "/ui/submit?service=STEP",
            "/ui/submit?service=ORDER&as=json",
            "/login",
            "/ui/no-such-page",
            "/ui/jobs/no-such-job",
        ]


def make(shop: Installation, client: Client) -> Everything:
    """Let it all happen."""
    jobs: dict[str, Any] = {}
    jobs["complete"] = client.submit(
        "STEP", {"seconds": 0.05, "steps": 3, "password": "s3cret"}, group="g<i>"
    )
    jobs["failed"] = client.submit("FLAKY", {"name": HOSTILE[0]})
    for job in jobs.values():
        job.wait(20)
    params = {text: [text, {"deep": text}] for text in HOSTILE}
    hostile = {"steps": 1, "seconds": 0.05, "number": 2**60 + 1, **params}
    jobs["hostile"] = client.submit(
        "STEP", hostile, group=HOSTILE[1], unique=HOSTILE[2], meta={HOSTILE[0]: 1}
    )
    jobs["hostile"].wait(20)
    jobs["evil"] = client.submit(HOSTILE_NAME, {"text": HOSTILE[1]}, group=HOSTILE[0])
    jobs["evil"].wait(20)
    client.pause("STR-REV")
    jobs["waiting"] = client.submit("STR-REV", {"str": HOSTILE[1]}, group=HOSTILE[0])
    jobs["scheduled"] = client.submit("STR-REV", {"str": "x"}, delay=3600)
    jobs["cancelled"] = client.submit("STR-REV", {"str": HOSTILE[2]})
    jobs["cancelled"].cancel()
    client.call("ORDER", {"item": "x", "number": 1})
    client.ask("zmws.mark", {"text": HOSTILE[0], "by": HOSTILE[1]})
    client.ask(
        "zmws.acted", {"verb": "stop", "on": HOSTILE[2], "by": HOSTILE[0], "detail": {"x": HOSTILE[1]}}
    )
    told = workflows(client)
    jobs["running"] = client.submit("STEP", {"name": "runs", "steps": 2, "seconds": 600})
    wait_until(lambda: jobs["running"].status()["state"] == "running")
    let(shop, "runs.1")
    wait_until(lambda: jobs["running"].status()["progress"] == 0.5)
    return Everything({name: job.id for name, job in jobs.items()} | told)


def workflows(client: Client) -> dict[str, str]:
    """Batches, a chain and schedules; the ids of jobs among them."""
    follows = {"service": HOSTILE_NAME, "params": {"text": HOSTILE[2]}}
    by = {"by": HOSTILE[0], "meta": {HOSTILE[1]: HOSTILE[0], "token": "s3cret"}}
    client.ask("zmws.open", {"id": "hostile-one", "then": follows, "failed": follows, **by})
    client.submit("FLAKY", {"name": HOSTILE[1]}, batch="hostile-one", on_failed="ORDER")
    client.submit("STEP", {"steps": 0}, batch="hostile-one")
    client.ask("zmws.close", {"id": "hostile-one"})
    client.ask("zmws.open", {"id": "running-one", "then": {"service": "ORDER"}})
    client.submit("STR-REV", {"str": "x"}, batch="running-one", delay=3600)
    client.submit("STEP", {"steps": 0}, batch="running-one")
    client.ask("zmws.close", {"id": "running-one"})
    client.ask("zmws.open", {"id": "open-one"})
    steps = [
        {"service": "STEP", "params": {"steps": 0}, "on_complete": HOSTILE_NAME},
        {"service": "STEP", "previous": [""], "group": HOSTILE[0]},
        *({"service": "STEP", "previous": [""]} for _ in range(20)),
    ]
    asked = client.raw_future("zmws.submit", json.dumps([{"id": "a-chain", "chain": steps}]).encode())
    asked.result(10)
    schedule = {"do": "add", "name": "hostile-one", "service": HOSTILE_NAME, "every": 90_000, **by}
    del schedule["meta"]
    params = {HOSTILE[0]: HOSTILE[1], "password": "s3cret"}
    options = {"group": HOSTILE[2], "meta": {HOSTILE[1]: 1}, "on_failed": HOSTILE_NAME}
    client.ask("zmws.schedule", {**schedule, "params": params, "options": options})
    nightly = {"do": "add", "name": "nightly", "service": "ORDER", "cron": "30 2 * * *", "jitter": 60}
    client.ask("zmws.schedule", {**nightly, "zone": "Europe/Berlin", "missed": "all", "overlap": "skip"})
    by_hand = {"do": "add", "name": "by-hand", "service": "FLAKY", "cron": "7,22 3-9 1,15 JAN-MAR 1#2"}
    client.ask("zmws.schedule", {**by_hand, "params": {"name": "never"}, "until": "2999-01-01T00:00:00Z"})
    ran = client.ask("zmws.schedule", {"do": "run", "name": "by-hand"})["id"]
    client.ask("zmws.schedule", {"do": "pause", "name": "by-hand"})
    client.job(ran).wait(20)
    wait_until(lambda: client.ask("zmws.batch", {"id": "hostile-one"})["failed_id"])
    (told,) = client.ask("zmws.jobs", {"parent": "a-chain:1", "service": HOSTILE_NAME})["jobs"]
    return {"step": "a-chain:2", "told": told["id"], "concludes": "hostile-one:failed"}
