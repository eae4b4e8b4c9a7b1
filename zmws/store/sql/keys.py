"""Keys, as they are kept: the row of a name takes the place of the one before."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from zmws.core.rows import KeyRow
from zmws.core.writes import WriteKey
from zmws.store.rows import KEY
from zmws.store.sql.dialect import Connection


def write_key(connection: Connection, queries: Mapping[str, str], write: WriteKey) -> None:
    """It is as it stands there."""
    values = [getattr(write.key, name) for name in KEY]
    values[KEY.index("rights")] = json.dumps(write.key.rights)
    connection.execute(queries["remove_key"], (write.key.name, write.key.proof))
    connection.execute(queries["write_key"], values)


def key_from(values: Sequence[Any]) -> KeyRow:
    """A key from the values of KEY."""
    told = dict(zip(KEY, values, strict=True))
    told["rights"] = {right: tuple(found) for right, found in json.loads(told["rights"]).items()}
    return KeyRow(**told)
