"""A report as one HTML page that needs nothing else: tables, and plots as inline SVG.

Rules: every text is escaped, and the page forbids itself to load or run anything.  A plot shows
what the tables cannot; each has the unit on its axis and the number behind each mark as its title.
"""

from __future__ import annotations

from html import escape
from math import ceil
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from awe_core.testing.chaos import ChaosReport
    from awe_core.testing.load import Figures, LoadReport

_WIDTH, _HEIGHT, _LEFT, _BELOW = 470, 190, 66, 34
_BARS = 32  #: of a histogram, and points of a rate
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_STYLE = """
body{font:15px/1.45 sans-serif;max-width:1020px;margin:2em auto;padding:0 1em;color:#1d2733}
h1{font-size:1.5em} h2{font-size:1.1em;margin-top:2em} p{color:#52606d}
table{border-collapse:collapse;margin:1em 0} td,th{padding:.25em .9em .25em 0;text-align:right}
th:first-child,td:first-child{text-align:left;white-space:nowrap}
tr{border-bottom:1px solid #dde3ea}
.plots{display:flex;flex-wrap:wrap;gap:1.5em} figure{margin:0} figcaption{color:#52606d}
.bar{fill:#3b6fb6} .line{fill:none;stroke:#3b6fb6;stroke-width:2} .axis{stroke:#9aa5b1}
.mark{stroke:#c2571a;stroke-dasharray:4 3} text{font-size:11px;fill:#52606d} .bad{color:#b3261e}
"""


def load_page(report: LoadReport) -> str:
    """Show a load: both modes side by side, then the plots of each."""
    head, *_ = report.lines()
    rows = [_row_of(one) for one in report.figures]
    names = ["", *(f"{one.mode.name}: {one.mode.conditions}" for one in report.figures)]
    table = [names, *([key, *(row[key] for row in rows)] for key in rows[0])]
    body = [_table(table), f"<p>peak memory {report.peak_mib:.0f} MiB, floor included</p>"]
    for one in report.figures:
        body += [f"<h2>{escape(one.mode.name)}</h2>", "<div class=plots>", *_plots(one), "</div>"]
    conditions = {
        **report.machine,
        "executor": report.executor,
        "isolation": report.options.isolation,
        "floor": "by hand: threads, one group-commit writer, each step FULL, files not synced",
        "checks of the engine": "chain, undo, policy and manifest are on",
    }
    return _page(f"awe bench load: {head}", conditions, report.failures, body)


def chaos_page(report: ChaosReport) -> str:
    """Show a torment: what was injected and what became of it."""
    head, mode, *lines = report.lines()
    counts = [line.strip().partition("  ") for line in lines if line.startswith("  ")]
    body = [_table([["", "found"], *([name, found.strip()] for name, _, found in counts)])]
    if report.states:
        body.append(_bars("how the runs ended", report.states, unit="runs"))
    conditions = {**report.machine, "durability": mode}
    return _page(f"awe bench chaos: {head}", conditions, report.failures, body)


def _row_of(one: Figures) -> dict[str, str]:
    return {
        "workflows a second": f"{one.rate:.0f}",
        "the floor's, in the same round": f"{one.floor_rate:.0f}",
        "ratio to the floor": f"{one.floor_ratio:.3f}",
        "p50 ms": f"{one.p50_ms:.1f}",
        "p95 ms": f"{one.p95_ms:.1f}",
        "p99 ms": f"{one.p99_ms:.1f}",
        "CPU ms a workflow": f"{one.cpu_ms:.2f}",
        "the floor's CPU ms": f"{one.floor_cpu_ms:.2f}",
        "records a workflow": f"{one.records:.1f}",
        "barriers a workflow": f"{one.barriers:.2f}",
        "flushes a workflow": f"{one.flushes:.2f}",
        "rate times latency": "too few runs" if one.in_flight is None else f"{one.in_flight:.1f}",
        "runs not as they must be": f"{one.wrong} of {one.runs}",
        **{f"{what} left open": str(n) for what, n in attrs.asdict(one.leaks).items()},
    }


def _page(
    title: str, conditions: Mapping[str, str], failures: Sequence[str], body: Iterable[str]
) -> str:
    said = "; ".join(f"{name} {found}" for name, found in conditions.items())
    checks = "".join(f"<p class=bad>failed: {escape(one)}</p>" for one in failures)
    return "\n".join(
        [
            "<!doctype html><html lang=en><meta charset=utf-8>",
            f'<meta http-equiv=Content-Security-Policy content="{_POLICY}">',
            f"<title>{escape(title)}</title><style>{_STYLE}</style>",
            f"<h1>{escape(title)}</h1><p>{escape(said)}</p>",
            checks or "<p>every check holds</p>",
            *body,
            "</html>\n",
        ]
    )


