"""What load and chaos share: folders to work in, digests of them, and a count of what is open."""

from __future__ import annotations

import asyncio
import cProfile
import gc
import hashlib
import os
import platform
import sqlite3
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Self

import attrs

import awe_core
from awe_core import __version__

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from types import CodeType

_CORE = f"{Path(awe_core.__path__[0])}{os.sep}"
PACKS = ("awe-pack-stdlib", "awe-pack-load-test")
BODY = ("The quick brown fox jumps over the lazy dog. " * 32)[:1024]


def packs() -> tuple[Path | str, ...]:
    """Give what `Deployment.create` shall make ACTIVE: built wheels, or the installed packs' names.

    ``AWE_TEST_WHEELS`` names a folder of built wheels.  Without it the wheels are made again from
    what is installed, which needs no network.
    """
    built = os.environ.get("AWE_TEST_WHEELS")
    if built is None:
        return PACKS
    found = [sorted(Path(built).glob(f"{name.replace('-', '_')}-*.whl")) for name in PACKS]
    return tuple(some[-1] if some else name for name, some in zip(PACKS, found, strict=True))


def lay_out(root: Path, names: Iterable[str]) -> list[Path]:
    """Make a folder with an ``input.txt`` of 1 KiB for each of *names*."""
    folders = [root / name for name in names]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "input.txt").write_text(BODY, encoding="utf-8")
    return folders


def is_right(folder: Path, *, is_failing: bool) -> bool:
    """Whether a run left in *folder* what it must: its report, or nothing of its own."""
    report = f"# {folder.name}\n\n{BODY}\n"
    wanted = {"input.txt": BODY} | ({} if is_failing else {"report.md": report})
    found = {one.name: one.read_text(encoding="utf-8") for one in folder.iterdir()}
    return found == wanted


def tree_digest(folders: Iterable[Path]) -> str:
    """Digest names, permissions and bytes of everything in *folders*."""
    whole = hashlib.sha256()
    for folder in folders:
        for path in sorted([folder, *folder.rglob("*")]):
            data = path.read_bytes() if path.is_file() else b""
            mode = path.lstat().st_mode
            name = os.fsencode(path.relative_to(folder.parent))
            whole.update(b"%s\0%o\0%s\n" % (name, mode, hashlib.sha256(data).digest()))
    return whole.hexdigest()


def silent(_: str) -> None:
    """Hear of progress and tell nobody."""


@attrs.define
class Parts:
    """Tells which parts of AWE take the processor time of this thread, inside its ``with``.

    A profiler slows down what makes many small calls, so the shares are rough.
    """

    shares: Mapping[str, float] = attrs.field(factory=dict, init=False)  #: largest first
    _profile: cProfile.Profile = attrs.field(init=False)

    def __enter__(self) -> Self:
        self._profile = cProfile.Profile(time.thread_time)
        self._profile.enable()
        return self

    def __exit__(self, *_: object) -> None:
        self._profile.disable()
        spent: dict[str, float] = {}
        for entry in self._profile.getstats():
            part = _part(entry.code)
            inner = sum(call.inlinetime for call in entry.calls or () if _is_c(call.code))
            if not _is_c(entry.code):  # what is written in C counts for who calls it
                spent[part] = spent.get(part, 0.0) + entry.inlinetime + inner
        whole = sum(spent.values()) or 1.0
        ordered = sorted(spent.items(), key=lambda pair: -pair[1])
        self.shares = {part: seconds / whole for part, seconds in ordered}


def _is_c(code: CodeType | str) -> bool:
    return isinstance(code, str)


def _part(code: CodeType | str) -> str:
    file = "" if isinstance(code, str) else code.co_filename
    if file.startswith(_CORE):
        return file.removeprefix(_CORE).partition(os.sep)[0].removesuffix(".py")
    if "asyncio" in file or file.endswith("selectors.py"):
        return "event loop"
    return "packs" if "awe_pack_" in file else "libraries"


@attrs.frozen
class Held:
    """What a process holds open."""

    files: int  #: descriptors, so sockets too
    threads: int
    tasks: int  #: of the running loop
    children: int
    connections: int  #: of sqlite3, not closed

    @classmethod
    def now(cls) -> Held:
        """Count."""
        gc.collect()
        tasks = len(asyncio.all_tasks())
        return cls(_files(), threading.active_count(), tasks, _children(), _connections())

    def more_than(self, before: Held) -> Held:
        """Give what has come on top of *before*."""
        pairs = zip(attrs.astuple(self), attrs.astuple(before), strict=True)
        return Held(*(max(0, now - then) for now, then in pairs))

    def __bool__(self) -> bool:
        """Whether anything is held at all."""
        return any(attrs.astuple(self))


async def leaked(before: Held, *, settles_s: float = 2.0) -> Held:
    """Give what is open beyond *before* once threads that were told to end had time for it."""
    deadline = time.monotonic() + settles_s
    while (left := Held.now().more_than(before)) and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells when a thread has ended
        await asyncio.sleep(0.02)
    return left


def _files() -> int:
    try:
        return len(os.listdir("/proc/self/fd"))  # noqa: PTH208 - pathlib opens one more
    except OSError:
        return 0


def _children() -> int:
    found = 0
    for task in Path("/proc/self/task").glob("*/children"):
        try:
            found += len(task.read_text(encoding="ascii").split())
        except OSError:
            continue
    return found


def _connections() -> int:
    return sum(type(one) is sqlite3.Connection and _is_open(one) for one in gc.get_objects())


def _is_open(connection: sqlite3.Connection) -> bool:
    try:
        return connection.total_changes >= 0
    except sqlite3.ProgrammingError:  # what a closed one raises
        return False


def machine(folder: Path) -> dict[str, str]:
    """Say what was measured on: versions, cores, and the file system of *folder*."""
    return {
        "awe": __version__,
        "python": platform.python_version(),
        "sqlite": sqlite3.sqlite_version,
        "system": platform.system(),
        "cores": str(os.cpu_count() or 1),
        "file_system": _file_system(folder),
    }


def _file_system(folder: Path) -> str:
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "unknown"
    here = folder.resolve()
    fields = [line.split(" ") for line in mounts]
    over = [(len(one[1]), n, one[2]) for n, one in enumerate(fields) if here.is_relative_to(one[1])]
    return max(over)[2] if over else "unknown"
