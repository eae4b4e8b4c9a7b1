"""Makes docs/reference.md out of the docstrings: `.venv/bin/python -m tests.reference`.

What stands there is what the sources say, read by griffe without importing them, so that every Python makes
the same file. tests/test_reference.py fails while docs/reference.md is another, while a public name has no
docstring, and while a name that users import stands in no group here.

Rule: nothing is written here that a docstring could say; only which names there are, and in which order.
"""

from __future__ import annotations

import re
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import griffe

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "docs" / "reference.md"
COMMAND = ".venv/bin/python -m tests.reference"
COLUMNS = 100  # a longer signature has a line for each parameter


@dataclass(frozen=True)
class Group:
    """Some names under one heading. `made`: those of its classes that a user calls to make one; `home`: the
    package that they are imported from, None for what is given by others or by pytest."""

    title: str
    home: str | None
    names: Sequence[str]
    made: Sequence[str] = ()
    text: str = ""


GROUPS = (
    Group(
        "Workers",
        "zmws",
        ["WorkerBase", "worker", "JobInHand", "Retry", "Fail"],
        made=["WorkerBase", "Retry"],
    ),
    Group(
        "The client",
        "zmws",
        ["Client", "Job", "Chain", "PREVIOUS", "Batch", "Schedule", "Lease"],
        made=["Client"],
    ),
    Group("The client for asyncio", "zmws", ["AsyncClient"], made=["AsyncClient"]),
    Group(
        "What the client for asyncio gives",
        None,
        [f"zmws.client.asynchronous.Async{name}" for name in ("Job", "Chain", "Batch", "Schedule", "Lease")],
    ),
    Group(
        "Errors",
        "zmws",
        [
            "ZmwsError",
            "BadValue",
            "BrokerUnreachable",
            "JobFailed",
            "JobCancelled",
            "JobTimeout",
            "Refused",
            "OptionError",
            "ServiceUnknown",
            "SettingsError",
        ],
    ),
    Group(
        "Errors that are in zmws.errors only",
        None,
        [
            f"zmws.errors.{name}"
            for name in ("BadResult", "BadParams", "BadJson", "ProtocolError", "StoreError")
        ],
    ),
    Group("Tracing", "zmws.tracing", ["instrument", "uninstrument"]),
    Group(
        "Tests",
        "zmws.testing",
        [
            "run_job",
            "JobOutcome",
            "broker_in_thread",
            "RunningBroker",
            "worker_in_thread",
            "RunningWorker",
            "BrokerProcess",
            "free_ports",
            "FakeClient",
            "AsyncFakeClient",
            "Submitted",
        ],
        made=["BrokerProcess", "FakeClient", "AsyncFakeClient"],
    ),
    Group(
        "Fixtures of pytest",
        None,
        [
            f"zmws.testing.fixtures.{name}"
            for name in (
                "zmws_broker",
                "zmws_client",
                "zmws_worker",
                "zmws_fake_client",
                "WorkerFactory",
                "zmws_broker_factory",
                "BrokerFactory",
                "zmws_broker_process_factory",
                "BrokerProcessFactory",
            )
        ],
        text='A test has them by their names, with `pytest_plugins = ["zmws.testing"]` in `conftest.py`.',
    ),
)

# Public by their names alone: what the parts of the client need of each other, and may change.
INTERNAL = {
    "Client.count_future",
    "Client.raw_future",
    "Client.limits_steps",
    "FakeClient.limits_steps",
    "Client.message_steps",
    "Chain.count_future",
    "Chain.last_steps",
    "Chain.wait_steps",
    "Batch.add_future",
    "Batch.added_steps",
    "Batch.asked",
    "Batch.cancel_steps",
    "Batch.count_future",
    "Batch.wait_future",
    "Batch.wait_steps",
    "Schedule.done_future",
    "Schedule.run_future",
    "Schedule.status_steps",
    "Job.asked",
    "Job.wait_steps",
    "Lease.ending_steps",
    "Lease.not_taken",
    "JobFailed.of",
}
EXPLAINED_ELSEWHERE: set[str] = set()  # attributes that another document tells of


class Unfit(Exception):
    """The reference cannot be made whole; each line says what is missing."""


def main() -> int:
    try:
        text = Reference().text()
    except Unfit as wrong:
        sys.stderr.write(f"{wrong}\n")
        return 1
    FILE.write_text(text, encoding="utf-8")
    sys.stdout.write(f"made {FILE.relative_to(ROOT)}\n")
    return 0


