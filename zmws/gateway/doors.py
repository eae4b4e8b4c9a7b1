"""Every door of the gateway: its path, its methods, and who may come in.

Rule 1: a fixed door wins over a service of the same name.
Rule 2: no door with a role is open to a token of another; `operator` may everything, and is named nowhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from zmws.gateway import (
    api_batches,
    api_chains,
    api_insight,
    api_jobs,
    api_leases,
    api_schedules,
    api_services,
    health,
    home,
    metrics,
    news,
    old_doors,
    openapi,
    streams,
)
from zmws.gateway.answers import API
from zmws.gateway.desk import Page
from zmws.gateway.pages import (
    batches,
    failures,
    frame,
    job,
    jobs,
    live,
    login,
    overview,
    schedules,
    submit,
    system,
    workers,
)
from zmws.gateway.pages import services as pages_services
from zmws.gateway.tokens import Role

_ANY: tuple[Role, ...] = ("viewer", "client", "worker")
_VIEW: tuple[Role, ...] = ("viewer",)
_FOLLOW: tuple[Role, ...] = ("viewer", "client")
_SUBMIT: tuple[Role, ...] = ("client",)
_WORK: tuple[Role, ...] = ("worker",)
_OPERATE: tuple[Role, ...] = ()
_OPEN = None  # for everybody, also without a token

Method = tuple[Page, tuple[Role, ...] | None]


@dataclass(frozen=True, slots=True)
class Door:
    """A path, with {NAME} for what differs, and what may be done there."""

    path: str
    methods: Mapping[str, Method]
    submits: bool = False  # a GET changes something, too
    pattern: re.Pattern[str] = field(init=False)

    def __post_init__(self) -> None:
        pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", self.path.replace(".", r"\."))
        object.__setattr__(self, "pattern", re.compile(pattern + r"\Z"))

    @property
    def allow(self) -> str:
        """The methods, for `Allow`."""
        return ", ".join([*self.methods, *(["HEAD"] if "GET" in self.methods and not self.submits else [])])

    def method(self, name: str) -> Method | None:
        """What is done for a method; HEAD is a GET whose body the server leaves out."""
        if name == "HEAD" and not self.submits:
            name = "GET"
        return self.methods.get(name)


def _get(page: Page, roles: tuple[Role, ...] | None) -> Mapping[str, Method]:
    return {"GET": (page, roles)}


def _post(page: Page, roles: tuple[Role, ...] | None) -> Mapping[str, Method]:
    return {"POST": (page, roles)}


FIXED: dict[str, Door] = {
    door.path: door
    for door in (
        Door("/", _get(home.page, _OPEN)),
        Door("/healthz", _get(health.healthz, _OPEN)),
        Door("/readyz", _get(health.readyz, _OPEN)),
        Door("/metrics", _get(metrics.page, _VIEW)),
        Door("/login", {"GET": (login.form, _OPEN), "POST": (login.login, _OPEN)}),
        Door("/logout", _post(login.logout, _OPEN)),
        Door("/ui", _get(overview.root, _OPEN)),
        Door("/ui/", _get(overview.page, _VIEW)),
        Door("/ui/services", _get(pages_services.page, _VIEW)),
        Door("/ui/jobs", _get(jobs.page, _VIEW)),
        Door("/ui/find", _get(jobs.find, _VIEW)),
        Door("/ui/batches", _get(batches.page, _VIEW)),
        Door("/ui/schedules", _get(schedules.page, _VIEW)),
        Door(schedules.NEW, {"GET": (schedules.new, _OPERATE), "POST": (schedules.add, _OPERATE)}),
        Door("/ui/failures", _get(failures.page, _VIEW)),
        Door("/ui/workers", _get(workers.page, _VIEW)),
        Door("/ui/system", _get(system.page, _VIEW)),
        Door("/ui/system/marks", _post(system.mark, _OPERATE)),
        Door("/ui/submit", {"GET": (submit.page, _OPERATE), "POST": (submit.submit, _OPERATE)}),
        Door("/ui/live", _get(live.page, _VIEW)),
        *(Door(f"/{name}", _get(old_doors.lists, _VIEW)) for name in old_doors.LISTS),
        *(Door(f"/SYNC-{name}", _get(old_doors.lists, _VIEW)) for name in old_doors.LISTS),
        Door(f"{API}/openapi.json", _get(openapi.page, _ANY)),
        Door(f"{API}/jobs", {"GET": (api_jobs.page_of_jobs, _FOLLOW), "POST": (api_jobs.submit, _SUBMIT)}),
        Door(f"{API}/jobs/many", _post(api_jobs.submit_many, _SUBMIT)),
        Door(f"{API}/jobs/cancel", _post(api_jobs.act_on_many, _SUBMIT)),  # one's own
        Door(f"{API}/jobs/retry", _post(api_jobs.act_on_many, _OPERATE)),
        Door(f"{API}/jobs/delete", _post(api_jobs.act_on_many, _OPERATE)),
        Door(f"{API}/batches", {"GET": (api_batches.page, _VIEW), "POST": (api_batches.open_one, _SUBMIT)}),
        Door(f"{API}/chains", _post(api_chains.submit, _SUBMIT)),
        Door(
            f"{API}/schedules",
            {"GET": (api_schedules.schedules, _VIEW), "POST": (api_schedules.add, _OPERATE)},
        ),
        Door(f"{API}/events", _get(news.of_all, _VIEW)),
        Door(f"{API}/services", _get(api_services.services, _FOLLOW)),
        Door(f"{API}/workers", _get(api_services.workers, _VIEW)),
        Door(f"{API}/stats", _get(api_services.stats, _VIEW)),
        Door(f"{API}/series", _get(api_insight.series, _VIEW)),
        Door(f"{API}/lanes", _get(api_insight.lanes, _VIEW)),
        Door(f"{API}/failures", _get(api_insight.failures, _VIEW)),
        Door(f"{API}/warnings", _get(api_insight.warnings, _VIEW)),
        Door(f"{API}/audit", _get(api_insight.audit, _OPERATE)),
        Door(f"{API}/marks", _post(api_insight.mark, _OPERATE)),
        Door(f"{API}/leases/extend", _post(api_leases.extend, _WORK)),
        Door(f"{API}/leases/report", _post(api_leases.report, _WORK)),
    )
}
BY_PATTERN: tuple[Door, ...] = (
    Door("/ui/assets/{name}", _get(frame.asset, _OPEN)),
    Door("/ui/services/{name}", _get(pages_services.show, _VIEW)),
    *(
        Door(f"/ui/services/{{name}}/{verb}", _post(act, _OPERATE))
        for verb, act in (
            ("pause", pages_services.pause),
            ("resume", pages_services.resume),
            ("limits", pages_services.limits),
            ("purge", pages_services.purge),
            ("forget", pages_services.forget),
        )
    ),
    Door("/ui/jobs/{id}", _get(job.page, _VIEW)),
    Door("/ui/many/{verb}", _post(jobs.act, _OPERATE)),
    Door("/ui/jobs/{id}/again", {"GET": (job.again, _OPERATE), "POST": (job.run_again, _OPERATE)}),
    *(
        Door(f"/ui/jobs/{{id}}/{verb}", _post(act, _OPERATE))
        for verb, act in (
            ("cancel", job.cancel),
            ("retry", job.retry),
            ("delete", job.delete),
        )
    ),
    Door("/ui/jobs/{id}/stack", _get(job.stack, _OPERATE)),
    Door("/ui/jobs/{id}/{part}", _get(job.part, _VIEW)),
    Door("/ui/batches/{id}", _get(batches.show, _VIEW)),
    Door("/ui/batches/{id}/close", _post(batches.close, _OPERATE)),
    Door("/ui/schedules/{name}", _get(schedules.show, _VIEW)),
    *(
        Door(f"/ui/schedules/{{name}}/{verb}", _post(act, _OPERATE))
        for verb, act in (
            ("pause", schedules.pause),
            ("resume", schedules.resume),
            ("run", schedules.run),
            ("remove", schedules.remove),
        )
    ),
    Door("/ui/workers/{id}/drain", _post(workers.drain, _OPERATE)),
    Door("/ui/system/logs/{name}", _get(system.log_page, _OPERATE)),
    Door("/ui/system/processes/{name}/{verb}", _post(system.act, _OPERATE)),
    Door(f"{API}/jobs/{{id}}", {"GET": (api_jobs.show, _FOLLOW), "DELETE": (api_jobs.delete, _OPERATE)}),
    Door(f"{API}/jobs/{{id}}/result", _get(api_jobs.get_result, _FOLLOW)),
    Door(f"{API}/jobs/{{id}}/why", _get(api_insight.why, _FOLLOW)),
    Door(f"{API}/jobs/{{id}}/family", _get(api_jobs.family, _FOLLOW)),
    Door(f"{API}/jobs/{{id}}/events", _get(streams.of_job, _FOLLOW)),
    Door(f"{API}/jobs/{{id}}/cancel", _post(api_jobs.cancel, _SUBMIT)),  # one's own
    Door(f"{API}/jobs/{{id}}/retry", _post(api_jobs.retry, _OPERATE)),
    Door(f"{API}/jobs/{{id}}/copy", _post(api_jobs.copy, _OPERATE)),
    Door(f"{API}/batches/{{id}}", _get(api_batches.show, _FOLLOW)),
    Door(f"{API}/batches/{{id}}/jobs", _post(api_batches.add, _SUBMIT)),
    Door(f"{API}/batches/{{id}}/close", _post(api_batches.close, _SUBMIT)),
    Door(f"{API}/batches/{{id}}/cancel", _post(api_batches.cancel, _SUBMIT)),  # what of it is one's own
    Door(f"{API}/chains/{{id}}/cancel", _post(api_chains.cancel, _SUBMIT)),
    Door(
        f"{API}/schedules/{{name}}",
        {
            "GET": (api_schedules.show, _VIEW),
            "PUT": (api_schedules.put, _OPERATE),
            "DELETE": (api_schedules.remove, _OPERATE),
        },
    ),
    *(
        Door(f"{API}/schedules/{{name}}/{verb}", _post(act, _OPERATE))
        for verb, act in (
            ("pause", api_schedules.pause),
            ("resume", api_schedules.resume),
            ("run", api_schedules.run),
        )
    ),
    Door(
        f"{API}/services/{{name}}",
        {"GET": (api_services.show, _FOLLOW), "PATCH": (api_services.change, _OPERATE)},
    ),
    Door(f"{API}/services/{{name}}/purge", _post(api_services.purge, _OPERATE)),
    Door(f"{API}/services/{{name}}/peek", _get(api_services.peek, _VIEW)),
    Door(f"{API}/services/{{name}}/series", _get(api_insight.series_of_service, _VIEW)),
    Door(f"{API}/services/{{name}}/failures", _get(api_insight.failures_of_service, _VIEW)),
    Door(f"{API}/services/{{name}}/lease", _post(api_leases.lease, _WORK)),
    Door(f"{API}/workers/{{id}}/drain", _post(api_services.drain, _OPERATE)),
)
OLD = Door("/{name}", {"GET": (old_doors.page, _SUBMIT), "POST": (old_doors.page, _SUBMIT)}, submits=True)


def find(path: str) -> tuple[Door, dict[str, str]] | None:
    """The door at a path, and the parts of that which it names."""
    door = FIXED.get(path)
    if door is not None:
        return door, {"name": path.removeprefix("/")}
    if path.count("/") == 1:
        found = OLD.pattern.match(path)
        return (OLD, found.groupdict()) if found else None
    return by_pattern(path)


def by_pattern(path: str) -> tuple[Door, dict[str, str]] | None:
    """The door at a path that names something."""
    for door in BY_PATTERN:
        found = door.pattern.match(path)
        if found:
            return door, found.groupdict()
    return None
