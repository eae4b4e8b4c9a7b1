"""What operators did (core/desk/audit.py): rows are added, listed, and forgotten by age and by number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from zmws.core.rows import Act
from zmws.core.writes import ForgetActs, WriteAct
from zmws.store.sql.dialect import Connection

FORGOTTEN_MAX = 1_000  # rows of each kind, by one write


def write_act(connection: Connection, queries: Mapping[str, str], write: ForgetActs) -> None:
    """Add what was done, if something was; forget what is old, and what is too much."""
    if isinstance(write, WriteAct):
        texts = (write.by, write.verb, write.on, write.detail)
        values = (write.at, *map(_said, texts), write.count, write.outcome)
        connection.execute(queries["add_act"], values)
    connection.execute(queries["forget_old_acts"], (write.acts_from, FORGOTTEN_MAX))
    connection.execute(queries["forget_more_acts"], (write.acts_max, FORGOTTEN_MAX))


def act_from(values: tuple[Any, ...]) -> Act:
    """A row of the audit."""
    return Act(*values)


def _said(text: str | None) -> str | None:
    """JSON lets half a surrogate pair through, which has no bytes in UTF-8."""
    return None if text is None else text.encode("utf-8", "replace").decode()
