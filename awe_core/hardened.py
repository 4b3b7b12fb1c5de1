"""Start ``awe`` before anything that Python runs by itself when it starts::

    python -I -S -X pycache_prefix=HOME/cache/pyc …/awe_core/hardened.py COMMAND…

The flags leave out ``.pth``, ``.start``, sitecustomize and usercustomize, which run before any code
of ours, the environment and bytecode beside the sources.  The one folder put on the path, not
by ``site.addsitedir`` (that runs ``.pth`` files), is that of awe-core and all it requires.
"""

from __future__ import annotations

import re
import runpy
import sys
from importlib.metadata import Distribution
from pathlib import Path


def main() -> None:
    """Check how this interpreter was started, then be the program ``awe``."""
    folder = str(Path(__file__).resolve().parents[1])
    if why := _unfit(folder):
        sys.stderr.write(f"error: this is no hardened start: {why}\n")
        sys.exit(9)
    sys.path.append(folder)
    runpy.run_module("awe_core", run_name="__main__", alter_sys=True)


def _unfit(folder: str) -> str:
    if not (sys.flags.isolated and sys.flags.no_site and sys.pycache_prefix):
        return "it takes python -I -S -X pycache_prefix=FOLDER\n  next: awe trust hardening"
    core = next(iter(Distribution.discover(name="awe-core", path=[folder])), None)
    wanted = [line for line in (core and core.requires) or () if "extra ==" not in line]
    names = re.findall(r"^[\w.-]+", "\n".join(wanted), re.MULTILINE)
    absent = [name for name in names if not any(Distribution.discover(name=name, path=[folder]))]
    if core is None or absent:
        lacks = ", ".join(absent) or "awe-core as pip installs its wheel (it may be editable)"
        return f"{folder} lacks {lacks}\n  next: install the wheel into an environment of its own"
    return ""


if __name__ == "__main__":
    main()
