"""What hostile arguments, hostile handlers and hostile hands on the home come to."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import sys
import time
from pathlib import Path

import pytest

from awe_core.errors import AweError, RunNotCompletedError
from awe_core.events import Decision

OUTSIDE = ("../outside.txt", "/etc/passwd", "a/../../outside.txt", "linked/outside.txt")
INSIDE_BUT_ODD = ("hard.txt", "pipe", "a//b", "a\\b", "c:d", "con.txt", "x ", "", "a\x00b", "\u202ea")
OWN = (
    "awe.yaml",
    "AWE.yaml",
    ".awe/journal.db",
    ".awe/keys/log.pem",
    ".AWE/journal.db",
    ".awe",
    ".awe/new",
    "governance/root/00001.dsse",
    "governance/new",
    "people.yaml",
    ".git/config",
    ".git/hooks/pre-commit",
)


def settled(rt, handle):
    """Wait for the end of a run, saying yes to what is asked."""
    result = handle.wait()
    while result.waiting:
        asked = rt.approval(result.waiting[0])
        rt.decide(
            Decision(
                request=asked.id,
                version=asked.version,
                digest=asked.digest,
                verdict="approve",
                by="person:ana",
                via="sdk",
                assurance="local",
                at_us=0,
            )
        )
        result = handle.wait()
    return result


def code_of(rt, capability: str, **arguments) -> str:
    """Call, saying yes to what is asked; give the code of the failure, or ``""``."""
    try:
        result = settled(rt, rt.submit_call(capability, arguments))
    except AweError as error:
        assert error.hint
        return error.code
    return "" if result.error is None else result.error.code


READING = {
    "fs.read_text": {},
    "fs.read_bytes": {},
    "hash.sha256": {},
    "hash.verify": {"sha256": "0" * 64},
}
CHANGING = {
    "fs.write_text": {"text": "x"},
    "fs.write_bytes": {"base64": "eA=="},
    "fs.append_text": {"text": "x"},
    "fs.delete": {},
    "fs.make_dir": {"parents": True},
    "fs.patch": {"diff": "@@ -1 +1 @@\n-a\n+b\n"},
}


def own_files(root: Path) -> dict[str, bytes]:
    """What belongs to AWE and to git, but what AWE itself writes while it runs."""
    kept = ("awe.yaml", "governance/", ".awe/keys/", ".git/")
    paths = (path for path in sorted(root.rglob("*")) if path.is_file())
    named = {path.relative_to(root).as_posix(): path for path in paths}
    return {name: path.read_bytes() for name, path in named.items() if name.startswith(kept)}


def test_no_capability_of_the_stdlib_leaves_the_workspace(stdlib):
    outside = stdlib.root.parent / "outside.txt"
    outside.write_text("outside\n")
    (stdlib.root / "link.txt").symlink_to(outside)
    (stdlib.root / "linked").symlink_to(outside.parent)
    os.link(outside, stdlib.root / "hard.txt")
    os.mkfifo(stdlib.root / "pipe")
    (stdlib.root / "s.txt").write_text("s")
    with stdlib.open() as rt:
        for path in (*OUTSIDE, *INSIDE_BUT_ODD, "link.txt"):
            for capability, more in {**READING, **CHANGING}.items():
                if (capability, path) != ("fs.delete", "link.txt"):  # a link goes as itself
                    assert code_of(rt, capability, path=path, **more), (capability, path)
            if path != "link.txt":
                assert code_of(rt, "fs.move", source=path, target="t.txt"), path
            for capability in ("fs.copy", "fs.move"):
                assert code_of(rt, capability, source="s.txt", target=path), (capability, path)
            assert code_of(rt, "fs.copy", source=path, target="t.txt"), path
        for pattern in ("../*", "/etc/*", "**/../*"):
            assert code_of(rt, "fs.find", pattern=pattern), pattern
        for path in ("..", "/", "linked", "../.."):
            assert code_of(rt, "fs.list", path=path), path

        assert not code_of(rt, "fs.delete", path="link.txt")
        assert not code_of(rt, "fs.write_text", path="~/x", text="a folder named so", parents=True)
        assert not code_of(rt, "fs.read_text", path="./s.txt")
    assert "outside\n" == outside.read_text()


def test_no_capability_reads_or_changes_what_belongs_to_awe(stdlib):
    (stdlib.root / ".git/hooks").mkdir(parents=True)
    (stdlib.root / ".git/config").write_text("[core]\n")
    with stdlib.open() as rt:
        before = own_files(stdlib.root)
        for path in OWN:
            for capability, more in CHANGING.items():
                assert code_of(rt, capability, path=path, **more), (capability, path)
            assert code_of(rt, "fs.move", source=path, target="mine"), path
        key = next(name for name in before if name.startswith(".awe/keys/"))
        for path in (".awe/journal.db", ".awe/owner.lock", key):
            for capability, more in READING.items():
                assert "workspace.escape" == code_of(rt, capability, path=path, **more)
            assert "workspace.escape" == code_of(rt, "fs.copy", source=path, target="mine")
        assert "workspace.protected" == code_of(rt, "fs.delete", path="governance")
        assert "workspace.protected" == code_of(rt, "fs.move", source="governance", target="mine")
        assert before == own_files(stdlib.root)

        assert not code_of(rt, "fs.read_text", path="awe.yaml")
        assert not code_of(rt, "fs.write_text", path="awe.yaml.txt", text="x")


def test_a_home_of_another_name_is_as_private(stdlib):
    (stdlib.home).rename(stdlib.root / "state")
    text = stdlib.config.read_text()
    stdlib.config.write_text(text.replace("home: .awe", "home: state"))
    key = next((stdlib.root / "state/keys").rglob("*.pem")).relative_to(stdlib.root).as_posix()
    with stdlib.open() as rt:
        for capability, more in READING.items():
            assert "workspace.private" == code_of(rt, capability, path=key, **more)
        assert "workspace.protected" == code_of(rt, "fs.write_text", path="state/new", text="x")
        assert not code_of(rt, "fs.write_text", path="statement", text="x")
        assert not code_of(rt, "fs.read_text", path="statement")


# ---- hostile handlers ----------------------------------------------------------------------------
BAD_ENDS = '''\
import asyncio, sys, time

class Odd(BaseException):
    """Neither an Exception nor anything asyncio knows."""

def cycle():
    found = []
    found.append(found)
    return found

def deep():
    found = inner = []
    for _ in range(100_000):
        inner.append([])
        inner = inner[0]
    return found

class Liar(dict):
    def __iter__(self): raise Odd("iter")
    def items(self): raise Odd("items")
    def keys(self): raise Odd("keys")

def raising(error):
    raise error

WAYS = {
    "exit": lambda: sys.exit(3),
    "interrupt": lambda: raising(KeyboardInterrupt()),
    "odd": lambda: raising(Odd("x")),
    "generator": lambda: raising(GeneratorExit()),
    "stop": lambda: raising(StopIteration(1)),
    "cancelled": lambda: raising(asyncio.CancelledError()),
    "timeout": lambda: raising(TimeoutError()),
    "recursion": lambda: raising(RecursionError()),
    "memory": lambda: raising(MemoryError()),
    "surrogate": lambda: raising(ValueError("\\ud800 \\x00 \\u202e")),
    "nan": lambda: {"v": float("nan")},
    "infinity": lambda: {"v": float("inf")},
    "huge": lambda: {"v": "x" * 3_000_000},
    "none": lambda: None,
    "list": lambda: [1],
    "bytes": lambda: {"v": b"x"},
    "set": lambda: {"v": {1}},
    "keys": lambda: {1: 2},
    "surrogate_out": lambda: {"v": "\\ud800"},
    "big": lambda: {"v": 2 ** 70},
    "cycle": lambda: {"v": cycle()},
    "deep": lambda: {"v": deep()},
    "liar": lambda: Liar(v=1),
    "extra": lambda: {"v": 1, "w": 2},
    "missing": lambda: {},
    "coroutine": lambda: {"v": object()},
    "fine": lambda: {"v": "fine"},
}

def in_thread(ctx, *, how, path):
    ctx.fs.write_text(path, how)
    print("noise on stdout")
    return WAYS[how]()

async def on_loop(ctx, *, how, path):
    await ctx.fs.write_text(path, how)
    print("noise on stdout")
    return WAYS[how]()
'''
ENDING = """\
risk: low
undo: captured
effects: [{fs.write: {paths: ["${input.path}"]}}]
input:
  type: object
  required: [how, path]
  properties: {how: {type: string}, path: {type: string, format: workspace-path}}
