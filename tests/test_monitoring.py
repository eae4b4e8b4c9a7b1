"""etc/grafana.json, etc/alerts.yml and docs/monitoring.md stand on /metrics, and Prometheus reads them."""

from __future__ import annotations

import contextlib
import itertools
import json
import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import click
import httpx
import promql_parser as promql
import pytest
import yaml

from tests import documents
from tests.gateway.stand import TOKENS, Gateway, gateway
from tests.peers import REPOSITORY, process, skip_unless_possible, wait_until
from zmws import WorkerBase
from zmws.cli import cli
from zmws.testing import RunningBroker, broker_in_thread, free_ports, worker_in_thread

DASHBOARD = json.loads((REPOSITORY / "etc" / "grafana.json").read_text())
ALERTS = REPOSITORY / "etc" / "alerts.yml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
PAGE = (REPOSITORY / "docs" / "monitoring.md").read_text()
VARIABLES = {one["name"]: one for one in DASHBOARD["templating"]["list"]}
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
TARGETS = [(panel["title"], target) for panel in PANELS for target in panel["targets"]]
MARKS = [one for one in DASHBOARD["annotations"]["list"] if "expr" in one]
# Families that the dashboard leaves out, and why.
LEFT_OUT = {
    "zmws_workers": "zmws_sessions tells the same, by state",
    "zmws_workers_lost_total": "an alert tells it",
    "zmws_store_free_bytes_min": "a setting, which the alert compares with",
}
OF_TARGET = frozenset({"job", "instance"})  # labels that Prometheus adds
# What Prometheus has of its own.
ITS_OWN = {"up": frozenset(), "ALERTS": frozenset({"alertname", "alertstate", "severity", "service"})}


class Echo(WorkerBase):
    service_name = "ECHO"

    def work(self, job_id: str, params: Any) -> Any:
        return params


# ---------------------------------------------------------------- what /metrics has


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    file = tmp_path_factory.mktemp("broker") / "zmws.db"
    with broker_in_thread(store=f"sqlite:{file}") as broker, worker_in_thread(Echo, broker):
        yield broker