def _table(rows: Sequence[Sequence[str]]) -> str:
    cells = [
        "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in row)
        for tag, row in zip(["th", *["td"] * len(rows)], rows, strict=False)
    ]
    return f"<table>{''.join(f'<tr>{row}</tr>' for row in cells)}</table>"


# ---- plots --------------------------------------------------------------------------------------
def _plots(one: Figures) -> Iterable[str]:
    if one.latencies_ms:
        yield _histogram(one)
        yield _rate(one.ended_s)
    if one.cpu_parts:
        percent = {part: round(share * 100, 1) for part, share in one.cpu_parts.items()}
        shown = dict(list(percent.items())[:10])
        yield _bars("where the processor time goes (profiled, so rough)", shown, unit="%")


def _histogram(one: Figures) -> str:
    """Count runs by latency; the slowest hundredth stands in the last bar."""
    most = one.p99_ms * 1.05 or 1.0
    counts = [0] * _BARS
    for latency in one.latencies_ms:
        counts[min(_BARS - 1, int(latency / most * _BARS))] += 1
    size, top = most / _BARS, max(counts)
    width = (_WIDTH - _LEFT) / _BARS
    marks = [
        f'<rect class=bar x="{_LEFT + n * width:.1f}" y="{_y(count / top):.1f}"'
        f' width="{width - 1:.1f}" height="{_y(0) - _y(count / top):.1f}">'
        f"<title>{n * size:.1f} ms and more: {count} runs</title></rect>"
        for n, count in enumerate(counts)
    ]
    for name, at in (("p50", one.p50_ms), ("p95", one.p95_ms)):
        x = _LEFT + at / most * (_WIDTH - _LEFT)
        marks.append(f'<line class=mark x1="{x:.1f}" x2="{x:.1f}" y1="4" y2="{_y(0)}"/>')
        marks.append(f'<text x="{x + 3:.1f}" y="13">{name}</text>')
    return _plot("latency", marks, x=("0", f"{most:.0f} ms"), top=f"{top} runs")


def _rate(ended_s: Sequence[float]) -> str:
    """Draw how many runs end a second, over the time the engine had."""
    end = max(ended_s) or 1.0
    points = max(1, min(_BARS, len(ended_s) // 10))
    counts = [0] * points
    for at in ended_s:
        counts[min(points - 1, int(at / end * points))] += 1
    rates = [count / (end / points) for count in counts]
    top, width = max(rates), (_WIDTH - _LEFT) / points
    places = [(_LEFT + (n + 0.5) * width, _y(rate / top)) for n, rate in enumerate(rates)]
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
    marks = [f'<polyline class=line points="{line}"/>']
    marks += [
        f'<circle class=bar cx="{x:.1f}" cy="{y:.1f}" r="3">'
        f"<title>{rate:.0f} a second</title></circle>"
        for (x, y), rate in zip(places, rates, strict=True)
    ]
    return _plot("workflows a second", marks, x=("0", f"{end:.1f} s"), top=f"{top:.0f}")


def _bars(caption: str, values: Mapping[str, float], *, unit: str) -> str:
    """Draw one bar for each value, with its name and number."""
    top, left, step = max(values.values()) or 1.0, 110, 19
    marks = []
    for n, (name, value) in enumerate(values.items()):
        width, y = value / top * (_WIDTH - left - 60), n * step + 4
        marks.append(f'<text x="{left - 6}" y="{y + 11}" text-anchor=end>{escape(name)}</text>')
        marks.append(
            f'<rect class=bar x="{left}" y="{y}" width="{width:.1f}" height="{step - 4}"/>'
        )
        label = f"{value:g} {escape(unit)}"
        marks.append(f'<text x="{left + width + 5:.1f}" y="{y + 11}">{label}</text>')
    return _figure(caption, marks, height=len(values) * step + 8)


def _plot(caption: str, marks: Iterable[str], *, x: tuple[str, str], top: str) -> str:
    floor = ceil(_y(0))
    axes = [
        f'<line class=axis x1="{_LEFT}" x2="{_WIDTH}" y1="{floor}" y2="{floor}"/>',
        f'<text x="{_LEFT}" y="{floor + 15}">{escape(x[0])}</text>',
        f'<text x="{_WIDTH}" y="{floor + 15}" text-anchor=end>{escape(x[1])}</text>',
        f'<text x="{_LEFT - 5}" y="14" text-anchor=end>{escape(top)}</text>',
        f'<text x="{_LEFT - 5}" y="{floor}" text-anchor=end>0</text>',
    ]
    return _figure(caption, [*marks, *axes], height=_HEIGHT)


def _figure(caption: str, marks: Iterable[str], *, height: int) -> str:
    inside = "".join(marks)
    return (
        f"<figure><figcaption>{escape(caption)}</figcaption>"
        f'<svg width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" role=img>'
        f"<title>{escape(caption)}</title>{inside}</svg></figure>"
    )


def _y(share: float) -> float:
    return (_HEIGHT - _BELOW) - share * (_HEIGHT - _BELOW - 6)
