"""Who acts at the command line, for the audit: the changes that are asked of the broker say so."""

from __future__ import annotations

import os
from collections.abc import Mapping
from concurrent.futures import Future
from typing import Any

from zmws.client.synchronous import Client
from zmws.core.desk.changes import AUDITED
from zmws.core.table import WORD_CHARS_MAX

_AT = " (command line)"


class OperatorClient(Client):
    """A client whose changes say who acts."""

    _kind = "operator"

    def ask_future(
        self, service: str, question: Mapping[str, Any] | None = None, takes_s: float = 0.0
    ) -> Future[tuple[int, Any]]:
        """As `ask_status`, without waiting."""
        if service in AUDITED:
            question = {"by": who(), **(question or {})}
        return super().ask_future(service, question, takes_s)


def who() -> str:
    """The user, as the audit has him."""
    name = "".join(one if one.isprintable() else "?" for one in _user())
    return name[: WORD_CHARS_MAX - len(_AT)] + _AT


def _user() -> str:
    import pwd  # not at the top, nor the next: `zmws call` must start fast

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except (KeyError, OSError):  # a user without a name, as in a container
        import getpass

        try:
            return getpass.getuser()
        except (KeyError, OSError):
            return f"user {os.getuid()}"
