"""zmws.settings: file, environment and flags become checked settings, or say what is wrong where."""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from tests import shipped
from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.errors import SettingsError
from zmws.settings import (
    KEYS,
    BrokerSettings,
    GatewaySettings,
    Settings,
    StoreSettings,
    WorkerSettings,
    is_loopback,
    limit_key,
    load,
    parse_http,
    service_name_problem,
)
from zmws.toml_lines import line_numbers

SHIPPED = shipped.settings_text()
MIB = 1024 * 1024


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """An installation folder with two worker files."""
    root = tmp_path / "site"
    for folder in ("etc", "workers"):
        (root / folder).mkdir(parents=True)
    for name in ("reverse.py", "sleep.py"):
        (root / "workers" / name).write_text("")
    return root


def loaded(site: Path, text: str, **more: Any) -> Settings:
    (site / "etc" / "zmws.toml").write_text(text)
    return load(cwd=site, environ=more.pop("environ", {}), **more)


def problems(site: Path, text: str, **more: Any) -> list[str]:
    """The lines of the refusal, with `FILE` for the path of the settings file."""
    with pytest.raises(SettingsError) as caught:
        loaded(site, text, **more)
    return str(caught.value).replace(str(site / "etc" / "zmws.toml"), "FILE").splitlines()


def problem(site: Path, text: str, **more: Any) -> str:
    (only,) = problems(site, text, **more)
    return only


# ---- defaults and the shipped file ----