@pytest.fixture(scope="module")
def http(broker: RunningBroker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(broker, tmp_path_factory.mktemp("gateway"), roles={"op": "operator", "eye": "viewer"}) as it:
        yield it


@pytest.fixture(scope="module")
def metrics(http: Gateway) -> str:
    """The page, after a job or two."""
    with http.client(TOKENS["op"]) as ask:
        for _ in range(3):
            assert ask.post("/api/v1/jobs", json={"service": "ECHO"}, headers={"prefer": "wait=10"}).json()
        assert ask.post("/api/v1/jobs", json={"service": "NOBODY"}).status_code == 404
        assert ask.put("/api/v1/schedules/daily", json={"service": "ECHO", "cron": "@daily"}).is_success
    with http.client(TOKENS["eye"]) as ask:
        return ask.get("/metrics").text


@pytest.fixture(scope="module")
def kinds(metrics: str) -> dict[str, str]:
    """Each family and its type."""
    return dict(re.findall(r"^# TYPE (\w+) (\w+)$", metrics, re.MULTILINE))


@pytest.fixture(scope="module")
def known(metrics: str) -> dict[str, dict[str, set[str]]]:
    """The labels of each sample's name, with their values."""
    found: dict[str, dict[str, set[str]]] = {}
    for name, _, labels in re.findall(r"^(\w+)(\{(.*)\})? \S+$", metrics, re.MULTILINE):
        of = found.setdefault(name, {})
        for label, value in re.findall(r'(\w+)="([^"]*)"', labels):
            of.setdefault(label, set()).add(value)
    return found


def family_of(name: str, kinds: dict[str, str]) -> str:
    """Of a sample: those of a histogram have a word behind."""
    return name if name in kinds else re.sub(r"_(bucket|sum|count)$", "", name)


# ---------------------------------------------------------------- expressions


def parsed(text: str) -> Any:
    return promql.parse(text.replace("$__rate_interval", "5m"))


def nodes_of(expression: Any) -> list[Any]:
    found: list[Any] = []
    promql.walk(expression, found.append)
    return found


def selectors_of(expression: Any) -> list[Any]:
    return [node for node in nodes_of(expression) if isinstance(node, promql.VectorSelector)]


def is_by(modifier: Any) -> bool:
    return bool(modifier.type == promql.AggModifierType.By)


def labels_of(node: Any, known: dict[str, dict[str, set[str]]]) -> frozenset[str]:
    """The labels that the result of an expression has."""
    again = partial(labels_of, known=known)
    if isinstance(node, promql.MatrixSelector):
        node = node.vector_selector
    if isinstance(node, promql.VectorSelector):
        return OF_TARGET | (ITS_OWN[node.name] if node.name in ITS_OWN else frozenset(known[node.name]))
    if isinstance(node, promql.AggregateExpr):
        below = again(node.expr)
        if node.modifier is None:
            return frozenset()
        named = frozenset(node.modifier.labels)
        assert named <= below, f"{sorted(named - below)} is no label of {node.expr.prettify()}"
        return named if is_by(node.modifier) else below - named
    if isinstance(node, promql.Call):
        below = frozenset[str]().union(*(again(one) for one in node.args))
        if node.func.name == "histogram_quantile":
            assert "le" in below, node.prettify()
        return below - {"le"} if node.func.name == "histogram_quantile" else below
    if isinstance(node, promql.BinaryExpr):
        sides = again(node.lhs), again(node.rhs)
        if str(node.op) == "or":
            return sides[0] | sides[1]
        return sides[0] or sides[1]
    if isinstance(node, promql.ParenExpr | promql.UnaryExpr):
        return again(node.expr)
    return frozenset()


def expressions() -> Iterator[tuple[str, str]]:
    """Of both files, each with its place."""
    for title, target in TARGETS:
        yield f"{title} {target['refId']}", target["expr"]
    for mark in MARKS:
        yield mark["name"], mark["expr"]
    for rule in RULES:
        yield rule["alert"], rule["expr"]


@pytest.mark.parametrize(("place", "text"), list(expressions()), ids=[place for place, _ in expressions()])
def test_an_expression_is_promql_of_names_and_labels_that_metrics_has(
    place: str, text: str, known: dict[str, dict[str, set[str]]]
) -> None:
    expression = parsed(text)
    selectors = selectors_of(expression)
    assert selectors
    for one in selectors:
        assert one.name in known or one.name in ITS_OWN, one.name
        has = known.get(one.name, {})
        for matcher in one.matchers.matchers:
            name, value = matcher.name, matcher.value
            assert name in labels_of(one, known), f"{one.name} has no label {name}"
            if "$" in value:
                assert value == f"${name}" and matcher.op == promql.MatchOp.Re, matcher
            elif name in has:
                values = has[name] | (counted() if name == "name" else set())
                for part in value.split("|"):
                    assert any(re.fullmatch(part, one) for one in values), f"{part} is no {name}"
    labels_of(expression, known)


def counted() -> set[str]:
    """The names under which the broker counts, as its sources have them."""
    source = "".join(file.read_text() for file in (REPOSITORY / "zmws").rglob("*.py"))
    return set(re.findall(r'counters\[f?"([^"]+)"\]', source))


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("sum by (service) (zmws_slots)", "is no label"),
        ("histogram_quantile(0.9, sum(rate(zmws_commit_seconds_bucket[5m])))", "histogram_quantile"),
        ("sum(rate(zmws_jobs[5m])", "unexpected|unclosed"),
    ],
)
def test_an_expression_that_is_wrong_is_noticed(
    text: str, wrong: str, known: dict[str, dict[str, set[str]]]
) -> None:
    with pytest.raises((AssertionError, ValueError), match=wrong):
        labels_of(parsed(text), known)


