"""zmws.dialog.said: of what a job says the last PROGRESS, SAVE and TOUCH are said again."""

from __future__ import annotations

from zmws.dialog.said import Said

A, B = b"1/1/a", b"2/1/b"


def test_the_last_of_each_word_is_said_again_and_no_other_word() -> None:
    said = Said()
    for n in (b"1", b"2"):
        said.note(0.0, A, (b"SAVE", n))
        said.note(0.0, A, (b"LOG", n))
        said.note(0.0, A, (b"CONT", n))
    said.note(0.0, B, (b"PROGRESS", b"{}"))
    assert list(said.again(1.0, [A, B])) == [(A, (b"SAVE", b"2")), (B, (b"PROGRESS", b"{}"))]
    assert list(said.again(1.0, [B])) == [(B, (b"PROGRESS", b"{}"))]


def test_a_touch_is_said_again_with_the_seconds_that_are_left_of_the_last() -> None:
    said = Said()
    said.note(10.0, A, (b"TOUCH", b"5"))
    said.note(11.0, A, (b"TOUCH", b"8"))
    assert list(said.again(12.0, [A])) == [(A, (b"TOUCH", b"7.0"))]
    assert list(said.again(19.0, [A])) == []


def test_of_a_job_that_is_not_in_hand_any_more_nothing_is_left() -> None:
    said = Said()
    said.note(0.0, A, (b"SAVE", b"1"))
    said.note(0.0, A, (b"TOUCH", b"60"))
    said.forget(A)
    said.forget(B)
    assert list(said.again(1.0, [A])) == []
