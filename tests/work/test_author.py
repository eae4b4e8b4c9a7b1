"""zmws.work.author: what a class is to write itself, and that WorkerBase has all the rest."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest

from zmws import WorkerBase
from zmws.work.author import Worker, is_written
from zmws.work.function import _DECLARED


class Written(WorkerBase):
    def work(self, job_id: str, params: Any) -> Any: ...


def test_what_the_base_leaves_open_is_not_written_and_what_stands_for_it_is() -> None:
    class Empty(WorkerBase): ...

    class Heir(Written): ...

    for cls, written in ((WorkerBase, False), (Empty, False), (Written, True), (Heir, True)):
        assert is_written(cls.work) is is_written(cls().work) is written
    one = Empty()
    vars(one)["work"] = print
    assert is_written(one.work)
    with pytest.raises(NotImplementedError, match=r"Empty has no work\(\)"):
        Empty().work("1", {})


def test_the_base_has_all_that_is_asked_of_an_author_with_the_same_parameters() -> None:
    asked = {name for name in (*get_type_hints(Worker, vars_of_types()), *vars(Worker)) if name[0] != "_"}
    assert {"work", "setup", "around", "retry_on", "client_of"} <= asked
    for name in asked - {"job"}:  # that is there in a job alone
        assert hasattr(WorkerBase, name), name
        method = vars(Worker).get(name)
        if inspect.isfunction(method):
            ours = inspect.signature(getattr(WorkerBase, name)).parameters
            assert list(ours) == list(inspect.signature(method).parameters), name


def test_a_function_may_declare_all_that_a_class_may_but_names_and_flags() -> None:
    declarations = {name for name, hint in Worker.__annotations__.items() if str(hint).startswith("ClassVar")}
    assert declarations - {"service_name", "flags"} == _DECLARED


def vars_of_types() -> dict[str, Any]:
    """What `author` names for type checkers alone."""
    import click

    from zmws.client import Client

    return {"click": click, "Client": Client} | vars(inspect.getmodule(Worker))
