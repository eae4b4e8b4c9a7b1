"""What the file of a worker may import, and that multiprocessing finds it again in its children."""

from __future__ import annotations

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.peers import REPOSITORY, RunningBroker, await_workers, process
from tests.system.installation import ZMWS, environment, installation, worker_table
from zmws import Client, JobFailed

CONSOLE_SCRIPT = [str(Path(sys.executable).with_name("zmws"))]
LEFT_OUT = "raise ImportError('this is not what was meant')\n"

# It lies beside an email.py and a csv.py, and imports one module of each kind.
IMPORTER = """
import csv
import email.message

import neighbour
from shoplib import mail
from zmws import WorkerBase


class Importer(WorkerBase):
    service_name = "IMPORTER"

    def work(self, job_id, params):
        import email.headerregistry
        import sibling

        told = email.message.EmailMessage()
        told["Subject"] = mail.subject()
        return [told["Subject"], neighbour.NAME, sibling.NAME, csv.QUOTE_ALL]


if __name__ == "__main__":
    Importer.main()
"""


def shop(root: Path) -> Path:
    """An installation's folder with a library of its own; the worker's file."""
    (root / "etc").mkdir(exist_ok=True)
    (root / "workers").mkdir(exist_ok=True)
    (root / "shoplib").mkdir()
    (root / "etc" / "zmws.toml").touch()
    (root / "shoplib" / "mail.py").write_text("def subject(): return 'an order'\n")
    # What lies at both places is the installation's; what is of the standard library is that.
    (root / "neighbour.py").write_text("NAME = 'of the installation'\n")
    (root / "workers" / "neighbour.py").write_text("NAME = 'of the workers'\n")
    (root / "workers" / "sibling.py").write_text("NAME = 'a sibling'\n")
    for folder in (root, root / "workers"):
        for name in ("email.py", "csv.py"):
            (folder / name).write_text(LEFT_OUT)
    file = root / "workers" / "importer.py"
    file.write_text(IMPORTER)
    return file


FOUND = ["an order", "of the installation", "a sibling", 1]


@pytest.mark.parametrize("how", ["in the folder", "-c", "-c and --broker"])
@pytest.mark.parametrize("command", [ZMWS, CONSOLE_SCRIPT])
def test_a_worker_imports_its_siblings_and_what_lies_in_the_installation(
    tmp_path: Path, broker: RunningBroker, command: list[str], how: str
) -> None:
    root, elsewhere = tmp_path / "shop", tmp_path / "elsewhere"
    root.mkdir()
    elsewhere.mkdir()
    file = shop(root)
    config = root / "etc" / "zmws.toml"
    if how == "-c":
        config.write_text(f'[broker]\nworker = "{broker.worker}"\n')
    given = ["--broker", broker.worker] if how != "-c" else []
    given += ["-c", str(config)] if how != "in the folder" else []
    cwd = root if how == "in the folder" else elsewhere
    command = [*command, "worker", str(file), *given]
    with process(command, tmp_path / "log", cwd) as running, broker.connect() as client:
        await_workers(client, 1)
        assert client.call("IMPORTER", timeout=10) == FOUND, running.text()


def test_a_worker_of_zmws_start_imports_the_same(tmp_path: Path) -> None:
    with installation(tmp_path, worker_table("importer", "workers/importer.py")) as zmws:
        shop(tmp_path)
        started = zmws.run("start")
        assert started.code == 0, started.err
        with Client(zmws.client) as client:
            assert client.call("IMPORTER", timeout=10) == FOUND
        assert zmws.run("stop").code == 0


# It is run by Python itself, which puts its folder first: no file there is named as one of Python's.
OWN_COMMAND = """
from zmws import WorkerBase


class Own(WorkerBase):
    service_name = "OWN"

    def work(self, job_id, params):
        import neighbour
        from shoplib import mail

        return [mail.subject(), neighbour.NAME]


Own.main()
"""


def test_a_worker_that_is_its_own_command_imports_what_lies_in_the_installation(
    tmp_path: Path, broker: RunningBroker
) -> None:
    file = shop(tmp_path)
    for name in ("email.py", "csv.py"):
        (file.parent / name).unlink()
    file.write_text(OWN_COMMAND)
    command = [sys.executable, str(file), "--broker", broker.worker]
    with process(command, tmp_path / "log", tmp_path) as running, broker.connect() as client:
        await_workers(client, 1)
        # As Python has it, the file's own folder comes first.
        assert client.call("OWN", timeout=10) == ["an order", "of the workers"], running.text()


def test_a_broken_settings_file_does_not_stop_a_worker_that_knows_its_broker(
    tmp_path: Path, broker: RunningBroker
) -> None:
    file = shop(tmp_path)
    (tmp_path / "etc" / "zmws.toml").write_text("not TOML")
    command = [*ZMWS, "worker", str(file), "--broker", broker.worker]
    with process(command, tmp_path / "log", tmp_path), broker.connect() as client:
        await_workers(client, 1)
        assert client.call("IMPORTER", timeout=10) == FOUND


# ---------------------------------------------------------------- multiprocessing


