"""A job in one word of a command line: `--then 'RESIZE {"size": 100, "image": "$PREVIOUS"}'`.

SERVICE          the service alone
SERVICE JSON     with its parameters, in which the text "$PREVIOUS" stands for the result of the step before
"""

from __future__ import annotations

import json
from typing import Any

import click

from zmws.client.items import PREVIOUS, Step

_MARK = "$PREVIOUS"

# Options of a job that only the first step of a chain can have.
_OF_FIRST = ("delay", "at", "unique")


def chain_given(service: str, params: Any, then: tuple[str, ...], options: dict[str, Any]) -> dict[str, Any]:
    """A chain as `submit_many` takes it. `options` are of each step, but for `id` and `batch`, which are the
    chain's, and for those that only the first can have."""
    of_chain: dict[str, Any] = {name: options[name] for name in ("id", "batch") if name in options}
    of_each = {name: value for name, value in options.items() if name not in of_chain}
    of_later = {name: value for name, value in of_each.items() if name not in _OF_FIRST}
    steps: list[Step] = [(service, params, of_each)]
    for word in then:
        name, given = _parted(word)
        steps.append((name, PREVIOUS if given is None else _with_previous(given), of_later))
    return {"chain": steps, **of_chain}


def follow_up_given(flag: str, word: str | None) -> tuple[str, Any] | None:
    """What is to follow a batch. Raises UsageError."""
    if word is None:
        return None
    service, params = _parted(word)
    if _with_previous(params) != params:
        raise click.UsageError(f"{flag}: no result stands before what follows a batch, so it has no {_MARK}")
    return service, params


def _parted(word: str) -> tuple[str, Any]:
    service, _, text = word.strip().partition(" ")
    if not service:
        raise click.UsageError("a step is empty; write SERVICE, or 'SERVICE {JSON}'")
    if not text.strip():
        return service, None
    try:
        return service, json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise click.UsageError(f"what stands behind {service} in {word!r} is not JSON: {wrong}") from None


def _with_previous(value: Any) -> Any:
    if value == _MARK:
        return PREVIOUS
    if isinstance(value, dict):
        return {key: _with_previous(one) for key, one in value.items()}
    return [_with_previous(one) for one in value] if isinstance(value, list) else value
