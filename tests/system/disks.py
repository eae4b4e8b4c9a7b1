"""Disks of a test's own: a small one in memory, and one on a loop device whose power can be cut.

Both take root, and a system that lets it mount. What is mounted is unmounted in the end, whatever happens.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

EXT4_IOC_SHUTDOWN = 0x8004587D  # _IOR('X', 125, __u32)
NO_LOG_FLUSH = 2  # what the journal has not on the disk yet is gone, as when the power goes


class NotPossible(Exception):
    """There is no such disk to be had here, and why. `refused`: the system itself does not let us."""

    def __init__(self, reason: str, refused: bool) -> None:
        super().__init__(reason)
        self.refused = refused


def _require_root() -> None:
    if os.geteuid() != 0:
        raise NotPossible("to mount a disk takes root", refused=False)


def _run(*command: str) -> None:
    ended = subprocess.run(command, capture_output=True, timeout=60, check=False)
    if ended.returncode:
        raise OSError(f"{' '.join(command)}: {ended.stderr.decode(errors='replace').strip()}")


def _mount(*arguments: str) -> None:
    try:
        _run("mount", *arguments)
    except OSError as wrong:
        raise NotPossible(f"the system does not let us mount: {wrong}", refused=True) from None


def unmount(place: Path) -> None:
    """Unmount; if somebody still has a file open there, as soon as that is over."""
    try:
        _run("umount", str(place))
    except OSError:
        _run("umount", "-l", str(place))


@contextlib.contextmanager
def small_disk(place: Path, mebibytes: int, read_only: bool = False) -> Iterator[Path]:
    """A file system in memory of so many MiB, mounted at `place`. Raises NotPossible."""
    _require_root()
    place.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={mebibytes}m{',ro' * read_only}", "tmpfs", str(place))
    try:
        yield place
    finally:
        unmount(place)


class PowerlessDisk:
    """An ext4 file system in a file, mounted at `place`, whose power can be cut and come back."""

    def __init__(self, image: Path, place: Path, mebibytes: int) -> None:
        """Raises NotPossible."""
        _require_root()
        if shutil.which("mkfs.ext4") is None:
            raise NotPossible("there is no mkfs.ext4 here", refused=False)
        self._image = image
        self.place = place
        self._mounted = False
        with image.open("wb") as file:
            file.truncate(mebibytes * 1024 * 1024)
        _run("mkfs.ext4", "-q", "-F", str(image))
        place.mkdir()
        self.mount()

    def mount(self) -> None:
        """Mount it, which replays its journal."""
        # Without a sync nothing is to get to the disk by itself: the default writes the journal every 5 s.
        _mount("-t", "ext4", "-o", "loop,commit=300", str(self._image), str(self.place))
        self._mounted = True

    def cut(self) -> None:
        """Cut the power: from now on nothing reaches the disk, and what had not reached it is gone."""
        folder = os.open(self.place, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.ioctl(folder, EXT4_IOC_SHUTDOWN, NO_LOG_FLUSH.to_bytes(4, "little"))
        finally:
            os.close(folder)

    def unmount(self) -> None:
        """Nobody may have a file open there."""
        _run("umount", str(self.place))
        self._mounted = False

    def __enter__(self) -> PowerlessDisk:
        return self

    def __exit__(self, *_: object) -> None:
        if self._mounted:
            unmount(self.place)
