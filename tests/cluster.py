"""A throwaway PostgreSQL server for tests: a cluster in a temporary folder, on a socket there."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import psycopg

from tests.peers import skip_unless_possible

PROGRAMS = ("initdb", "pg_ctl")
_PLACES = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda one: one.parent.name, reverse=True)


def found(program: str) -> str | None:
    """Where a program of PostgreSQL's server is: Debian has them outside of the PATH."""
    for place in _PLACES:
        if (place / program).exists():
            return str(place / program)
    return shutil.which(program)


def missing() -> bool:
    """Whether there is no server on this machine."""
    return any(found(program) is None for program in PROGRAMS)


def need_server() -> None:
    """Skip a test on a machine without."""
    skip_unless_possible(not missing(), "PostgreSQL's server is not installed (Debian's postgresql)")


class Cluster:
    """One that runs."""

    def __init__(self) -> None:
        # Not in pytest's folders: another user has to get there, and a socket's path is short.
        self.folder = Path(tempfile.mkdtemp(prefix="zmws-pg-"))
        self._user = {"user": "nobody"} if os.geteuid() == 0 else {}
        if self._user:
            known = pwd.getpwnam("nobody")
            os.chown(self.folder, known.pw_uid, known.pw_gid)
        self._run("initdb", "-D", "data", "-U", "zmws", "-A", "trust", "-E", "UTF8", "--locale=C", "-N")
        self.start()

    @property
    def url(self) -> str:
        """Of its database."""
        return f"postgresql://zmws@/postgres?host={self.folder}"

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", "data", "-l", "log", "-o", options)

    def stop(self, how: str = "immediate") -> None:
        """Stop it, as a crash does or in order."""
        self._run("pg_ctl", "stop", "-w", "-D", "data", "-m", how)

    def drop(self, schema: str) -> None:
        """Forget all of one."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute(f'DROP SCHEMA IF EXISTS "{schema}" CASCADE')

    def close(self) -> None:
        """No process and no file is left."""
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: str) -> None:
        env = {"PATH": os.environ["PATH"], "LANG": "C", "HOME": str(self.folder)}
        path = found(program)
        assert path is not None, program
        given: dict[str, Any] = {"cwd": self.folder, "env": env, **self._user}
        out = self.folder / f"{program}.out"
        with out.open("a") as file:
            subprocess.run(
                [path, *arguments], stdout=file, stderr=file, stdin=subprocess.DEVNULL, check=True, **given
            )
