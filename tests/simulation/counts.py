"""What the broker keeps as jobs move is what there is."""

from __future__ import annotations

from tests.simulation.violation import demand
from zmws.core.backlog import PAGE_ROWS_MIN
from zmws.core.broker import Broker
from zmws.core.session import Session


def counts_agree(core: Broker) -> None:
    """The counts that are kept as jobs move are the counts there are."""
    registered = set(core.roster.sessions.by_peer.values())
    for service in core.held.services.values():
        ghosts = [one for one in service.ring if isinstance(one, Session) and one not in registered]
        demand(not ghosts, f"who is in the ring of {service.name} is not registered")
        waiting = list(service.waiting())
        memory = sum(job.kind == "memory" for job in waiting)
        demand(memory == service.waiting_memory, f"waiting_memory of {service.name}")
        demand(len(waiting) - memory == service.held, f"held of {service.name}")
        for session in service.ring:
            demand(session.has_room(service.name), f"who is in the ring of {service.name} has no room")
        for session in service.ring.workers:
            left_out = session.has_room(service.name) and session not in service.ring
            demand(not left_out, f"a worker of {service.name} has room, and is not in its ring")
    overflow = core.held.overflow
    kept = sum(overflow.count_of(name) for name in overflow.services(100))
    demand(kept == overflow.count, "count of the overflow")
    demand(sum(overflow.bytes_of.values()) == overflow.bytes, "bytes of the overflow")
    answers = core.watchers
    waits = [*answers.waits.values(), *answers.watches.values(), *answers._stacks.values()]
    demand(sum(map(len, waits)) == answers.waits_count, "waits_count")
    for session in core.roster.sessions.by_peer.values():
        for token, assignment in session.holding.items():
            demand(assignment.taker is session, "what a session holds has another taker")
            live = assignment.job is not None and assignment.job.token == token
            demand(live or assignment.job is None, "a session holds a job under a dead token")
    for token, assignment in core.held.assignments.items():
        job = assignment.job
        demand(job is not None and job.token == token, f"{token!r} is live, and its job is not")
        holder = assignment.taker
        held = not isinstance(holder, Session) or token in holder.holding
        demand(held, f"{token!r} is held by nobody")
    running = sum(len(service.running) for service in core.held.services.values())
    demand(running == len(core.held.assignments), "the running jobs are not those that are held")


def window_is_kept(core: Broker) -> None:
    """Of a service's waiting jobs a window is in memory, the rest in the store alone."""
    most = core.turn.limits.window_jobs_max
    for service in core.held.services.values():
        settled = sum(job.kind == "stored" and job.last_write is None for job in service.waiting())
        # Half a page is left of a group when the next is asked for; what is given back comes on top.
        bound = most + 2 * PAGE_ROWS_MIN * max(1, len(service.groups))
        # All that a worker was sent ahead may come back at once, and be the last of its group, which stays.
        bound += sum(one.prefetch for one in service.ring.workers if isinstance(one, Session))
        demand(settled <= bound, f"{settled} waiting jobs of {service.name} are in memory, not {bound}")
