"""A workflow as a picture: SVG that needs nothing else, a row for each step of the longest way.

What colour says is also written: what asks people, what cannot be undone, what is repeated.
"""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

from awe_core.capability import Confirm, UndoNone
from awe_core.cli.render import plain
from awe_core.decider import Faults, link
from awe_core.workflow import StepConfirm

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from awe_core.capability import CapabilitySpec
    from awe_core.workflow import StepSpec, WorkflowSpec

_WIDE, _HIGH, _ACROSS, _DOWN, _EDGE = 230, 62, 26, 46, 20
_LETTERS = 31  #: of a line in a box
_STYLE = (
    "text{font:12px sans-serif;fill:#111}.b{font-weight:bold}.m{font-style:italic}"
    "rect{fill:#eef3fb;stroke:#34506e}.confirm{fill:#fff3c9}.final{fill:#fbdcdc}"
    "path{fill:none;stroke:#555}svg{background:#fff}"
)


def drawn(spec: WorkflowSpec, capabilities: Mapping[str, CapabilitySpec]) -> list[str]:
    """Draw *spec*, a line of SVG an element.

    :raises WorkflowError: its steps do not fit together
    """
    links = link(Faults(spec))
    needs, order = (links.needs, links.order) if links else ((), ())
    rows: list[list[int]] = []
    row_of, place = dict[int, int](), dict[int, float]()
    for index in order:
        row_of[index] = max((row_of[need] + 1 for need in needs[index]), default=0)
        if row_of[index] == len(rows):
            rows.append([])
        rows[row_of[index]].append(index)
    most = max(map(len, rows), default=1)
    for row in rows:  # a step stands below what it needs, as far as there is room
        row.sort(key=lambda i: sum(place[n] for n in needs[i]) / max(1, len(needs[i])))
        place |= {i: (most - len(row)) / 2 + n for n, i in enumerate(row)}
    at = {
        i: (_EDGE + place[i] * (_WIDE + _ACROSS), _EDGE + row_of[i] * (_HIGH + _DOWN))
        for i in place
    }
    edges = [(need, index) for index in order for need in needs[index]]
    return [*_picture(spec, capabilities, at, edges, (most, len(rows))), "</svg>"]


def _picture(
    spec: WorkflowSpec,
    capabilities: Mapping[str, CapabilitySpec],
    at: Mapping[int, tuple[float, float]],
    edges: list[tuple[int, int]],
    size: tuple[int, int],
) -> Iterator[str]:
    wide = 2 * _EDGE + size[0] * (_WIDE + _ACROSS) - _ACROSS
    high = 2 * _EDGE + size[1] * (_HIGH + _DOWN) - _DOWN
    head = f'width="{wide}" height="{high}" viewBox="0 0 {wide} {high}" role="img"'
    yield f'<svg xmlns="http://www.w3.org/2000/svg" {head}>'
    yield f"<title>{_text(spec.reference)}</title><style>{_STYLE}</style>"
    for need, index in edges:
        (x, y), (to_x, to_y) = at[need], at[index]
        x, to_x, y, half = x + _WIDE / 2, to_x + _WIDE / 2, y + _HIGH, _DOWN / 2
        way = f"M{x:g} {y:g}C{x:g} {y + half:g} {to_x:g} {to_y - half:g} {to_x:g} {to_y:g}"
        yield f'<path d="{way}"/>'
        yield f'<path d="M{to_x - 4:g} {to_y - 7:g}L{to_x:g} {to_y:g}L{to_x + 4:g} {to_y - 7:g}"/>'
    for index, (x, y) in at.items():
        step = spec.steps[index]
        marks, kind = _marks(step, capabilities.get(step.capability or ""))
        yield f"<g><title>{_text(f'{step.id}: {step.target}')}</title>"
        yield f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{_WIDE}" height="{_HIGH}" rx="5"/>'
        for n, (line, class_) in enumerate(((step.id, "b"), (step.target, ""), (marks, "m"))):
            shown = line if len(line) <= _LETTERS else f"{line[: _LETTERS - 1]}…"
            where = f'x="{x + 8:g}" y="{y + 18 + 18 * n:g}"'
            yield f'<text class="{class_}" {where}>{_text(shown)}</text>'
        yield "</g>"


def _marks(step: StepSpec, contract: CapabilitySpec | None) -> tuple[str, str]:
    """Say what is special about a step, in words and as a class of the style."""
    confirms = step.confirm is StepConfirm.ALWAYS or (
        contract is not None and contract.confirm is Confirm.ALWAYS
    )
    is_final = (
        contract is not None and contract.changes_world and isinstance(contract.undo, UndoNone)
    )
    words = (
        ("cannot be undone", is_final),
        ("confirm", confirms),
        ("each", step.foreach is not None),
        ("workflow", step.workflow is not None),
    )
    kind = "final" if is_final else "confirm" if confirms else "plain"
    return " · ".join(word for word, holds in words if holds), kind


def _text(text: str) -> str:
    return escape(plain(text))