CRUNCHER = """
import concurrent.futures
import dataclasses
import multiprocessing
import os
import sys

import sibling
from shoplib import mail
from zmws import WorkerBase


@dataclasses.dataclass
class Sum:
    of: list
    by: int = 0
    main: str = ""


def add(numbers):
    assert mail.subject() and sibling.NAME
    return Sum(sum(numbers), os.getpid(), __name__)


def into(queue, numbers):
    queue.put(add(numbers))


class Cruncher(WorkerBase):
    service_name = "CRUNCH"

    def work(self, job_id, params):
        os.chdir("/")
        context = multiprocessing.get_context(params["method"])
        if params["by"] == "executor":
            with concurrent.futures.ProcessPoolExecutor(1, mp_context=context) as pool:
                done = pool.submit(add, [1, 2]).result(20)
        elif params["by"] == "pool":
            with context.Pool(1) as pool:
                done = pool.apply_async(add, ([1, 2],)).get(20)
        else:
            queue = context.Queue()
            child = context.Process(target=into, args=(queue, [1, 2]), daemon=True)
            child.start()
            done = queue.get(timeout=20)
            child.join()
        assert type(done) is Sum and done.by != os.getpid()
        return [done.of, done.main, sys.modules[Sum.__module__].Sum is Sum]


if __name__ == "__main__":
    {main}
"""


@pytest.mark.parametrize("name", ["crunch.py", "email.py"])
@pytest.mark.parametrize("command", [ZMWS, CONSOLE_SCRIPT])
def test_children_of_multiprocessing_find_what_the_workers_file_defines(
    tmp_path: Path, broker: RunningBroker, command: list[str], name: str
) -> None:
    file = shop(tmp_path).with_name(name)
    file.write_text(CRUNCHER.replace("{main}", "raise AssertionError('this is no program')"))
    relative = str(file.relative_to(tmp_path))  # to a folder that work() leaves
    given = [*command, "worker", relative, "--broker", broker.worker]
    with ExitStack() as stack:
        running = stack.enter_context(process(given, tmp_path / "log", tmp_path))
        client = stack.enter_context(broker.connect())
        await_workers(client, 1)
        for method in ("spawn", "forkserver", "fork"):
            for by in ("executor", "pool", "process"):
                done: Any = client.call("CRUNCH", {"method": method, "by": by}, timeout=30)
                assert done == [3, "__mp_main__", True], running.text()


METHODS = """
import multiprocessing

from zmws import WorkerBase


class Methods(WorkerBase):
    service_name = "METHODS"

    def __init__(self):
        self.factor = 2

    async def work(self, job_id, params):
        with multiprocessing.get_context(params["method"]).Pool(1) as pool:
            return pool.apply_async(getattr(self, params["do"]), (3,)).get(20)

    def product(self, number):
        return [number * self.factor, self.job.id, self.job.attempt]

    def say(self, number):
        self.job.progress(0.5)
"""


@pytest.mark.parametrize("method", ["spawn", "forkserver", "fork"])
def test_a_method_of_the_worker_runs_in_a_child_of_multiprocessing(
    tmp_path: Path, broker: RunningBroker, method: str
) -> None:
    file = tmp_path / "methods.py"
    file.write_text(METHODS)
    command = [*ZMWS, "worker", str(file), "--broker", broker.worker]
    with process(command, tmp_path / "log", tmp_path), broker.connect() as client:
        await_workers(client, 1)
        for _ in range(2):  # the second job's worker has an event loop
            job = client.submit("METHODS", {"method": method, "do": "product"})
            assert job.result(20) == [6, job.id, 1]
        with pytest.raises(JobFailed, match=r"self\.job\.progress\(\) works in the worker's own process"):
            client.call("METHODS", {"method": method, "do": "say"}, timeout=20)


def test_children_of_a_worker_that_is_its_own_command_find_it_too(
    tmp_path: Path, broker: RunningBroker
) -> None:
    file = shop(tmp_path).with_name("crunch.py")
    for name in ("email.py", "csv.py"):
        file.with_name(name).unlink()
    file.write_text(CRUNCHER.replace("{main}", "Cruncher.main()"))
    (file.parent / "shoplib").symlink_to(tmp_path / "shoplib")
    command = [sys.executable, str(file), "--broker", broker.worker]
    with process(command, tmp_path / "log", tmp_path) as running, broker.connect() as client:
        await_workers(client, 1)
        for method in ("spawn", "forkserver"):
            done: Any = client.call("CRUNCH", {"method": method, "by": "executor"}, timeout=30)
            assert done[0] == 3, running.text()


def test_loading_workers_in_a_program_leaves_its_main_module_alone(tmp_path: Path) -> None:
    shop(tmp_path)
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from zmws.work.files import load_class\n"
        "main = dict(vars(sys.modules['__main__']))\n"
        f"folder = Path({str(REPOSITORY / 'workers')!r})\n"
        "one, two, again = (load_class(folder / f'{n}.py') for n in ('reverse', 'sleep', 'reverse'))\n"
        "assert one is not again and one().work('1', {'str': 'ab'}) == 'ba'\n"
        "assert sys.modules['__main__'].__spec__ is main['__spec__'] and '__mp_main__' not in sys.modules\n"
        "assert not hasattr(sys.modules['__main__'], '__file__')\n"
        "print(sys.path.count(str(folder)), sys.path[-1] == str(folder))\n"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, timeout=60
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "1 True\n", "")
