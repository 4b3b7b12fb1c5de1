"""Judge the coverage data in this folder: every branch of the pure floors, 95 % of the whole.

usage: python .ci/branches.py
"""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main() -> int:
    """Report both; the pure floors are those of the import contracts."""
    pure = ",".join(
        f"*/{module.replace('.', '/')}{end}" for module in _pure() for end in (".py", "/*")
    )
    return _report("100", "--include", pure) | _report("95")


def _pure() -> list[str]:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    return [
        module
        for contract in contracts
        if contract["id"] in {"pure", "pure-hookspecs"}
        for module in contract["source_modules"]
    ]


def _report(least: str, *arguments: str) -> int:
    command = [sys.executable, "-m", "coverage", "report", "--fail-under", least, *arguments]
    return subprocess.run(command, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
