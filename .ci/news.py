"""Say whether every changed distribution tells its users so: a fragment in its ``changes.d``.

usage: python .ci/news.py

A distribution (the core, each plugin, each pack) has changed when a file that it ships differs from
the base.  Then its ``changes.d`` must hold a fragment ``<slug>.<type>.md`` that the base does not
have, or its ``CHANGELOG.md`` must differ (a release).  What users cannot see needs none: one commit
since the base then says so with a trailer ``No-news: <why>``.

The base is the first of these that exists:

- ``$AWE_NEWS_BASE``, any commit;
- where this branch left the remote's or the local main branch;
- on the main branch itself, the last tag ``v…``;
- nothing: before the first release, without history or without git, everything is a change.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path.cwd()
MAIN = ("origin/HEAD", "origin/main", "main")
NOT_FRAGMENTS = ("README.md", ".gitkeep")


def main() -> int:
    """Check every distribution; print what is missing."""
    base = _base()
    changed = _changed(base)
    print(f"compared with {base or 'nothing: everything is a change'}")
    if base and _git("log", "--format=%(trailers:key=No-news,valueonly)", f"{base}..HEAD").strip():
        print("a commit says that users see nothing of it (No-news); only names are checked")
        changed = set()
    complaints = [line for folder in _distributions() for line in _complaints(folder, changed)]
    print(*complaints, sep="\n")
    return 1 if complaints else _draft()


def _distributions() -> list[Path]:
    found = sorted(path for kind in ("packs", "plugins") for path in ROOT.glob(f"{kind}/*"))
    return [ROOT, *(path for path in found if (path / "pyproject.toml").exists())]


def _complaints(folder: Path, changed: set[Path]) -> list[str]:
    settings = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))
    name, types = settings["project"]["name"], _types(settings)
    fragments = _fragments(folder)
    complaints = [
        f"{path.relative_to(ROOT)}: its name is not <slug>.<type>.md, type {' or '.join(types)}"
        for path in fragments
        if not _is_well_named(path.name, types)
    ]
    told = {*fragments, folder / "CHANGELOG.md"} & changed
    source = folder / "awe_core" if folder == ROOT else folder / "src"
    if not told and any(path.is_relative_to(source) for path in changed):
        place = (folder / "changes.d").relative_to(ROOT)
        complaints.append(f"{name} has changed: write {place}/<slug>.<type>.md")
    return complaints


def _is_well_named(name: str, types: list[str]) -> bool:
    match name.split("."):
        case [slug, kind, "md"]:
            return bool(slug) and kind in types
        case _:
            return False


def _fragments(folder: Path) -> list[Path]:
    files = sorted((folder / "changes.d").glob("*"))
    return [path for path in files if path.name not in NOT_FRAGMENTS]


def _types(settings: dict[str, dict[str, dict[str, list[dict[str, str]]]]]) -> list[str]:
    return [kind["directory"] for kind in settings["tool"]["towncrier"]["type"]]


def _base() -> str | None:
    if wanted := os.environ.get("AWE_NEWS_BASE"):
        return wanted
    head = _git("rev-parse", "HEAD").strip()
    is_elsewhere = _git("branch", "--show-current").strip() not in {"main", ""}
    for branch in MAIN:
        left = _git("merge-base", "HEAD", branch).strip()
        if left and (left != head or is_elsewhere):
            return left
    return _git("describe", "--tags", "--match", "v*", "--abbrev=0").strip() or None


def _changed(base: str | None) -> set[Path]:
    """Every file that differs from *base*, committed or not; without one, every file there is."""
    if base is None:
        places = [path / part for path in _distributions() for part in ("src", "changes.d")]
        return {path for top in (ROOT / "awe_core", *places) for path in top.rglob("*.*")}
    names = _git("diff", "--name-only", "-z", base)
    names += _git("ls-files", "--others", "--exclude-standard", "-z")
    return {ROOT / name for name in names.split("\0") if name}


def _git(*arguments: str) -> str:
    """Ask git; where it has no answer (no repository, no such branch) that is the empty one."""
    program = shutil.which("git")
    if program is None:
        return ""
    command = [program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _draft() -> int:
    """Let towncrier print the coming entries; it refuses what it could not build later."""
    for folder in _distributions():
        command = [sys.executable, "-m", "towncrier", "build", "--draft", "--version", "next"]
        done = subprocess.run(command, cwd=folder, check=False)
        if done.returncode:
            return done.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main())
