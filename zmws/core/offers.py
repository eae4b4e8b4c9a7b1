"""What a READY offers: services, and what it tells of their jobs (docs/protocol.md, "services").

Rule: a wrong offer refuses the READY, with what is wrong in words. A right one has its options in their
types.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zmws.core.options import with_defaults, worker_options
from zmws.core.service import Service
from zmws.errors import OptionError
from zmws.wire.messages import Ready, ServiceInfo
from zmws.wire.names import is_reserved, service_name_fault

PARAMS_BYTES_MAX = 64 * 1024  # of the JSON Schema of a service's parameters
PARAMS_BYTES_ALL_MAX = 64 * 1024 * 1024  # of all of them


def offered(message: Ready) -> dict[str, ServiceInfo]:
    """The services that a READY is for."""
    if message.info is not None and message.info.services is not None:
        return message.info.services
    return {message.service: ServiceInfo()}


def fault_of_names(offer: Mapping[str, ServiceInfo], service: str, strict: bool) -> str | None:
    """What is wrong with the names of these services, or with the one that READY itself names. `strict`: as
    for who comes to the socket of foreign peers."""
    for name in offer:
        fault = service_name_fault(name, strict=strict)
        if fault is not None:
            return fault
        if is_reserved(name):
            return f"the service name '{name}' is reserved"
    if service not in offer:
        return f"READY is for '{service}', and its services do not name that"
    return None


def fault_of_offer(offer: Mapping[str, ServiceInfo], known: Mapping[str, Service]) -> str | None:
    """What is wrong with what a READY tells of its services' jobs; `known`: the services that there are.
    Where nothing is, the options in it are then in their types."""
    for name, told in offer.items():
        service = known.get(name) or Service(name)
        try:
            if told.defaults is not None:
                told.defaults = worker_options(told.defaults)
                with_defaults(service.configured, told.defaults)
        except OptionError as wrong:
            return f"its 'defaults' of {name}: {wrong}"
        if told.params is not None and (fault := _fault_of_schema(told.params)) is not None:
            return f"its 'params' of {name} {fault}"
    if any(told.params is not None for told in offer.values()):
        others = [one for name, one in known.items() if name not in offer]
        if sum(len(one.params or "") for one in others) > PARAMS_BYTES_ALL_MAX:
            return f"the 'params' of all services are {PARAMS_BYTES_ALL_MAX} bytes of JSON already"
    return None


def _fault_of_schema(params: Any) -> str | None:
    """Why this is no JSON Schema that could be kept and shown; whether it is one at all, is not looked at."""
    if not isinstance(params, dict):
        return "are no JSON Schema: they must be a JSON object"
    try:
        size = len(json.dumps(params, allow_nan=False))
    except ValueError:
        return "hold a number that JSON has none for"
    return f"are {size} bytes of JSON, and may be {PARAMS_BYTES_MAX}" if size > PARAMS_BYTES_MAX else None
