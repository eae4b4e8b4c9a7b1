"""`zmws keys`, and an installation whose broker asks everybody for a key."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.system.installation import Installation, installation, worker_table

REVERSE = worker_table("reverse", "workers/reverse.py")


@pytest.fixture
def open_to_others(tmp_path: Path) -> Iterator[Installation]:
    """It listens at every address."""
    with installation(tmp_path, REVERSE, has_http=True) as zmws:
        file = zmws.root / "etc" / "zmws.toml"
        text = file.read_text()
        for port in zmws.ports[:4]:
            text = text.replace(f"tcp://127.0.0.1:{port}", f"tcp://0.0.0.0:{port}")
        file.write_text(text)
        yield zmws


def test_it_does_not_start_without_keys_and_says_how_to_make_them(open_to_others: Installation) -> None:
    zmws = open_to_others
    refused = zmws.run("broker")
    assert refused.code == 2 and "'zmws keys init' makes one" in refused.err and "insecure" in refused.err
    started = zmws.run("start")
    assert started.code != 0 and "zmws keys init" in started.err
    made = zmws.run("keys", "init")
    assert made.code == 0 and "broker.key" in made.out
    folder = zmws.root / "etc" / "keys"
    assert {one.name for one in folder.iterdir()} == {
        f"{name}.key" for name in ("broker", "operator", "worker", "gateway", "client")
    }
    assert {stat.S_IMODE(one.stat().st_mode) for one in folder.iterdir()} == {0o600}
    before = {one.name: one.read_bytes() for one in folder.iterdir()}
    again = zmws.run("keys", "init", "--json").json()
    assert again["made"] == [] and before == {one.name: one.read_bytes() for one in folder.iterdir()}


def test_an_installation_finds_its_own_keys_and_others_need_theirs(open_to_others: Installation) -> None:
    zmws = open_to_others
    assert zmws.run("keys", "init").code == 0
    early = zmws.run("keys", "new", "early", "--role", "viewer", "--services", "STR-*")
    assert early.code == 0 and "at its next start" in early.err
    assert zmws.run("start").code == 0
    status = zmws.run("status")
    assert status.code == 0 and "reverse" in status.out, status
    assert zmws.run("call", "STR-REV", "str=ab").out == "ba\n"
    assert zmws.run("submit", "STR-REV", "str=ab", "--wait").out == "ba\n"
    rows = {row["name"]: row for row in zmws.run("keys", "list", "--json").json()}
    assert rows["early"]["rights"] == {"look": ["STR-*"]} and rows["worker"]["connections"] == 1
    made = zmws.run(
        "keys", "new", "shop", "--role", "client", "--services", "STR-*", "--rate", "100", "--json"
    ).json()
    key = made["file"]
    assert Path(key) == zmws.root / "etc" / "keys" / "shop.key"
    assert zmws.run("call", "STR-REV", "str=ab", "--key", key).out == "ba\n"
    assert zmws.run("call", "STR-REV", "str=ab", ZMWS_SECURITY_KEY=key).out == "ba\n"
    refused = zmws.run("pause", "STR-REV", "--key", key)
    assert refused.code == 4 and "not_allowed" in refused.err and "'operate'" in refused.err
    assert "rate" in zmws.run("keys", "list").out
    lifted = zmws.run("keys", "change", "shop", "--no", "rate", "--no", "group", "--json").json()
    assert (lifted["rate"], lifted["group"]) == (None, None)
    both = zmws.run("keys", "change", "shop", "--no", "rate", "--rate", "5")
    assert both.code == 2 and "--no rate" in both.err
    watched = zmws.run("events", "--key", key)
    assert watched.code == 4 and "not_allowed" in watched.err
    seen = zmws.run("status", ZMWS_SECURITY_KEY=key)
    assert "does not tell how it is" in seen.err and "starts one" not in seen.err
    assert "warning" not in zmws.run("config", "check").err
    chain = zmws.run("submit", "STR-REV", "str=ab", "--then", 'STR-REV {"str": "cd"}', "--wait", "--key", key)
    assert (chain.code, chain.out) == (0, "dc\n"), chain
    assert zmws.run("keys", "change", "shop", "--role", "operator").code == 0
    assert zmws.run("pause", "STR-REV", "--key", key).code == 0
    assert zmws.run("resume", "STR-REV", "--key", key).code == 0
    assert zmws.run("keys", "new", "shop", "--role", "client").code != 0, "there is one of that name"
    copy = zmws.root / "copy.key"
    copy.write_bytes(Path(key).read_bytes())
    copy.chmod(0o644)
    read_by_others = zmws.run("call", "STR-REV", "str=ab", "--key", str(copy))
    assert read_by_others.code == 2 and f"chmod 600 {copy}" in read_by_others.err
    copy.chmod(0o600)
    assert zmws.run("keys", "revoke", "shop").code == 0 and not Path(key).exists()
    gone = zmws.run("call", "STR-REV", "str=ab", "--key", str(copy))
    assert gone.code == 3 and "it refuses the key 'shop'" in gone.err and "starts one" not in gone.err
    stranger = zmws.run("call", "STR-REV", "str=ab", ZMWS_SECURITY_KEYS="nowhere")
    assert stranger.code == 2 and "there is no key for it" in stranger.err and "insecure" in stranger.err
    stranger = zmws.run("call", "STR-REV", "str=ab", ZMWS_SECURITY_CURVE="off")
    assert stranger.code == 3 and "takes only peers with a key" in stranger.err
    assert "shop" in zmws.run("keys", "list").out
    entries = zmws.run("audit", "--verb", "key", "--json").json()["entries"]
    assert [one["detail"]["do"] for one in entries] == ["revoke", "change", "change", "new"]
    assert {one["by"] for one in entries} == {"operator"}
    folder = zmws.root / "etc" / "keys"
    folder.chmod(0o755)
    for verb in (["restart"], ["config", "check"]):
        refused = zmws.run(*verb)
        assert refused.code == 2 and f"chmod 700 {folder}" in refused.err, refused
    folder.chmod(0o700)
    assert zmws.run("call", "STR-REV", "str=ab").out == "ba\n", "nothing was stopped"
    assert zmws.run("stop").code == 0


def test_no_secret_is_in_logs_status_or_the_list_of_processes(open_to_others: Installation) -> None:
    zmws = open_to_others
    assert zmws.run("keys", "init").code == 0
    token = zmws.run("keys", "new", "dash", "--role", "viewer", "--token").out.strip()
    assert zmws.run("start").code == 0
    zmws.run("call", "STR-REV", "str=ab")
    shown = "".join(
        zmws.run(*words).out for words in (["status", "--json"], ["keys", "list", "--json"], ["audit"])
    )
    shown += "".join(one.read_text() for one in (zmws.root / "logs").glob("*"))
    for pid in zmws.pids().values():
        shown += Path(f"/proc/{pid}/cmdline").read_text() + Path(f"/proc/{pid}/environ").read_text()
    assert zmws.run("stop").code == 0
    secrets = [
        line.partition('"')[2].rstrip('"\n')
        for one in (zmws.root / "etc" / "keys").iterdir()
        for line in one.read_text().splitlines()
        if line.startswith(("secret", "hash"))
    ]
    assert len(secrets) == 6 and all(len(one) >= 40 for one in secrets)
    assert not [one for one in (*secrets, token) if one in shown]


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["new", "x"], "say what it may"),
        (["new", "a b", "--role", "client"], "is no name of a key"),
        (["new", "broker", "--role", "client"], "own key: choose another"),
        (["new", "x", "--services", "A"], "--services is for the services of a --role"),
        (["new", "x", "--right", "rule=A"], "--right takes RIGHT=PATTERNS"),
        (["new", ".x", "--role", "client"], "is no name of a key"),
        (["new", "x", "--role", "client", "--services", "IMG A"], "which is no pattern"),
        (["new", "x", "--role", "client", "--services", ""], "must be a list of 1 to 100"),
        (["new", "x", "--role", "worker", "--group", "g"], "no right 'work'"),
        (["new", "x", "--role", "client", "--group", "a\nb"], "printable"),
        (["new", "x", "--role", "client"], "keys init' makes it"),
        (["change", "x"], "say what to change"),
    ],
)
def test_what_cannot_be_is_told(tmp_path: Path, words: list[str], text: str) -> None:
    with installation(tmp_path, REVERSE) as zmws:
        refused = zmws.run("keys", *words)
    assert refused.code == 2 and text in refused.err, refused.err
    assert not [*tmp_path.glob("etc/keys/x*")]