# ---------------------------------------------------------------- the dashboard


def test_every_family_is_on_the_dashboard_or_left_out_for_a_reason(kinds: dict[str, str]) -> None:
    used = {one.name for _, target in TARGETS for one in selectors_of(parsed(target["expr"]))}
    shown = {family_of(name, kinds) for name in used}
    assert set(kinds) - shown == set(LEFT_OUT)


def test_what_is_counted_is_shown_as_a_rate_and_what_is_not_is_not(kinds: dict[str, str]) -> None:
    for place, text in expressions():
        rates = [
            call
            for call in nodes_of(parsed(text))
            if isinstance(call, promql.Call) and call.func.name in ("rate", "increase")
        ]
        rated = {one.name for call in rates for one in selectors_of(call)}
        for one in selectors_of(parsed(text)):
            if one.name not in ITS_OWN:
                is_count = kinds[family_of(one.name, kinds)] in ("counter", "histogram")
                assert is_count == (one.name in rated), f"{place}: {one.name}"


def test_panels_have_ids_of_their_own_and_do_not_overlap() -> None:
    ids = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    for panel in DASHBOARD["panels"]:
        grid = panel["gridPos"]
        assert grid["w"] > 0 and grid["h"] > 0 and 0 <= grid["x"] <= 24 - grid["w"], panel["title"]
    for one, two in itertools.combinations(DASHBOARD["panels"], 2):
        a, b = one["gridPos"], two["gridPos"]
        beside = a["x"] + a["w"] <= b["x"] or b["x"] + b["w"] <= a["x"]
        assert beside or a["y"] + a["h"] <= b["y"] or b["y"] + b["h"] <= a["y"], (one["title"], two["title"])
    rows = [panel["title"] for panel in DASHBOARD["panels"] if panel["type"] == "row"]
    assert rows == ["Overview", "Services", "Broker", "Schedules"]


def test_a_panel_says_in_words_what_it_shows_and_in_which_unit() -> None:
    for panel in PANELS:
        assert panel["title"] and panel["description"].endswith("."), panel["title"]
        assert panel["fieldConfig"]["defaults"]["unit"], panel["title"]
        refs = [target["refId"] for target in panel["targets"]]
        assert refs and len(refs) == len(set(refs)), panel["title"]


def test_every_target_has_a_legend_of_labels_that_its_result_has(
    known: dict[str, dict[str, set[str]]],
) -> None:
    for title, target in TARGETS:
        legend = target["legendFormat"]
        assert legend, title
        labels = labels_of(parsed(target["expr"]), known)
        assert set(re.findall(r"\{\{(\w+)\}\}", legend)) <= labels, f"{title}: {legend}"
        if target.get("format") != "table":
            assert all(f"{{{{{label}}}}}" in legend for label in labels), f"{title}: lines of one name"


def test_the_data_source_is_chosen_and_named_nowhere() -> None:
    assert (
        VARIABLES["datasource"]["type"] == "datasource" and VARIABLES["datasource"]["query"] == "prometheus"
    )
    own = {"type": "grafana", "uid": "-- Grafana --"}  # of marks that are made by hand
    for source in _all(DASHBOARD, "datasource"):
        assert source in ({"type": "prometheus", "uid": "${datasource}"}, own)
    # An input would be asked for at an import, and missing where a file is provisioned.
    assert DASHBOARD["__inputs"] == [] and DASHBOARD["id"] is None
    kinds = {one["id"] for one in DASHBOARD["__requires"] if one["type"] == "panel"}
    assert kinds == {panel["type"] for panel in PANELS}
    assert len(DASHBOARD["uid"]) <= 40


