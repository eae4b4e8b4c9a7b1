"""The settings file: where it is, which folder it makes an installation, and what TOML is in it.

Rule 1: who names no file means the etc/zmws.toml of the current folder, or of the nearest folder above it.
        Where there is none at all the current folder is the installation.
Rule 2: a folder above that cannot be looked into is passed over. So is one that everybody may write to, such
        as /tmp, unless the file is one's own or root's: a settings file names programs that are run.
"""

from __future__ import annotations

import os
import re
import stat
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from zmws.errors import SettingsError

FILE = Path("etc", "zmws.toml")  # of an installation
# What the supervisor has read, for its processes: a file that is just being edited keeps none from starting.
SNAPSHOT = Path("run", "settings~.toml")
SNAPSHOT_NEW = Path("run", "settings~.new.toml")


@dataclass(frozen=True, slots=True)
class Place:
    """The settings file (None: there is none), the installation's folder, and what people are shown of it."""

    path: Path | None
    root: Path
    shown: str

    def read(self) -> tuple[str, dict[str, Any]]:
        """The text, and what it says. Raises SettingsError."""
        if self.path is None:
            return "", {}
        try:
            # A byte order mark is what some editors on Windows leave; TOML knows none.
            text = self.path.read_bytes().decode("utf-8-sig")
        except UnicodeDecodeError as wrong:
            # The decoder counts without the byte order mark; a mark holds no line end.
            line = wrong.object[: wrong.start].count(b"\n") + 1
            raise SettingsError(f"{self.shown}:{line}: the file is not UTF-8") from None
        except IsADirectoryError:
            raise SettingsError(f"{self.shown}: this is a folder; name the TOML file in it") from None
        except OSError as wrong:
            raise SettingsError(f"{self.shown}: cannot be read: {wrong.strerror}") from None
        try:
            tree = tomllib.loads(text)
        except RecursionError:
            raise SettingsError(f"{self.shown}: values are nested too deeply") from None
        except ValueError as wrong:  # TOMLDecodeError, and int() of thousands of digits
            found = re.search(r" \(at line (\d+), column (\d+)\)$", str(wrong))
            line = int(found[1]) if found else text.count("\n") + 1
            reason = re.sub(r" \(at (line \d+, column \d+|end of document)\)$", "", str(wrong))
            raise SettingsError(f"{self.shown}:{line}: this is not TOML: {reason}") from None
        return text, tree


def place_of(path: Path | None, cwd: Path | None, upward: bool = True) -> Place:
    """Where `path` leads, else the installation that the folder `cwd` is in; the file is not read. `upward`:
    look in the folders above, too. Raises SettingsError."""
    try:
        here = Path.cwd() if cwd is None else cwd.absolute()
    except OSError as wrong:
        raise SettingsError(f"the current folder cannot be used: {wrong.strerror}") from None
    # normpath and not resolve(): a file or an etc/ that is a symbolic link belongs to the folder it is
    # seen in, not to the one it is kept in.
    if path is None:
        root = Path(os.path.normpath(here))
        file = root / FILE
        if _is_there(file):
            return Place(file, root, str(FILE) if cwd is None else str(file))
        for above in root.parents if upward else ():
            if _is_to_be_used(above):
                return Place(above / FILE, above, str(above / FILE))
        return Place(None, root, "")
    file = Path(os.path.normpath(here / path))
    is_in_folder = file.parent.name == "etc" or Path(*file.parts[-2:]) in (SNAPSHOT, SNAPSHOT_NEW)
    root = file.parent.parent if is_in_folder else file.parent
    if not _is_there(file):
        raise SettingsError(f"{path}: there is no such file")
    return Place(file, root, str(path))


def _is_there(file: Path) -> bool:
    """False only where there is nothing of that name: what cannot be looked at is told by reading it."""
    try:
        file.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _is_to_be_used(above: Path) -> bool:
    """Whether this folder, above the one we are in, is an installation for us."""
    try:
        file = (above / FILE).lstat()
        open_to_all = (above.stat().st_mode | (above / FILE.parent).stat().st_mode) & stat.S_IWOTH
    except OSError:
        return False
    return not open_to_all or file.st_uid in (0, os.geteuid())
