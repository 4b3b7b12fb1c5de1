"""What hostile arguments, hostile handlers and hostile hands on the home come to."""

from __future__ import annotations

import base64
import os
import sqlite3
import sys
import time
from typing import TYPE_CHECKING

import pytest

from awe_core import signing
from awe_core.audit import parse_pins, verify_home
from awe_core.errors import AweError
from awe_core.events import Decision
from awe_core.journal import JournalReader

if TYPE_CHECKING:
    from pathlib import Path

OUTSIDE = ("../outside.txt", "/etc/passwd", "a/../../outside.txt", "linked/outside.txt")
INSIDE_BUT_ODD = (
    "hard.txt",
    "pipe",
    "a//b",
    "a\\b",
    "c:d",
    "con.txt",
    "x ",
    "",
    "a\x00b",
    "\u202ea",
)
OWN = (
    "awe.yaml",
    "AWE.yaml",
    ".awe/journal.db",
    ".awe/keys/log.pem",
    ".AWE/journal.db",
    ".awe",
    ".awe/new",
    "governance/manifests/00001-0000001.dsse",
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
        return error.code if error.hint else f"{error.code} says no next step"
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
ENDS = (
    dict.fromkeys(
        (
            "exit",
            "interrupt",
            "odd",
            "generator",
            "stop",
            "cancelled",
            "timeout",
            "recursion",
            "memory",
            "surrogate",
            "liar",
        ),
        "step.handler_raised",
    )
    | dict.fromkeys(("none", "list", "keys", "extra", "missing"), "contract.output")
    | dict.fromkeys(("nan", "infinity", "bytes", "set", "coroutine"), "canonical.domain")
    | dict.fromkeys(("surrogate_out", "cycle", "deep"), "canonical.domain")
    | {"huge": "contract.output_size"}
)


@pytest.mark.parametrize("where", ["in_thread", "on_loop"])
def test_however_a_handler_ends_its_effects_are_taken_back_and_others_run(site, active, where):
    pack = active(BAD_ENDS, **{where: ENDING})
    found = {}
    with site.open() as rt:
        for how in ENDS:
            handle = rt.submit_call(f"{pack.name}.{where}", {"how": how, "path": f"{how}.txt"})
            result = handle.wait(20)
            found[how] = "" if result.error is None else result.error.code
            assert (how, "ROLLED_BACK") == (how, result.state)
            assert not (site.root / f"{how}.txt").exists()
        assert {"v": "fine"} == rt.call(f"{pack.name}.{where}", how="fine", path="fine.txt")
    assert ENDS == found
    assert "fine" == (site.root / "fine.txt").read_text()


ASKING = '''\
import asyncio, time

async def ask(ctx, *, path):
    """Try everything that was not granted, and swallow every no."""
    fs, said = ctx.fs, []
    for attempt in (
        lambda: fs.write_text("other.txt", "x"),
        lambda: fs.write_text("../other.txt", "x"),
        lambda: fs.write_text("awe.yaml", "x"),
        lambda: fs.write_text(".awe/journal.db", "x"),
        lambda: fs.write_text("governance/x", "x"),
        lambda: fs.write_text(path + "/../other.txt", "x"),
        lambda: fs.write_text("OUT.TXT", "x"),
        lambda: fs.write_text("out.txt ", "x"),
        lambda: fs.write_text("out.t*", "x"),
        lambda: fs.append("other.txt", "x"),
        lambda: fs.mkdir("folder"),
        lambda: fs.move(path, "other.txt"),
        lambda: fs.move("other.txt", path),
        lambda: fs.delete(path),
        lambda: fs.read_text("awe.yaml"),
        lambda: fs.read_bytes(path),
        lambda: fs.list("."),
        lambda: fs.stat(path),
        lambda: fs.glob("**"),
        lambda: ctx.clock.now(),
        lambda: ctx.random.bytes(8),
        lambda: ctx.env("HOME"),
    ):
        try:
            await attempt()
        except PermissionError as error:
            said.append(error.code)
        else:
            said.append("")
    await fs.write_text(path, "granted")
    return {"said": said}

async def later(ctx, *, path):
    """Leave a task behind that acts when the step has ended."""
    async def act():
        await asyncio.sleep(0.05)
        try:
            await ctx.fs.write_text(path, "late")
        except BaseException as error:
            LATE.append(getattr(error, "code", repr(error)))
    TASKS.append(asyncio.create_task(act()))
    return {"said": []}

LATE, TASKS = [], []

def never(ctx, *, path):
    """Outlive the timeout in a thread, then try to act."""
    time.sleep(0.4)
    try:
        ctx.fs.write_text(path, "late")
    except BaseException as error:
        LATE.append(getattr(error, "code", repr(error)))

async def cancelled(ctx, *, path):
    """Act when cancelled."""
    try:
        await asyncio.sleep(60)
    except asyncio.CancelledError:
        try:
            await ctx.fs.write_text(path, "late")
        except BaseException as error:
            LATE.append(getattr(error, "code", repr(error)))
        raise

async def blocking(ctx, *, path):
    """Hold the whole loop longer than the timeout, then return as if nothing was."""
    await ctx.fs.write_text(path, "in time")
    time.sleep(0.3)
    return {"said": []}
'''
ASKED = """\
risk: low
undo: captured
timeout: 150ms
effects: [{fs.write: {paths: ["${input.path}"]}}]
input:
  type: object
  required: [path]
  properties: {path: {type: string, format: workspace-path}}
output: {type: object, required: [said], properties: {said: {type: array}}}
"""


@pytest.fixture
def asking(active):
    return active(
        ASKING,
        ask=ASKED.replace("timeout: 150ms", "timeout: 20s"),
        later=ASKED,
        never=ASKED,
        cancelled=ASKED,
        blocking=ASKED,
    )


def test_a_handler_gets_what_its_contract_declares_for_this_call_and_nothing_else(site, asking):
    with site.open() as rt:
        before = own_files(site.root)
        handle = rt.submit_call(f"{asking.name}.ask", {"path": "out.txt"})
        said = handle.wait().unwrap()["said"]
        refusals = [one.event for one in handle.events() if one.event["kind"] == "effect.refused"]
    assert "" not in said
    assert {"effect.undeclared", "workspace.escape"} >= set(said)
    assert len(said) == len(refusals)
    assert before == own_files(site.root)
    assert "granted" == (site.root / "out.txt").read_text()
    assert ["awe.yaml", "governance", "out.txt"] == sorted(
        path.name for path in site.root.iterdir() if path.name != ".awe"
    )
    assert not (site.root.parent / "other.txt").exists()


def test_what_a_handler_left_behind_acts_no_more(site, asking):
    with site.open() as rt:
        assert {"said": []} == rt.call(f"{asking.name}.later", path="later.txt")
        for how in ("never", "cancelled"):
            result = rt.submit_call(f"{asking.name}.{how}", {"path": f"{how}.txt"}).wait()
            assert ("ROLLED_BACK", "step.timeout") == (result.state, result.error.code)
        late = sys.modules[f"{asking.package}.work"].LATE
        until = time.monotonic() + 10
        while len(late) < 3 and time.monotonic() < until:
            rt.runs()
        assert ["effect.late"] * 3 == late
        assert {"said"} == set(rt.call(f"{asking.name}.ask", path="out.txt"))
    assert not {"later.txt", "never.txt", "cancelled.txt"} & {
        path.name for path in site.root.iterdir()
    }


def test_a_handler_that_holds_the_loop_beyond_its_time_has_failed(site, asking):
    with site.open() as rt:
        result = rt.submit_call(f"{asking.name}.blocking", {"path": "b.txt"}).wait()
        assert ("ROLLED_BACK", "step.timeout") == (result.state, result.error.code)
    assert not (site.root / "b.txt").exists()


def test_threads_that_never_return_do_not_use_up_the_pool(site, asking):
    site.configure("engine: {limits: {threads: 2}}\n")
    with site.open() as rt:
        handles = [rt.submit_call(f"{asking.name}.never", {"path": f"n{n}.txt"}) for n in range(6)]
        assert {"step.timeout"} == {handle.wait(20).error.code for handle in handles}
        assert {"said"} == set(rt.call(f"{asking.name}.ask", path="out.txt"))


# ---- history -------------------------------------------------------------------------------------
@pytest.fixture
def history(site, active):
    """A closed home with a few dozen records; gives the path of its log."""
    pack = active("def go(ctx, *, x):\n    return {'x': x}\n", go=PLAIN)
    with site.open() as rt:
        for x in range(6):
            rt.call(f"{pack.name}.go", x=x)
    return site.home / "journal.db"


PLAIN = """\
risk: low
input: {type: object, properties: {x: {type: integer, default: 0}}}
output: {type: object, properties: {x: {type: integer}}}
"""


def edited(path: Path, *statements: str) -> None:
    """Change the log as somebody with the files can: the triggers keep nobody out."""
    with sqlite3.connect(path, isolation_level=None) as base:
        for (name,) in base.execute(
            "SELECT name FROM sqlite_master WHERE type='trigger'"
        ).fetchall():
            sql = base.execute("SELECT sql FROM sqlite_master WHERE name=?", (name,)).fetchone()[0]
            base.execute(f"DROP TRIGGER {name}")
            statements = (*statements, sql)
        for statement in statements:
            base.execute(statement)
        base.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    base.close()


def verified(site):
    """What an offline verification says, by the log's own public key."""
    pin = base64.b64encode(b"\1" + signing.log_key(site.home, may_create=False).public).decode()
    with JournalReader(site.home) as journal:
        return verify_home(journal, pins=parse_pins(f"demo/* {pin}"), payloads=True)


def codes(report) -> list[str]:
    return [one.code for one in report.findings]


CONFIDING = """\
risk: low
input:
  type: object
  required: [pin]
  additionalProperties: false
  properties: {pin: {type: string, x-awe-sensitive: true}, note: {type: string}}
output: {type: object, required: [n], properties: {n: {type: integer}}}
"""


def test_a_sensitive_argument_stands_in_no_line_of_the_log_and_in_no_file(site, active):
    marker = "4711-marker-0815"
    pack = active("def keep(ctx, *, pin, note=''):\n    return {'n': len(pin)}\n", keep=CONFIDING)
    with site.open() as rt:
        assert {"n": len(marker)} == rt.call(f"{pack.name}.keep", pin=marker)
    files = [path for path in (site.root / ".awe").rglob("*") if path.is_file()]
    assert [] == [path.name for path in files if marker.encode() in path.read_bytes()]


def test_arguments_that_do_not_fit_open_no_run(site, active, refused):
    pack = active("def keep(ctx, *, pin, note=''):\n    return {'n': len(pin)}\n", keep=CONFIDING)
    with site.open() as rt:
        for wrong in ({}, {"pin": 1}, {"pin": "1", "more": 1}):
            assert "contract.input" == refused(rt.call, f"{pack.name}.keep", wrong).code
        assert [] == rt.runs()