def test_an_empty_file_gives_the_defaults(site: Path) -> None:
    settings = loaded(site, "workers = []")
    assert settings == Settings(
        broker=BrokerSettings(),
        store=StoreSettings(),
        gateway=GatewaySettings(),
        services={},
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


def test_folders_for_pid_files_and_logs_lie_in_the_installation(site: Path) -> None:
    settings = loaded(site, "")
    assert (settings.run_dir, settings.logs_dir) == (site / "run", site / "logs")


def test_settings_cannot_be_changed(site: Path) -> None:
    settings = loaded(site, "")
    for one in (settings, settings.broker, settings.store, settings.gateway):
        with pytest.raises(FrozenInstanceError):
            setattr(one, fields(one)[0].name, "x")


def uncommented(text: str) -> str:
    """The file with each `# key = value` and `# [table]` put to work."""
    return re.sub(r"^# ((?:\w+ = )|(?:\[[\w.]+\]$))", r"\1", text, flags=re.MULTILINE)


def test_the_shipped_file_names_every_setting() -> None:
    tree = tomllib.loads(uncommented(SHIPPED))
    named = {f"{section}.{key}" for section in ("broker", "store", "gateway") for key in tree[section]}
    assert named == set(KEYS)


def test_the_shipped_file_says_the_defaults_with_and_without_its_comments(tmp_path: Path) -> None:
    root = tmp_path / "site"
    (root / "workers").mkdir(parents=True)
    (root / "etc").mkdir()
    for worker in tomllib.loads(SHIPPED)["workers"]:
        (root / worker["file"]).write_text("")
    as_shipped = loaded(root, SHIPPED)
    assert as_shipped.services == {}
    whole = loaded(root, uncommented(SHIPPED))
    assert whole.services == {"EMAIL": ServiceOptions(retries=5, max_running=4)}
    for settings in (as_shipped, whole):
        assert settings.broker == BrokerSettings()
        assert settings.store == StoreSettings()
        assert settings.gateway == GatewaySettings()


def test_every_value_in_the_shipped_file_has_a_comment() -> None:
    text = SHIPPED
    values = [line for line in uncommented(text[: text.index("[[workers]]")]).splitlines() if " = " in line]
    values = [line for line in values if not line.startswith("#")]
    assert len(values) >= len(KEYS)
    assert [line for line in values if not re.search(r" # \S", line)] == []


def test_the_shipped_file_runs_the_shipped_workers(tmp_path: Path) -> None:
    shipped.copy_workers(tmp_path / "workers")
    (tmp_path / "etc").mkdir()
    settings = loaded(tmp_path, SHIPPED)
    assert sorted(one.name for one in settings.workers) == list(shipped.WORKERS)
    assert [(one.name, one.service, one.count) for one in settings.workers] == [
        ("reverse", "STR-REV", 2),
        ("sleep", "SLEEP", 1),
        ("random_stream", "RANDSTREAM", 1),
        ("logger", "LOG", 1),
        ("wordcount", "WORDCOUNT", 1),
    ]
    assert [one.file for one in settings.workers] == [
        tmp_path / "workers" / f"{one.name}.py" for one in settings.workers
    ]


def test_every_limit_has_a_key_without_its_unit() -> None:
    keys = {limit_key(field.name) for field in fields(Limits)}
    assert {f"broker.{key}" for key in keys} <= set(KEYS)
    assert {"heartbeat_interval", "wait_max", "reattach_grace", "memory_keep", "sessions_max"} <= keys
    assert not [key for key in keys if key.endswith("_s") or "_s_" in key]


# ---- the file ----


def test_a_file_sets_everything(site: Path) -> None:
    settings = loaded(
        site,
        """
        [broker]
        client = "tcp://*:6555"
        worker = "tcp://[::1]:6556"
        news = "ipc:///run/zmws/news"
        mdp = ""
        heartbeat_interval = 1
        heartbeat_liveness = 2
        wait_max = 60.5
        message_bytes_max = "1 MiB"
        outbox_bytes_max = 2097152
        memory_max = "1.5GiB"
        log_level = "debug"

        [store]
        url = "memory:"

        [gateway]
        http = "[::]:80"

        [services.EMAIL]
        retries = 5
        ageing = "off"

        [services."a.b"]
        paused = true

        [[workers]]
        file = "workers/reverse.py"

        [[workers]]
        name = "rev-2.x"
        file = "workers/reverse.py"
        service = "STR-REV"
        count = 3
        flags = { log-level = "I", n = 2, x = 0.5, dry = true }
        """,
    )
    broker = settings.broker
    assert (broker.client, broker.worker) == ("tcp://*:6555", "tcp://[::1]:6556")
    assert (broker.news, broker.mdp) == ("ipc:///run/zmws/news", "")
    assert broker.limits == Limits(
        heartbeat_interval_s=1.0, heartbeat_liveness=2, wait_s_max=60.5, message_bytes_max=MIB
    )
    assert type(broker.limits.heartbeat_interval_s) is float
    assert (broker.message_bytes_max, broker.outbox_bytes_max) == (MIB, 2 * MIB)
    assert (broker.memory_max, broker.log_level) == (1536 * MIB, "debug")
    assert settings.gateway.http == "[::]:80"
    assert settings.services == {
        "EMAIL": ServiceOptions(retries=5, ageing=None),
        "a.b": ServiceOptions(paused=True),
    }
    file = site / "workers" / "reverse.py"
    assert settings.workers == (
        WorkerSettings("reverse", file),
        WorkerSettings("rev-2.x", file, "STR-REV", 3, {"log-level": "I", "n": 2, "x": 0.5, "dry": True}),
    )


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


def test_an_ipc_path_is_relative_to_the_installation(site: Path) -> None:
    text = '[broker]\nclient = "ipc://run/c"\nworker = "ipc://@abstract"\nnews = "ipc://*"\nmdp = "ipc://*"'
    broker = loaded(site, text).broker
    assert broker.client == f"ipc://{site}/run/c"
    assert (broker.worker, broker.news, broker.mdp) == ("ipc://@abstract", "ipc://*", "ipc://*")


def test_the_path_of_the_store_is_relative_to_the_installation(site: Path) -> None:
    assert loaded(site, '[store]\nurl = "sqlite:a b/x.db"').store_path == site / "a b" / "x.db"
    assert loaded(site, '[store]\nurl = "sqlite:/srv/x.db"').store_path == Path("/srv/x.db")
    assert loaded(site, '[store]\nurl = "memory:"').store_path is None


def test_a_store_that_is_not_built_is_refused_by_naming_those_that_are(site: Path) -> None:
    expected = "sqlite:PATH, such as sqlite:var/zmws.db, or memory:"
    for url in ("postgresql://x", "memory", "", "sqlite", "sqlite:", "sqlite:var/", "sqlite:..", "memory:x"):
        assert (
            problem(site, f'[store]\nurl = "{url}"')
            == f"FILE:2: store.url is '{url}', but must be {expected}"
        )
    assert "without slashes" in problem(site, '[store]\nurl = "sqlite:///var/zmws.db"')
    assert "must be a text" in problem(site, "[store]\nurl = 1")


@pytest.mark.parametrize(
    "http", ["127.0.0.1", "127.0.0.1:99999", "*:80", ":80", "localhost:*", "http://x:80", "::1:80"]
)
def test_an_http_address_that_is_none_is_refused(site: Path, http: str) -> None:
    assert "must be HOST:PORT" in problem(site, f'[gateway]\nhttp = "{http}"')


def test_an_http_address_is_host_and_port() -> None:
    assert parse_http("127.0.0.1:5580") == ("127.0.0.1", 5580)
    assert parse_http("[::1]:80") == ("::1", 80)
    assert parse_http("localhost:0") == ("localhost", 0)


def test_an_unknown_key_is_refused_with_the_nearest(site: Path) -> None:
    told = problem(site, "[broker]\n\nhearbeat_interval = 1")
    assert told == "FILE:3: 'hearbeat_interval' is no setting of [broker]; did you mean 'heartbeat_interval'?"
    assert "did you mean 'url'" in problem(site, "[store]\nurll = 1")
    assert "there are name, file, service" in problem(site, "[[workers]]\nfile='workers/sleep.py'\nzzzzz = 1")


def test_an_unknown_section_is_refused_with_the_nearest(site: Path) -> None:
    assert problem(site, "\n[brocker]") == "FILE:2: 'brocker' is no section; did you mean 'broker'?"
    assert "did you mean 'services'" in problem(site, "[service.EMAIL]\nretries = 1")
    assert "did you mean 'workers'" in problem(site, "[[worker]]\nfile = 'x'")


def test_a_setting_outside_its_section_is_told_where_it_belongs(site: Path) -> None:
    assert "put it under that header" in problem(site, "client = 'tcp://127.0.0.1:1'")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("broker = 1", "FILE:1: 'broker' must be a table: [broker]"),
        ("[[broker]]", "FILE:1: 'broker' must be a table: [broker]"),
        ("services = 1", "FILE:1: 'services' must hold tables: [services.NAME]"),
        ("[services]\nEMAIL = 1", "FILE:2: 'EMAIL' must be a table: [services.NAME]"),
        ("[workers]\nfile = 'x'", "write [[workers]]"),
        ("workers = ['x']", "write [[workers]]"),
    ],
)
def test_a_section_of_the_wrong_shape_is_refused(site: Path, text: str, told: str) -> None:
    assert told in problem(site, text)


