"""What is to become a job, as a list has it: an item of zmws.submit, of a worker's JOBS-JSON, of a chain, or
of what follows a batch (docs/protocol.md, "Items").

Rule 1: an item is checked as a whole before anything is made of it; a chain with all of its steps.
Rule 2: a refusal names the item's own id, where it gave one, and the step that is wrong.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from zmws.core import pointers
from zmws.core.limits import Limits
from zmws.core.options import JobOptions, job_options_of
from zmws.core.table import did_you_mean, shown
from zmws.errors import BadJson, OptionError
from zmws.wire.values import frames_of

PLACES_MAX = 100  # of one result in the parameters of the next step
CHAIN_ID_MAX = 120  # of characters: its steps' ids are longer
_NOT_OPTIONS = ("service", "params", "params_base64")
_OF_CHAIN = ("chain", "id", "batch", "by")
_NOT_IN_STEP = {
    "id": "the ids of its jobs are made of the chain's",
    "at": "it starts when the step before has completed; 'delay' may put that off",
    "batch": "the chain as a whole may be in one",
    "chain": "a step is one job",
}


class BadItem(Exception):
    """It cannot become a job; the message says why, `code` is one of docs/errors.md."""

    def __init__(self, code: str, text: str, job_id: str | None = None) -> None:
        super().__init__(text)
        self.code = code
        self.job_id = job_id


@dataclass(slots=True)
class Item:
    """One that is as it must be. Of a chain it is the first step, and `rest` those that follow, as they were
    given."""

    service: str
    options: JobOptions
    body: tuple[bytes, ...]
    chain: str | None = None  # "": it has none yet
    rest: list[dict[str, Any]] = field(default_factory=list)

    @property
    def rest_json(self) -> str | None:
        """The steps that follow, as a record holds them."""
        return json.dumps(self.rest) if self.rest else None


def item_of(given: Any, limits: Limits) -> Item:
    """An item, checked. Raises BadItem."""
    if isinstance(given, dict) and "chain" in given:
        return _chain_of(given, limits)
    return _plain(given)


def step_of(given: dict[str, Any], result: tuple[bytes, ...], value: Any) -> Item:
    """A step of a chain whose turn has come. `result`: the frames of the one before, `value`: as JSON. Raises
    BadItem: the program may be another by now."""
    item = _plain({key: one for key, one in given.items() if key != "previous"})
    places = given.get("previous") or []
    if places == [""]:
        item.body = result
    elif places:
        # Whatever a client wrote into a step ends that step, and nothing else.
        try:
            params = json.loads(json.dumps(given.get("params")))
            for place in places:
                params = pointers.put(params, place, value)
            item.body = frames_of({"params": params}, "params")
        except (pointers.NoPlace, ValueError, RecursionError) as wrong:
            raise BadItem("bad_previous", f"its parameters cannot be made: {wrong}") from None
    return item


def services_of(item: Item) -> list[tuple[str, str]]:
    """The services that it names, each with how it does that."""
    found = [("" if item.chain is None else "step 1: ", item.service)]
    steps: list[Any] = [{name: getattr(item.options, name) for name in _ENDS}, *item.rest]
    for n, step in enumerate(steps, 1):
        where = f"step {n}: " if item.chain is not None else ""
        if n > 1:
            found.append((where, step["service"]))
        found += [(f"{where}option '{name}': ", step[name]) for name in _ENDS if step.get(name) is not None]
    return found


_ENDS = ("on_complete", "on_failed")


def _plain(given: Any) -> Item:
    if not isinstance(given, dict) or not isinstance(given.get("service"), str):
        raise BadItem("bad_request", "each job is an object with a 'service'")
    options = {key: value for key, value in given.items() if key not in _NOT_OPTIONS}
    job_id = given.get("id") if isinstance(given.get("id"), str) else None
    try:
        return Item(given["service"], job_options_of(options), frames_of(given, "params"))
    except OptionError as wrong:
        raise BadItem(wrong.code, str(wrong), job_id) from None
    except BadJson as wrong:
        raise BadItem("bad_option", str(wrong), job_id) from None


def _chain_of(given: dict[str, Any], limits: Limits) -> Item:
    steps = given["chain"]
    for name in given:
        if name not in _OF_CHAIN:
            text = f"{shown(name)} is no field of a chain{did_you_mean(name, _OF_CHAIN)}; a step has its own"
            raise BadItem("bad_option", text)
    if not isinstance(steps, list) or not 0 < len(steps) <= limits.chain_steps_max:
        text = f"'chain' is a list of 1 to {limits.chain_steps_max} steps (chain_steps_max)"
        raise BadItem("bad_option", text)
    try:
        whole = job_options_of({name: given.get(name) for name in ("id", "batch", "by")})
    except OptionError as wrong:
        raise BadItem(wrong.code, str(wrong)) from None
    if whole.id is not None and len(whole.id) > CHAIN_ID_MAX:
        raise BadItem("bad_option", f"the id of a chain has at most {CHAIN_ID_MAX} characters", whole.id)
    items = []
    for n, step in enumerate(steps):
        try:
            items.append(_step_of(step, first=n == 0))
        except BadItem as wrong:
            raise BadItem(wrong.code, f"step {n + 1}: {wrong}", whole.id) from None
    size = len(json.dumps(steps[1:]))
    if size > limits.chain_bytes_max:
        text = (
            f"the steps after the first have {size} bytes; at most {limits.chain_bytes_max} (chain_bytes_max)"
        )
        raise BadItem("bad_option", text, whole.id)
    first = items[0]
    first.options.batch, first.options.by = whole.batch, whole.by
    first.chain, first.rest = whole.id or "", steps[1:]
    return first


def _step_of(given: Any, first: bool) -> Item:
    if not isinstance(given, dict):
        raise BadItem("bad_request", "each step is an object with a 'service'")
    for name, why in _NOT_IN_STEP.items():
        if given.get(name) is not None and not (first and name == "at"):
            raise BadItem("bad_option", f"a step of a chain has no '{name}': {why}")
    if given.get("unique") is not None and not first:
        text = "only the first step has a 'unique': another job that held the key would end the chain"
        raise BadItem("bad_option", text)
    if given.get("durability") == "memory":
        raise BadItem("bad_option", "the steps of a chain are stored jobs: none has durability 'memory'")
    places = given.get("previous")
    item = _plain({key: one for key, one in given.items() if key != "previous"})
    if places is None or places == []:
        return item
    if first:
        raise BadItem("bad_option", "the first step has no 'previous': no result stands before it")
    _check_places(places, given)
    return item


def _check_places(places: Any, given: dict[str, Any]) -> None:
    if isinstance(places, list) and len(places) > PLACES_MAX:
        raise BadItem("bad_option", f"'previous' has {len(places)} places, but may have {PLACES_MAX}")
    if not isinstance(places, list):
        raise BadItem("bad_option", "'previous' is a list of JSON Pointers into 'params', or [\"\"]")
    if "params_base64" in given or ("" in places and len(places) > 1):
        raise BadItem("bad_option", "'previous' points into JSON parameters, or is [\"\"]: all")
    if places == [""]:
        if given.get("params") is not None:
            text = "with 'previous' [\"\"] the result is all of the parameters: give no 'params' beside it"
            raise BadItem("bad_option", text)
        return
    for place in places:
        fault = pointers.fault_of(given.get("params"), place)
        if fault is not None:
            raise BadItem("bad_option", f"'previous': {fault}")
    both = pointers.overlap_of(places)
    if both is not None:
        text = f"'previous': '{both[1][:80]}' is within '{both[0][:80]}', or the same"
        raise BadItem("bad_option", text)
