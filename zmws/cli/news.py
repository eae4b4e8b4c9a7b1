"""`zmws events`: what happens to jobs and workers, as it happens."""

from __future__ import annotations

import click

from zmws.cli.options import Connect, broker_options, json_option
from zmws.cli.output import echo, say
from zmws.cli.tables import clock, plain, show_json
from zmws.client.news import Item


@click.command()
@click.option("--service", help="Only of this service, and its workers.")
@json_option
@broker_options
def events(service: str | None, as_json: bool, connect: Connect) -> int:
    """Watch what happens to jobs and workers, until Ctrl-C.

    Each new state of a job, its progress, and workers that come and go. Nothing waits for who reads slowly:
    news are dropped then, and what happened while the broker was away is not told. With --json a line is
    {"topic": SERVICE.STATE, ...}. 'zmws job events ID -f' is for one job, and misses nothing."""
    with connect() as client, client.news(service) as news:
        say("watching; Ctrl-C ends")
        for item in news:
            if item.topic in ("lost", "back") and not as_json:
                say("zmws: the broker has gone" if item.topic == "lost" else "zmws: the broker is back")
            elif as_json:
                show_json({"topic": item.topic, **item.body})
            else:
                echo(_line(item))
    return 0


def _line(item: Item) -> str:
    """A piece of news for people."""
    body = item.body
    if "state" not in body and "done" not in body:  # a service may be named worker
        services = ", ".join(body.get("services", [body["service"]]))
        why = f" ({body['why']})" if "why" in body else ""
        return f"{clock(body['at'])}  worker {body['id']} of {services}: {item.topic[7:]}{why}"
    what = item.topic.rpartition(".")[2]
    if what == "progress":
        what = f"{body['done']:.0%} {body.get('text') or ''}".strip()
    elif body.get("attempt"):
        what += f", attempt {body['attempt']}"
    return f"{clock(body['at'])}  {body['service']}  {body['id']}  {plain(what)}"