def test_all_problems_are_told_at_once_in_the_order_of_the_file(site: Path) -> None:
    text = """\
[[workers]]
file = "workers/revers.py"
count = 0
[broker]
heartbeat_liveness = 1
sesions_max = 1
[services.EMAIL]
retrys = 5
priority = 5000
[gateway]
http = "x"
"""
    told = problems(site, text, environ={"ZMWS_STORE_URL": "x"}, flags={"broker.log_level": "loud"})
    assert [line.split(": ")[0] for line in told] == [
        "FILE:2",
        "FILE:3",
        "FILE:5",
        "FILE:6",
        "FILE:8",
        "FILE:9",
        "FILE:11",
        "environment variable ZMWS_STORE_URL",
        "flag broker.log_level",
    ]


# ---- files that are none ----


def test_a_syntax_error_is_told_with_its_line(site: Path) -> None:
    assert problem(site, "[broker]\nclient = \n").startswith("FILE:2: this is not TOML: Invalid value")
    assert problem(site, "a = 1\na = 2").startswith("FILE:2: this is not TOML: Cannot overwrite")
    assert problem(site, "a = 1\nb = '''x\n").startswith("FILE:3: this is not TOML: ")
    assert problem(site, "a = " + "9" * 5000).startswith("FILE:1: this is not TOML: ")
    assert "nested too deeply" in problem(site, "a = " + "[" * 100_000)


def test_a_file_that_is_not_utf_8_is_told_with_its_line(site: Path) -> None:
    (site / "etc" / "zmws.toml").write_bytes(b"\xef\xbb\xbf[broker]\n# Stra\xdfe\n")
    with pytest.raises(SettingsError, match=r"zmws\.toml:2: the file is not UTF-8"):
        load(cwd=site, environ={})


