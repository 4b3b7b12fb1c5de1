"""Print the medians and the ten longest modules and functions: to be discussed, not to be obeyed.

usage: python .ci/lengths.py
"""

from __future__ import annotations

import ast
import statistics
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACES = ("awe_core", "packs/*/src", "plugins/*/src")


def main() -> None:
    """Print the report."""
    files = sorted(
        path for place in PLACES for top in ROOT.glob(place) for path in top.rglob("*.py")
    )
    texts = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in files}
    _report("module", {name: text.count("\n") for name, text in texts.items()})
    _report("function", {k: v for name, text in texts.items() for k, v in _functions(name, text)})


def _functions(name: str, text: str) -> list[tuple[str, int]]:
    return [
        (f"{name}:{node.lineno} {node.name}", (node.end_lineno or node.lineno) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]


def _report(kind: str, lengths: dict[str, int]) -> None:
    total, middle = sum(lengths.values()), statistics.median(lengths.values() or [0])
    print(f"\n{len(lengths)} {kind}s, {total} lines, median {middle:g}; the ten longest:")
    for name, length in sorted(lengths.items(), key=lambda item: -item[1])[:10]:
        print(f"  {length:5}  {name}")


if __name__ == "__main__":
    main()
