"""The file effects: what each asks of the grant, of the workspace, and what it counts."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Protocol, TypeVar, cast

from awe_core import canonical
from awe_core.effects.changes import Change, Done
from awe_core.errors import AweError, EffectRefusedError
from awe_core.files import FileEntry, FileResult
from awe_core.workspace.paths import parse

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.effects.broker import StepRef
    from awe_core.effects.counters import Counters
    from awe_core.effects.grants import Grant, Narrowed
    from awe_core.effects.port import Port
    from awe_core.values import JsonObject
    from awe_core.workspace import Staged, Workspace, WriteMode


_T = TypeVar("_T")


class _Broker(Protocol):
    """What the kinds need of `StepBroker`."""

    port: Port
    step: StepRef
    grant: Grant
    workspace: Workspace
    counters: Counters

    def check(self, kind: str, target: str) -> None: ...
    def refuse(self, kind: str, target: str, error: AweError) -> AweError: ...
    def observed(self, kind: str, target: str, post: str | None) -> None: ...
    async def change(self, change: Change) -> Done: ...


class FileEffects:
    """``fs.*`` for one attempt of one step."""

    async def read(self: _Broker, path: str) -> bytes:
        """Give the bytes of a file within the declared limit."""
        granted = _granted(self, "fs.read", path)
        _count_file(self, granted, path)
        most = int(granted.fields["max_bytes"])
        data = _asked(self, "fs.read", path, lambda: self.workspace.read(path, max_bytes=most))
        self.observed("fs.read", path, canonical.digest(data))
        return data

    async def list(self: _Broker, path: str) -> tuple[FileEntry, ...]:
        """Give the entries of a directory."""
        granted = _granted(self, "fs.list", path)
        most = int(granted.fields["max_entries"])
        found = _asked(self, "fs.list", path, lambda: self.workspace.list(path, max_entries=most))
        self.observed("fs.list", path, None)
        return found

    async def stat(self: _Broker, path: str) -> FileEntry | None:
        """Describe one name; listing the directory above would say as much."""
        above = path.rpartition("/")[0] or "."
        _granted(self, "fs.list", path, above)
        found = _asked(self, "fs.list", path, lambda: self.workspace.stat(path))
        self.observed("fs.list", path, None)
        return found

    async def glob(self: _Broker, pattern: str) -> tuple[FileEntry, ...]:
        """Give what matches *pattern*; every directory that is looked into must be granted."""
        self.check("fs.list", pattern)
        grant, top = self.grant, _fixed(pattern)
        granted = _asked(self, "fs.list", pattern, lambda: grant.find("fs.list", pattern, top))
        limits = {k: int(granted.fields[k]) for k in ("max_entries", "depth")}
        found = _asked(self, "fs.list", pattern, lambda: self.workspace.glob(pattern, **limits))
        for one in found:
            above = one.path.rpartition("/")[0] or "."
            _asked(self, "fs.list", above, lambda: grant.find("fs.list", one.path, above))  # noqa: B023 - called at once
        self.observed("fs.list", pattern, None)
        return found

    async def write(
        self: _Broker, path: str, data: bytes, *, mode: str, expect: str | None, parents: bool
    ) -> FileResult:
        """Create or replace a file; the earlier one is kept until the run may be forgotten."""
        granted = _granted(self, "fs.write", path)
        _check_mode(self, granted, path, *_needed_modes(self, path, mode))
        _check_size(self, granted, path, len(data))
        _count_file(self, granted, path)
        if parents:
            await _make_parents(self, path)
        workspace, run = self.workspace, self.port.run_id
        done = await self.change(
            _change(
                "fs.write",
                path,
                request={"mode": mode, "sha256": canonical.sha256_hex(data), "expect": expect},
                stage=lambda: workspace.stage_write(
                    path, data, mode=cast("WriteMode", mode), run=run, expect=expect
                ),
            )
        )
        return _result(path, done)

    async def append(self: _Broker, path: str, data: bytes) -> FileResult:
        """Add to the end of a file."""
        granted = _granted(self, "fs.write", path)
        _check_mode(self, granted, path, "append")
        _count_file(self, granted, path)
        _asked(self, "fs.write", path, lambda: self.counters.added(granted, path, len(data)))
        workspace, run = self.workspace, self.port.run_id
        done = await self.change(
            _change(
                "fs.write",
                path,
                request={"mode": "append", "sha256": canonical.sha256_hex(data)},
                stage=lambda: workspace.stage_append(path, data, run=run),
            )
        )
        return _result(path, done)

    async def mkdir(self: _Broker, path: str, *, parents: bool) -> None:
        """Make a directory; one effect for each directory made."""
        granted = _granted(self, "fs.write", path)
        _check_mode(self, granted, path, "create")
        _count_file(self, granted, path)
        if parents:
            await _make_parents(self, path)
            found = self.workspace.stat(path)
            if found is not None and found.type == "directory":
                return
        await _mkdir(self, path)

    async def move(self: _Broker, source: str, target: str) -> None:
        """Rename without replacing; both ends must be granted."""
        for path, needed in ((source, "replace"), (target, "create")):
            granted = _granted(self, "fs.write", path)
            _check_mode(self, granted, path, needed)
            _count_file(self, granted, path)
        workspace = self.workspace
        await self.change(
            _change(
                "fs.write",
                target,
                source,
                request={"mode": "move", "source": source},
                stage=lambda: workspace.stage_move(source, target),
            )
        )

    async def delete(self: _Broker, path: str, *, recursive: bool) -> None:
        """Remove a name; what was there is kept until the run may be forgotten."""
        granted = _granted(self, "fs.delete", path)
        if recursive and not granted.fields.get("recursive"):
            error = EffectRefusedError(
                "effect.limit", which="recursive", limit="false", target=path
            )
            raise self.refuse("fs.delete", path, error)
        _count_file(self, granted, path)
        run, most = self.port.run_id, int(granted.fields["max_files"])
        workspace = self.workspace
        await self.change(
            _change(
                "fs.delete",
                path,
                request={"recursive": recursive},
                stage=lambda: workspace.stage_delete(
                    path, recursive=recursive, max_files=most, run=run
                ),
            )
        )


def _granted(broker: _Broker, kind: str, path: str, *others: str) -> Narrowed:
    """Check lateness, lexical rules and the grant, in that order, and record a refusal.

    :param others: what says as much when it is granted
    """
    broker.check(kind, path)
    try:
        parse(path, portable_names=broker.workspace.portable_names, root=kind == "fs.list")
        return broker.grant.find(kind, path, *others)
    except AweError as error:
        raise broker.refuse(kind, path, error) from None


def _asked(broker: _Broker, kind: str, target: str, work: Callable[[], _T]) -> _T:
    """Do *work* and record it when it refuses."""
    try:
        return work()
    except EffectRefusedError as error:
        raise broker.refuse(kind, target, error) from None


def _count_file(broker: _Broker, granted: Narrowed, path: str) -> None:
    step = broker.step

    def count() -> None:
        broker.counters.file(granted, path, lambda: broker.port.touched(step.path, step.epoch))

    _asked(broker, granted.kind, path, count)


def _needed_modes(broker: _Broker, path: str, mode: str) -> tuple[str, ...]:
    """What a write needs: an upsert both, and nothing else is a way to write a whole file."""
    match mode:
        case "upsert":
            return ("create", "replace")
        case "create" | "replace":
            return (mode,)
        case _:
            limit = "create, replace, upsert"
            error = EffectRefusedError("effect.limit", which="mode", limit=limit, target=path)
            raise broker.refuse("fs.write", path, error)


def _check_mode(broker: _Broker, granted: Narrowed, path: str, *needed: str) -> None:
    modes = set(granted.fields.get("modes") or ())
    if not modes.issuperset(needed):
        limit = ", ".join(sorted(modes))
        error = EffectRefusedError("effect.limit", which="modes", limit=limit, target=path)
        raise broker.refuse("fs.write", path, error)


def _fixed(pattern: str) -> str:
    """The directory where a search for *pattern* begins."""
    parts = pattern.split("/")[:-1]
    fixed = itertools.takewhile(lambda part: not set(part) & set("*?["), parts)
    return "/".join(fixed) or "."


def _check_size(broker: _Broker, granted: Narrowed, path: str, size: int) -> None:
    limit = int(granted.fields["max_bytes"])
    if size > limit:
        error = EffectRefusedError("effect.limit", which="max_bytes", limit=limit, target=path)
        raise broker.refuse("fs.write", path, error)


async def _make_parents(broker: _Broker, path: str) -> None:
    """Make the directories above *path* that do not exist, each as an effect of its own."""
    for above in broker.workspace.missing_parents(path):
        await _mkdir(broker, above)


async def _mkdir(broker: _Broker, path: str) -> None:
    await broker.change(
        _change(
            "fs.write",
            path,
            request={"mode": "mkdir"},
            stage=lambda: broker.workspace.stage_mkdir(path),
        )
    )


def _change(
    kind: str, path: str, *others: str, request: JsonObject, stage: Callable[[], Staged]
) -> Change:
    """Ask for a change at *path*; it claims every path it touches."""
    claims = tuple(f"fs/{one}" for one in (path, *others))
    return Change(kind=kind, target=path, claims=claims, request=request, stage=stage)


def _result(path: str, done: Done) -> FileResult:
    return FileResult(path, done.sha256 or "", done.size or 0, done.is_created)