def test_options_of_a_service_that_contradict_each_other_are_told_with_their_line(site: Path) -> None:
    told = problem(site, "[services.DE]\ndelay = 100\nexpires = 50\n")
    assert told.startswith("FILE:3: service 'DE'") and "can only expire" in told


def test_a_byte_order_mark_and_windows_line_ends_are_taken(site: Path) -> None:
    (site / "etc" / "zmws.toml").write_bytes(b"\xef\xbb\xbf[broker]\r\nlog_level = 'error'\r\nfoo = 1\r\n")
    with pytest.raises(SettingsError, match=r"zmws\.toml:3: 'foo'"):
        load(cwd=site, environ={})


def test_a_folder_in_place_of_the_file_is_refused(site: Path) -> None:
    (site / "etc" / "zmws.toml").mkdir()
    for path in (None, site / "etc", site / "etc" / "zmws.toml"):
        with pytest.raises(SettingsError, match="this is a folder"):
            load(path, cwd=site, environ={})


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_refused(site: Path) -> None:
    file = site / "etc" / "zmws.toml"
    file.write_text("")
    file.chmod(0)
    with pytest.raises(SettingsError, match=r"cannot be read: Permission denied"):
        load(cwd=site, environ={})


def test_a_link_that_leads_nowhere_is_refused_and_not_taken_for_no_file(site: Path) -> None:
    (site / "etc" / "zmws.toml").symlink_to(site / "gone")
    with pytest.raises(SettingsError, match="cannot be read: No such file"):
        load(cwd=site, environ={})


def test_a_named_file_that_does_not_exist_is_refused(site: Path) -> None:
    with pytest.raises(SettingsError, match=r"other\.toml: there is no such file"):
        load(Path("etc/other.toml"), cwd=site, environ={})


# ---- the installation's folder ----


def test_the_folder_is_the_one_above_etc(site: Path) -> None:
    file = site / "etc" / "zmws.toml"
    file.write_text("")
    for path, cwd in (
        (file, Path("/")),
        (Path("etc/zmws.toml"), site),
        (Path("zmws.toml"), site / "etc"),
        (Path("../etc/zmws.toml"), site / "workers"),
    ):
        settings = load(path, cwd=cwd, environ={})
        assert (settings.root, settings.path) == (site, file)


def test_a_file_outside_an_etc_lies_in_its_installation(site: Path) -> None:
    (site / "my.toml").write_text('[[workers]]\nfile = "workers/sleep.py"')
    for path, cwd in ((site / "my.toml", None), (Path("../my.toml"), site / "etc"), (Path("my.toml"), site)):
        settings = load(path, cwd=cwd, environ={})
        assert settings.root == site
        assert settings.workers[0].file == site / "workers" / "sleep.py"


def test_a_linked_file_belongs_to_the_folder_it_is_seen_in(site: Path, tmp_path: Path) -> None:
    (tmp_path / "kept.toml").write_text("")
    (site / "etc" / "zmws.toml").symlink_to(tmp_path / "kept.toml")
    assert load(site / "etc" / "zmws.toml", environ={}).root == site


def test_the_current_folder_is_used_where_none_is_given(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site)
    assert load(environ={}).root == site
    (site / "etc" / "zmws.toml").write_text("x = 1")
    with pytest.raises(SettingsError, match=r"^etc/zmws\.toml:1: "):
        load(environ={})


