"""`StepBroker`: what each kind of effect asks of the grant, and how it is performed."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from typing import TYPE_CHECKING, cast

from awe_core import canonical
from awe_core.effects.acting import Acting, Change
from awe_core.errors import EffectError

if TYPE_CHECKING:
    from collections.abc import Callable

    from awe_core.files import FileEntry, FileResult
    from awe_core.values import JsonObject
    from awe_core.workspace import Staged, WriteMode

_MOST_RANDOM = 65_536  #: bytes of one request
#: What a way to write a whole file needs.
_MODES = {
    "upsert": frozenset({"create", "replace"}),
    "create": frozenset({"create"}),
    "replace": frozenset({"replace"}),
}


class StepBroker(Acting):
    """The broker of one attempt of one step; `awe_core.context` shows it to handlers."""

    async def read(self, path: str) -> bytes:
        """Give the bytes of a file within the declared limit."""
        most = int(self.granted("fs.read", path).fields["max_bytes"])
        data = self.tried("fs.read", path, lambda: self.workspace.read(path, max_bytes=most))
        self.observed("fs.read", path, canonical.digest(data))
        return data

    async def list(self, path: str) -> tuple[FileEntry, ...]:
        """Give the entries of a directory."""
        most = int(self.granted("fs.list", path).fields["max_entries"])
        found = self.tried("fs.list", path, lambda: self.workspace.list(path, max_entries=most))
        self.observed("fs.list", path, None)
        return found

    async def stat(self, path: str) -> FileEntry | None:
        """Describe one name; listing the directory above would say as much."""
        self.granted("fs.list", path, _above(path))
        found = self.tried("fs.list", path, lambda: self.workspace.stat(path))
        self.observed("fs.list", path, None)
        return found

    async def glob(self, pattern: str) -> tuple[FileEntry, ...]:
        """Give what matches *pattern*; every directory that is looked into must be granted."""
        self.check("fs.list", pattern)
        grant, top = self.grant, _fixed(pattern)
        granted = self.tried("fs.list", pattern, lambda: grant.find("fs.list", pattern, top))
        limits = {k: int(granted.fields[k]) for k in ("max_entries", "depth")}
        found = self.tried("fs.list", pattern, lambda: self.workspace.glob(pattern, **limits))
        for path in (one.path for one in found):
            above = _above(path)
            self.tried("fs.list", above, lambda: grant.find("fs.list", path, above))  # noqa: B023 - called at once
        self.observed("fs.list", pattern, None)
        return found

    async def write(
        self, path: str, data: bytes, *, mode: str, expect: str | None, parents: bool
    ) -> FileResult:
        """Create or replace a file; the earlier one is kept until the run may be forgotten."""
        self.granted("fs.write", path, modes=_MODES.get(mode), size=len(data))
        if parents:
            await self._make_parents(path)
        workspace, run, way = self.workspace, self.port.run_id, cast("WriteMode", mode)
        return await self._change(
            "fs.write",
            path,
            request={"mode": mode, "sha256": canonical.sha256_hex(data), "expect": expect},
            stage=lambda: workspace.stage_write(path, data, mode=way, run=run, expect=expect),
        )

    async def append(self, path: str, data: bytes) -> FileResult:
        """Add to the end of a file."""
        self.granted("fs.write", path, modes=frozenset({"append"}), added=len(data))
        return await self._change(
            "fs.write",
            path,
            request={"mode": "append", "sha256": canonical.sha256_hex(data)},
            stage=lambda: self.workspace.stage_append(path, data, run=self.port.run_id),
        )

    async def mkdir(self, path: str, *, parents: bool) -> None:
        """Make a directory; one effect for each directory made."""
        self.granted("fs.write", path, modes=_MODES["create"])
        if parents:
            await self._make_parents(path)
            found = self.workspace.stat(path)
            if found is not None and found.type == "directory":
                return
        await self._mkdir(path)

    async def move(self, source: str, target: str) -> None:
        """Rename without replacing; both ends must be granted."""
        self.granted("fs.write", source, modes=_MODES["replace"])
        self.granted("fs.write", target, modes=_MODES["create"])
        await self._change(
            "fs.write",
            target,
            source,
            request={"mode": "move", "source": source},
            stage=lambda: self.workspace.stage_move(source, target),
        )

    async def delete(self, path: str, *, recursive: bool) -> None:
        """Remove a name; what was there is kept until the run may be forgotten."""
        granted = self.granted("fs.delete", path, recursive=recursive)
        run, most = self.port.run_id, int(granted.fields["max_files"])
        await self._change(
            "fs.delete",
            path,
            request={"recursive": recursive},
            stage=lambda: self.workspace.stage_delete(
                path, recursive=recursive, max_files=most, run=run
            ),
        )

    async def now_us(self) -> int:
        """Give the wall clock in microseconds."""
        self.granted("clock", "")
        now = self.port.now_us()
        self.observed("clock", str(now), None)
        return now

    async def sleep(self, seconds: float) -> None:
        """Wait; the step's timeout bounds it."""
        self.granted("clock", "")
        self.observed("clock", f"sleep {seconds:g} s", None)
        await asyncio.sleep(max(0.0, seconds))

    async def random(self, size: int) -> bytes:
        """Give random bytes of the operating system."""
        self.granted("random", "")
        if not 0 < size <= _MOST_RANDOM:
            raise EffectError("effect.limit", which="bytes", limit=_MOST_RANDOM, target="random")
        drawn = secrets.token_bytes(size)
        self.observed("random", f"{size} bytes", canonical.digest(drawn))
        return drawn

    async def env(self, name: str) -> str:
        """Give a key of the pack's own table under ``config:``; never of the environment."""
        self.granted("env.read", name)
        found = self.config.get(name)
        if found is None:
            raise EffectError("effect.env_missing", name=name)
        self.observed("env.read", name, canonical.digest_value(found))
        return str(found)

    async def _change(
        self,
        kind: str,
        path: str,
        *others: str,
        request: JsonObject,
        stage: Callable[[], Staged],
        label: str | None = None,
    ) -> FileResult:
        """Change *path*; claims every path it touches."""
        claims = tuple(f"fs/{one}" for one in (path, *others))
        return await self.change(
            Change(kind=kind, target=path, claims=claims, request=request, stage=stage, label=label)
        )

    async def _make_parents(self, path: str) -> None:
        """Make the directories above *path* that do not exist, each as an effect of its own.

        Another step may make one meanwhile; this one waits for its claim and finds it there.
        """
        for above in self.workspace.missing_parents(path):
            label = f"dir-{canonical.sha256_hex(above.encode())[:12]}"
            try:
                await self._mkdir(above, label=label)
            except EffectError as error:
                found = self.workspace.stat(above) if error.code == "fs.exists" else None
                if found is None or found.type != "directory":
                    raise

    async def _mkdir(self, path: str, *, label: str | None = None) -> None:
        await self._change(
            "fs.write",
            path,
            request={"mode": "mkdir"},
            stage=lambda: self.workspace.stage_mkdir(path),
            label=label,
        )


def _above(path: str) -> str:
    return path.rpartition("/")[0] or "."


def _fixed(pattern: str) -> str:
    """The directory where a search for *pattern* begins."""
    parts = pattern.split("/")[:-1]
    fixed = itertools.takewhile(lambda part: not set(part) & set("*?["), parts)
    return "/".join(fixed) or "."
