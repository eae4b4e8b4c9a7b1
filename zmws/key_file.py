"""What a key file says: who somebody is for the broker, and how that broker is known. (Files are read and
written in settings/key_files.py; who only connects needs no settings.)"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

_HEAD = """\
# A key of zmws: whoever has this file is '{name}'. Keep it to yourself; docs/security.md.
"""


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What stands in one. `broker`: the public key of the broker, "" in the broker's own file. Of a token it
    is the `hash` alone. The rest is for the broker that takes it in at its start."""

    name: str
    public: str = ""
    secret: str = field(default="", repr=False)
    broker: str = ""
    role: str | None = None
    services: tuple[str, ...] | None = None
    rights: Mapping[str, Sequence[str]] = field(default_factory=dict)
    group: str | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    hash: str = field(default="", repr=False)  # SHA-256 in hex

    def text(self) -> str:
        """As the file has it."""
        lines = [f'name = "{self.name}"']
        for what in ("public", "secret", "broker", "hash", "role"):
            if getattr(self, what):
                lines.append(f'{what} = "{getattr(self, what)}"')
        if self.services is not None:
            lines.append(f"services = {_list(self.services)}")
        if self.group is not None:
            lines.append(f"group = {_quoted(self.group)}")
        lines += [f"{limit} = {value}" for limit, value in self.limits.items()]
        if self.rights:
            inside = ", ".join(f"{right} = {_list(found)}" for right, found in self.rights.items())
            lines.append(f"rights = {{ {inside} }}")
        return _HEAD.format(name=self.name) + "\n".join(lines) + "\n"


NO_KEY = KeyFile("")  # none, and none is to be looked for


def _list(texts: Sequence[str]) -> str:
    return f"[{', '.join(map(_quoted, texts))}]"


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