def test_the_environment_of_the_process_is_used_where_none_is_given(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZMWS_BROKER_LOG_LEVEL", "error")
    assert load(cwd=site).broker.log_level == "error"


def test_without_a_file_there_is_one_copy_of_each_worker(site: Path) -> None:
    for name in ("_base.py", ".hidden.py", "notes.txt", "a.py"):
        (site / "workers" / name).write_text("")
    (site / "workers" / "folder.py").mkdir()
    settings = load(cwd=site, environ={})
    assert settings.path is None
    assert settings.root == site
    assert settings.workers == tuple(
        WorkerSettings(name, site / "workers" / f"{name}.py") for name in ("a", "reverse", "sleep")
    )
    shutil.rmtree(site / "workers")
    assert load(cwd=site, environ={}).workers == ()


def test_a_file_that_says_nothing_of_workers_leaves_those_of_the_folder(site: Path) -> None:
    found = loaded(site, "[services.EMAIL]\nretries = 5\n").workers
    assert [(one.name, one.count) for one in found] == [("reverse", 1), ("sleep", 1)]
    assert loaded(site, "workers = []\n[services.EMAIL]\nretries = 5\n").workers == ()
    only = loaded(site, '[[workers]]\nfile = "workers/sleep.py"\n').workers
    assert [one.name for one in only] == ["sleep"]


def test_the_shipped_file_names_no_listener_that_there_is_not() -> None:
    assert "gateway" not in tomllib.loads(SHIPPED), "nothing listens there yet"


def test_without_a_file_a_worker_whose_name_cannot_be_is_told(site: Path) -> None:
    for name in ("my worker.py", "broker.py"):
        (site / "workers" / name).write_text("")
    with pytest.raises(SettingsError) as caught:
        load(cwd=site, environ={})
    first, second = str(caught.value).splitlines()
    assert "broker.py: worker name 'broker' is taken by the broker itself; rename the file" in first
    assert "my worker.py: worker name 'my worker' must be " in second


# ---- precedence ----


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(site: Path) -> None:
    name, variable, text = "broker.log_level", "ZMWS_BROKER_LOG_LEVEL", '[broker]\nlog_level = "warning"'
    assert loaded(site, "").broker.log_level == "info"
    assert loaded(site, text).broker.log_level == "warning"
    assert loaded(site, text, environ={variable: "error"}).broker.log_level == "error"
    settings = loaded(site, text, environ={variable: "error"}, flags={name: "debug"})
    assert settings.broker.log_level == "debug"
    assert loaded(site, text, flags={name: None}).broker.log_level == "warning"


def test_every_setting_has_an_environment_variable_and_a_flag(site: Path) -> None:
    for name, key in KEYS.items():
        variable = "ZMWS_" + name.upper().replace(".", "_")
        assert load(cwd=site, environ={variable: str(key.default)}) == load(cwd=site, environ={})
        assert load(cwd=site, environ={}, flags={name: key.default}) == load(cwd=site, environ={})
        assert load(cwd=site, environ={}, flags={name: str(key.default)}) == load(cwd=site, environ={})


def test_numbers_of_the_environment_are_text(site: Path) -> None:
    settings = load(
        cwd=site,
        environ={
            "ZMWS_BROKER_HEARTBEAT_INTERVAL": "0.5",
            "ZMWS_BROKER_HEARTBEAT_LIVENESS": "4",
            "ZMWS_BROKER_MEMORY_MAX": "512 MiB",
            "ZMWS_BROKER_MDP": "",
            "ZMWS_BROKER_REATTACH_GRACE": "2",
            "ZMWS_GATEWAY_HTTP": "0.0.0.0:80",
        },
        flags={"broker.wait_max": 5},
    )
    limits = Limits(heartbeat_interval_s=0.5, heartbeat_liveness=4, reattach_grace_s=2.0, wait_s_max=5.0)
    assert settings.broker == BrokerSettings(limits=limits, memory_max=512 * MIB, mdp="")
    assert settings.gateway.http == "0.0.0.0:80"


@pytest.mark.parametrize("text", ["", "x", "1.5", "nan", "1e3", "1" * 5000])
def test_a_number_of_the_environment_that_is_none_is_refused(site: Path, text: str) -> None:
    told = problem(site, "", environ={"ZMWS_BROKER_SESSIONS_MAX": text})
    assert told.startswith("environment variable ZMWS_BROKER_SESSIONS_MAX: broker.sessions_max is ")
    assert "must be a whole number" in told


def test_an_environment_variable_that_names_no_setting_is_refused_with_the_nearest(site: Path) -> None:
    told = problem(site, "", environ={"ZMWS_BROKER_HEARTBEAT": "1"})
    assert told.startswith(
        "environment variable ZMWS_BROKER_HEARTBEAT: there is no such setting; did you mean "
    )
    assert "ZMWS_BROKER_HEARTBEAT_" in told
    assert "ZMWS_STORE_URL" in problem(site, "", environ={"ZMWS_STORE_URI": "1"})
    assert "ZMWS_GATEWAY_HTTP" in problem(site, "", environ={"ZMWS_GATEWAY_": "1"})


def test_other_variables_are_left_alone(site: Path) -> None:
    loaded(
        site,
        "",
        environ={"ZMWS_TEST": "1", "ZMWS": "", "ZMWS_BROKER": "", "PATH": "/bin", "BROKER_CLIENT": "x"},
    )


def test_what_kubernetes_and_docker_set_beside_a_service_named_zmws_broker_is_left_alone(site: Path) -> None:
    names = (
        "SERVICE_HOST",
        "SERVICE_PORT",
        "SERVICE_PORT_CLIENT",
        "PORT",
        "PORT_5555_TCP",
        "PORT_5555_TCP_ADDR",
    )
    loaded(site, "", environ={f"ZMWS_BROKER_{name}": "tcp://10.0.0.1:5555" for name in names})


def test_a_flag_that_names_no_setting_is_refused_with_the_nearest(site: Path) -> None:
    told = problem(site, "", flags={"broker.clients": "x"})
    assert told == "flag broker.clients: there is no such setting; did you mean 'broker.client'?"


def test_the_file_is_checked_also_where_a_flag_overrides_it(site: Path) -> None:
    told = problem(site, "[broker]\nlog_level = 1", flags={"broker.log_level": "info"})
    assert told.startswith("FILE:2: broker.log_level is 1")


# ---- settings that must fit each other ----


def test_a_port_used_twice_is_refused_with_both_names(site: Path) -> None:
    told = problem(site, '[broker]\nclient = "tcp://127.0.0.1:7000"\nmdp = "tcp://10.0.0.1:7000"')
    assert told == "FILE:3: broker.client and broker.mdp both use port 7000; give each its own"
    told = problem(site, '[gateway]\nhttp = "127.0.0.1:5555"')
    assert told == "FILE:2: broker.client and gateway.http both use port 5555; give each its own"
    told = problem(site, "", flags={"broker.news": "tcp://127.0.0.1:5555"})
    assert told.startswith("flag broker.news: broker.client and broker.news both use port 5555")
    told = problem(site, "", environ={"ZMWS_BROKER_CLIENT": "tcp://127.0.0.1:05556"})
    assert told.startswith("environment variable ZMWS_BROKER_CLIENT: broker.client and broker.worker both")


def test_a_path_used_twice_is_refused(site: Path) -> None:
    told = problem(site, f'[broker]\nclient = "ipc://a"\nworker = "ipc://{site}/a"')
    assert told == f"FILE:3: broker.client and broker.worker both use ipc://{site}/a; give each its own"


def test_ports_that_the_system_chooses_may_be_the_same(site: Path) -> None:
    keys = ("client", "worker", "news", "mdp")
    for endpoint in ("tcp://127.0.0.1:0", "tcp://127.0.0.1:*", "ipc://*"):
        flags = {f"broker.{key}": endpoint for key in keys} | {"gateway.http": "127.0.0.1:0"}
        assert loaded(site, "", flags=flags).broker.mdp == endpoint


def test_an_overridden_port_is_free_again(site: Path) -> None:
    text = '[broker]\nclient = "tcp://127.0.0.1:5556"'
    loaded(site, text, flags={"broker.client": "tcp://127.0.0.1:5550"})
    loaded(site, '[broker]\nclient = "tcp://127.0.0.1:5558"\nmdp = ""')


def test_an_outbox_too_small_for_a_message_is_refused(site: Path) -> None:
    told = problem(site, '[broker]\nmessage_bytes_max = "32 MiB"')
    assert told == "FILE:2: broker.outbox_bytes_max must not be smaller than broker.message_bytes_max"


# ---- services ----


def test_a_service_option_is_refused_with_service_and_line(site: Path) -> None:
    told = problems(site, "[services.EMAIL]\nretries = 5\nretrys = 1\nttr = 0\n[services.X]\npaused = 1")
    assert [line.partition(":")[2].partition(":")[0] for line in told] == ["3", "4", "6"]
    assert "service 'EMAIL': 'retrys' is no option of a service; did you mean 'retries'?" in told[0]
    assert "service 'EMAIL': option 'ttr' is 0, but must be " in told[1]
    assert "service 'X': option 'paused' is 1" in told[2]


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "is empty"),
        ("a b", "holds a space"),
        ("a/b", "holds a space"),
        ("a[0]", "holds a space"),
        ("tab\t", "printable"),
        ("\u00e9" * 128, "longer than 255 bytes"),
        ("SYNC-SLEEP", "begins with a prefix"),
        ("JOB:X", "begins with a prefix"),
        ("SERVER-JOBS", "reserved"),
        ("mmi.service", "reserved"),
        ("zmws.job", "reserved"),
    ],
)
def test_a_name_that_no_service_can_have_is_refused(site: Path, name: str, why: str) -> None:
    assert why in (service_name_problem(name) or "")
    quoted = name.replace("\t", "\\t")
    assert f"FILE:2: {service_name_problem(name)}" == problem(site, f'\n[services."{quoted}"]\n')
    text = f'[[workers]]\nfile = "workers/sleep.py"\nservice = "{quoted}"'
    assert f"FILE:3: {service_name_problem(name)}" == problem(site, text)


