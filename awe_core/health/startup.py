"""How this process was started, and the unit that starts one by `awe_core.hardened`."""

from __future__ import annotations

import shlex
import site
import sys
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from awe_core.config import Config

_UNIT = """\
# Fill in USER and COMMAND, then: systemd-analyze verify FILE
[Unit]
Description=AWE deployment {name}
[Service]
Type=simple
User=USER
UMask=0077
ExecStart={start} COMMAND
NoNewPrivileges=yes
CapabilityBoundingSet=
RestrictSUIDSGID=yes
PrivateTmp=yes
ProtectSystem=strict
ProtectHome=read-only
ReadWritePaths={writable}
[Install]
WantedBy=multi-user.target
"""


def started_how() -> str:
    """Say ``hardened``, or which files could run in this process before AWE did."""
    if sys.flags.isolated and sys.flags.no_site:
        return "hardened"
    user = [site.getusersitepackages()] if site.ENABLE_USER_SITE else []
    below = (path for folder in {*site.getsitepackages(), *user} for path in Path(folder).glob("*"))
    files = [str(path) for path in below if path.suffix in {".pth", ".start"}]
    specs = map(PathFinder.find_spec, ("sitecustomize", "usercustomize"))
    files += [str(spec.origin) for spec in specs if spec is not None]
    return f"startup files could run: {', '.join(sorted(files)) or 'none is there now'}"


def hardening_unit(config: Config) -> str:
    """Write a systemd unit that starts AWE hardened; it may write the home and the workspace."""
    place = ("--config", config.file) if config.file else ("--home", config.home)
    pyc = f"pycache_prefix={config.home / 'cache' / 'pyc'}"
    program = Path(__file__).parents[1] / "hardened.py"
    start = _words(sys.executable, "-I", "-S", "-X", pyc, program, *place)
    root = config.workspace.root
    places = (root,) if config.home.is_relative_to(root) else (config.home, root)  # each is a mount
    return _UNIT.format(name=config.name, start=start, writable=_words(*places))


def _words(*words: object) -> str:
    return " ".join(shlex.quote(str(word)).replace("%", "%%") for word in words)
