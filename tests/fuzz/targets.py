"""All targets, by name, and the corpus of each."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz import broker, connection, given, questions, wire
from tests.fuzz.target import Target

CORPUS = Path(__file__).parent / "corpus"
TARGETS: dict[str, Target] = {
    target.name: target
    for target in (
        *(wire.MDP, wire.WORDS, wire.PHP_VALUES, wire.VALUES, wire.JSON, wire.CAUSES, wire.ANSWERS),
        *(questions.ASKED, questions.OPTIONS),
        broker.BROKER,
        *given.TARGETS,
        connection.CONNECTION,
    )
}


def corpus_of(target: Target) -> list[bytes]:
    """What a target begins with: its seeds, and what was found to reach other code."""
    files = sorted((CORPUS / target.name).glob("*"))
    return [*target.seeds, *(file.read_bytes() for file in files)]