@pytest.mark.parametrize(
    "name", ["STR-REV", "sync-x", "a.b:c_d", "\u00e9", "x" * 255, "SERVER", "titanic.request"]
)
def test_other_names_are_names_of_services(name: str) -> None:
    assert service_name_problem(name) is None


# ---- workers ----


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "FILE:1: the worker has no file"),
        ("file = 1", "FILE:2: the worker has the file 1"),
        ('file = ""', "FILE:2: the worker has the file ''"),
        ('file = "workers/gone.py"', "FILE:2: worker file 'workers/gone.py' does not exist"),
        ('file = "workers/revers.py"', "does not exist; did you mean 'workers/reverse.py'?"),
        ('file = "workers"', "FILE:2: worker file 'workers' is a folder"),
        ('file = "nowhere/x.py"', "FILE:2: worker file 'nowhere/x.py' does not exist (in "),
        ('file = "' + "x" * 5000 + '"', "cannot be read: File name too long"),
        (
            'file = "workers/sleep.py"\ncount = 0',
            "FILE:3: count is 0, but must be a whole number from 1 to 1000",
        ),
        ('file = "workers/sleep.py"\ncount = 1001', "FILE:3: count is 1001"),
        ('file = "workers/sleep.py"\ncount = 2.0', "FILE:3: count is 2.0"),
        ('file = "workers/sleep.py"\ncount = true', "FILE:3: count is true"),
        ('file = "workers/sleep.py"\nservice = 1', "FILE:3: service must be a text"),
        ('file = "workers/sleep.py"\nname = 1', "FILE:3: worker name 1 must be "),
        ('file = "workers/sleep.py"\nname = ""', "FILE:3: worker name '' must be "),
        ('file = "workers/sleep.py"\nname = "a/b"', "FILE:3: worker name 'a/b' must be "),
        ('file = "workers/sleep.py"\nname = ".."', "FILE:3: worker name '..' must be "),
        ('file = "workers/sleep.py"\nname = "-c"', "FILE:3: worker name '-c' must be "),
        ('file = "workers/sleep.py"\nname = "gateway"', "FILE:3: worker name 'gateway' is taken"),
        ('file = "workers/sleep.py"\nflags = 1', "FILE:3: flags must be a table"),
        ('file = "workers/sleep.py"\nflags = { a = [1] }', "FILE:3: flag a is an array, but must be "),
        ('file = "workers/sleep.py"\nflags = { --a = 1 }', "FILE:3: '--a' is no name of a flag"),
        ('file = "workers/sleep.py"\n[workers.flags]\n"a b" = 1', "FILE:4: 'a b' is no name of a flag"),
        ('file = "workers/sleep.py"\ncopies = 2', "FILE:3: 'copies' is no setting of [[workers]]"),
        ('file = "workers/sleep.py"\nfiles = 2', "did you mean 'file'?"),
    ],
)
def test_a_worker_that_cannot_be_is_refused(site: Path, text: str, told: str) -> None:
    assert told in problem(site, f"[[workers]]\n{text}\n")


