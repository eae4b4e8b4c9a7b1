"""File, environment and flags become checked settings, or say what is wrong where."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.settings.site import loaded, problem, problems
from zmws.core.limits import Limits
from zmws.core.options import ServiceOptions
from zmws.settings import BrokerSettings, WorkerSettings, load

MIB = 1024 * 1024


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
count = -1
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


def test_the_environment_of_the_process_is_used_where_none_is_given(
    site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZMWS_BROKER_LOG_LEVEL", "error")
    assert load(cwd=site).broker.log_level == "error"


def test_a_flag_beats_the_environment_beats_the_file_beats_the_default(site: Path) -> None:
    name, variable, text = "broker.log_level", "ZMWS_BROKER_LOG_LEVEL", '[broker]\nlog_level = "warning"'
    assert loaded(site, "").broker.log_level == "info"
    assert loaded(site, text).broker.log_level == "warning"
    assert loaded(site, text, environ={variable: "error"}).broker.log_level == "error"
    settings = loaded(site, text, environ={variable: "error"}, flags={name: "debug"})
    assert settings.broker.log_level == "debug"
    assert loaded(site, text, flags={name: None}).broker.log_level == "warning"


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
