"""A fault put into the shipped modules, to show that the invariants can fail.

It replaces a piece of a method's source text and puts the method back afterwards. If the text is no longer
there, the mutation says so instead of proving nothing.
"""

from __future__ import annotations

import contextlib
import inspect
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType

from zmws.wire import mdp


@dataclass(frozen=True)
class Mutation:
    """In `owner.method`, `old` becomes `new`. A function's owner is the module that calls it."""

    name: str
    owner: type | ModuleType
    method: str
    old: str
    new: str


@contextlib.contextmanager
def applied(mutation: Mutation) -> Iterator[None]:
    """The mutation holds inside the block."""
    there = inspect.getattr_static(mutation.owner, mutation.method)
    original = there.fget if isinstance(there, property) else there
    source = textwrap.dedent(inspect.getsource(original)).removeprefix("@property\n")
    # The new text is written for a method's body at four spaces; it stands deeper in most.
    at = source.find(mutation.old)
    assert at >= 0, (
        f"'{mutation.name}': {mutation.owner.__name__}.{mutation.method} has no '{mutation.old}' any more"
    )
    column = at - source.rfind("\n", 0, at) - 1
    new = mutation.new.replace("\n    ", "\n" + " " * column)
    names = {**vars(mdp), **vars(inspect.getmodule(original))}
    exec(
        compile(
            "from __future__ import annotations\n" + source.replace(mutation.old, new), "<mutation>", "exec"
        ),
        names,
    )
    changed = names[mutation.method]
    setattr(mutation.owner, mutation.method, property(changed) if isinstance(there, property) else changed)
    try:
        yield
    finally:
        setattr(mutation.owner, mutation.method, there)
