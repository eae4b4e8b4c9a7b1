"""zmws.work.files: what a Python file defines that can be run, and which of it is named."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from zmws.work.declared import BadWorker
from zmws.work.files import WorkerFileError, load_class, load_main_classes

Write = Callable[..., Path]

SHOP = """
from zmws.work import WorkerBase, worker
from shopbase import Imported, imported

class Base(WorkerBase):
    pass

class Shared(WorkerBase):
    def work(self, job_id, params): return "shared"

class Mail(Shared):
    service_name = "MAIL"

class Bill(Base):
    service_name = "BILL"
    def work(self, job_id, params): return "bill"

Alias = Mail

@worker("STR-REV")
def reverse(text: str) -> str:
    return text[::-1]

class Odd:
    def __getattr__(self, name): raise RuntimeError("ask me nothing")
    @property
    def __class__(self): raise RuntimeError("not even that")

odd = Odd()
"""
BASE = """
from zmws.work import WorkerBase, worker

class Imported(WorkerBase):
    service_name = "IMPORTED"
    def work(self, job_id, params): ...

@worker("IMPORTED2")
def imported(): ...
"""


@pytest.fixture
def write(tmp_path: Path) -> Iterator[Write]:
    """Writes a file; what its import leaves behind is taken away again."""
    modules, path = dict(sys.modules), list(sys.path)

    def write(text: str, name: str = "shop.py") -> Path:
        (tmp_path / "shopbase.py").write_text(BASE)
        file = tmp_path / name
        file.write_text(text)
        return file

    yield write
    for name in {*sys.modules} - {*modules}:
        del sys.modules[name]
    sys.modules.update(modules)
    sys.path[:] = path


def names(*named: str) -> list[str]:
    return [cls.__name__ for cls in load_main_classes(named)]


def refused(made: Callable[[], Any]) -> str:
    with pytest.raises(WorkerFileError) as wrong:
        made()
    return str(wrong.value)


def test_a_file_without_names_is_all_that_it_defines_but_bases(write: Write) -> None:
    file = write(SHOP)
    assert names(str(file)) == ["Mail", "Bill", "reverse"], "nor what it imports, nor an alias twice"
    assert names(f"{file}:") == ["Mail", "Bill", "reverse"]


def test_names_choose_among_them_in_their_order_and_once(write: Write) -> None:
    file = write(SHOP)
    assert names(f"{file}:Bill") == ["Bill"]
    assert names(f"{file}:reverse, Bill,") == ["reverse", "Bill"]
    assert names(f"{file}:Bill,Mail,Bill", f"{file}:Mail") == ["Bill", "Mail"]
    assert names(f"{file}:Shared") == ["Shared"], "it has a work(), and --service gives it a name"


def test_several_files_are_loaded_once_each(write: Write) -> None:
    file, other = write(SHOP), write(BASE, "other.py")
    classes = load_main_classes([f"{file}:Mail", str(other), f"{file}:Bill"])
    assert [cls.__name__ for cls in classes] == ["Mail", "Imported", "imported", "Bill"]
    assert classes[0].__module__ == classes[3].__module__ == "__mp_main__"
    assert classes[1].__module__ == "zmws_worker_other"
    assert vars(sys.modules["__main__"])["Bill"] is classes[3], "a child that is spawned finds it there"


def test_a_name_that_is_not_there_is_told_with_the_nearest(write: Write) -> None:
    file = write(SHOP)
    assert refused(lambda: names(f"{file}:Mial")) == (
        f"{file}: 'Mial' is no worker of this file; did you mean 'Mail'?"
    )
    assert refused(lambda: names(f"{file}:zzz")).endswith("; there are Shared, Mail, Bill, reverse")
    assert refused(lambda: names(f"{file}:Imported")).startswith(f"{file}: 'Imported' is no worker of this")


def test_a_class_without_work_that_is_named_is_told_so(write: Write) -> None:
    file = write(SHOP)
    text = f"{file}: Base has no work(); write 'def work(self, job_id, params):' in it"
    assert refused(lambda: names(f"{file}:Base")) == text


def test_a_base_without_subclasses_here_is_no_base_and_its_missing_name_will_be_told(write: Write) -> None:
    file = write("from zmws import WorkerBase\nclass W(WorkerBase):\n def work(self, job_id, params): ...\n")
    assert names(str(file)) == ["W"]


def test_one_class_of_a_file_is_loaded_and_of_several_one_is_to_be_named(write: Write) -> None:
    assert load_class(write(BASE.partition("@worker")[0], "one.py")).service_name == "IMPORTED"
    file = write(SHOP)
    assert refused(lambda: load_class(file)) == (
        f"{file} defines Mail, Bill, reverse; say which one: shop.py:NAME"
    )


def test_a_colon_in_the_name_of_a_file_that_is_there_is_part_of_it(write: Write) -> None:
    file = write(BASE, "a:b.py")
    assert names(str(file)) == ["Imported", "imported"]
    assert names(f"{file}:Imported") == ["Imported"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'\n  {}:1: import no"),
        ("x = 1\nraise SystemExit(3)", "SystemExit: 3\n  {}:2: raise SystemExit(3)"),
        ("def f(:\n  pass", "SyntaxError: invalid syntax (shop.py, line 1)\n  {}:1: def f(:"),
    ],
)
def test_a_file_that_cannot_be_imported_is_told_with_the_line(write: Write, text: str, said: str) -> None:
    file = write(text)
    assert refused(lambda: names(str(file))).startswith(
        f"{file} cannot be imported: {said.replace('{}', str(file))}"
    )


def test_a_file_without_a_worker_or_none_at_all_is_told(write: Write, tmp_path: Path) -> None:
    file = write("x = 1")
    assert refused(lambda: names(str(file))).endswith(
        "it defines no subclass of WorkerBase, and no function with @worker"
    )
    assert refused(lambda: names(f"{tmp_path}/none.py:X")) == f"there is no worker file {tmp_path}/none.py"
    assert refused(lambda: names(str(tmp_path))) == f"there is no worker file {tmp_path}"
    assert refused(lambda: names(str(write("x", "notes.txt")))).endswith("notes.txt is no Python file")


def test_a_decorator_above_worker_is_told(write: Write) -> None:
    file = write(
        "import functools\nfrom zmws.work import worker\n"
        "def timed(f):\n @functools.wraps(f)\n def g(**given): return f(**given)\n return g\n"
        "@timed\n@worker('X')\ndef f(): ...\n"
    )
    with pytest.raises(BadWorker, match=r"^f\(\) has a decorator above @worker"):
        names(str(file))


def test_the_folder_of_the_file_comes_last_so_that_it_shadows_nothing(write: Write, tmp_path: Path) -> None:
    write("raise AssertionError('not this one')", "colorsys.py")
    sys.modules.pop("colorsys", None)
    file = write("import colorsys, shopbase\n" + BASE)
    assert names(str(file)) == ["Imported", "imported"] and sys.path[-1] == str(tmp_path)


def test_a_worker_that_another_is_made_of_runs_beside_it(write: Write) -> None:
    file = write(SHOP + "\nclass Bulk(Mail):\n service_name = 'BULK'\n")
    assert names(str(file)) == ["Mail", "Bill", "reverse", "Bulk"]


def test_abstract_classes_and_those_that_another_takes_further_are_bases(tmp_path: Path) -> None:
    file = tmp_path / "shop.py"
    file.write_text(
        "import abc\nfrom zmws import WorkerBase\n"
        "class Root(WorkerBase, abc.ABC):\n    service_name = 'ROOT'\n"
        "    @abc.abstractmethod\n    def work(self, job_id, params): ...\n"
        "class A(Root):\n    service_name = 'A'\n    def work(self, job_id, params): return 1\n"
        "class Further(A):\n    retries = 5\n"
        "class Other(A):\n    service_name = 'B'\n"
    )
    assert [cls.__name__ for cls in load_main_classes([str(file)])] == ["Further", "Other"]


def test_an_import_that_fails_names_the_line_of_the_authors_own(tmp_path: Path) -> None:
    file = tmp_path / "reads.py"
    file.write_text("import json\nTABLE = json.loads('{')\n")
    with pytest.raises(WorkerFileError) as refused:
        load_main_classes([str(file)])
    assert str(refused.value).endswith(f"{file}:2: TABLE = json.loads('{{')")