def test_all_variables_are_used_and_all_that_are_used_exist(known: dict[str, dict[str, set[str]]]) -> None:
    text = json.dumps(DASHBOARD)
    used = set(re.findall(r"\$\{?(\w+)", text)) - {"__rate_interval", "__all"}
    assert used == set(VARIABLES)
    for name in ("instance", "service"):
        one = VARIABLES[name]
        assert one["multi"] and one["includeAll"] and one["query"]["query"] == one["definition"]
        call = re.fullmatch(r"label_values\((.+), (\w+)\)", one["definition"])
        assert call is not None and call[2] == name and name in labels_of(parsed(call[1]), known)


def _all(value: Any, key: str) -> Iterator[Any]:
    """What stands under this key, at any depth."""
    if isinstance(value, dict):
        if key in value:
            yield value[key]
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _all(part, key)


# ---------------------------------------------------------------- the alerts


def test_an_alert_says_how_bad_it_is_what_is_wrong_and_what_to_do(
    known: dict[str, dict[str, set[str]]],
) -> None:
    names = [rule["alert"] for rule in RULES]
    assert len(names) == len(set(names))
    for rule in RULES:
        name = rule["alert"]
        assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}, name
        assert re.fullmatch(r"Zmws[A-Za-z]+", name) and re.fullmatch(r"\d+[mh]", rule["for"]), name
        assert set(rule["labels"]) == {"severity"} and rule["labels"]["severity"] in ("critical", "warning")
        told = rule["annotations"]
        assert set(told) == {"summary", "description"}, name
        assert told["summary"].endswith(".") and "'zmws " in told["description"].partition("Next step: ")[2]
        labels = labels_of(parsed(rule["expr"]), known)
        used = set(re.findall(r"\$labels\.(\w+)", " ".join(told.values())))
        assert used <= labels, f"{name}: {used - labels}"


def test_a_threshold_stands_at_the_end_of_a_line() -> None:
    for rule in RULES:
        if rule["alert"] not in ("ZmwsNotScraped", "ZmwsStoreFillsUp"):  # its bound is the broker's own
            assert re.search(r"^\s*(==|>=|>|<) [\d.]+$", rule["expr"], re.MULTILINE), rule["alert"]


def test_every_command_that_is_named_is_one() -> None:
    told = [
        one for rule in RULES for one in re.findall(r"'zmws ([^']+)'", rule["annotations"]["description"])
    ]
    told += [one for panel in PANELS for one in re.findall(r"zmws ([a-z][^.,]*)", panel["description"])]
    told += re.findall(r"`zmws ([^`]+)`", PAGE)
    assert len(told) > 40
    for words in told:
        verb: Any = cli
        context = click.Context(cli)
        for word in words.split():
            if not isinstance(verb, click.Group) or verb.get_command(context, word) is None:
                break
            verb = verb.get_command(context, word)
        assert verb is not cli and not (isinstance(verb, click.Group) and not verb.invoke_without_command), (
            words
        )
        options = {name for one in verb.params for name in one.opts}
        assert set(re.findall(r"(?<!\S)--?[a-z][a-z-]*", words)) <= options, words


def test_every_alert_fires_in_the_tests_of_the_rules() -> None:
    tests = yaml.safe_load((REPOSITORY / "tests" / "alerts.yml").read_text())["tests"]
    fired = {
        label
        for test in tests
        for asked in test["promql_expr_test"]
        for sample in asked.get("exp_samples", ())
        for label in re.findall(r'alertname="(\w+)"', sample["labels"])
    }
    assert fired == {rule["alert"] for rule in RULES}


# ---------------------------------------------------------------- Prometheus itself


def tool(name: str) -> str:
    found = shutil.which(name)
    skip_unless_possible(found, f"{name} is not installed")
    return str(found)


def checked(*command: str, text: str | None = None) -> str:
    ran = subprocess.run(command, input=text, capture_output=True, text=True, timeout=60)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_promtool_finds_the_rules_right_and_they_fire_when_they_should() -> None:
    promtool = tool("promtool")
    assert f"{len(RULES)} rules found" in checked(promtool, "check", "rules", str(ALERTS))
    assert "SUCCESS" in checked(promtool, "test", "rules", str(REPOSITORY / "tests" / "alerts.yml"))


