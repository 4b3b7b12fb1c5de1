"""Run mypy over everything that is typed: the core, every plugin and pack, the house's own scripts.

usage: python .ci/check_types.py
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
PLACES = ("awe_core", "packs/*/src", "plugins/*/src", "toxfile.py", ".ci/*.py", "docs/*.py")


def main() -> int:
    """Check what is there."""
    places = sorted(str(path) for place in PLACES for path in ROOT.glob(place))
    return subprocess.run([sys.executable, "-m", "mypy", *places], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
