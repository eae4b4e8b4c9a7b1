"""How many jobs of which service a process runs at once, and what runs them.

Rule 1: inline classes share the main thread. But beside a class of another kind each has a thread of its own:
        there the main thread waits for jobs.
Rule 2: what a kind cannot keep is told at the start, in the log.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from zmws.dialog.worker import WorkerDialog
from zmws.key_file import KeyFile
from zmws.work.author import Worker
from zmws.work.children import Children
from zmws.work.coroutines import Coroutines
from zmws.work.declared import CHILDREN, COROUTINES, INLINE, THREADS, Declared
from zmws.work.executor import Executor, Local
from zmws.work.inline import Inline
from zmws.work.memory import resident_bytes
from zmws.work.threads import Threads


class Slots:
    """The executors of a process, by service, and what of them is taken."""

    def __init__(
        self,
        workers: Mapping[str, tuple[Worker, Declared]],
        let_through: tuple[type[BaseException], ...],
        wake: Callable[[], None],
        give_up: Callable[[str], None] = lambda why: None,
    ) -> None:
        """`workers`: by service. `wake`: call the main thread, to `tend`. `give_up`: no job can be run any
        more, and why. Raises BadWorker."""
        self._give_up = give_up
        self._declared = {name: found for name, (_, found) in workers.items()}
        self._kinds = {name: found.kind for name, found in self._declared.items()}
        self._all_inline = set(self._kinds.values()) == {INLINE}
        here = Inline(let_through)
        self._executors: dict[str, Children | Local] = {}
        for name, (worker, found) in workers.items():
            if not self._all_inline and found.kind == INLINE:
                self._kinds[name] = THREADS
            self._executors[name] = self._executor(self._kinds[name], worker, found, here, wake)
        self.any = self._all_inline  # any job may begin: one is over when the next is looked for
        self.children = [one for one in self._executors.values() if isinstance(one, Children)]
        # No job runs in this process, and none lies ahead: any thread may begin one.
        self.all_elsewhere = set(self._kinds.values()) == {CHILDREN} and not self.prefetch
        self._of_worker = {id(worker): self._executors[name] for name, (worker, _) in workers.items()}
        self._taken: Counter[str] = Counter()
        self._counting = threading.Lock()  # jobs may end in several threads

    def _executor(
        self, kind: str, worker: Worker, found: Declared, here: Inline, wake: Callable[[], None]
    ) -> Children | Local:
        if kind == CHILDREN:
            return Children(worker, found, wake, self._give_up)
        if kind == COROUTINES:
            return Coroutines(f"zmws-{found.service}")
        if kind == THREADS:
            return Threads(f"zmws-{found.service}", found.concurrency)
        return here

    def connect(self, dialog: WorkerDialog, client: Callable[[], str | None], key: KeyFile | None) -> None:
        """Tell children what only the connection knows. `client`: where `self.client` connects, and by which
        `key`."""
        for executor in self.children:
            executor.connect(lambda: dialog.message_bytes_max, client, key)

    # ------------------------------------------------------------ what READY tells

    @property
    def count(self) -> int:
        """Jobs at once, of all services."""
        return 1 if self._all_inline else sum(one.concurrency for one in self._declared.values())

    @property
    def prefetch(self) -> int:
        """Jobs ahead, of all services: no more than the least of a service, where one wants none; and none
        where several services have slots of their own, for what is ahead would take those of others."""
        if len(self._declared) > 1 and not self._all_inline:
            return 0
        return min(self._ahead(one) for one in self._declared.values())

    def _ahead(self, found: Declared) -> int:
        return 0 if self._kinds[found.service] != found.kind else found.prefetch

    def told(self, found: Declared) -> dict[str, Any]:
        """What READY says of one service."""
        return {"slots": found.concurrency, "prefetch": min(self._ahead(found), self.prefetch)}

    def limits_told(self) -> Iterator[str]:
        """What to say at the start of what cannot be kept."""
        for name, kind in self._kinds.items():
            count = self._declared[name].concurrency
            wanted = self._ahead(self._declared[name])
            if wanted and not self.prefetch:
                yield f"{name}: no jobs ahead (prefetch = {wanted}): each service here has slots of its own"
            if kind == INLINE:
                yield (
                    f"{name}: one job at a time; one that is cancelled or runs past its ttr cannot be ended: "
                    "the worker leaves then, to be started anew (isolate = True can kill it)"
                )
            elif kind == THREADS:
                yield (
                    f"{name}: {count} jobs at once, in threads, which cannot be ended: one that is cancelled "
                    "or runs past its ttr keeps its slot until it returns (isolate = True can kill it)"
                )
            elif kind == COROUTINES:
                yield (
                    f"{name}: {count} jobs at once, in one event loop: one that is cancelled is told where "
                    "it waits; one that blocks holds up all (isolate = True can kill it)"
                )

    # ------------------------------------------------------------ slots

    def free(self, service: str) -> bool:
        """Whether a job of this service can begin. (Of one that is not served it can: it fails.)"""
        found = self._declared.get(service)
        return found is None or self._taken[service] < found.concurrency

    def busy(self, service: str) -> bool:
        """Whether a job of this service runs."""
        return self._taken[service] > 0

    def take(self, service: str) -> bool:
        """A job is to begin, and has a slot from now on; False if there is none."""
        with self._counting:
            if not self.any and not self.free(service):
                return False
            self._taken[service] += 1
        return True

    def give_back(self, service: str) -> None:
        """A job has ended."""
        with self._counting:
            self._taken[service] -= 1

    # ------------------------------------------------------------ executors

    def of(self, service: str) -> Executor:
        """What runs the jobs of a service."""
        return self._executors[service]

    def set_up(self, worker: Worker) -> None:
        """Call its setup(), in each child where it has children. Raises what that raises."""
        executor = self._of_worker[id(worker)]
        if isinstance(executor, Children):
            executor.open()
        else:
            executor.call(worker.setup)

    def idle(self, worker: Worker) -> None:
        """Call its idle(), likewise."""
        executor = self._of_worker[id(worker)]
        if isinstance(executor, Children):
            executor.idle()
        else:
            executor.call(worker.idle)

    def tear_down(self, worker: Worker) -> None:
        """Call its teardown(); children do so when they are closed."""
        executor = self._of_worker[id(worker)]
        if not isinstance(executor, Children):
            executor.call(worker.teardown)

    def tend(self) -> None:
        """In the main thread, when it was woken."""
        for executor in self._executors.values():
            executor.tend()

    def kill(self) -> None:
        """The process ends at once."""
        for executor in self._executors.values():
            executor.kill()

    def close(self, within_s: float) -> None:
        """No job runs, and none will."""
        for executor in set(self._executors.values()):
            executor.close(within_s)

    def memory_bytes(self) -> int | None:
        """Of this process and of those that run jobs for it."""
        own = resident_bytes()
        children = (pid for one in self.children for pid in one.pids)
        return None if own is None else own + sum(resident_bytes(pid) or 0 for pid in children)
