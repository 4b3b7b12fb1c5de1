"""The doctor: tries what it claims, and names a cause and a next step for all that is not green."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from typing import TYPE_CHECKING

from awe_core.errors import AweError
from awe_core.health.checks import Check, Level
from awe_core.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from awe_core.config import Config
    from awe_core.runtime import Runtime

_GIB = 1 << 30
_SLOW_MS = 50.0
_COMMITS = 20
_OLD_SQLITE, _OLDEST_SQLITE = (3, 45, 0), (3, 37, 0)
#: Releases in which two writing connections could corrupt a WAL (sqlite.org, WAL-reset bug).
_RESET_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))


def doctor(rt: Runtime, topics: Iterable[str] = (), *, now_s: int) -> tuple[Check, ...]:
    """Run the checks of *topics* (all of them if none is named).

    :raises KeyError: for a topic that is none of `TOPICS`
    """
    chosen = list(topics) or list(TOPICS)
    return tuple(check for topic in chosen for check in TOPICS[topic](rt, now_s))


def _sqlite(rt: Runtime, now_s: int) -> Iterator[Check]:
    del now_s
    version = sqlite3.sqlite_version_info
    level = Level.GREEN
    if version < _OLDEST_SQLITE:
        level = Level.RED
    elif version < _OLD_SQLITE or not _has_reset_fix(version):
        level = Level.AMBER
    advice = "" if level is Level.GREEN else "use a Python whose sqlite3 is newer"
    found = f"{sqlite3.sqlite_version}; one connection writes and checkpoints"
    yield Check("sqlite", "SQLite library", level, found, advice)
    yield _durability(rt.config)


def _has_reset_fix(version: tuple[int, ...]) -> bool:
    return any(version[:2] == fixed[:2] and version >= fixed for fixed in _RESET_FIXED) or (
        version >= _RESET_FIXED[-1]
    )


def _durability(config: Config) -> Check:
    """Time commits on the home's own disk, with the journal's own settings."""
    probe = config.home / "doctor-probe.db"
    try:
        times = _timed_commits(probe)
    except (OSError, sqlite3.Error) as error:
        what = f"{type(error).__name__}: {error}"
        return Check("sqlite", "durable commits", Level.RED, what, f"make {config.home} writable")
    finally:
        for suffix in ("", "-wal", "-shm"):
            probe.with_name(probe.name + suffix).unlink(missing_ok=True)
    p95 = sorted(times)[int(len(times) * 0.95)] * 1e3
    found = f"{_COMMITS} commits, 95 % within {p95:.1f} ms; {config.engine.durability}"
    level = Level.AMBER if p95 > _SLOW_MS else Level.GREEN
    return Check(
        "sqlite",
        "durable commits",
        level,
        found,
        "put home: on a faster local disk" if level is Level.AMBER else "",
    )


def _timed_commits(probe: Path) -> list[float]:
    connection = sqlite3.connect(probe, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("CREATE TABLE t(x)")
        times = []
        for number in range(_COMMITS):
            started = time.perf_counter()
            connection.execute("INSERT INTO t VALUES(?)", (number,))
            times.append(time.perf_counter() - started)
        return times
    finally:
        connection.close()


def _disk(rt: Runtime, now_s: int) -> Iterator[Check]:
    del now_s
    for what, folder in (("home", rt.config.home), ("workspace", rt.config.workspace.root)):
        free = shutil.disk_usage(folder).free
        level = Level.RED if free < _GIB // 10 else Level.AMBER if free < _GIB else Level.GREEN
        advice = "" if level is Level.GREEN else f"free space on the disk of {folder}"
        yield Check("disk", f"free space for the {what}", level, f"{free / _GIB:.1f} GiB", advice)
    mode = stat.S_IMODE(rt.config.home.stat().st_mode)
    is_ours = rt.config.home.stat().st_uid == os.geteuid()
    fine = mode == stat.S_IRWXU and is_ours
    advice = "" if fine else f"chmod 700 {rt.config.home}"
    level = Level.GREEN if fine else Level.RED
    yield Check("disk", "home is private", level, f"mode {mode:04o}", advice)


def _undo(rt: Runtime, now_s: int) -> Iterator[Check]:
    del now_s
    config = rt.config
    try:
        with Workspace.open(config.workspace.root, store=config.home / "undo") as workspace:
            capture, backend = workspace.capture, workspace.backend
    except (AweError, OSError) as error:
        yield Check("undo", "undo store", Level.RED, str(error), "awe doctor disk")
        return
    level = Level.GREEN if capture == "swap" else Level.AMBER
    advice = (
        "" if level is Level.GREEN else "put home: and workspace: on one file system that can swap"
    )
    yield Check("undo", "pre-images are taken", level, f"by {capture}; files by {backend}", advice)


def _keys(rt: Runtime, now_s: int) -> Iterator[Check]:
    del now_s
    folder = rt.config.home / "keys"
    loose = [
        path.name
        for path in folder.rglob("*")
        if path.is_file() and stat.S_IMODE(path.stat().st_mode) & 0o077
    ]
    level = Level.RED if loose else Level.GREEN
    found = ", ".join(loose) or "readable by their owner alone"
    yield Check("keys", "key files", level, found, f"chmod 600 {folder}/*" if loose else "")
    is_dev = rt.deployment.trust == "dev-local"
    level = Level.AMBER if is_dev else Level.GREEN
    advice = "awe init --prod    (before others rely on this deployment)" if is_dev else ""
    yield Check("keys", "root of trust", level, rt.deployment.trust, advice)


def _packs(rt: Runtime, now_s: int) -> Iterator[Check]:
    deployment = rt.deployment
    if deployment.failure is not None:
        failure = deployment.failure
        yield Check("packs", "trust", Level.RED, failure.summary, failure.hint or "")
        return
    verdict = deployment.verdict
    for warning in verdict.warnings if verdict else ():
        yield Check("packs", "trust", Level.AMBER, warning.summary, warning.hint or "")
    for name, error in deployment.refused:
        yield Check("packs", name, Level.RED, error.summary, error.hint or "")
    known = {pack.name for pack in verdict.packs} if verdict else set()
    for found in deployment.found:
        if found.name not in known:
            advice = f"awe packs trust-local {found.name}    (or propose its wheel)"
            yield Check("packs", found.name, Level.AMBER, "installed, not governed", advice)
    names = ", ".join(pack.record.name for pack in deployment.packs) or "none"
    yield Check("packs", "verified", Level.GREEN, names)
    del now_s


def _policies(rt: Runtime, now_s: int) -> Iterator[Check]:
    del now_s
    names = [one.policy for one in rt.config.confirm]
    known = {"auto", "deny_all", "console", "allow_list"}
    missing = [name for name in names if name not in known]
    level = Level.RED if missing else Level.GREEN
    advice = "correct confirm: in awe.yaml; every call is denied until then" if missing else ""
    yield Check("policies", "the handshake's chain", level, ", ".join(names), advice)


def _runs(rt: Runtime, now_s: int) -> Iterator[Check]:
    del now_s
    residue = rt.journal.rows("SELECT id FROM run WHERE residue > 0")
    paused = rt.journal.rows("SELECT id FROM run WHERE state = 'PAUSED'")
    for what, rows, advice in (
        ("something remains after a rollback", residue, "awe runs show RUN --residue"),
        ("waiting for somebody", paused, "awe approvals list"),
    ):
        level = Level.AMBER if rows else Level.GREEN
        yield Check("runs", what, level, f"{len(rows)} runs", advice if rows else "")


def _clock(rt: Runtime, now_s: int) -> Iterator[Check]:
    last = next(iter(rt.journal.rows("SELECT ts FROM log ORDER BY seq DESC LIMIT 1")), (0,))[0]
    behind = last / 1e6 - now_s
    level = Level.RED if behind > 1 else Level.GREEN
    advice = "set the clock" if level is Level.RED else ""
    found = f"{behind:.0f} s behind the log" if behind > 1 else "not behind the log"
    yield Check("clock", "wall clock", level, found, advice)


#: Topic → its checks.
TOPICS: Mapping[str, Callable[[Runtime, int], Iterator[Check]]] = {
    "sqlite": _sqlite,
    "disk": _disk,
    "undo": _undo,
    "keys": _keys,
    "clock": _clock,
    "packs": _packs,
    "policies": _policies,
    "runs": _runs,
}
