"""Runs tests on zmws as it is with its core compiled (setup.py, ZMWS_COMPILE=1).

    python -m tests.compiled [ARGUMENTS OF PYTEST]

A wheel is built, laid over a copy of the checkout in a temporary folder, and the tests run there: without
arguments all that need no socket, but those that put other code in place of the core's (`interpreted`).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from tests.peers import REPOSITORY

WITHOUT_SOCKETS = (
    "tests/core",
    "tests/wire",
    "tests/dialog",
    "tests/store",
    "tests/simulation",
    "tests/testing",
    "tests/test_dialogues.py",
    "tests/test_hostile.py",
    "tests/test_docs.py",
)
NEEDED = "zmws/core/node"  # this module at least is compiled


def built(tree: Path, folder: Path) -> Path:
    """A wheel of this tree, with the core compiled."""
    words = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), "."]
    told = {"ZMWS_COMPILE": "1", "PIP_DISABLE_PIP_VERSION_CHECK": "1"}
    done = subprocess.run(words, cwd=tree, env={**os.environ, **told})
    if done.returncode != 0:
        sys.exit("tests.compiled: the wheel could not be built; the reason stands above")
    (wheel,) = folder.glob("*.whl")
    return wheel


def copied(folder: Path) -> None:
    """The checkout, with what is not committed yet, and without what is ignored."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, check=True, text=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / name, folder / name)


def main(arguments: list[str]) -> int:
    """The exit code of pytest."""
    if shutil.which("cc") is None:
        print("tests.compiled: skipped, for there is no C compiler (cc)")
        return int(os.environ.get("CI") == "true")
    with tempfile.TemporaryDirectory(prefix="zmws-compiled-") as temporary:
        tree = Path(temporary, "tree")
        tree.mkdir()
        copied(tree)
        wheel_file = built(tree, Path(temporary))
        shutil.rmtree(tree / "zmws")
        with zipfile.ZipFile(wheel_file) as wheel:
            wheel.extractall(tree)
            compiled = [name for name in wheel.namelist() if name.endswith(".so")]
        if not any(name.startswith(NEEDED) for name in compiled):
            sys.exit(f"tests.compiled: {NEEDED} is not compiled in the wheel")
        print(f"{len(compiled)} compiled modules", flush=True)
        given = arguments or ["-n", "2", "--dist", "loadfile", "--seeds", "60", *WITHOUT_SOCKETS]
        words = [sys.executable, "-m", "pytest", "-m", "not timed and not interpreted", *given]
        return subprocess.run(words, cwd=tree, env={**os.environ, "PYTHONPATH": str(tree)}).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
