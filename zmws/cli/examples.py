"""What stands at the end of each verb's help: one line to copy, or two."""

from __future__ import annotations

import click

EXAMPLES: dict[str, tuple[str, ...]] = {
    "init": ("zmws init shop && cd shop && zmws start",),
    "start": ("zmws start", "zmws start --workers hello"),
    "stop": ("zmws stop", "zmws stop hello_01 --wait 5m"),
    "restart": ("zmws restart --workers         # after a change of their code",),
    "reload": ("zmws reload", "zmws reload hello               # all of its copies, whatever has changed"),
    "scale": ("zmws scale hello=8",),
    "status": ("zmws status", "zmws status --json | jq '.processes[] | select(.stale)'"),
    "top": ("zmws top", "zmws top --json -n 2 --interval 10s"),
    "logs": ("zmws logs hello -n 100 -f",),
    "config": ("zmws config check",),
    "config check": ("zmws config check -c etc/zmws.toml",),
    "broker": ("zmws broker --store sqlite:/srv/jobs/zmws.db --set broker.frames_max=128",),
    "gateway": ("zmws gateway --http 127.0.0.1:8080",),
    "keys": ("zmws keys init", "zmws keys new shop --role client --services 'IMG-*,EMAIL'"),
    "keys init": ("zmws keys init && zmws restart",),
    "keys new": (
        "zmws keys new shop --role client --services 'IMG-*,EMAIL' --rate 100",
        "zmws keys new dashboard --role viewer --token",
    ),
    "keys list": ("zmws keys list", "zmws keys list --json | jq '.[] | select(.revoked_at)'"),
    "keys change": ("zmws keys change shop --role client --services 'IMG-*'",),
    "keys revoke": ("zmws keys revoke shop",),
    "gateway token": ("zmws gateway token new shop --role client",),
    "gateway token new": ("zmws gateway token new shop --role client",),
    "gateway token list": ("zmws gateway token list",),
    "gateway token delete": ("zmws gateway token delete shop",),
    "worker": (
        "zmws worker workers/hello.py --reload",
        "zmws worker workers/all.py:Hello,Mail --log-level debug",
    ),
    "call": ("zmws call STR-REV str='Hello, world'", "zmws call RESIZE @photo.json --timeout 30s"),
    "submit": (
        "zmws submit REPORT month:=3 --delay 10m --retries 5",
        "zmws submit RESIZE --each paths.txt --as path --wait",
        """zmws submit FETCH url=http://a.example/b --then RESIZE --then 'STORE {"image": "$PREVIOUS"}'""",
    ),
    "job": ('zmws job wait "$(zmws submit REPORT)"',),
    "job show": ("zmws job show 0192f0c4-7a55-7b02-8758-754719bf2a60",),
    "job wait": ('zmws job wait "$(zmws submit REPORT)" --timeout 5m',),
    "job result": ('zmws job result "$(zmws submit REPORT)"',),
    "job events": ("zmws job events 0192f0c4-7a55-7b02-8758-754719bf2a60 -f",),
    "job stack": ("zmws job stack 0192f0c4-7a55-7b02-8758-754719bf2a60",),
    "job why": ("zmws job why 0192f0c4-7a55-7b02-8758-754719bf2a60",),
    "job tree": ("zmws job tree 0192f0c4-7a55-7b02-8758-754719bf2a60",),
    "batch": ("zmws batch submit RESIZE --each paths.txt --as path --then REPORT --wait",),
    "batch open": ("""zmws batch open --then 'REPORT {"month": 3}' --failed ALERT""",),
    "batch add": (
        'B="$(zmws batch open)" && zmws batch add "$B" RESIZE path=a.png && zmws batch close "$B"',
        "zmws batch add 0192f0c4-7a55-7b02-8758-754719bf2a60 RESIZE --each paths.txt --as path",
    ),
    "batch close": ("zmws batch close 0192f0c4-7a55-7b02-8758-754719bf2a60",),
    "batch submit": (
        "zmws batch submit RESIZE --each paths.txt --as path --then REPORT --wait",
        "ls *.png | zmws batch submit RESIZE --each - --as path",
    ),
    "batch list": ("zmws batch list --state running",),
    "batch show": ("zmws batch show 0192f0c4-7a55-7b02-8758-754719bf2a60",),
    "batch wait": ("zmws batch wait 0192f0c4-7a55-7b02-8758-754719bf2a60 --timeout 1h",),
    "batch cancel": ("zmws batch cancel 0192f0c4-7a55-7b02-8758-754719bf2a60 --yes",),
    "schedule": ("zmws schedule add report REPORT --cron '30 8 * * MON-FRI' --zone Europe/Berlin",),
    "schedule add": (
        "zmws schedule add report REPORT month:=3 --cron '30 8 * * MON-FRI' --zone Europe/Berlin",
        "zmws schedule add clean CLEAN --every 10m --overlap skip --retries 0 --replace",
    ),
    "schedule list": ("zmws schedule list",),
    "schedule show": ("zmws schedule show report",),
    "schedule pause": ("zmws schedule pause report",),
    "schedule resume": ("zmws schedule resume report",),
    "schedule run": ('zmws job wait "$(zmws schedule run report)"',),
    "schedule remove": ("zmws schedule remove report",),
    "schedule next": (
        "zmws schedule next report -n 3",
        "zmws schedule next --cron '0 9 * * MON#1' --zone America/New_York",
    ),
    "failures": ("zmws failures --service REPORT", "zmws job retry --cause 5f0c1b2a9d3e"),
    "series": ("zmws series REPORT --step minute --since 6h",),
    "lanes": ("zmws lanes --service REPORT",),
    "mark": ('zmws mark "deploy 1.4"',),
    "audit": ("zmws audit --since 1d", "zmws audit --on REPORT --verb pause"),
    "job cancel": ("zmws job cancel --service REPORT --state waiting",),
    "job retry": ("zmws job retry --service REPORT --state failed",),
    "job delete": ("zmws job delete --state complete --before 7d",),
    "job copy": ("zmws job copy 0192f0c4-7a55-7b02-8758-754719bf2a60 month:=4 --priority 10",),
    "limit": ("zmws limit REPORT --max-running 4 --rate 10", "zmws limit REPORT --rate default"),
    "peek": ("zmws peek REPORT",),
    "events": ("zmws events --service REPORT",),
    "jobs": ("zmws jobs --state failed --since 1h", "zmws jobs --grep a@example.com"),
    "services": ("zmws services",),
    "services show": ("zmws services show REPORT",),
    "services forget": ("zmws services forget REPRT",),
    "workers": ("zmws workers",),
    "workers drain": ("zmws workers drain --service REPORT",),
    "stats": ("zmws stats --json",),
    "pause": ("zmws pause REPORT",),
    "resume": ("zmws resume REPORT",),
    "purge": ("zmws purge REPORT",),
    "backup": ('zmws backup "jobs-$(date +%F).db"',),
    "restore": ("zmws stop && zmws restore jobs-2026-11-26.db && zmws start",),
    "check": ("zmws check", "zmws check jobs-2026-11-26.db"),
    "completion": ('eval "$(zmws completion bash)"',),
}


def with_examples(command: click.Command, name: str) -> click.Command:
    """The same command, with the end of its help, and those below it with theirs."""
    lines = EXAMPLES.get(name, ())
    if lines and command.epilog is None:
        command.epilog = "\b\n" + "\n".join(
            ["Example:" if len(lines) == 1 else "Examples:", *(f"  {one}" for one in lines)]
        )
    if isinstance(command, click.Group):
        for below, one in command.commands.items():
            with_examples(one, f"{name} {below}")
    return command