output: {type: object, required: [v], additionalProperties: false, properties: {v: {}}}
"""
ENDS = {
    "exit": "step.handler_raised",
    "interrupt": "step.handler_raised",
    "odd": "step.handler_raised",
    "generator": "step.handler_raised",
    "stop": "step.handler_raised",
    "cancelled": "step.handler_raised",
    "timeout": "step.timeout",
    "recursion": "step.handler_raised",
    "memory": "step.handler_raised",
    "surrogate": "step.handler_raised",
    "nan": "contract.output",
    "infinity": "contract.output",
    "huge": "contract.output_size",
    "none": "contract.output",
    "list": "contract.output",
    "bytes": "contract.output",
    "set": "contract.output",
    "keys": "contract.output",
    "surrogate_out": "contract.output",
    "cycle": "contract.output",
    "deep": "contract.output",
    "liar": "contract.output",
    "extra": "contract.output",
    "missing": "contract.output",
    "coroutine": "contract.output",
}


@pytest.mark.parametrize("where", ["in_thread", "on_loop"])
def test_however_a_handler_ends_its_effects_are_taken_back_and_others_run(
    site, active, where, capfd
):
    pack = active(BAD_ENDS, **{where: ENDING})
    found = {}
    with site.open() as rt:
        for how in ENDS:
            handle = rt.submit_call(f"{pack.name}.{where}", {"how": how, "path": f"{how}.txt"})
            result = handle.wait(20)
            found[how] = "" if result.error is None else result.error.code
            print(how, found[how], file=sys.stderr)
            assert (how, "ROLLED_BACK") == (how, result.state)
            assert not (site.root / f"{how}.txt").exists()
        assert {"v": "fine"} == rt.call(f"{pack.name}.{where}", how="fine", path="fine.txt")
    assert ENDS == found
    assert "fine" == (site.root / "fine.txt").read_text()
