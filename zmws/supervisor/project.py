"""A new project in a folder: the settings, a worker, and a test of it.

Rule: nothing that is there is changed. A folder with settings is a project already, and gets nothing.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from zmws.errors import ZmwsError
from zmws.settings.file import FILE, place_of

# What is made, and the file of new/ that it is a copy of.
FILES = {
    Path("workers", "hello.py"): "hello.py.txt",
    Path("tests", "test_hello.py"): "test_hello.py.txt",
    Path(".gitignore"): "gitignore.txt",
    FILE: "zmws.toml.txt",  # the last one: with it this is a project
}


@dataclass(frozen=True, slots=True)
class Made:
    """Relative to the project's folder: what was made, and what was there already and is as it was. `above`:
    the project that this folder lies in, if it does."""

    root: Path
    made: list[Path]
    left_alone: list[Path]
    above: Path | None


def make_project(root: Path) -> Made:
    """Make a project in this folder, which is made if it is missing. Raises ZmwsError where there is one
    already, and where nothing can be written."""
    made: list[Path] = []
    if os.path.lexists(root / FILE):
        raise ZmwsError(f"{root / FILE} is there already: this folder is a project, and nothing was made")
    templates = resources.files("zmws.supervisor") / "new"
    try:
        for name, template in FILES.items():
            file = root / name
            file.parent.mkdir(parents=True, exist_ok=True)
            try:
                with file.open("x", encoding="utf-8") as new:
                    try:
                        new.write((templates / template).read_text(encoding="utf-8"))
                        new.flush()
                    except OSError:  # the disk is full: half a file would be taken for one of yours
                        file.unlink()
                        raise
            except FileExistsError:
                continue
            made.append(name)
    except OSError as wrong:
        so_far = f" (made so far: {', '.join(map(str, made))})" if made else ""
        raise ZmwsError(f"cannot make {wrong.filename or root}: {wrong.strerror}{so_far}") from None
    around = place_of(None, root.absolute().parent)
    left_alone = [name for name in FILES if name not in made]
    return Made(root, made, left_alone, None if around.path is None else around.root)
