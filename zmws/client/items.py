"""Jobs as a list has them: what `submit_many`, chains, batches and `self.job.enqueue` hand over
(docs/protocol.md, "Items").

Rule: what has passed here can be encoded, and what is wrong with it is found in the caller's thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from zmws.client.given import options_given, service_of
from zmws.errors import BadValue
from zmws.wire.values import encode_value, field_of

Step = tuple[Any, ...] | Mapping[str, Any]


class Previous:
    """What `PREVIOUS` is."""

    def __repr__(self) -> str:
        return "PREVIOUS"

    def __reduce__(self) -> str:
        return "PREVIOUS"  # there is one, also after pickle and copy


PREVIOUS = Previous()
"""The result of the step before, in the parameters of a step of a chain (`Client.chain`): as all of them, or
anywhere within."""


def item_of(service: str, params: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """One job. Raises BadValue, OptionError, Refused."""
    encode_value(params, "params")
    return {"service": service_of(service), **field_of("params", params), **options_given(options)}


def chain_of(steps: Sequence[Step], chain_id: Any = None, batch: Any = None) -> dict[str, Any]:
    """A chain as one item. Each step is (service,), (service, params), (service, params, options), or a
    mapping of `service`, `params` and options. Raises ValueError for no steps, BadValue, OptionError,
    Refused, TypeError."""
    if not steps:
        raise ValueError("a chain has one step at least")
    told = [_step_of(n, step) for n, step in enumerate(steps, 1)]
    return {"chain": told, **options_given({"id": chain_id, "batch": batch})}


def pair_of(name: str, given: Any) -> dict[str, Any] | None:
    """What follows a batch: as a step is given, or the name of a service alone. `name`: of the argument."""
    if given is None:
        return None
    service, params, options = parts_of(name, (given,) if isinstance(given, str) else given)
    return item_of(service, params, options)


def parts_of(what: str, step: Any) -> tuple[Any, Any, Mapping[str, Any]]:
    """Service, parameters and options of a job that is given as a tuple or a mapping. `what`: of what it is
    said where it is neither. Raises TypeError."""
    if isinstance(step, Mapping):
        options = {key: value for key, value in step.items() if key not in ("service", "params")}
        return step.get("service"), step.get("params"), options
    if not isinstance(step, (tuple, list)) or not 0 < len(step) <= 3:
        text = "(service, params), (service, params, options), or a dict with 'service' and 'params'"
        raise TypeError(f"{what} is {step!r:.80}, but must be {text}")
    service, params, options = (*step, None, None)[:3]
    if options is not None and not isinstance(options, Mapping):
        raise TypeError(f"{what}: its options are {options!r:.80}, but must be a dict")
    return service, params, options or {}


def _step_of(n: int, step: Any) -> dict[str, Any]:
    service, params, options = parts_of(f"step {n}", (step,) if isinstance(step, str) else step)
    places: list[str] = []
    params = _without_previous(params, "", places)
    if places and n == 1:
        raise ValueError("the first step of a chain has no PREVIOUS: no result stands before it")
    item = item_of(service, params, options)
    if places == [""]:
        item.pop("params", None)
    return item | {"previous": places} if places else item


def _without_previous(value: Any, pointer: str, places: list[str]) -> Any:
    """The value with None in the places of PREVIOUS, which are noted as JSON Pointers (RFC 6901)."""
    if isinstance(value, Previous):
        places.append(pointer)
        return None
    if isinstance(value, dict):
        return {
            key: _without_previous(one, f"{pointer}/{_part_of(key, one)}", places)
            for key, one in value.items()
        }
    if isinstance(value, (list, tuple)):
        return [_without_previous(one, f"{pointer}/{n}", places) for n, one in enumerate(value)]
    return value


def _part_of(key: Any, value: Any) -> str:
    if isinstance(key, str):
        return key.replace("~", "~0").replace("/", "~1")
    if isinstance(value, Previous):
        raise BadValue(f"PREVIOUS stands under the key {key!r:.80}, which is no text")
    return ""
