"""Whether threads are real ones: gevent and eventlet can put greenlets in their place.

A client, a worker and a broker wait for ZeroMQ in threads of their own. Where such a thread is a greenlet,
its wait stops the whole process, for ever and without a word.
"""

from __future__ import annotations

import _thread
import queue

from zmws.errors import ZmwsError

_GREEN = ("gevent", "eventlet")
_OWN = ("_queue", "queue")  # the modules of Python's own SimpleQueue, the second where there is no C


def need_real_threads(what: str, queues: bool = False) -> None:
    """Raises ZmwsError where threads have been replaced. `what` needs them; `queues`: and queues that
    bear more than one thread, which gevent's do not."""
    # Asked here and not at the import: a program may be patched after it. (A debugger wraps it, too.)
    if getattr(_thread.start_new_thread, "__module__", "").partition(".")[0] in _GREEN:
        replaced = "Python's threads"
    elif queues and queue.SimpleQueue.__module__ not in _OWN:
        replaced = "Python's queues"
    else:
        return
    raise ZmwsError(
        f"{what} needs real threads, and {replaced} have been replaced in this process, as gevent and "
        "eventlet do. With gevent call monkey.patch_all(thread=False, queue=False) instead, with eventlet "
        "eventlet.monkey_patch(thread=False). Whoever then waits for an answer holds up all greenlets; "
        "gevent.get_hub().threadpool.apply(client.call, (...)) does not"
    )
