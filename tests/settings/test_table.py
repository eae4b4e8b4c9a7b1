"""The one table of settings, etc/zmws.toml and docs/options.md say the same."""

from __future__ import annotations

import re
import tomllib
from dataclasses import fields
from pathlib import Path

import pytest

from tests import shipped
from tests.peers import REPOSITORY
from tests.settings.site import loaded, problem
from zmws.core.limits import Limits
from zmws.core.options import SERVICE_OPTIONS, ServiceOptions
from zmws.core.schedule import SCHEDULE
from zmws.settings import (
    BrokerSettings,
    GatewaySettings,
    LogsSettings,
    StoreSettings,
    SupervisorSettings,
    load,
)
from zmws.settings.sections import limit_key
from zmws.settings.table import SETTINGS

SHIPPED = shipped.settings_text()
OPTIONS = (REPOSITORY / "docs" / "options.md").read_text()
MIB = 1024 * 1024


def uncommented(text: str) -> str:
    """The file with each `# key = value`, `# [table]` and `# [[table]]` put to work."""
    return re.sub(r"^# ((?:\w+ = )|(?:\[+[\w.]+\]+$))", r"\1", text, flags=re.MULTILINE)


def test_the_shipped_file_names_every_setting() -> None:
    tree = tomllib.loads(uncommented(SHIPPED))
    sections = ("broker", "store", "gateway", "logs", "supervisor", "security")
    named = {f"{section}.{key}" for section in sections for key in tree[section]}
    assert named == set(SETTINGS)


def test_the_shipped_file_says_the_defaults_with_and_without_its_comments(tmp_path: Path) -> None:
    root = tmp_path / "site"
    (root / "workers").mkdir(parents=True)
    (root / "etc").mkdir()
    for worker in tomllib.loads(SHIPPED)["workers"]:
        (root / worker["file"]).write_text("")
    as_shipped = loaded(root, SHIPPED)
    assert as_shipped.services == {}
    whole = loaded(root, uncommented(SHIPPED))
    assert as_shipped.schedules == ()
    assert whole.services == {
        "EMAIL": ServiceOptions(retries=5, max_running=4),
        "REPORT": ServiceOptions(),  # it is known, for there is a schedule of it
    }
    assert [(one.name, one.service) for one in whole.schedules] == [("nightly", "REPORT")]
    for settings in (as_shipped, whole):
        assert settings.broker == BrokerSettings()
        assert settings.store == StoreSettings()
        assert settings.gateway == GatewaySettings()
        assert settings.logs == LogsSettings()
        assert settings.supervisor == SupervisorSettings()


def test_the_comments_of_the_shipped_file_are_the_tables() -> None:
    section, shown = "", {}
    for line in uncommented(SHIPPED).splitlines():
        if header := re.match(r"\[+([\w.]+)\]", line):
            section = header[1]
        elif setting := re.match(r"(\w+) = .*? +# (.*)", line):
            shown[f"{section}.{setting[1]}"] = setting[2]
    assert {name: row.help for name, row in SETTINGS.items()} == {
        name: comment for name, comment in shown.items() if name in SETTINGS
    }
    examples = shown.keys() - SETTINGS.keys()
    assert {one for one in examples if one.startswith("services.")} == {
        "services.EMAIL.retries",
        "services.EMAIL.max_running",
    }
    assert {one.removeprefix("schedules.") for one in examples if not one.startswith("services.")} < set(
        SCHEDULE
    )
    of_schedules = SHIPPED[SHIPPED.index("# Recurring jobs") : SHIPPED.index("# The worker processes")]
    for name in SCHEDULE:
        assert re.search(rf"\b{name}\b", of_schedules), name
    for name in SERVICE_OPTIONS:
        assert re.search(rf"\b{name}\b", SHIPPED[SHIPPED.index("# What holds for a service") :]), name


def documented(heading: str) -> dict[str, str]:
    """The defaults of a table in docs/options.md."""
    part = OPTIONS.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \|.*\| (.+) \|$", part, re.MULTILINE))


def test_the_defaults_in_the_documents_are_the_tables() -> None:
    sizes = {f"{n} MiB": n * MIB for n in (16, 64, 512)}
    for name, text in documented("Of the store").items():
        default = SETTINGS[f"store.{name}"].default
        assert str(default) == text.strip("`") or default in (sizes.get(text), _number(text)), name
    own = {**documented("Of a job"), **documented("Of a service")}
    for name, default in ServiceOptions().values().items():
        if default is None:
            assert "none" in own[name] or "no limit" in own[name] or name == "keep", name
        else:
            text = own[name].strip("`")
            assert default == _number(text) or str(default).lower() == text, name


def _number(text: str) -> float | None:
    try:
        return float(text.replace(",", ""))
    except ValueError:
        return None


def test_every_limit_has_a_key_without_its_unit() -> None:
    keys = {limit_key(field.name) for field in fields(Limits)}
    assert {f"broker.{key}" for key in keys} <= set(SETTINGS)
    assert {"heartbeat_interval", "wait_max", "reattach_grace", "memory_keep", "sessions_max"} <= keys
    assert not [key for key in keys if key.endswith("_s") or "_s_" in key]


