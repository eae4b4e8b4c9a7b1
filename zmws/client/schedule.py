"""`Schedule`: the handle of a recurring job."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from zmws.client.answers import Steps, finished
from zmws.client.asked import then, waited
from zmws.client.asker import Asker
from zmws.client.given import options_given, seconds, service_of, time_given
from zmws.client.job import Job
from zmws.errors import Refused
from zmws.wire.values import encode_value, field_of

_SECONDS = ("every", "jitter")


class Schedule:
    """A schedule that a broker has, by its `name` (str)."""

    def __init__(self, asker: Asker, name: str) -> None:
        self.name: str = name
        self._asker = asker

    def status(self) -> dict[str, Any]:
        """Its row: when it is due, what became of its last job, and what else docs/protocol.md shows. Raises
        Refused (unknown_schedule)."""
        return finished(self.status_steps())

    def pause(self) -> None:
        """It makes no more jobs until `resume`. Raises Refused (unknown_schedule)."""
        waited(self.done_future("pause"))

    def resume(self) -> None:
        """It makes jobs again. Raises Refused (unknown_schedule)."""
        waited(self.done_future("resume"))

    def run(self) -> Job:
        """Make one of its jobs now, beside those that are due. Raises Refused (unknown_schedule)."""
        return waited(self.run_future())

    def remove(self) -> None:
        """Forget it; its jobs stay. Raises Refused: unknown_schedule, or not_possible for one that stands in
        the broker's settings."""
        waited(self.done_future("remove"))

    # ------------------------------------------------------------ without waiting, for both fronts

    def status_steps(self) -> Steps[dict[str, Any]]:
        """The question of `status`."""
        told = yield self._asker.answer_future("zmws.schedules", {"name": self.name})
        if not told["schedules"]:
            raise Refused("unknown_schedule", f"there is no schedule '{self.name}'")
        return dict(told["schedules"][0])

    def done_future(self, verb: str) -> Future[Any]:
        """What is done to it."""
        return self._asker.answer_future("zmws.schedule", {"do": verb, "name": self.name})

    def run_future(self) -> Future[Job]:
        """As `run`, without waiting."""
        return then(
            self.done_future("run"), lambda told: Job(self._asker, str(told["id"]), "", "disk", False)
        )

    def __repr__(self) -> str:
        return f"<Schedule {self.name}>"


def add_future(
    asker: Asker, name: str, service: str, params: Any, when: Mapping[str, Any], options: Mapping[str, Any]
) -> Future[Schedule]:
    """Add a schedule. `when`: cron, every and all else that is no option of its jobs; None is not given."""
    encode_value(params, "params")
    question: dict[str, Any] = {"do": "add", "name": name, "service": service_of(service)}
    question |= field_of("params", params)
    for key, value in when.items():
        if value is not None:
            question[key] = seconds(key, value) if key in _SECONDS else time_given(key, value)
    given = options_given(options)
    if given:
        question["options"] = given
    return then(asker.answer_future("zmws.schedule", question), lambda row: Schedule(asker, str(row["name"])))
