"""A `zmws` process that is killed when the one that started it has gone, however that came to its end.

    python -P -m zmws.supervisor.tied PID worker FILE ...        PID: who starts it

Rule: Linux kills it in the very moment, also while code that never comes back holds the interpreter.
      Elsewhere a thread looks every half a second.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import threading
import time

_LOOK_AGAIN_S = 0.5
_PR_SET_PDEATHSIG = 1  # prctl(2)


def tie_to(parent: int) -> None:
    """Let this process be killed when its parent ends. `parent`: its number; if that is another by now, the
    parent has gone already."""
    if sys.platform == "linux":
        import ctypes

        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            _end()
    else:
        threading.Thread(target=_watch, args=(parent,), name="zmws-tied", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_LOOK_AGAIN_S)
    _end()


def _end() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    tie_to(int(sys.argv.pop(1)))
    runpy.run_module("zmws", run_name="__main__", alter_sys=True)
