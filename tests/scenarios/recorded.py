"""What a process asked of the disk, as ``strace`` saw it, and the disks that a power cut may leave.

The model is the strictest reading of POSIX.  What was written to a file is durable once the file
was synced after it; until then any blocks of it may be there and others not.  A name is durable
once every directory that the call changed was synced after it; until then it may be there or not,
except that what built upon a name is never there without it.
"""

from __future__ import annotations

import itertools
import os
import re
import stat
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from pathlib import Path
    from random import Random

#: The calls by which something becomes durable, or is about to.
DURABLE = (
    *("write", "pwrite64", "ftruncate", "fallocate", "fsync", "fdatasync", "rename", "renameat"),
    *("renameat2", "link", "linkat", "unlink", "unlinkat", "mkdir", "mkdirat", "rmdir"),
)
_SEEN = ("openat", "openat2", "close", "newfstatat", "fstat", "fchmod")
_LONGEST = 4 * 1024 * 1024

_LINE = re.compile(r"(\d+) +(\w+)\((.*)")
_RESUMED = re.compile(r"(\d+) +<\.\.\. (\w+) resumed>(.*)")
_RESULT = re.compile(r"(.*)\) += (-?\d+|\?)")
_HELD = re.compile(r"(-?\d+|AT_FDCWD)(?:<([^>]*)>)?")
_NUMBERS = {name: re.compile(rf"{name}=(\d+)") for name in ("st_ino", "st_mtime", "st_mtime_nsec")}
_MODE = re.compile(r"st_mode=\w+\|(\d+)")
_BLOCKS = (512, 4096)


def options(file: Path) -> tuple[str, ...]:
    """Have ``strace`` write into *file* what `calls` reads."""
    traced = ",".join((*DURABLE, *_SEEN))
    return ("-y", "-v", "-xx", "-s", str(_LONGEST), "-o", str(file), "-e", f"trace={traced}")


@attrs.frozen
class Call:
    """One system call."""

    thread: str
    name: str
    words: tuple[str, ...]
    result: int | None  #: None when the process died in it
    nth: int  #: of this thread's calls of this name, from 1
    entered: int  #: its place among the beginnings and ends of all calls
    ended: int
    text: str

    def path(self, at: int = 0) -> str | None:
        """Give the path that the word at *at* speaks of, or it and the next one together."""
        word = self.words[at]
        if word.startswith('"'):
            return decoded(word).decode()
        found = _HELD.match(word)
        folder = decoded(found[2] or "").decode() if found else None
        is_named = len(self.words) > at + 1 and self.words[at + 1].startswith('"')
        if folder and is_named and self.name not in {"write", "pwrite64"}:
            return os.path.normpath(os.path.join(folder, decoded(self.words[at + 1]).decode()))  # noqa: PTH118
        return folder

    def paths(self) -> list[str]:
        """Give every path that it speaks of, as good as can be told without the world."""
        places = [0] if self.name in {"write", "pwrite64"} else range(len(self.words))
        found = [self.path(at) for at in places if self.words[at][0] in '"123456789A']
        return [path for path in found if path]


def decoded(word: str) -> bytes:
    r"""Read a string of ``strace -xx``: nothing but ``\x..``."""
    assert not word.endswith("..."), "a longer string than was asked for"
    return bytes.fromhex(word.strip('"').replace("\\x", ""))


def calls(file: Path, *, after: Sequence[Call] = ()) -> list[Call]:
    """Read a recording, in the order in which the calls ended.

    :param after: what another process had done before
    """
    found: list[Call] = []
    begun: dict[str, tuple[str, str, int, int]] = {}
    counts: dict[tuple[str, str], int] = {}
    first = max((call.ended for call in after), default=0) + 1
    for moment, line in enumerate(file.read_text().splitlines(), first):
        if match := _RESUMED.match(line):
            thread, _, rest = match.groups()
            name, said, nth, entered = begun.pop(thread)
            rest = said + rest
        elif match := _LINE.match(line):
            thread, name, rest = match.groups()
            nth = counts[thread, name] = counts.get((thread, name), 0) + 1
            entered = moment
            if rest.endswith("<unfinished ...>"):
                begun[thread] = (name, rest.removesuffix("<unfinished ...>"), nth, entered)
                continue
        else:
            continue
        if ended := _RESULT.match(rest):
            result = None if ended[2] == "?" else int(ended[2])
            words = tuple(_words(ended[1]))
            found.append(Call(thread, name, words, result, nth, entered, moment, rest))
    return found


