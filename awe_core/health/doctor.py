"""The doctor: tries what it claims, and names a cause and a next step for all that is not green.

It opens nothing for writing and needs no journal that can be read: both may be what is ill.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from enum import StrEnum
from typing import TYPE_CHECKING

import attrs

from awe_core.errors import AweError
from awe_core.health.startup import started_how
from awe_core.health.status import troubles
from awe_core.invoke import PROMISES
from awe_core.journal import JournalReader, owner_of
from awe_core.records import timestamp
from awe_core.runtime.deployment import load, read_mark
from awe_core.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from awe_core.config import Config
    from awe_core.runtime import Deployment
    from awe_core.values import JsonObject

_GIB = 1 << 30
_DAY_S = 86_400
_SLOW_MS = 50.0
_COMMITS = 20
_OLD_SQLITE, _OLDEST_SQLITE = (3, 45, 0), (3, 37, 0)
#: Releases in which two writing connections could corrupt a WAL (sqlite.org, WAL-reset bug).
_RESET_FIXED = ((3, 44, 6), (3, 50, 7), (3, 51, 3))
_POLICIES = frozenset({"auto", "deny_all", "console", "allow_list"})


class Level(StrEnum):
    """Green: as it should be.  Amber: it works, with a caveat.  Red: a promise does not hold."""

    GREEN = "green"
    AMBER = "amber"
    RED = "red"


@attrs.frozen
class Check:
    """One thing the doctor looked at."""

    topic: str
    what: str
    level: Level
    found: str
    next: str = ""  #: the command or edit that mends it; empty when green

    def as_json(self) -> JsonObject:
        """Give the form that ``--json`` shows."""
        return attrs.asdict(self) | {"next": self.next or None}


@attrs.frozen
class _Patient:
    here: Deployment
    journal: JournalReader | AweError  #: or why it cannot be read
    now_s: int

    @property
    def config(self) -> Config:
        return self.here.config


def doctor(config: Config, topics: Iterable[str] = (), *, now_s: int) -> tuple[Check, ...]:
    """Run the checks of *topics* (all of them if none is named).

    :raises KeyError: for a topic that is none of `TOPICS`
    """
    journal: JournalReader | AweError
    mark = None
    try:
        journal = JournalReader(config.home)
        mark = read_mark(journal, config)
    except AweError as error:
        journal = error
    here = load(config, now_s=now_s, mark=mark).with_plugins()
    patient = _Patient(here, journal, now_s)
    try:
        return tuple(
            Check(topic, what, level, found, "" if level is Level.GREEN else advice)
            for topic in topics or TOPICS
            for what, level, found, advice in TOPICS[topic](patient)
        )
    finally:
        here.finder.uninstall()
        if isinstance(journal, JournalReader):
            journal.close()


_Found = tuple[str, Level, str, str]  # what, level, found, advice for what is not green
_UNKNOWN = (Level.AMBER, "not known: the log cannot be read", "awe doctor journal")


def _graded(*, red: bool = False, amber: bool = False) -> Level:
    return Level.RED if red else Level.AMBER if amber else Level.GREEN


def _sqlite(patient: _Patient) -> Iterator[_Found]:
    version = sqlite3.sqlite_version_info
    has_fix = version >= _RESET_FIXED[-1] or any(
        version[:2] == fixed[:2] and version >= fixed for fixed in _RESET_FIXED
    )
    level = _graded(red=version < _OLDEST_SQLITE, amber=version < _OLD_SQLITE or not has_fix)
    found = f"{sqlite3.sqlite_version}; one connection writes and checkpoints"
    yield "SQLite library", level, found, "use a Python whose sqlite3 is newer"
    home, what = patient.config.home, "durable commits"
    try:
        p95 = sorted(_timed_commits(home))[int(_COMMITS * 0.95)] * 1e3
    except (OSError, sqlite3.Error) as error:
        yield what, Level.RED, f"{type(error).__name__}: {error}", f"make {home} writable"
        return
    found = f"{_COMMITS} commits, 95 % within {p95:.1f} ms; {patient.config.engine.durability}"
    yield what, _graded(amber=p95 > _SLOW_MS), found, "put home: on a faster local disk"


def _timed_commits(home: Path) -> Iterator[float]:
    """Time commits on the home's own disk, with the journal's own settings."""
    probe = home / "doctor-probe.db"
    try:
        connection = sqlite3.connect(probe, isolation_level=None)
        try:
            for word in ("PRAGMA journal_mode=WAL", "PRAGMA synchronous=FULL", "CREATE TABLE t(x)"):
                connection.execute(word)
            for number in range(_COMMITS):
                started = time.perf_counter()
                connection.execute("INSERT INTO t VALUES(?)", (number,))
                yield time.perf_counter() - started
        finally:
            connection.close()
    finally:
        for suffix in ("", "-wal", "-shm"):
            probe.with_name(probe.name + suffix).unlink(missing_ok=True)


def _disk(patient: _Patient) -> Iterator[_Found]:
    home = patient.config.home
    for what, folder in (("home", home), ("workspace", patient.config.workspace.root)):
        if not folder.is_dir():
            yield what, Level.RED, f"{folder} does not exist", "awe init"
            continue
        free = shutil.disk_usage(folder).free
        level = _graded(red=free < _GIB // 10, amber=free < _GIB)
        advice = f"free space on the disk of {folder}"
        yield f"free space for the {what}", level, f"{free / _GIB:.1f} GiB", advice
    if home.is_dir():
        mode, owner = stat.S_IMODE(home.stat().st_mode), home.stat().st_uid
        level = _graded(red=mode != stat.S_IRWXU or owner != os.geteuid())
        yield "home is private", level, f"mode {mode:04o}", f"chmod 700 {home}"


def _undo(patient: _Patient) -> Iterator[_Found]:
    config, what = patient.config, "pre-images are taken"
    try:
        with Workspace.open(config.workspace.root, store=config.home / "undo") as workspace:
            found, is_best = f"by {workspace.capture}", workspace.capture == "swap"
            found += f"; files by {workspace.backend}"
    except (AweError, OSError) as error:
        yield "undo store", Level.RED, str(error), "awe doctor disk"
        return
    advice = "put home: and workspace: on one file system that can swap"
    yield what, _graded(amber=not is_best), found, advice


def _isolation(patient: _Patient) -> Iterator[_Found]:
    """Have every executor try what it promises."""
    offered = patient.here.plugins.executors(patient.config.config).objects
    found = {"inproc": PROMISES, **{one.name: one.probe() for one in offered}}
    for name, promises in found.items():
        by_kind: dict[str, list[str]] = {}
        for right, promise in promises.items():
            by_kind.setdefault(promise, []).append(right)
        says = "; ".join(f"{kind}: {', '.join(rights)}" for kind, rights in by_kind.items())
        advice = "run what you have not reviewed in an executor that enforces: a plugin"
        yield f"executor {name}", _graded(amber="NONE" in by_kind), says, advice


def _keys(patient: _Patient) -> Iterator[_Found]:
    folder = patient.config.home / "keys"
    files = [path for path in folder.rglob("*") if path.is_file()]
    loose = [path.name for path in files if stat.S_IMODE(path.stat().st_mode) & 0o077]
    found = ", ".join(loose) or "readable by their owner alone"
    yield "key files", _graded(red=bool(loose)), found, f"chmod 600 {folder}/*"
    trust = patient.here.trust
    advice = "awe init --prod    (before others rely on this deployment)"
    yield "root of trust", _graded(amber=trust == "dev-local"), trust, advice


def _packs(patient: _Patient) -> Iterator[_Found]:
    here, how = patient.here, started_how()
    advice = "awe trust hardening    (prints the unit that starts without them)"
    yield "start", _graded(amber=here.trust == "prod" and how != "hardened"), how, advice
    if here.failure is not None:
        yield "trust", Level.RED, here.failure.summary, here.failure.hint or ""
        return
    for warning in here.verdict.warnings if here.verdict else ():
        yield "trust", Level.AMBER, warning.summary, warning.hint or ""
    for name, error in here.refused:
        yield name, Level.RED, error.summary, error.hint or ""
    plugins, tables = here.plugins, here.config.config
    for offers in (
        plugins.confirmation_policies(tables),
        plugins.audit_sinks(tables),
        plugins.undo_strategies(tables),
        plugins.executors(tables),
    ):
        for aside in offers.set_aside:
            yield aside.distribution, Level.RED, aside.error.summary, aside.error.hint or ""
    known = {pack.name for pack in here.verdict.packs} if here.verdict else set()
    for found in here.found:
        if found.name not in known:
            advice = "awe packs propose WHEEL --reason T"
            if here.verdict and here.verdict.is_dev:
                advice = f"awe packs trust-local {found.name}    (or propose its wheel)"
            yield found.name, Level.AMBER, "installed, not governed", advice
    yield "verified", Level.GREEN, ", ".join(pack.record.name for pack in here.packs) or "none", ""


def _expiry(patient: _Patient) -> Iterator[_Found]:
    """What ends, when, and what comes before it: a signer hears of it weeks before a server."""
    verdict = patient.here.verdict
    if verdict is None:
        return
    root, manifest = verdict.root, verdict.manifest
    warn_s = root.policy.warn_days * _DAY_S
    ends = [("root of trust", root.expires, warn_s, "awe trust rotate")]
    if manifest is not None:  # a short one is renewed at half its life
        early_s = min(warn_s, (manifest.expires - manifest.issued) // 2)
        ends.append(("manifest", manifest.expires, early_s, "awe trust renew"))
    for each in patient.here.governance.states(now=patient.now_s):
        given = [(one.statement.expires or 0, one.statement.role) for one in each.signed]
        for end, role in sorted(one for one in given if one[0] and each.is_running)[:1]:
            title = each.subject.title
            advice = f"awe {each.subject.kind}s approve {title} --role {role} --reason T"
            ends.append((f"approval of {title}", end, warn_s, advice))
    for what, end, early_s, advice in ends:
        left_s = end - patient.now_s
        level = _graded(red=left_s <= 0, amber=left_s <= early_s)
        yield what, level, f"{left_s // _DAY_S} days left, until {timestamp(end)}", advice


def _policies(patient: _Patient) -> Iterator[_Found]:
    offered = patient.here.plugins.confirmation_policies(patient.config.config).objects
    names = [one.policy for one in patient.config.confirm]
    missing = [name for name in names if name not in _POLICIES | {one.name for one in offered}]
    advice = "correct confirm: in awe.yaml; every call is denied until then"
    yield "the handshake's chain", _graded(red=bool(missing)), ", ".join(names), advice


def _journal(patient: _Patient) -> Iterator[_Found]:
    error, is_new = patient.journal, False
    if isinstance(error, AweError):
        is_new = error.code == "journal.missing"
        advice = "awe init" if is_new else "keep the folder as evidence, then restore a copy"
        yield "the log", _graded(red=not is_new, amber=is_new), error.summary, advice
    else:
        yield "the log", Level.GREEN, f"{error.head().size} records", ""
        ((seq,),) = error.rows("SELECT max(seq) FROM log WHERE kind = 'log.opened'")
        opened, lock = error.record(seq or 0), owner_of(patient.config.home)
        counts = lock and lock.generation, opened and opened.event.get("generation")
        found = f"number {counts[0]} by the lock, {counts[1]} by the log"
        advice = "find out who held the lock since: it could not open, or this is an older journal"
        yield "newest owner", _graded(amber=counts[0] != counts[1]), found, advice
    found = "; ".join(troubles(patient.config.home))
    advice = "mend that; the process goes on by itself"
    yield "the process that owns it", _graded(red=bool(found)), found or "nothing it lacks", advice


def _clock(patient: _Patient) -> Iterator[_Found]:
    if isinstance(patient.journal, AweError):
        yield "wall clock", *_UNKNOWN
        return
    last = next(iter(patient.journal.rows("SELECT ts FROM log ORDER BY seq DESC LIMIT 1")), (0,))[0]
    behind = last / 1e6 - patient.now_s
    found = f"{behind:.0f} s behind the log" if behind > 1 else "not behind the log"
    yield "wall clock", _graded(red=behind > 1), found, "set the clock"


def _runs(patient: _Patient) -> Iterator[_Found]:
    for what, where, advice in (
        ("something remains after a rollback", "residue > 0", "awe runs show RUN --residue"),
        ("waiting for somebody", "state = 'PAUSED'", "awe approvals list"),
    ):
        if isinstance(patient.journal, AweError):
            yield what, *_UNKNOWN
            continue
        count = len(patient.journal.rows(f"SELECT id FROM run WHERE {where}"))  # noqa: S608 - own text
        yield what, _graded(amber=count > 0), f"{count} runs", advice


#: Topic → its checks.
TOPICS: Mapping[str, Callable[[_Patient], Iterator[_Found]]] = {
    "sqlite": _sqlite,
    "disk": _disk,
    "undo": _undo,
    "isolation": _isolation,
    "keys": _keys,
    "expiry": _expiry,
    "packs": _packs,
    "policies": _policies,
    "journal": _journal,
    "clock": _clock,
    "runs": _runs,
}