def test_a_worker_named_by_its_file_must_have_a_name_that_can_be(site: Path) -> None:
    (site / "workers" / "my worker.py").write_text("")
    assert problem(site, '[[workers]]\nfile = "workers/my worker.py"').endswith('; give it one: name = "..."')


def test_two_workers_of_one_name_are_refused(site: Path) -> None:
    text = (
        '[[workers]]\nfile = "workers/sleep.py"\n[[workers]]\nname = "sleep"\nfile = "workers/reverse.py"\n'
    )
    assert problem(site, text) == "FILE:4: worker name 'sleep' is used twice; give each its own name"
    text = '[[workers]]\nfile = "workers/sleep.py"\n[[workers]]\nfile = "workers/sleep.py"\n'
    assert problem(site, text).startswith("FILE:4: worker name 'sleep' is used twice")


def test_a_worker_file_may_lie_anywhere(site: Path, tmp_path: Path) -> None:
    (tmp_path / "far.py").write_text("")
    text = f"[[workers]]\nfile = '../far.py'\nname = 'a'\n[[workers]]\nfile = '{tmp_path}/far.py'\n"
    assert [one.file for one in loaded(site, text).workers] == [tmp_path / "far.py"] * 2


# ---- lines ----


def test_the_line_of_each_key_is_found_however_it_is_written() -> None:
    text = '''\
# [broker] in a comment
top = 1
[ broker ]   # comment with [[workers]]
client = "# no comment"  # one
"wor\\u006ber" = 'a [table]'
text = """
[store]
url = 1 \\""" still
"""
raw = \'\'\'
[gateway]\'\'\'\'
array = [
  "[services.X]",  # ]
  { inner = 1 },
]
after = 2
[services]
EMAIL.retries = 5
[services.'a.b']
x = { y = [1] }
[[workers]]
name = "a"
[workers.flags]
f = 1

[[ workers ]]
name = "b"
flags.g = 1
'''
    tomllib.loads(text)
    lines = line_numbers(text)
    for where, line in {
        ("top",): 2,
        ("broker",): 3,
        ("broker", "client"): 4,
        ("broker", "worker"): 5,
        ("broker", "text"): 6,
        ("broker", "raw"): 10,
        ("broker", "array"): 12,
        ("broker", "after"): 16,
        ("services",): 17,
        ("services", "EMAIL"): 18,
        ("services", "EMAIL", "retries"): 18,
        ("services", "a.b"): 19,
        ("services", "a.b", "x"): 20,
        ("workers",): 21,
        ("workers", 0): 21,
        ("workers", 0, "name"): 22,
        ("workers", 0, "flags"): 23,
        ("workers", 0, "flags", "f"): 24,
        ("workers", 1): 26,
        ("workers", 1, "name"): 27,
        ("workers", 1, "flags", "g"): 28,
    }.items():
        assert lines.pop(where) == line, where
    assert lines == {("workers", 1, "flags"): 28}


