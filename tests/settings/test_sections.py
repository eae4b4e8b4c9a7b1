"""The settings as they are held: defaults, folders, and that nobody changes them."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from tests.settings.site import loaded
from zmws.core.limits import Limits
from zmws.settings import (
    BrokerSettings,
    GatewaySettings,
    LogsSettings,
    SecuritySettings,
    Settings,
    StoreSettings,
    SupervisorSettings,
    load,
)

MIB = 1024 * 1024


def test_an_empty_file_gives_the_defaults(site: Path) -> None:
    settings = loaded(site, "workers = []")
    assert settings == Settings(
        broker=BrokerSettings(),
        store=StoreSettings(),
        gateway=GatewaySettings(),
        logs=LogsSettings(),
        supervisor=SupervisorSettings(),
        security=SecuritySettings(),
        services={},
        schedules=(),
        workers=(),
        path=site / "etc" / "zmws.toml",
        root=site,
    )
    broker = settings.broker
    assert (broker.client, broker.worker) == ("tcp://127.0.0.1:5555", "tcp://127.0.0.1:5556")
    assert (broker.news, broker.mdp) == ("tcp://127.0.0.1:5557", "tcp://127.0.0.1:5558")
    assert (broker.message_bytes_max, broker.frames_max, broker.high_water_mark) == (8 * MIB, 64, 1000)
    assert (broker.outbox_bytes_max, broker.memory_max, broker.log_level) == (16 * MIB, 1024 * MIB, "info")
    assert broker.limits == Limits()
    assert settings.store.url == "sqlite:var/zmws.db" and settings.store_path == site / "var" / "zmws.db"
    assert (settings.store.reserve_bytes, settings.store.free_bytes_min) == (16 * MIB, 64 * MIB)
    assert (settings.store.cache_bytes, settings.store.check) == (16 * MIB, 2.0)
    assert settings.gateway.http == "127.0.0.1:5580"
    assert (settings.logs.bytes_max, settings.logs.files, settings.logs.format) == (50 * MIB, 10, "text")
    kept = settings.supervisor
    assert (kept.ready_timeout, kept.start_retries, kept.give_up) == (60.0, 3, False)
    assert (kept.restart_delay_max, kept.restart_window, kept.kill_after) == (10.0, 60.0, 10.0)
    assert (kept.silence_max, kept.check_interval) == (30.0, 2.0)
    security = settings.security
    assert (security.curve, security.insecure, security.keys) == ("auto", False, "etc/keys")
    assert (security.key, security.connections_per_address) == ("", 1_000)
    assert security.topics_per_address == 256 * 1024
    assert (security.handshake_timeout, security.ipc_mode) == (5.0, "0660")
    assert (security.ipc_owner, security.ipc_group) == ("", "")


def test_folders_for_pid_files_and_logs_lie_in_the_installation(site: Path) -> None:
    settings = loaded(site, "")
    assert (settings.run_dir, settings.logs_dir) == (site / "run", site / "logs")


def test_settings_cannot_be_changed(site: Path) -> None:
    settings = loaded(site, "")
    for one in (settings, settings.broker, settings.store, settings.gateway):
        with pytest.raises(FrozenInstanceError):
            setattr(one, fields(one)[0].name, "x")


def test_an_installation_is_known_by_its_folder_whatever_the_way_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc" / "zmws.toml").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    a, b, link = (
        load(tmp_path / name / "etc" / "zmws.toml", environ={}).installation for name in ("a", "b", "link")
    )
    assert a == link != b and str(tmp_path) not in a
