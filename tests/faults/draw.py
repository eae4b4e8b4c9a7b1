"""Chooses faults at random: the same seed on the same tree gives the same list."""

from __future__ import annotations

import random
from collections.abc import Iterator

from tests.faults.fault import Fault, Place
from tests.faults.project import Project
from tests.faults.source import Source


def places_of(project: Project, patterns: tuple[str, ...] = ()) -> list[Place]:
    """All places of all modules, in one order."""
    return [place for path in project.sources(patterns) for place in Source(path).places()]


def drawn(places: list[Place], seed: int) -> Iterator[Fault]:
    """Faults without end in sight, each place once: whoever cannot use one takes the next."""
    chance = random.Random(seed)
    order = list(places)
    chance.shuffle(order)
    for place in order:
        fault = Fault(place, chance.choice(place.options))
        if compiles(fault):
            yield fault


def at(project: Project, where: str) -> list[Fault]:
    """The faults of FILE:LINE or FILE:LINE:KIND."""
    file, _, rest = where.partition(":")
    line, _, kind = rest.partition(":")
    if not line.isdigit():
        raise ValueError(f"'{where}' is not FILE:LINE or FILE:LINE:KIND")
    return [
        fault
        for place in places_of(project)
        if project.name(place.path) == file and place.line == int(line) and kind in ("", place.kind)
        for fault in (Fault(place, option) for option in place.options)
        if compiles(fault)
    ]


def compiles(fault: Fault) -> bool:
    try:
        compile(fault.changed(fault.place.path.read_bytes()), str(fault.place.path), "exec")
    except (SyntaxError, ValueError):
        return False
    return True
