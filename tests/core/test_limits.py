"""Every bound has the default that the settings file tells people."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from zmws.core.limits import Limits

FILE = Path(__file__).resolve().parents[2] / "etc" / "zmws.toml"
LINE = re.compile(r"^(?:# )?(\w+) = (\S+|\"[^\"]*\")\s+#", re.MULTILINE)
UNITS = {"KiB": 1024, "MiB": 1024**2, "GiB": 1024**3}


def told() -> dict[str, str]:
    """What stands in [broker], commented out or not."""
    broker = FILE.read_text().partition("[broker]")[2].partition("\n[store]")[0]
    return {name: value.strip('"') for name, value in LINE.findall(broker)}


@pytest.mark.parametrize("name", [field.name for field in fields(Limits)])
def test_a_limit_is_as_the_settings_file_has_it(name: str) -> None:
    text = told()[name.removesuffix("_s").replace("_s_", "_")]
    value = getattr(Limits(), name)
    if text == "auto":
        assert value is None
        return
    number, _, unit = text.partition(" ")
    assert value == float(number) * UNITS.get(unit, 1)


def test_the_grace_after_a_restart_is_two_heartbeats_unless_it_is_given() -> None:
    assert Limits(heartbeat_interval_s=3.0).reattach_grace == 6.0
    assert Limits(reattach_grace_s=0.0).reattach_grace == 0.0
