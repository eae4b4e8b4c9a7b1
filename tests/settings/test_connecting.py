"""The quick way to the address finds what the thorough one does, and leaves it what may be a slip."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import pytest

from zmws.errors import SettingsError
from zmws.settings import address
from zmws.settings.addresses import connectable
from zmws.settings.connecting import _SECTIONS, _VARIABLES, _plain
from zmws.settings.loading import address_checked
from zmws.settings.table import SECTIONS, VARIABLES

BROKERS = (
    "",
    "[broker]",
    '[broker]\nclient = "tcp://10.0.0.1:7000"',
    '[broker]\nclient = "tcp://*:7000"\nworker = "tcp://0.0.0.0:7001"',
    '[broker]\nworker = "tcp://10.0.0.1:7001"\nheartbeat_interval = 1',
    '[broker]\nclient = "ipc://run/client"',
    '[broker]\nclient = "tcp://127.0.0.1:*"',
    '[broker]\nclient = "tcp://127.0.0.1:0"',
    '[broker]\nclient = "nowhere"',
    "[broker]\nclient = 7",
    'broker = "tcp://10.0.0.1:7000"',
    '[[broker]]\nclient = "tcp://10.0.0.1:7000"',
    '[broker]\ncilent = "tcp://10.0.0.1:7000"',
    '[broekr]\nclient = "tcp://10.0.0.1:7000"',
    'client = "tcp://10.0.0.1:7000"',
    '[store]\nurl = "memory:"',
)
ENVIRONS: tuple[dict[str, str], ...] = (
    {},
    {"ZMWS_BROKER_CLIENT": "tcp://10.0.0.2:8000", "HOME": "/"},
    {"ZMWS_BROKER_CLIENT": "ipc://here"},
    {"ZMWS_BROKER_CLIENT": "tcp://10.0.0.2"},
    {"ZMWS_BROKER_WORKER": "tcp://*:8001"},
    {"ZMWS_BROKER_CILENT": "tcp://10.0.0.2:8000"},
    {"ZMWS_STORE_URL": "memory:"},
)


def test_it_knows_the_sections_and_the_variables_of_the_table() -> None:
    assert SECTIONS.keys() == _SECTIONS and set(_VARIABLES.values()) <= VARIABLES.keys()


@pytest.mark.parametrize("which", ["client", "worker"])
def test_it_finds_what_the_thorough_way_finds_or_leaves_it_to_that(tmp_path: Path, which: str) -> None:
    (tmp_path / "etc").mkdir()
    file = tmp_path / "etc" / "zmws.toml"
    quick = 0
    for broker, environ, path in itertools.product(BROKERS, ENVIRONS, (None, file)):
        file.write_text(broker)
        try:
            expected: object = connectable(address_checked(which, path, environ, tmp_path).endpoint)  # type: ignore[arg-type]
        except SettingsError as wrong:
            expected = str(wrong)
        try:
            found: object = address(which, path, environ, tmp_path)  # type: ignore[arg-type]
        except SettingsError as wrong:
            found = str(wrong)
        assert found == expected, (broker, environ, path)
        quick += _plain(which, path, environ, tmp_path) is not None
    assert quick > 20


def test_of_a_file_that_gives_it_nothing_else_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    text = '[broker]\nclient = "tcp://10.0.0.1:7000"\nframes_max = "many"\n'
    (tmp_path / "etc" / "zmws.toml").write_text(text)
    assert address("client", cwd=tmp_path, environ={}) == "tcp://10.0.0.1:7000"
    with pytest.raises(SettingsError, match="frames_max"):
        address("worker", cwd=tmp_path, environ={})


def test_who_only_connects_loads_no_table_of_settings_and_no_record_of_a_job() -> None:
    code = (
        "import sys; from zmws.settings import address; from zmws import Client\n"
        "address('client', environ={'ZMWS_BROKER_CLIENT': 'tcp://127.0.0.1:1'})\n"
        "print(*sorted(name for name in sys.modules if name.startswith('zmws.')))"
    )
    told = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert "zmws.client.synchronous" in told
    for needless in (
        "settings.loading",
        "settings.table",
        "core.job",
        "core.record",
        "core.limits",
        "core.desk.desk",
        "client.asynchronous",
        "client.batch",
        "client.chain",
        "client.items",
        "client.schedule",
    ):
        assert f"zmws.{needless}" not in told
