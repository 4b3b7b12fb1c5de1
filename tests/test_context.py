"""What handlers see: two faces with the same names over one broker, and no right of their own."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import threading
import uuid

import pytest

from awe_core import ExecutionContext as Exported
from awe_core.context import (
    AsyncClock,
    AsyncExecutionContext,
    AsyncFiles,
    AsyncRandom,
    Attempt,
    ExecutionContext,
)
from awe_core.errors import EffectError, EffectRefusedError, WiringError
from awe_core.events import Actor
from awe_core.files import FileEntry, FileResult

ENTRY = FileEntry("a", "file", 1, 0o644, 5)


class MemoryBroker:
    """Files in a dict; every call is kept."""

    def __init__(self):
        self.files = {}
        self.calls = []
        self.lines = []
        self.threads = set()

    def _note(self, *call):
        self.calls.append(call)
        self.threads.add(threading.current_thread())

    async def read(self, path):
        self._note("read", path)
        if path not in self.files:
            raise EffectError("fs.missing", path=path)
        return self.files[path]

    async def list(self, path):
        self._note("list", path)
        return (ENTRY,)

    async def stat(self, path):
        self._note("stat", path)
        return ENTRY if path in self.files else None

    async def glob(self, pattern):
        self._note("glob", pattern)
        return (ENTRY,)

    async def write(self, path, data, *, mode, expect, parents):
        self._note("write", path, data, mode, expect, parents)
        is_new = path not in self.files
        self.files[path] = data
        return FileResult(path, hashlib.sha256(data).hexdigest(), len(data), is_new)

    async def append(self, path, data):
        self._note("append", path, data)
        self.files[path] = self.files.get(path, b"") + data
        return FileResult(path, "", len(self.files[path]), created=False)

    async def mkdir(self, path, *, parents):
        self._note("mkdir", path, parents)

    async def move(self, source, target):
        self._note("move", source, target)

    async def delete(self, path, *, recursive):
        self._note("delete", path, recursive)

    async def now_us(self):
        self._note("now_us")
        return 42

    async def random(self, size):
        self._note("random", size)
        return bytes(range(size))

    async def env(self, name):
        self._note("env", name)
        return f"value of {name}"

    async def sleep(self, seconds):
        self._note("sleep", seconds)

    def log(self, level, text, fields):
        self.lines.append((level, text, fields))


ATTEMPT = Attempt(
    run_id="r7", step="each[3]", number=2, idempotency_key="k", deadline_us=99, is_dry=True
)


async def awaited(ctx):
    """Use everything a context has, awaiting."""
    fs = ctx.fs
    yield await fs.write_text("a", "né", mode="create", parents=True)
    yield await fs.write_bytes("a", b"x", expect="d")
    yield await fs.read_bytes("a")
    yield await fs.read_text("a")
    yield await fs.append("a", "é")
    yield await fs.append("a", b"\xc3")
    yield await fs.list()
    yield await fs.stat("b")
    yield await fs.stat("a")
    yield await fs.glob("*")
    yield await fs.mkdir("d", parents=True)
    yield await fs.move("a", "d/a")
    yield await fs.delete("d", recursive=True)
    yield await ctx.clock.now()
    yield await ctx.clock.sleep(0.5)
    yield await ctx.random.bytes(4)
    yield await ctx.random.uuid()
    yield await ctx.env("region")


def waited(ctx):
    """The same, waiting."""
    fs = ctx.fs
    yield fs.write_text("a", "né", mode="create", parents=True)
    yield fs.write_bytes("a", b"x", expect="d")
    yield fs.read_bytes("a")
    yield fs.read_text("a")
    yield fs.append("a", "é")
    yield fs.append("a", b"\xc3")
    yield fs.list()
    yield fs.stat("b")
    yield fs.stat("a")
    yield fs.glob("*")
    yield fs.mkdir("d", parents=True)
    yield fs.move("a", "d/a")
    yield fs.delete("d", recursive=True)
    yield ctx.clock.now()
    yield ctx.clock.sleep(0.5)
    yield ctx.random.bytes(4)
    yield ctx.random.uuid()
    yield ctx.env("region")


def in_thread(broker, work, actor=None):
    """Run *work* as a blocking handler runs: in a thread, beside the loop of its broker."""

    async def main():
        inner = AsyncExecutionContext(broker, ATTEMPT, actor)
        bound = ExecutionContext.bound(inner, asyncio.get_running_loop())
        return await asyncio.to_thread(work, bound)

    return asyncio.run(main())


def on_loop(broker, work, actor=None):
    async def main():
        return await work(AsyncExecutionContext(broker, ATTEMPT, actor))

    return asyncio.run(main())


async def collected(ctx):
    return [one async for one in awaited(ctx)]


def test_both_faces_do_the_same_by_the_same_names():
    there, here = MemoryBroker(), MemoryBroker()
    awaiting = on_loop(there, collected)
    waiting = in_thread(here, lambda ctx: list(waited(ctx)))
    assert awaiting == waiting
    assert there.calls == here.calls
    assert there.calls[:2] == [
        ("write", "a", "né".encode(), "create", None, True),
        ("write", "a", b"x", "upsert", "d", False),
    ]


def public(kind):
    return {name for name, _ in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize("face", [AsyncFiles, AsyncClock, AsyncRandom])
def test_every_method_of_a_face_is_awaitable(face):
    assert public(face)
    assert all(inspect.iscoroutinefunction(getattr(face, name)) for name in public(face))


def test_the_waiting_twin_has_every_name_of_the_awaiting_one():
    broker = MemoryBroker()

    def work(ctx):
        faces = {"fs": AsyncFiles, "clock": AsyncClock, "random": AsyncRandom}
        for name, face in faces.items():
            assert all(callable(getattr(getattr(ctx, name), one)) for one in public(face))
        return [one for one in public(AsyncExecutionContext) if not hasattr(ctx, one)]

    assert in_thread(broker, work) == []


@pytest.mark.parametrize("run", [on_loop, in_thread])
def test_a_handler_knows_where_it_runs_and_for_whom(run):
    def facts(ctx):
        return (
            ctx.run_id,
            ctx.step,
            ctx.attempt,
            ctx.idempotency_key,
            ctx.deadline_us,
            ctx.dry_run,
            str(ctx.actor),
        )

    async def on_the_loop(ctx):
        return facts(ctx)

    work = facts if run is in_thread else on_the_loop
    found = run(MemoryBroker(), work, Actor.person("lin"))
    assert found == ("r7", "each[3]", 2, "k", 99, True, "person:lin")


@pytest.mark.parametrize("run", [on_loop, in_thread])
def test_a_line_of_diagnostics_goes_to_the_broker(run):
    broker = MemoryBroker()

    async def on_the_loop(ctx):
        ctx.log("info", "half done", n=3)

    run(broker, on_the_loop if run is on_loop else lambda ctx: ctx.log("info", "half done", n=3))
    assert broker.lines == [("info", "half done", {"n": 3})]


def test_a_thread_reaches_its_broker_on_the_loop_alone():
    broker, threads = MemoryBroker(), []

    def work(ctx):
        threads.append(threading.current_thread())
        list(waited(ctx))

    in_thread(broker, work)
    assert broker.threads.isdisjoint(threads)
    assert len(broker.threads) == 1


def test_what_the_broker_refuses_is_raised_in_the_thread():
    broker = MemoryBroker()

    async def refuse(name):
        raise EffectRefusedError("effect.undeclared", kind="env.read", target=name)

    broker.env = refuse

    def work(ctx):
        with pytest.raises(PermissionError, match="not among the effects"):
            ctx.env("region")
        with pytest.raises(EffectError, match="does not exist"):
            ctx.fs.read_text("none")
        return "caught"

    assert in_thread(broker, work) == "caught"


def test_text_that_is_none_is_not_guessed_at():
    broker = MemoryBroker()
    broker.files["a"] = b"\xff"

    def work(ctx):
        with pytest.raises(UnicodeDecodeError):
            ctx.fs.read_text("a")
        return ctx.fs.read_text("a", encoding="latin-1")

    assert in_thread(broker, work) == "ÿ"


def test_a_uuid_is_one_of_version_4():
    found = uuid.UUID(on_loop(MemoryBroker(), lambda ctx: ctx.random.uuid()))
    assert (found.version, found.variant) == (4, uuid.RFC_4122)


def test_a_name_that_no_context_has_is_an_error():
    def work(ctx):
        return [hasattr(ctx.fs, "chmod"), hasattr(ctx, "network"), hasattr(ctx, "_broker")]

    assert in_thread(MemoryBroker(), work) == [False, False, False]


def test_the_context_of_a_program_holds_no_right_to_effects():
    context = ExecutionContext(actor=Actor.person("lin"), workspace="demo")
    assert (str(context.actor), context.workspace) == ("person:lin", "demo")
    for name in ("fs", "clock", "random", "env", "log", "run_id"):
        with pytest.raises(WiringError) as caught:
            getattr(context, name)
        assert caught.value.code == "wiring.no_step"
    assert not hasattr(context, "_inner")
    assert Exported is ExecutionContext
