"""What memory holds: jobs by id and token, services by name."""

from __future__ import annotations

from typing import Any

from tests.core.jobs import a_job
from zmws import cron, ids
from zmws.core.held import Held
from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.core.rows import KnownService
from zmws.core.taker import Assignment
from zmws.core.turn import Turn
from zmws.core.writes import ForgetService, RememberService


def held(**limits: Any) -> Held:
    turn = Turn(Limits(**limits), ids.suppliers(cron))
    return Held(turn, {"E": ServiceOptions(paused=True)}, "disk")


def test_a_job_is_found_by_its_id_memory_jobs_first_and_by_its_live_token() -> None:
    some, memory, stored = held(), a_job(1, kind="memory"), a_job(1)
    some.stored["j1"] = stored
    assert some.find("j1") is stored
    some.memory["j1"] = memory
    assert some.find("j1") is memory and some.find("k") is None
    assert some.live(b"t") is None and some.assignment_of(stored) is None
    assignment = some.assignments[b"t"] = Assignment(b"t", "E", stored)
    stored.token = b"t"
    assert some.live(b"t") is stored and some.assignment_of(stored) is assignment


def test_what_waits_or_is_scheduled_is_told_of_all_services() -> None:
    some = held()
    waits, scheduled = a_job(1), a_job(2)
    some.services["E"].push(waits)
    some.service_of("F").scheduled["s"] = scheduled
    assert list(some.waiting()) == [waits, scheduled]
    assert [some.next_number(), some.next_number(), some.last_number] == [1, 2, 2]


def test_a_worker_makes_a_service_known_and_that_is_written_once() -> None:
    some = held(services_max=2)
    assert some.services["E"].registered and not some.full
    service = some.register("F")
    assert service is not None and service.registered and some.full
    assert [
        (write.service, write.paused) for write in some.turn.writes if isinstance(write, RememberService)
    ] == [("F", None)]
    assert some.register("F") is service and some.register("E") is some.services["E"]
    assert len(some.turn.writes) == 1
    assert some.register("G") is None and set(some.services) == {"E", "F"}
    assert some.known("G").registered, "a job in the store needs it"


def test_a_forgotten_service_is_as_if_it_had_never_been() -> None:
    some = held()
    service = some.register("F")
    assert service is not None
    service.paused = True
    write = some.forget(service)
    assert isinstance(write, ForgetService) and write.service == "F" and some.turn.writes[-1] is write
    assert not service.registered and not service.paused and "F" not in some.services


def test_what_a_worker_tells_is_written_where_it_is_new_and_forgotten_with_the_service() -> None:
    some = held()
    service = some.service_of("F")
    for defaults, params, written in (
        (None, None, None),
        ({"retries": 5, "ttr": 2.0}, None, ('{"retries": 5, "ttr": 2.0}', None)),
        ({"ttr": 2.0, "retries": 5}, None, None),
        (None, {"type": "object"}, (None, '{"type": "object"}')),
        ({"retries": 5, "ttr": 2.0}, {"type": "object"}, None),
        ({}, {"title": "\ud800"}, ("{}", '{"title": "\\ud800"}')),
        (None, None, None),
    ):
        some.turn.writes.clear()
        some.told(service, defaults, params)
        found = [(one.defaults, one.params) for one in some.turn.writes if isinstance(one, RememberService)]
        assert found == ([written] if written else []), (defaults, params)
    assert service.defaults == {} and service.options.ttr == 3600.0
    some.told(service, {"ttr": 9.0}, None)
    some.forget(service)
    assert service.defaults == {} and service.params is None and service.options.ttr == 3600.0


def test_a_large_schema_counts_in_the_size_of_its_write() -> None:
    some = held()
    some.told(some.service_of("F"), None, {"title": "x" * 1000})
    assert some.turn.writes[0].size > 1200


def test_a_service_is_recalled_as_it_was_but_for_what_fits_no_more() -> None:
    some = held()
    some.recall(KnownService("F", None, '{"ttr": 2}', '{"a": 1}'))
    some.recall(KnownService("G", True, '{"ttr": -2}', None))
    some.recall(KnownService("E", False))
    f, g, e = (some.services[name] for name in "FGE")
    assert (f.options.ttr, f.params, f.paused, f.registered) == (2.0, '{"a": 1}', False, True)
    assert (g.options.ttr, g.params, g.paused) == (3600.0, None, True)
    assert (e.options, e.paused) == (e.configured, False)
    ((level, text),) = some.turn.log
    assert level == "warning" and "what a worker told of G before is left out: option 'ttr' is -2" in text
    assert g.origin("ttr") == "default"
    some.told(f, {"ttr": 2.0}, {"a": 1})
    assert not some.turn.writes, "it is what it was"
    some.told(g, {}, None)
    (write,) = some.turn.writes
    assert isinstance(write, RememberService) and write.defaults == "{}", "what is stored is another"


def test_a_service_stays_while_something_of_it_is_here() -> None:
    some = held()
    for keep in ("ended", "unfinished", "registered", "nothing"):
        service = some.service_of("F")
        service.ended["complete"] = int(keep == "ended")
        service.inserting = int(keep == "unfinished")
        service.registered = keep == "registered"
        some.drop_if_unused(service)
        assert ("F" in some.services) is (keep != "nothing"), keep


def test_what_keeps_a_service_from_being_forgotten() -> None:
    some = held()
    assert some.why_needed(some.services["E"]) == "the settings name it"
    service = some.service_of("F")
    assert some.why_needed(service) is None
    service.beyond = 1
    assert some.why_needed(service) == "it has jobs that have not ended"


def test_the_jobs_that_ended_last_are_listed_as_many_as_may_be() -> None:
    some = held(history_max=2)
    for n in range(3):
        some.history.append((f"j{n}", "E", "complete", 0.0, 1))
    assert [entry[0] for entry in some.history] == ["j1", "j2"]