def test_every_setting_has_an_environment_variable_and_a_flag(site: Path) -> None:
    for name, row in SETTINGS.items():
        default = row.word if row.default is None else row.default
        variable = "ZMWS_" + name.upper().replace(".", "_")
        assert load(cwd=site, environ={variable: _text(default)}) == load(cwd=site, environ={})
        assert load(cwd=site, environ={}, flags={name: default}) == load(cwd=site, environ={})
        assert load(cwd=site, environ={}, flags={name: _text(default)}) == load(cwd=site, environ={})


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("heartbeat_interval = 0", "a number of seconds above 0, up to 3600"),
        ("heartbeat_interval = -1", "a number of seconds above 0, up to 3600"),
        ("heartbeat_interval = 3601", "a number of seconds above 0, up to 3600"),
        ("heartbeat_interval = nan", "a number of seconds above 0, up to 3600"),
        ("heartbeat_interval = inf", "a number of seconds above 0, up to 3600"),
        ('heartbeat_interval = "5"', "a number of seconds above 0, up to 3600"),
        ("heartbeat_interval = true", "a number of seconds above 0, up to 3600"),
        ("heartbeat_interval = 1979-05-27", "a number of seconds above 0, up to 3600"),
        ("heartbeat_interval = 0x" + "f" * 5000, "a number of seconds above 0, up to 3600"),
        ("heartbeat_liveness = 1", "a whole number from 2 to 100"),
        ("heartbeat_liveness = 3.0", "a whole number from 2 to 100"),
        ("heartbeat_liveness = true", "a whole number from 2 to 100"),
        ("sessions_max = 0", "a whole number from 1 to 1000000000"),
        ("sessions_max = [1]", "a whole number from 1 to 1000000000"),
        ("frames_max = 7", "a whole number from 8 to 65536"),
        ("memory_max = 0", "a size from 1 to 1099511627776 bytes"),
        ("memory_max = 1.5", "a size from 1 to 1099511627776 bytes"),
        ('memory_max = "64 MB"', 'such as 1048576 or "1 MiB"'),
        ('memory_max = "9999 GiB"', "a size from 1 to 1099511627776 bytes"),
        ('memory_max = "-1"', "a size from 1 to 1099511627776 bytes"),
        ('log_level = "loud"', "one of debug, info, warning, error"),
        ("log_level = 1", "one of debug, info, warning, error"),
        ("log_level = []", "one of debug, info, warning, error"),
        ("client = 5555", "tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH"),
        ('client = ""', "tcp://HOST:PORT, tcp://[IPV6]:PORT or ipc://PATH"),
        ('client = "127.0.0.1:5555"', "tcp://HOST:PORT"),
        ('client = "tcp://127.0.0.1"', "tcp://HOST:PORT"),
        ('client = "tcp://127.0.0.1:"', "tcp://HOST:PORT"),
        ('client = "tcp://127.0.0.1:65536"', "tcp://HOST:PORT"),
        ('client = "tcp://127.0.0.1:port"', "tcp://HOST:PORT"),
        ('client = "tcp://::1:5555"', "tcp://[IPV6]:PORT"),
        ('client = "tcp://[::g]:5555"', "tcp://[IPV6]:PORT"),
        ('client = "tcp://a b:5555"', "tcp://HOST:PORT"),
        ('client = "udp://127.0.0.1:5555"', "tcp://HOST:PORT"),
        ('client = "inproc://x"', "tcp://HOST:PORT"),
        ('client = "ipc://"', "ipc://PATH"),
        ('client = "ipc:///a\\nb"', "ipc://PATH"),
        ('client = "ipc:///' + "x" * 120 + '"', "a path of at most 107 bytes"),
        ("mdp = false", 'or "" for none'),
    ],
)
def test_a_value_out_of_its_range_is_refused_with_the_range(site: Path, line: str, expected: str) -> None:
    told = problem(site, f"# comment\n[broker]\n{line}")
    assert told.startswith(f"FILE:3: broker.{line.split(' ')[0]} is ")
    assert expected in told
    assert len(told) < 300


@pytest.mark.parametrize(
    ("text", "size"),
    [("2048", 2048), ("1024 B", 1024), ("512 KiB", 512 * 1024), ("64MiB", 64 * MIB), (" 1 GiB ", 1024 * MIB)],
)
def test_a_size_is_a_number_with_or_without_a_unit(site: Path, text: str, size: int) -> None:
    assert loaded(site, f'[broker]\nbatch_bytes_max = "{text}"').broker.limits.batch_bytes_max == size


def test_the_grace_after_a_restart_is_auto_or_a_number(site: Path) -> None:
    assert loaded(site, '[broker]\nreattach_grace = "auto"').broker.limits.reattach_grace_s is None
    assert loaded(site, "[broker]\nreattach_grace = 3").broker.limits.reattach_grace_s == 3.0
    assert '"auto"' in problem(site, '[broker]\nreattach_grace = "car"')


def _text(value: object) -> str:
    """A value as it is given in the environment."""
    return ",".join(value) if isinstance(value, tuple) else str(value)