def _words(text: str) -> Iterator[str]:
    """Take arguments apart at the commas that stand in no bracket."""
    depth = start = 0
    for at, sign in enumerate(text):
        depth += (sign in "{[(") - (sign in "}])")
        if sign == "," and not depth:
            yield text[start:at].strip()
            start = at + 1
    yield text[start:].strip()


@attrs.define(eq=False)
class Node:
    """A file or a folder."""

    is_folder: bool
    mode: int
    ino: int = 0
    mtime_ns: int = 0
    data: bytearray = attrs.field(factory=bytearray)
    names: dict[str, Node] = attrs.field(factory=dict)
    durable: bytearray = attrs.field(factory=bytearray)
    durable_names: dict[str, Node] = attrs.field(factory=dict)


@attrs.define(eq=False)
class Written:
    """Bytes of a file that are not durable yet; without *data* its new size."""

    node: Node
    at: int
    data: bytes | None
    ended: int


@attrs.define(eq=False)
class Named:
    """Names that changed together and are not durable yet."""

    changes: tuple[tuple[Node, str, Node | None], ...]
    ended: int
    synced: set[int] = attrs.field(factory=set)  #: folders


@attrs.define(eq=False)
class Disk:
    """One folder as a process sees it, and as a power cut may leave it."""

    root: str
    top: Node
    pending: list[Written | Named] = attrs.field(factory=list)
    held: dict[str, Node | None] = attrs.field(factory=dict)

    @classmethod
    def of(cls, folder: Path) -> Disk:
        """Take what lies in *folder* as durable."""
        return cls(str(folder), _loaded(folder))

    def find(self, path: str | None) -> Node | None:
        """Give what has *path* now."""
        if path is None or not f"{path}/".startswith(f"{self.root}/"):
            return None
        node: Node | None = self.top
        for name in path[len(self.root) + 1 :].split("/") if path != self.root else ():
            node = node.names.get(name) if node is not None else None
        return node

    def place(self, path: str | None) -> tuple[Node, str] | None:
        """Give the folder of *path*, and its name in there."""
        folder, _, name = (path or "").rpartition("/")
        node = self.find(folder)
        return None if node is None or not node.is_folder else (node, name)

    def node(self, call: Call, at: int = 0) -> Node | None:
        """Give what a descriptor stands for."""
        number = _HELD.match(call.words[at])
        known = number is not None and number[1] in self.held
        return self.held[number[1]] if number and known else self.find(call.path(at))

    def follow(self, call: Call) -> None:
        """Take in one call that has ended."""
        if call.result is None or (call.result < 0 and call.name != "close"):
            return
        getattr(self, f"_{call.name}")(call)

    # ---- the calls ------------------------------------------------------------------------------
    def _openat(self, call: Call) -> None:
        folder = self.node(call)
        name = decoded(call.words[1]).decode()
        path = call.path() if not name.startswith("/") else name
        if "O_TMPFILE" in call.text:
            node: Node | None = None if folder is None else Node(is_folder=False, mode=_mode(call))
        else:
            node = self.find(path)
            if node is None and "O_CREAT" in call.text and (place := self.place(path)):
                node = Node(is_folder=False, mode=_mode(call))
                self._change(call, (*place, node))
            elif node is not None and "O_TRUNC" in call.text:
                self._write(call, node, 0, None)
        self.held[str(call.result)] = node

    _openat2 = _openat

    def _close(self, call: Call) -> None:
        if number := _HELD.match(call.words[0]):
            self.held.pop(number[1], None)

    def _newfstatat(self, call: Call) -> None:
        own = call.words[1] == '""'
        node = self.node(call) if own else self.find(call.path())
        if node is not None and "st_ino=" in call.text:
            seen = {name: int(p.search(call.text)[1]) for name, p in _NUMBERS.items()}  # type: ignore[index]
            node.ino = seen["st_ino"]
            node.mtime_ns = seen["st_mtime"] * 10**9 + seen["st_mtime_nsec"]
            node.mode = int(_MODE.search(call.text)[1], 8)  # type: ignore[index]

    def _fstat(self, call: Call) -> None:
        self._newfstatat(attrs.evolve(call, words=(call.words[0], '""')))

    def _fchmod(self, call: Call) -> None:
        if (node := self.node(call)) is not None:
            node.mode = int(call.words[1], 8)

    def _write(self, call: Call, *change: Any) -> None:
        if not change:
            node = self.node(call)
            data = decoded(call.words[1])[: call.result]
            at = int(call.words[3]) if len(call.words) > 3 else len(node.data) if node else 0
            change = (node, at, data)
        node, at, data = change
        if node is None:
            return
        self.pending.append(Written(node, at, data, call.ended))
        _put(node.data, at, data)

    _pwrite64 = _write

    def _ftruncate(self, call: Call) -> None:
        self._write(call, self.node(call), int(call.words[1]), None)

    def _fallocate(self, call: Call) -> None:
        node, end = self.node(call), int(call.words[2]) + int(call.words[3])
        if node is not None and len(node.data) < end:
            self._write(call, node, end, None)

    def _fsync(self, call: Call) -> None:
        """Make durable what had ended when this call began."""
        node = self.node(call)
        for change in [one for one in self.pending if one.ended < call.entered]:
            match change:
                case Written() if change.node is node:
                    _put(node.durable, change.at, change.data)
                    self.pending.remove(change)
                case Named() if node is not None:
                    change.synced.add(id(node))
                    if {id(folder) for folder, _, _ in change.changes} <= change.synced:
                        _name(change, "durable_names")
                        self.pending.remove(change)
                case _:
                    pass

    _fdatasync = _fsync

    def _rename(self, call: Call) -> None:
        pairs = [w for w in range(len(call.words)) if call.words[w].startswith('"')]
        first, second = (at - (call.name != "rename") for at in pairs)
        source, target = self.place(call.path(first)), self.place(call.path(second))
        if source is None or target is None:
            return
        moved, other = source[0].names[source[1]], target[0].names.get(target[1])
        left = other if "RENAME_EXCHANGE" in call.text else None
        self._change(call, (*source, left), (*target, moved))

    _renameat = _renameat2 = _rename

    def _linkat(self, call: Call) -> None:
        first = 0 if call.name == "link" else 1
        source = decoded(call.words[first]).decode()
        number = source.removeprefix("/proc/self/fd/")
        node = (
            self.held.get(number) if number != source else self.find(call.path(max(first - 1, 0)))
        )
        target = self.place(call.path(1 if call.name == "link" else 2))
        if node is not None and target is not None:
            self._change(call, (*target, node))

    _link = _linkat

    def _unlink(self, call: Call) -> None:
        if place := self.place(call.path()):
            self._change(call, (*place, None))

    _unlinkat = _rmdir = _unlink

    def _mkdir(self, call: Call) -> None:
        if place := self.place(call.path()):
            self._change(call, (*place, Node(is_folder=True, mode=_mode(call))))

    _mkdirat = _mkdir

    def _change(self, call: Call, *changes: tuple[Node, str, Node | None]) -> None:
        one = Named(changes, call.ended)
        self.pending.append(one)
        _name(one, "names")

    # ---- what a power cut leaves ----------------------------------------------------------------
    def unsynced(self, path: str) -> list[Written | Named]:
        """Give what of the file at *path*, and of its name, is not durable."""
        node, place = self.find(path), self.place(path)
        return [
            one
            for one in self.pending
            if (isinstance(one, Written) and one.node is node)
            or (isinstance(one, Named) and any((f, n) == place for f, n, _ in one.changes))
        ]

    def cut(self, random: Random, *, kept: float, told: str) -> dict[str, tuple[Node, bytes]]:
        """Give path → what is there after a power cut now.

        :param kept: how likely each change that was not synced is there
        :param told: the name of a file that stands for somebody who was told its content
        """
        contents = {id(n): bytearray(n.durable) for n in self._nodes()}
        names = {id(n): dict(n.durable_names) for n in self._nodes()}
        lost: set[tuple[int, str]] = set()
        for change in self.pending:
            if isinstance(change, Written):
                size = random.choice(_BLOCKS)
                for at, piece in _torn(change.at, change.data, size):
                    if random.random() < kept:
                        _put(contents[id(change.node)], at, piece)
                continue
            touched = {(id(folder), name) for folder, name, _ in change.changes}
            if touched & lost or random.random() >= kept:
                lost |= touched
                continue
            for folder, name, node in change.changes:
                _set(names[id(folder)], name, node)
        found: dict[str, tuple[Node, bytes]] = {}
        todo = [("", self.top)]
        while todo:
            path, node = todo.pop()
            found[path] = (node, bytes(contents[id(node)]))
            todo += [(f"{path}/{n}" if path else n, one) for n, one in names[id(node)].items()]
        if heard := self.top.names.get(told):
            found[told] = (heard, bytes(heard.data))
        return found

    def _nodes(self) -> Iterable[Node]:
        """Give everything that has, had or may have a name."""
        todo, found = [self.top], dict[int, Node]()
        for one in self.pending:
            match one:
                case Written(node=node):
                    todo.append(node)
                case Named(changes=changes):
                    todo += [
                        node for folder, _, named in changes for node in (folder, named) if node
                    ]
        while todo:
            node = todo.pop()
            if id(node) not in found:
                found[id(node)] = node
                todo += [*node.names.values(), *node.durable_names.values()]
        return found.values()


