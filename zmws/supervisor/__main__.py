"""A supervisor without a terminal: `python -m zmws.supervisor ROOT [CONFIG]`, started by `zmws start`.

What goes wrong before its log is open is written to standard error.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from zmws import settings
from zmws.errors import ZmwsError
from zmws.log_file import LogFile
from zmws.supervisor.processes import SUPERVISOR, Installation
from zmws.supervisor.supervise import Supervisor
from zmws.work.command import set_up_log


def main(root: str, config: str | None = None) -> int:
    """Keep the installation; the exit code."""
    try:
        known = settings.load(Path(config) if config else None, cwd=Path(root), upward=False)
        here = Installation(known)
        os.chdir("/")  # what it lies on can be unmounted
        file = LogFile(here.log_file(SUPERVISOR), known.logs.bytes_max, known.logs.files)
        file.take()
        set_up_log("info", known.logs.format)
        logging.getLogger("zmws.supervisor").info("the supervisor of %s begins", here.root)
        return Supervisor(here, dict(os.environ), on_hangup=file.reopen).run()
    except ZmwsError as wrong:
        sys.stderr.write(f"zmws: {wrong}\n")
        return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
