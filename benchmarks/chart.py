"""The figures of drain.py as a picture: a bar for each contestant, in SVG that is readable on light and dark.

python benchmarks/drain.py --json drain.json
python benchmarks/chart.py drain.json [docs/drain.svg]
"""

from __future__ import annotations

import argparse
import json
import sys
import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from harness import REPOSITORY, CannotRun, exit_code, figure

WIDTH = 820
MARGIN = 28
BARS_AT, BARS_END = 218, 610  # the longest bar ends there, its figure stands behind it
CPU_END = WIDTH - MARGIN
HEAD, ROW, BAR, LINE = 102, 48, 22, 18  # heights
CAPTION_CHARACTERS = 122

STYLE = """
  .back { fill: #ffffff; stroke: #d0d7de }
  .text { fill: #1f2328 } .dim { fill: #59636e } .bar { fill: #afb8c1 } .ours { fill: #0969da }
  .rule { stroke: #d0d7de }
  text { font-family: system-ui, -apple-system, "Segoe UI", "Noto Sans", Helvetica, Arial, sans-serif }
  .title { font-size: 19px; font-weight: 600 } .name { font-size: 15px; font-weight: 600 }
  .number { font-size: 15px; font-variant-numeric: tabular-nums } .small { font-size: 12px }
  .right { text-anchor: end }
  @media (prefers-color-scheme: dark) {
    .back { fill: #0d1117; stroke: #3d444d }
    .text { fill: #f0f6fc } .dim { fill: #9198a1 } .bar { fill: #4f5964 } .ours { fill: #4493f8 }
    .rule { stroke: #3d444d }
  }
"""


@dataclass
class Bar:
    name: str
    title: str
    keeps: str
    jobs_per_s: float
    cpu_us: float | None


def bars(run: Mapping[str, Any]) -> list[Bar]:
    """The fastest first."""
    found = [
        Bar(name, about["title"], about["keeps"], median["jobs_per_s"], median["cpu_us"])
        for name, about in run["contestants"].items()
        if (median := run["medians"].get(name))
    ]
    return sorted(found, key=lambda bar: -bar.jobs_per_s)


def caption(run: Mapping[str, Any]) -> list[str]:
    """What was measured, on what, with what: a paragraph each."""
    load, machine = run["load"], run["machine"]
    rounds = max(len(each) for each in run["rounds"].values())
    measured = f", median of {rounds} rounds" if rounds > 1 else ""
    versions: dict[str, str] = {}
    for bar in bars(run):
        versions |= run["contestants"][bar.name]["versions"]
    return [
        f"Each: {load['jobs']:,} jobs wait, then {load['workers']} worker processes start; the work returns "
        f"1, the result is stored. Rate: from the first job done to the last{measured}. "
        "Processor time: the workers, and the broker or redis-server.",
        f"{machine['date']}, {machine['cpu']}, {machine['cores']} cores, Python {machine['python']}; "
        + ", ".join(f"{name}\N{NO-BREAK SPACE}{number}" for name, number in versions.items()),
    ]


def number(value: float) -> str:
    return f"{value:,.0f}"


def row(bar: Bar, top: int, most: float) -> list[str]:
    middle = top + ROW // 2
    length = max(2.0, (BARS_END - BARS_AT) * bar.jobs_per_s / most)
    ours = bar.name.startswith("zmws")
    cpu = figure(bar.cpu_us, "{:,.0f} µs")
    return [
        text(MARGIN, middle - 2, "name text", bar.title),
        text(MARGIN, middle + 14, "small dim", bar.keeps),
        f'<rect class="{"ours" if ours else "bar"}" x="{BARS_AT}" y="{middle - BAR // 2}" '
        f'width="{length:.1f}" height="{BAR}" rx="3"/>',
        text(BARS_AT + length + 8, middle + 5, "number text", number(bar.jobs_per_s)),
        text(CPU_END, middle + 5, "number text right", cpu),
    ]


def text(x: float, y: float, classes: str, content: str) -> str:
    return f'<text class="{classes}" x="{x:.0f}" y="{y:.0f}">{escape(content)}</text>'


def svg(run: Mapping[str, Any]) -> str:
    """Raises CannotRun when there is nothing to show."""
    shown = bars(run)
    if not shown:
        raise CannotRun("no contestant was measured in that run")
    most = shown[0].jobs_per_s
    title = f"No-op jobs done by {run['load']['workers']} Python worker processes, results stored"
    drawn = [
        text(MARGIN, 42, "title text", title),
        text(BARS_AT, 82, "small dim", "jobs a second (longer is better)"),
        text(CPU_END, 82, "small dim right", "processor time a job"),
        f'<line class="rule" x1="{MARGIN}" y1="94" x2="{CPU_END}" y2="94"/>',
    ]
    for place, bar in enumerate(shown):
        drawn += row(bar, HEAD + place * ROW, most)
    y = HEAD + len(shown) * ROW + 14
    drawn.append(f'<line class="rule" x1="{MARGIN}" y1="{y}" x2="{CPU_END}" y2="{y}"/>')
    y += 8
    for paragraph in caption(run):
        for line in textwrap.wrap(paragraph, CAPTION_CHARACTERS):
            y += LINE
            drawn.append(text(MARGIN, y, "small dim", line))
        y += 4
    height = y + 20
    told = "; ".join(
        f"{bar.title} ({bar.keeps}) {number(bar.jobs_per_s)} jobs/s, {figure(bar.cpu_us, '{:.0f} µs')} a job"
        for bar in shown
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
            f'viewBox="0 0 {WIDTH} {height}" role="img" aria-labelledby="title what">',
            f'<title id="title">{escape(title)}</title>',
            f'<desc id="what">{escape(told)}</desc>',
            f"<style>{STYLE}</style>",
            f'<rect class="back" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *drawn,
            "</svg>\n",
        ]
    )


def run() -> None:
    made = argparse.ArgumentParser(description="The figures of drain.py as a picture.")
    made.add_argument("json", type=Path, help="what drain.py --json wrote")
    made.add_argument("svg", type=Path, nargs="?", default=REPOSITORY / "docs" / "drain.svg")
    options = made.parse_args()
    try:
        found = json.loads(options.json.read_text())
    except (OSError, ValueError) as error:
        raise CannotRun(f"{options.json} cannot be read: {error}") from None
    options.svg.write_text(svg(found), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(exit_code(run))