def laid_out(state: dict[str, tuple[Node, bytes]], folder: Path) -> dict[int, int]:
    """Make *state* the content of *folder*; gives the inodes there, each with the one it was."""
    inodes: dict[int, int] = {}
    for path, (node, data) in sorted(state.items()):
        if path.endswith("-shm") or path.startswith("gate-"):
            continue  # not on any disk
        place = folder / path
        if node.is_folder:
            place.mkdir(exist_ok=True)
        else:
            place.write_bytes(data)
        place.chmod(node.mode)
        inodes[place.stat().st_ino] = node.ino
    for path, (node, _) in sorted(state.items(), reverse=True):
        if (folder / path).exists() and node.mtime_ns:
            os.utime(folder / path, ns=(node.mtime_ns, node.mtime_ns))
    return inodes


def _loaded(path: Path) -> Node:
    status = path.lstat()
    mode, is_folder = stat.S_IMODE(status.st_mode), stat.S_ISDIR(status.st_mode)
    node = Node(is_folder=is_folder, mode=mode, ino=status.st_ino, mtime_ns=status.st_mtime_ns)
    if is_folder:
        node.names = {one.name: _loaded(one) for one in path.iterdir()}
        node.durable_names = dict(node.names)
    elif stat.S_ISREG(status.st_mode):
        node.data = bytearray(path.read_bytes())
        node.durable = bytearray(node.data)
    return node


