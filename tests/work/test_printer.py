"""zmws.work.printer: nobody waits for what is written."""

from __future__ import annotations

import threading

from tests.peers import wait_until
from zmws.work import printer
from zmws.work.printer import Printer


def test_who_says_something_never_waits_and_past_a_bound_it_is_left_out() -> None:
    made, gate, said = Printer(lambda: None), threading.Event(), list[int]()

    def says(number: int) -> None:
        gate.wait(20)
        said.append(number)

    def fails() -> None:
        raise ValueError("a handler of the author's")

    made.call(lambda: says(-1))
    wait_until(lambda: made._calls == 0, what="the first one to be under way")
    for number in range(printer.CALLS_MAX + 10):
        made.call(fails if number == 3 else lambda number=number: says(number))  # type: ignore[misc]
    gate.set()
    wait_until(lambda: len(said) == printer.CALLS_MAX)
    assert said == [-1, 0, 1, 2, *range(4, printer.CALLS_MAX)]
    made.close()
