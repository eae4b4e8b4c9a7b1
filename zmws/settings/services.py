"""`[services.NAME]`: the options of services, by the table of the core (zmws/core/options.py)."""

from __future__ import annotations

from typing import Any

from zmws.core.options import ServiceOptions, service_options
from zmws.core.table import shown
from zmws.errors import OptionError
from zmws.settings.problems import Problems
from zmws.wire.names import is_reserved, service_name_fault

_ENDS = ("on_complete", "on_failed")  # name a service


def services_in(tables: Any, problems: Problems) -> dict[str, ServiceOptions]:
    """The services of the file."""
    services: dict[str, ServiceOptions] = {}
    if not isinstance(tables, dict):
        problems.in_file(("services",), "'services' must hold tables: [services.NAME]")
        return services
    for name, table in tables.items():
        if problem := service_name_problem(name):
            problems.in_file(("services", name), problem)
        elif not isinstance(table, dict):
            problems.in_file(("services", name), f"{shown(name)} must be a table: [services.NAME]")
        else:
            services[name] = _service(name, table, problems)
    return services


def service_name_problem(name: str) -> str | None:
    """What keeps `name` from being a service's name, or None."""
    if is_reserved(name):
        return f"the service name {shown(name)} is reserved for the broker itself"
    return service_name_fault(name)


def _service(name: str, table: dict[str, Any], problems: Problems) -> ServiceOptions:
    good: dict[str, Any] = {}
    for option, value in table.items():
        try:
            service_options({option: value})
            if option in _ENDS and value == name:
                raise OptionError(
                    option, f"option '{option}' is itself: its own end would be told to itself, without end"
                )
            good[option] = value
        except OptionError as wrong:
            problems.in_file(("services", name, option), f"service {shown(name)}: {wrong}")
    try:
        return service_options(good)
    except OptionError as wrong:  # each is right, and they contradict each other
        problems.in_file(("services", name, wrong.option), f"service {shown(name)}: {wrong}")
        return ServiceOptions()