def _mode(call: Call) -> int:
    found = re.search(r"(?:, |mode=)(0[0-7]{3,})", call.text)
    return int(found[1], 8) & ~0o022 if found else 0o600


def _put(content: bytearray, at: int, data: bytes | None) -> None:
    if data is None:
        content[at:] = bytes(max(0, at - len(content)))
    else:
        content.extend(bytes(max(0, at - len(content))))
        content[at : at + len(data)] = data


def _set(names: dict[str, Node], name: str, node: Node | None) -> None:
    if node is None:
        names.pop(name, None)
    else:
        names[name] = node


def _name(change: Named, names: str) -> None:
    for folder, name, node in change.changes:
        _set(getattr(folder, names), name, node)


def _torn(at: int, data: bytes | None, block: int) -> Iterator[tuple[int, bytes | None]]:
    """Take *data* apart where blocks of the file begin; a new size is one piece."""
    if data is None:
        yield at, None
        return
    edges = [at, *range(at - at % block + block, at + len(data), block), at + len(data)]
    for begin, end in itertools.pairwise(edges):
        yield begin, data[begin - at : end - at]


def sampled(points: Sequence[Any], some: int) -> list[Any]:
    """Take *some* evenly; of a sorted sequence a part of each sort."""
    if len(points) <= some:
        return list(points)
    return [points[number * len(points) // some] for number in range(some)]