def test_promtool_finds_nothing_wrong_with_the_page(metrics: str) -> None:
    assert checked(tool("promtool"), "check", "metrics", text=metrics) == ""


def test_prometheus_reads_it_as_the_page_says_and_answers_every_panel(http: Gateway, tmp_path: Path) -> None:
    prometheus, (port,) = tool("prometheus"), free_ports(1)
    (tmp_path / "token").write_text(TOKENS["eye"])
    (block,) = documents.blocks(PAGE, "yaml")
    settings = yaml.safe_load(block.text)
    (job,) = settings["scrape_configs"]
    settings["rule_files"] = [str(ALERTS)]
    job["authorization"]["credentials_file"] = str(tmp_path / "token")
    job["static_configs"][0]["targets"] = [http.url.removeprefix("http://")]
    settings["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    (tmp_path / "prometheus.yml").write_text(yaml.safe_dump(settings))
    command = [
        prometheus,
        f"--config.file={tmp_path / 'prometheus.yml'}",
        f"--storage.tsdb.path={tmp_path}/data",
    ]
    with (
        process([*command, f"--web.listen-address=127.0.0.1:{port}"], tmp_path / "log.txt") as running,
        httpx.Client(base_url=f"http://127.0.0.1:{port}/api/v1", timeout=10, trust_env=False) as ask,
    ):

        def found(text: str) -> list[Any]:
            answer = ask.get("/query", params={"query": text.replace("$__rate_interval", "10s")}).json()
            assert answer["status"] == "success", f"{text}: {answer}"
            return list(answer["data"]["result"])

        def scraped() -> bool:
            assert running.popen.poll() is None, running.text()
            with contextlib.suppress(httpx.TransportError, ValueError):
                return bool(found("count_over_time(zmws_broker_up[1m]) >= 3"))
            return False

        wait_until(scraped, 30, "Prometheus to have read it three times")
        chosen = {"$instance": ".*", "$service": ".*"}
        nothing = []
        for title, target in TARGETS:
            text = target["expr"]
            for name, value in chosen.items():
                text = text.replace(name, value)
            if not found(text):
                nothing.append(title)
        assert set(nothing) <= MAY_BE_EMPTY, nothing
        states = ask.get("/rules").json()["data"]["groups"]
        assert {rule["health"] for group in states for rule in group["rules"]} <= {"ok", "unknown"}
        running.popen.terminate()
        running.popen.wait(20)


# Where nothing happens, or not for long enough.
MAY_BE_EMPTY = {"Job store full in", "Share of attempts that fail", "Writes in a commit"}


# ---------------------------------------------------------------- the page


def table() -> Iterable[tuple[str, str, set[str]]]:
    for name, kind, labels in re.findall(r"^\| `(zmws_\w+)` \| (\w+) \| ([^|]*)\|", PAGE, re.MULTILINE):
        yield name, kind, set(re.findall(r"`(\w+)`", labels))


def test_the_table_is_what_metrics_has(kinds: dict[str, str], known: dict[str, dict[str, set[str]]]) -> None:
    labels = {
        name: set(known[f"{name}_bucket"]) - {"le"} if kind == "histogram" else set(known[name])
        for name, kind in kinds.items()
    }
    assert [(name, kind, labels[name]) for name, kind in kinds.items()] == list(table())


def test_names_are_as_prometheus_wants_them(kinds: dict[str, str], metrics: str) -> None:
    for name, kind in kinds.items():
        assert (kind == "counter") == name.endswith("_total"), name
        text = re.search(rf"^# HELP {name} (.+)$", metrics, re.MULTILINE)
        assert text is not None and text[1].endswith("."), name
