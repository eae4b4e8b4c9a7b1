"""A service as a person reads it: its counts, the options of its jobs, the parameters that they take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from zmws.cli.output import echo, say
from zmws.cli.tables import fitting, show_table
from zmws.core.amounts import duration, duration_short

_REF = "#/$defs/"


def show_service(told: dict[str, Any]) -> None:
    """Print the answer of zmws.service."""
    facts = {name: value for name, value in told.items() if name not in ("options", "params", "usual")}
    facts["oldest"] = duration(facts.pop("oldest_s"))
    facts["paused"] = "yes" if facts["paused"] else "no"
    for name in ("wait", "run"):
        shares = (told.get("usual") or {}).get(name) or {}
        if shares.get("p50") is not None:
            half, most = duration_short(shares["p50"]), duration_short(shares["p95"])
            facts[f"jobs_{name}"] = f"{half} usually, 95 % less than {most}"
    rows = [(name.replace("_", " "), value) for name, value in facts.items()]
    show_table(("SERVICE", ""), rows, may_cut=("",))
    echo()
    options = [(name, _value(name, one["value"]), one["from"]) for name, one in told["options"].items()]
    show_table(("OPTION OF ITS JOBS", "VALUE", "FROM"), options)
    if told["params"] is None:
        return
    echo()
    show_table(
        ("PARAMETER", "TYPE", "NEEDED", "NOTE"), [*_parameters(told["params"])], may_cut=("TYPE", "NOTE")
    )
    say("--json shows all of their schema")


def _value(name: str, value: Any) -> str | None:
    if name == "ageing" and value is None:
        return "off"
    return f"{value:g}" if isinstance(value, float) else value


def _parameters(schema: dict[str, Any]) -> Iterator[tuple[str, str, str, str | None]]:
    """A row for each parameter that a JSON Schema of an object names. What is not as we know schemas to be is
    passed over: the worker checks, not this."""
    schema = _resolved(schema, schema)
    properties, needed = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict):
        yield "(all)", _type(schema), "", _note(schema)
        return
    for name, part in properties.items():
        if isinstance(part, dict):
            is_needed = isinstance(needed, list) and name in needed
            yield fitting(name), _type(part), "yes" if is_needed else "", _note(part)


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a `$ref` to one of the schema's own definitions stands for."""
    ref, parts = part.get("$ref"), schema.get("$defs")
    if isinstance(ref, str) and ref.startswith(_REF) and isinstance(parts, dict):
        found = parts.get(ref.removeprefix(_REF))
        return found if isinstance(found, dict) else part
    return part


def _type(part: dict[str, Any]) -> str:
    """A type in a word or two: what the schema calls it."""
    if isinstance(ref := part.get("$ref"), str):
        return ref.rpartition("/")[2]
    if isinstance(choices := part.get("enum"), list):
        return " | ".join(json.dumps(one, ensure_ascii=False) for one in choices)
    for word in ("anyOf", "oneOf"):
        if isinstance(some := part.get(word), list):
            return " | ".join(_type(one) for one in some if isinstance(one, dict))
    kind = part.get("type", "any")
    text = " | ".join(map(str, kind)) if isinstance(kind, list) else str(kind)
    if text == "array" and isinstance(part.get("items"), dict):
        return f"array of {_type(part['items'])}"
    return text


def _note(part: dict[str, Any]) -> str | None:
    """Its default, and what is said of it."""
    default = [f"default {json.dumps(part['default'], ensure_ascii=False)}"] if "default" in part else []
    said = part.get("description", part.get("title"))
    return "; ".join([*default, *([said] if isinstance(said, str) else [])]) or None
