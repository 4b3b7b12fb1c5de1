"""Build the wheel of every pack into a folder and install what was built.

usage: python .ci/wheels.py FOLDER

Tests need both: the packs installed from their wheels, and the wheel files to propose.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def main(target: Path) -> None:
    """Build into *target*, then install from it; hatchling must be there already."""
    packs = sorted(str(path.parent) for path in ROOT.glob("packs/*/pyproject.toml"))
    _pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(target), *packs)
    _pip("install", *sorted(str(wheel) for wheel in target.glob("*.whl")))


def _pip(*arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "pip", "--quiet", *arguments], check=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
