"""How long a store file of a million jobs takes to answer people, and an old one to be opened.

Asked are lists, searches, figures over time, causes of failures, and how many are ahead of a job.

Rule 1: the file is made by the statements of migrations 1 to 5, so the first opening brings it to the newest.
Rule 2: jobs fail by the store's own commits; what else there is goes in by SQL, for it is not measured.
Rule 3: a question is asked three times in a row and its median counts; what it reads may be cached by then.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import Verdict, as_json, disk, exit_code, judge, note, parser, table, verdict_table

from zmws.core.job import Job
from zmws.core.reads import Filter, Read, ReadAhead, ReadCauses, ReadJobs, ReadSearch, ReadSeries, ReadUsual
from zmws.core.rows import Rows, row_of
from zmws.core.series import COLUMNS, HISTOGRAMS
from zmws.core.writes import FinishJob, PruneJobs, Write, WriteSeries
from zmws.store.rows import BORN, born_values, names, packed
from zmws.store.sql.sql_files import migrations
from zmws.store.sqlite import file as sqlite_file
from zmws.store.sqlite import upkeep
from zmws.store.sqlite.dialect import SQL_FOLDER
from zmws.store.sqlite.disk import SqliteStore

ANSWER_S = 0.3
LOOKED_GATE, LOOKED_AIM = 20_000, 50_000
CAUSES, SERVICES, GROUPS = 40, 200, 1_000
NOW = 1_700_000_000.0
DAY_S, MINUTE_S, HOUR_S = 86_400, 60, 3_600
WINDOW = 10_000  # rows that one statement inserts
VERSION_BEFORE = 5


@dataclass
class Answer:
    what: str
    seconds: float
    rows: int
    looked: int | None = None


# --- the file ---


def service_named(n: int) -> str:
    return f"SERVICE-{n:03}"


def service_of(number: int) -> str:
    return service_named((number * 2_654_435_761 >> 16) % SERVICES)


def kind_of(number: int) -> int:
    """Which of the causes a job fails for, if it does."""
    return (number * 40_503 >> 7) % CAUSES


def id_of(number: int) -> str:
    return f"0190-{number:028x}"


def body_of(number: int, body_bytes: int) -> bytes:
    """JSON as callers send it; `customer` is another in each job."""
    text = f'PARAM-JSON: {{"customer": {number}, "order": "A-{number % 977}", "text": "'
    filler = "lorem ipsum dolor sit amet consetetur sadipscing elitr " * (body_bytes // 50 + 1)
    return (text + filler)[: body_bytes - 2].encode() + b'"}'


def make(path: Path, jobs: int, failed: int, body_bytes: int) -> None:
    """A file of the version before. Those that are to fail run, all along the numbers; of ten others six are
    complete, three wait, one is cancelled."""
    steps = migrations(SQL_FOLDER)[:VERSION_BEFORE]
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        run = connection.execute
        run(f"PRAGMA application_id = {sqlite_file.APPLICATION_ID}")
        sqlite_file.migrate(connection, path, steps)
        run("PRAGMA synchronous = OFF")
        run("PRAGMA journal_mode = WAL").fetchall()
        columns = [*BORN, "started_at", "ended_at", "forget_at"]
        wanted = f"INSERT INTO jobs ({names(columns)}) VALUES ({', '.join('?' * len(columns))})"
        for first in range(1, jobs + 1, WINDOW):
            numbers = range(first, min(first + WINDOW, jobs + 1))
            run("BEGIN")
            connection.executemany(wanted, (_job(n, jobs, max(1, jobs // failed)) for n in numbers))
            bodies = ((n, packed((body_of(n, body_bytes),))) for n in numbers)
            connection.executemany("INSERT INTO bodies (number, body) VALUES (?, ?)", bodies)
            run("COMMIT")
        run(
            "INSERT INTO counts SELECT service, state, count(*) FROM jobs "
            "WHERE forget_at IS NOT NULL GROUP BY service, state"
        )
        run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _job(number: int, jobs: int, every: int) -> list[Any]:
    at = NOW - jobs * 0.1 + number * 0.1
    state = "complete" if number % 10 < 6 else "waiting" if number % 10 < 9 else "cancelled"
    service = service_of(number)
    if number % every == 0:
        state, service = "running", service_named(kind_of(number))
    job = Job(
        id=id_of(number),
        service=service,
        kind="stored",
        state=state,
        body=(),
        created_at=at,
        ready_at=at,
        rank=at,
        number=number,
        group=f"g{number % GROUPS}" if number % 2 else None,
    )
    job.enter(at)
    ended = state in ("complete", "cancelled")
    values = born_values(row_of(job))
    assert values is not None, job
    return [*values, None if state == "waiting" else at, at if ended else None, at + DAY_S if ended else None]


def fail(store: SqliteStore, jobs: int, failed: int) -> float:
    """Let those that run fail, a hundred a commit; jobs a second."""
    numbers = list(range(max(1, jobs // failed), jobs + 1, max(1, jobs // failed)))
    random.Random(1).shuffle(numbers)
    begun = time.perf_counter()
    for at in range(0, len(numbers), 100):
        store.commit([_end(number) for number in numbers[at : at + 100]])
    return len(numbers) / (time.perf_counter() - begun)


def _end(number: int) -> FinishJob:
    kind = kind_of(number)
    error = {
        "code": "job_failed",
        "error": f"no table 'orders_{number}' in place {number}",
        "type": f"Error{kind}",
        "traceback": f'Traceback\n> File "/srv/workers/orders.py", line {number % 90}, in work\n'
        + "x" * 2_000,
    }
    changes = {"state": "failed", "ended_at": NOW - number % DAY_S, "error": error}
    return FinishJob(id_of(number), changes, service_named(kind), NOW + 30 * DAY_S)


def fill_series(path: Path) -> None:
    """A day of minutes and ninety of hours, of each service and of all together."""
    figures = {name: round(random.Random(2).random() * 100, 3) for name in COLUMNS}
    figures |= {name: {str(n): n + 1 for n in range(15)} for name in HISTOGRAMS}
    text = json.dumps(figures, separators=(",", ":"))
    services = ["", *(service_named(n) for n in range(SERVICES))]
    first = int(NOW) // HOUR_S * HOUR_S - DAY_S
    minutes = ((name, MINUTE_S, first + n * 60, text) for n in range(1440) for name in services)
    hours = ((name, HOUR_S, first - n * HOUR_S, text) for n in range(90 * 24) for name in services)
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        for rows in (minutes, hours):
            connection.execute("BEGIN")
            connection.executemany(
                "INSERT INTO series (service, step, at, figures) VALUES (?, ?, ?, ?)", rows
            )
            connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


# --- the questions ---


def questions(jobs: int, causes: list[str]) -> Iterator[tuple[str, Read]]:
    """What people ask, and what of it is to be answered within ANSWER_S."""
    filters: dict[str, dict[str, Any]] = {
        "all": {},
        **{f"state {state}": {"state": state} for state in ("waiting", "running", "complete", "failed")},
        "state cancelled": {"state": "cancelled"},
        "service": {"service": service_named(3)},
        "service and state": {"service": service_named(3), "state": "waiting"},
        "service and state failed": {"service": service_named(0), "state": "failed"},
        "group": {"group": "g1"},
        "no such group": {"group": "nobody's"},
        "service and no such group": {"service": service_named(3), "group": "nobody's"},
        "cause": {"cause": causes[0]},
        "cause and group": {"cause": causes[0], "group": "nobody's"},
        "cause of long ago": {"cause": causes[0], "before": NOW - jobs * 0.09},
    }
    for what, where in filters.items():
        yield f"jobs by {what}", ReadJobs(None, Filter(**where))
    for what, text, where in (
        ("hit", "lorem", {}),
        ("rare hit", f'"customer": {jobs // 2},', {}),
        ("no hit", "nowhere to be found", {}),
        ("no hit, service", "nowhere to be found", {"service": service_named(3)}),
        ("no hit, failed", "nowhere to be found", {"state": "failed"}),
        ("no hit, cause", "nowhere to be found", {"cause": causes[0]}),
        ("no hit, umlaut", "Grüße \ud800", {}),
    ):
        yield (
            f"search: {what}",
            ReadSearch(None, Filter(**where), text, ("id", "error", "params", "result")),
        )
    day = int(NOW) // HOUR_S * HOUR_S - DAY_S
    yield "series of a service, 24 h", ReadSeries(None, service_named(3), MINUTE_S, day, day + DAY_S, 1_441)
    yield "series of all, 24 h", ReadSeries(None, None, MINUTE_S, day, day + DAY_S, 1_441)
    yield (
        "series of a service, 90 d",
        ReadSeries(None, service_named(3), HOUR_S, day - 90 * DAY_S, day, 3_000),
    )
    yield "causes", ReadCauses(None, None, 100)
    yield "causes of a service", ReadCauses(None, service_named(0), 100)
    yield "ahead of the first", ReadAhead(None, service_named(8), None, (0.0, 0), day, 10_000)
    yield "ahead of the last", ReadAhead(None, service_named(8), None, (NOW, jobs), day, 10_000)


def ask(store: SqliteStore, what: str, read: Read) -> Answer:
    """Three times, the median."""
    took, rows = [], Rows()
    for _ in range(3):
        begun = time.perf_counter()
        rows = store.read(read)
        took.append(time.perf_counter() - begun)
    count = (
        len(rows.rows) + len(rows.series) + len(rows.causes) + (rows.next or 0) * isinstance(read, ReadAhead)
    )
    looked = rows.looked if isinstance(read, ReadSearch) else None
    # One that came to its end has looked at all that there was.
    ended = isinstance(read, ReadSearch) and rows.next is None
    return Answer(f"{what}{', to its end' if ended else ''}", statistics.median(took), count, looked)


def pages_to_the_end(store: SqliteStore, text: str) -> tuple[int, float, int]:
    """Pages, seconds and rows of a search through all that there is."""
    cursor, pages, found = None, 0, 0
    begun = time.perf_counter()
    while True:
        page = store.read(ReadSearch(None, Filter(), text, ("id", "error", "params", "result"), 100, cursor))
        pages, found, cursor = pages + 1, found + len(page.rows), page.next
        if cursor is None:
            return pages, time.perf_counter() - begun, found


def timed(what: Callable[[], object]) -> float:
    begun = time.perf_counter()
    what()
    return time.perf_counter() - begun


def measure(path: Path, options: Any) -> tuple[dict[str, float], list[Answer]]:
    figures: dict[str, float] = {}
    failed = min(options.failed, options.jobs)
    figures["making the file"] = timed(lambda: make(path, options.jobs, failed, options.body))
    note(f"{path.stat().st_size / 1e6:,.0f} MB")
    opened: list[SqliteStore] = []
    figures["opening, with the migration"] = timed(lambda: opened.append(SqliteStore(path)))
    figures["jobs that fail a second"] = fail(opened[0], options.jobs, failed)
    opened.pop().close()
    fill_series(path)
    figures["opening"] = timed(lambda: opened.append(SqliteStore(path)))
    store = opened[0]
    answers = [ask(store, "usual, of all services, 24 h", ReadUsual(None, NOW - DAY_S))]
    causes = [cause.cause for cause in store.read(ReadCauses(None, None, 1_000)).causes]
    for what, read in questions(options.jobs, causes):
        answers.append(ask(store, what, read))
        note(f"{answers[-1].what}: {answers[-1].seconds:.3f} s")
    pages, seconds, _ = pages_to_the_end(store, f'"customer": {options.jobs // 2},')
    figures["pages of a search through all"], figures["seconds of all of them"] = pages, seconds
    minute: list[Write] = [
        WriteSeries(
            int(NOW),
            [(service_named(n), {"started": 1, "wait": {"3": 1}}) for n in range(SERVICES)],
            0.0,
            0.0,
        )
    ]
    figures["writing a minute"] = statistics.median(timed(lambda: store.commit(minute)) for _ in range(5))
    figures["pruning 1,000"] = timed(lambda: store.commit([PruneJobs(at=NOW + DAY_S, limit=1_000)]))
    store.close()
    figures["a check of it all"] = timed(lambda: note("; ".join(upkeep.check(path)) or "it is whole"))
    return figures, answers


def verdicts(figures: dict[str, float], answers: list[Answer]) -> list[Verdict]:
    slowest = max(answers[1:], key=lambda one: one.seconds)
    judged = judge(f"s, the slowest answer ({slowest.what})", slowest.seconds, ANSWER_S, None, at_most=True)
    parts = [one for one in answers if one.looked is not None and not one.rows and "end" not in one.what]
    if parts:
        least = float(min(one.looked or 0 for one in parts))
        judged += judge("records that a page of a search looks at", least, LOOKED_GATE, LOOKED_AIM)
    judged += judge(
        "s, opening with the migration", figures["opening, with the migration"], 5.0, 3.0, at_most=True
    )
    return judged


def run() -> None:
    options = parser(
        __doc__.splitlines()[0],
        rounds=1,
        on_disk=True,
        jobs=(1_000_000, "jobs in the file"),
        failed=(10_000, f"of them have failed, for {CAUSES} causes"),
        body=(500, "bytes of a body"),
    ).parse_args()
    place = disk(options)
    with tempfile.TemporaryDirectory(prefix="zmws-bench-", dir=place.folder) as folder:
        figures, answers = measure(Path(folder) / "zmws.db", options)
    judged = verdicts(figures, answers)
    if options.json:
        print(as_json({"figures": figures, "disk": place.as_figures()}, judged, {"answers": answers}, {}))
        return
    rows = [
        [one.what, f"{one.seconds:.4f}", f"{one.rows:,}", "" if one.looked is None else f"{one.looked:,}"]
        for one in answers
    ]
    print(table(["", "s", "rows", "looked at"], rows), "\n")
    print(table(["", ""], [[name, f"{value:,.3f}"] for name, value in figures.items()]), "\n")
    print(verdict_table(judged))


if __name__ == "__main__":
    sys.exit(exit_code(run))