class Reference:
    """The package as it is now, and what is to be told of it."""

    def __init__(self, root: Path = ROOT, groups: Sequence[Group] = GROUPS) -> None:
        self._groups = groups
        self._package: Any = griffe.load(
            "zmws", search_paths=[root], try_relative_path=False, resolve_aliases=True
        )
        self._lacking: list[str] = []
        self._internal_seen: set[str] = set()

    def text(self) -> str:
        """The whole document. Raises Unfit."""
        self._check_groups()
        body = [line for group in self._groups for line in self._of_group(group)]
        for name in sorted(INTERNAL - self._internal_seen):
            if self._has(name):
                self._lacking.append(f"{name} is in INTERNAL of tests/reference.py, and is no more")
        if self._lacking:
            raise Unfit("\n".join(self._lacking))
        return "\n".join([*_HEAD, *self._contents(), "", *body]).rstrip("\n") + "\n"

    def _check_groups(self) -> None:
        for home in ("zmws", "zmws.testing"):
            module = self._package if home == "zmws" else self._package[home.removeprefix("zmws.")]
            there = {str(name) for name in module.exports}
            grouped = {name for group in self._groups if group.home == home for name in group.names}
            self._lacking += [
                f"{home}.{name} stands in no group of tests/reference.py" for name in there - grouped
            ]
            self._lacking += [f"{home}.__all__ has no {name}, as a group says" for name in grouped - there]
        if self._lacking:
            raise Unfit("\n".join(sorted(self._lacking)))

    def _has(self, name: str) -> bool:
        return any(one.rpartition(".")[2] == name.partition(".")[0] for g in self._groups for one in g.names)

    # ------------------------------------------------------------ the parts of the document

    def _contents(self) -> Iterator[str]:
        for group in self._groups:
            short = [name.rpartition(".")[2] for name in group.names]
            line = f"{_link(group.title, group.title)}: {', '.join(_link(name, name) for name in short)}"
            yield from textwrap.wrap(
                line, 108, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False
            )

    def _of_group(self, group: Group) -> Iterator[str]:
        yield from (f"## {group.title}", "")
        if group.home is not None:
            yield from (f"`from {group.home} import ...`", "")
        if group.text:
            yield from (group.text, "")
        for name in group.names:
            short = name.rpartition(".")[2]
            thing = self._find(name if group.home is None else f"{group.home}.{name}")
            yield from (f"### {short}", "")
            if thing.is_attribute:
                yield from (self._doc(thing, short), "")
            elif thing.is_class:
                yield from self._of_class(thing, short, is_made=short in group.made)
            else:
                yield from self._of_function(thing, short)

    def _find(self, path: str) -> Any:
        found = self._package[path.removeprefix("zmws.")]
        return found.final_target if found.is_alias else found

    def _of_class(self, cls: Any, short: str, is_made: bool) -> Iterator[str]:
        told = self._doc(cls, short)
        called = cls.members.get("__call__")
        if is_made:
            yield from _code(f"class {short}", self._parameters(cls.parameters), "")
        elif called is not None:
            yield from _code("", self._parameters(called.parameters), f" -> {called.returns}")
        else:
            bases = ", ".join(str(base) for base in cls.bases if str(base) not in ("Protocol", "Handle"))
            yield from ("```python", f"class {short}({bases})" if bases else f"class {short}", "```", "")
        yield from (told, "")
        init = cls.all_members.get("__init__")
        if is_made and init is not None and init.docstring is not None:
            yield from (_markdown(init.docstring.value), "")
        members = list(self._members(cls))
        yield from self._attributes(short, told, members)
        for name, member in members:
            if member.is_function:
                yield from (f"#### {short}.{name}", "")
                yield from self._of_function(member, f"{short}.{name}")

    def _members(self, cls: Any) -> Iterator[tuple[str, Any]]:
        """Its own in the order of the source, then those of its bases here."""
        for name, member in {**cls.members, **cls.inherited_members}.items():
            target = member.final_target if member.is_alias else member
            if name.startswith("_") or not (target.is_function or target.is_attribute):
                continue
            internal = {f"{owner}.{name}" for owner in (cls.name, target.parent.name)} & INTERNAL
            self._internal_seen |= internal
            if not internal:
                yield name, target

    def _attributes(self, short: str, told: str, members: Iterable[tuple[str, Any]]) -> Iterator[str]:
        rows = []
        for name, member in members:
            if not member.is_attribute:
                continue
            if "property" in member.labels:
                text = self._doc(member, f"{short}.{name}")
            else:
                text = _comment(member)
                owner = member.parent.name
                if owner not in (short, "Asker"):
                    text = f"as of `{owner}`"
                elif not text and f"`{name}`" not in told and f"{short}.{name}" not in EXPLAINED_ELSEWHERE:
                    where = f"the docstring of {short} does not name it, and no comment stands behind it"
                    self._lacking.append(f"{short}.{name} is not explained: {where}")
            kind = self._type(member)
            rows.append(f"| `{name}` | {f'`{kind}`' if kind else ''} | {' '.join(text.split())} |")
        if rows:
            yield from (
                "| attribute | type | |",
                "|---|---|---|",
                *(row.replace("  ", " ") for row in rows),
                "",
            )

    def _type(self, attribute: Any) -> str:
        """As it is written, or as the parameter has it that it keeps."""
        kind = attribute.annotation
        value, init = str(attribute.value), attribute.parent.members.get("__init__")
        if kind is None and init is not None and value in init.parameters:
            kind = init.parameters[value].annotation
        if kind is None and (made := re.fullmatch(r"(str|int|float|bool|dict)\(.*\)", value, re.DOTALL)):
            kind = made[1]
        if kind is None and value in ("True", "False"):
            kind = "bool"
        return "" if kind is None else str(kind).replace("|", "\\|")

    def _of_function(self, function: Any, name: str) -> Iterator[str]:
        told = self._doc(function, name)
        returns = str(function.returns)
        fixture = any("fixture" in str(decorator.value) for decorator in function.decorators)
        given = re.fullmatch(r"Iterator\[(.+)\]", returns)
        if fixture:
            yield from ("```python", f"{name}: {given[1] if given else returns}", "```", "")
        else:
            if given and any("contextmanager" in str(decorator.value) for decorator in function.decorators):
                returns = f"AbstractContextManager[{given[1]}]"
            head = "async def " if "async" in function.labels else "def "
            if "classmethod" in function.labels:
                head = f"@classmethod\n{head}"
            short = name.rpartition(".")[2]
            yield from _code(head + short, self._parameters(function.parameters), f" -> {returns}")
        yield from (told, "")

    # ------------------------------------------------------------ what the sources say

    def _doc(self, thing: Any, name: str) -> str:
        if thing.docstring is None or not thing.docstring.value.strip():
            self._lacking.append(f"{name} has no docstring ({thing.filepath.name}:{thing.lineno})")
            return ""
        return _markdown(thing.docstring.value)

    def _parameters(self, parameters: Any) -> list[str]:
        found: list[str] = []
        kinds = griffe.ParameterKind
        starred = False
        for one in parameters:
            if one.name in ("self", "cls"):
                continue
            if one.kind is kinds.keyword_only and not starred:
                found.append("*")
                starred = True
            starred = starred or one.kind is kinds.var_positional
            stars = {kinds.var_positional: "*", kinds.var_keyword: "**"}.get(one.kind, "")
            text = stars + one.name + (f": {one.annotation}" if one.annotation is not None else "")
            if one.default is not None and not stars:
                text += f" = {self._default(one.default)}"
            found.append(text)
        return found

    def _default(self, default: Any) -> str:
        """A constant's value in place of its name, which nobody outside knows."""
        if isinstance(default, griffe.ExprName):
            constant = self._find(default.canonical_path)
            return str(constant.value)
        return str(default)


