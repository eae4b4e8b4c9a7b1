"""What `work()` raises to say how its attempt is to go on. All other exceptions are failures, whose next
attempt is for the job's options to say."""

from __future__ import annotations

from zmws.wire.words import SECONDS_MAX


class Retry(Exception):
    """`raise Retry(delay=60)`: not done, try again.

    `message` (str): for the job's record. `delay` (float): seconds to the next attempt; None: the job's
    backoff. `count` (bool): False: this is no failure, and uses up none of the job's `retries`. Raises
    ValueError for a delay that is no number of seconds from 0 to a year.
    """

    def __init__(self, message: str = "", *, delay: float | None = None, count: bool = True) -> None:
        is_number = isinstance(delay, (int, float)) and not isinstance(delay, bool)
        if not isinstance(message, str):
            raise TypeError(f"the message of a Retry is a text, not {message!r}; write Retry(delay=...)")
        if delay is not None and not (is_number and 0 <= delay <= SECONDS_MAX):
            raise ValueError(
                f"the delay of a Retry is a number of seconds from 0 to {SECONDS_MAX:.0f}, not {delay!r}"
            )
        super().__init__(message)
        self.delay = delay
        self.count = count

    def __str__(self) -> str:
        if self.args and self.args[0]:
            return str(self.args[0])
        when = "" if self.delay is None else f" in {self.delay:g} s"
        return f"work() asks to be run again{when}"


class Fail(Exception):
    """`raise Fail("no such account")`: failed for good, whatever retries are left. In `validate()`: the
    parameters are wrong (`bad_params`)."""

    def __str__(self) -> str:
        return str(self.args[0]) if self.args else "work() has given up"
