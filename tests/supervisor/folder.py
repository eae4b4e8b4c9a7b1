"""An installation in a folder, as the supervisor sees it."""

from __future__ import annotations

from pathlib import Path

from zmws import settings
from zmws.supervisor.processes import Installation

TWO = """
[[workers]]
name = "a"
file = "workers/a.py"
count = 2
flags = { log-level = "debug", quiet = true }
[[workers]]
file = "workers/b.py"
service = "B"
"""


def installation_in(folder: Path, text: str) -> Installation:
    """With this settings file, and two workers that do nothing."""
    (folder / "etc").mkdir()
    (folder / "workers").mkdir()
    for name in ("a", "b"):
        (folder / "workers" / f"{name}.py").touch()
    (folder / "etc" / "zmws.toml").write_text(text)
    return Installation(settings.load(folder / "etc" / "zmws.toml", environ={}))