def _code(head: str, parameters: Sequence[str], tail: str) -> Iterator[str]:
    line = f"{head}({', '.join(parameters)}){tail}"
    yield "```python"
    if len(line) <= COLUMNS:
        yield line
    else:
        yield f"{head}("
        yield from (f"    {one}," for one in parameters)
        yield f"){tail}"
    yield from ("```", "")


def _markdown(docstring: str) -> str:
    """A docstring is Markdown already, but for the documents that it names from the root."""
    return re.sub(r"\bdocs/([a-z-]+\.md)", r"[\1](\1)", docstring.strip())


def _comment(attribute: Any) -> str:
    """What stands below it as its docstring, or behind it in its line."""
    if attribute.docstring is not None:
        return _markdown(" ".join(attribute.docstring.value.split()))
    lines: list[str] = attribute.filepath.read_text(encoding="utf-8").splitlines()
    found = re.search(r"  # (.+)$", lines[attribute.lineno - 1])
    return _markdown(found[1]) if found else ""


def anchor(title: str) -> str:
    """How a heading is linked to."""
    return "#" + re.sub(r"[^\w\- ]", "", title).lower().replace(" ", "-")


def _link(text: str, title: str) -> str:
    return f"[{text}]({anchor(title)})"


_HEAD = (
    "# Reference",
    "",
    "All that a program imports from zmws, by its docstrings. This file is made from them: change those, and",
    f"run `{COMMAND}`. How things fit together is told elsewhere:",
    "[writing-a-worker.md](writing-a-worker.md), [testing-a-worker.md](testing-a-worker.md),",
    "[options.md](options.md) for the options of jobs and services, [errors.md](errors.md) for the codes.",
    "",
    "`Seconds` is a number of seconds or a `timedelta`. A class that is shown without its parameters is not",
    "made by you: a method or a function gives you one.",
    "",
)


if __name__ == "__main__":
    sys.exit(main())