def test_lines_end_with_the_text_wherever_it_ends() -> None:
    assert line_numbers("") == line_numbers("\n\n# x") == {}
    assert line_numbers("[a]") == {("a",): 1}
    assert line_numbers("\n\na = 1") == line_numbers("\r\n\r\na = 1\r\n") == {("a",): 3}


# ---- loopback ----


@pytest.mark.parametrize(
    ("endpoint", "loopback"),
    [
        ("tcp://127.0.0.1:5555", True),
        ("tcp://127.8.9.10:5555", True),
        ("tcp://localhost:5555", True),
        ("tcp://[::1]:5555", True),
        ("ipc:///run/x", True),
        ("ipc://0.0.0.0:80", True),
        ("127.0.0.1:5580", True),
        ("[::1]:5580", True),
        ("", True),
        ("tcp://*:5555", False),
        ("tcp://0.0.0.0:5555", False),
        ("tcp://[::]:5555", False),
        ("tcp://10.0.0.1:5555", False),
        ("tcp://eth0:5555", False),
        ("tcp://127.0.0.1.example.org:5555", False),
        ("0.0.0.0:5580", False),
        ("example.org:80", False),
    ],
)
def test_loopback_is_told_from_the_rest(endpoint: str, loopback: bool) -> None:
    assert is_loopback(endpoint) is loopback


def test_an_installation_is_known_by_its_folder_whatever_the_way_there(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name / "etc").mkdir(parents=True)
        (tmp_path / name / "etc" / "zmws.toml").touch()
    (tmp_path / "link").symlink_to(tmp_path / "a")
    a, b, link = (
        load(tmp_path / name / "etc" / "zmws.toml", environ={}).installation for name in ("a", "b", "link")
    )
    assert a == link != b and str(tmp_path) not in a
