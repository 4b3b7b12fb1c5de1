"""Give every plugin and pack an environment of its own: it, the core, and nothing else.

`tox -e isolated-<distribution>` installs the core's wheel, then the distribution's wheel with its
extra ``test``, and runs the distribution's own tests.  The folders are looked up, not listed.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

from tox.config.loader.memory import MemoryLoader
from tox.config.types import Command
from tox.plugin import impl

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tox.config.sets import ConfigSet
    from tox.session.state import State

ROOT = Path(__file__).parent


def distributions() -> dict[str, Path]:
    """Find the folder of each plugin and pack, by the name of its environment."""
    found = sorted(path for kind in ("plugins", "packs") for path in ROOT.glob(f"{kind}/*"))
    return {f"isolated-{_name(path)}": path for path in found if (path / "pyproject.toml").exists()}


def _name(folder: Path) -> str:
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["name"])


@impl
def tox_extend_envs() -> Iterable[str]:
    """Make the environments known."""
    return tuple(distributions())


@impl
def tox_add_core_config(core_conf: ConfigSet, state: State) -> None:
    """Say what the environments do, and let a plain `tox` run them."""
    for name, folder in distributions().items():
        state.conf.memory_seed_loaders[name].append(_settings(folder))
    core_conf["env_list"].envs.extend(distributions())


def _settings(folder: Path) -> MemoryLoader:
    tests = [Command(["pytest", str(folder / "tests")])] if (folder / "tests").is_dir() else []
    return MemoryLoader(
        description=f"{folder.relative_to(ROOT)} with the core and nothing else",
        dependency_groups=set(),
        commands_pre=[Command(["python", "-m", "pip", "install", "--quiet", f"{folder}[test]"])],
        commands=[Command(["python", "-m", "pip", "check"]), *tests],
    )
