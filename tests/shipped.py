"""What this repository ships, whatever a user has put beside it: the README tells them to add a worker file
and a [[workers]] table in their checkout, and that breaks no test."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The files of workers/.
WORKERS = (
    "logger",
    "mail",
    "primes",
    "random_stream",
    "reverse",
    "sleep",
    "slug",
    "webhook",
    "wordcount",
)

_TABLE = re.compile(r"^\[\[workers\]\]\n(?:(?!\[).*\n)*", re.MULTILINE)
_FILES = {f"workers/{name}.py" for name in WORKERS}


def settings_text() -> str:
    """etc/zmws.toml, without [[workers]] tables of files that are not shipped."""
    return _TABLE.sub(_kept, (ROOT / "etc" / "zmws.toml").read_text() + "\n").rstrip("\n") + "\n"


def copy_workers(to: Path) -> None:
    """The sample workers, into the folder `to`."""
    to.mkdir(parents=True)
    for name in WORKERS:
        shutil.copy(ROOT / "workers" / f"{name}.py", to)


def _kept(table: re.Match[str]) -> str:
    file = re.search(r'^file = "(.*)"$', table[0], re.MULTILINE)
    return table[0] if file is not None and file[1] in _FILES else ""
