"""What a call may do, and how the broker does it: in order, on the record, within its limits."""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from awe_core import canonical
from awe_core.capability import (
    CapabilitySpec,
    EffectDeclaration,
    Risk,
    UndoCaptured,
    UndoNone,
    UndoNotNeeded,
)
from awe_core.effects import CORE_KINDS, GrantPlan, Prior, StepBroker, StepRef
from awe_core.errors import (
    EffectError,
    EffectRefusedError,
    ExpressionError,
    HandshakeRefusedError,
    JournalUnwritableError,
)
from awe_core.events import (
    EffectApplied,
    EffectFailed,
    EffectIntended,
    EffectRefused,
    Irreversible,
    UndoRecord,
)
from awe_core.files import FileEntry, FileResult
from awe_core.workspace import Workspace

CAPTURED = UndoCaptured()
EIGHT_MIB = 8 * 1024 * 1024
DEFAULTS = {
    "fs.read": {"max_bytes": EIGHT_MIB, "max_files": 1000},
    "fs.list": {"max_entries": 10_000, "depth": 32},
    "fs.write": {
        "modes": ["create", "replace", "append"],
        "max_bytes": EIGHT_MIB,
        "max_files": 100,
    },
    "fs.delete": {"recursive": False, "max_files": 1000},
}


def spec(*effects, undo=CAPTURED):
    return CapabilitySpec(
        id="t.work",
        version="1.0.0",
        summary="Work.",
        risk=Risk.LOW,
        effects=tuple(
            EffectDeclaration(kind, {**DEFAULTS.get(kind, {}), **fields})
            for kind, fields in effects
        ),
        undo=undo,
        input={},
        output={},
        handler="m:f",
    )


def narrow(*effects, arguments=None, config=None):
    return GrantPlan.compile(spec(*effects)).narrow(arguments or {}, config or {})


def write(*paths, **fields):
    return ("fs.write", {"paths": list(paths), **fields})


# -------------------------------------------------------------------------------------- the grants


def covers(grant, kind, target):
    try:
        grant.find(kind, target)
    except EffectRefusedError:
        return False
    return True


def test_a_grant_holds_what_the_arguments_name_and_nothing_else():
    grant = narrow(write("${input.path}"), arguments={"path": "out/a.txt"})
    assert covers(grant, "fs.write", "out/a.txt")
    assert not covers(grant, "fs.write", "out/b.txt")
    assert not covers(grant, "fs.read", "out/a.txt")


@given(st.text(alphabet="ab*?[]!-", min_size=1, max_size=8), st.text(alphabet="ab*?[]!-"))
def test_an_argument_is_literal_whatever_is_in_it(argument, other):
    whole = narrow(write("${input.path}"), arguments={"path": argument})
    part = narrow(write("out/${input.path}/*.md"), arguments={"path": argument})
    assert covers(whole, "fs.write", argument)
    assert covers(whole, "fs.write", other) == (other == argument)
    assert covers(part, "fs.write", f"out/{argument}/x.md")
    assert covers(part, "fs.write", f"out/{other}/x.md") == (other == argument)


def test_what_the_contract_itself_writes_is_a_pattern():
    grant = narrow(write("out/*.md", "log/**"))
    assert covers(grant, "fs.write", "out/a.md")
    assert covers(grant, "fs.write", "log/a/b")
    assert not covers(grant, "fs.write", "out/b/a.md")


def test_a_list_grants_each_of_its_strings():
    grant = narrow(write("${input.paths}"), arguments={"paths": ["a", "b", 3, None, ""]})
    assert [covers(grant, "fs.write", path) for path in ("a", "b", "3", "", "c")] == [
        True,
        True,
        False,
        False,
        False,
    ]


@pytest.mark.parametrize("value", [None, "", 7, True, {"path": "a"}, [], [None], 1.5])
def test_what_is_no_string_grants_nothing(value):
    for template in ("${input.path}", "out/${input.path}", "${input.path}/*.md"):
        grant = narrow(write(template), arguments={"path": value})
        assert grant.as_json == ({"fs.write": DEFAULTS["fs.write"]},)
        assert not any(
            covers(grant, "fs.write", p) for p in ("out/", "out/a", "7", "/x.md", "x.md")
        )


def test_an_argument_that_is_missing_grants_nothing():
    assert not covers(narrow(write("${input.path.deeper}")), "fs.write", "a")


def test_an_argument_cannot_add_a_segment_to_a_pattern():
    with pytest.raises(Exception, match="no path pattern"):
        narrow(write("out/${input.name}/*"), arguments={"name": "a/../.."})
    exact = narrow(write("out/${input.name}.md"), arguments={"name": "a/b"})
    assert not covers(exact, "fs.write", "out/b.md")


def test_a_pattern_may_begin_with_a_directory_from_the_arguments():
    grant = narrow(write("${input.dir}/*.md"), arguments={"dir": "a/b"})
    assert covers(grant, "fs.write", "a/b/x.md")
    assert not covers(grant, "fs.write", "a/x.md")


def test_settings_of_the_deployment_are_a_root_too_and_the_only_other_one():
    grant = narrow(write("${config.folder}/a"), config={"folder": "srv"})
    assert covers(grant, "fs.write", "srv/a")
    for root in ("steps", "env", "inputs"):
        with pytest.raises(ExpressionError):
            GrantPlan.compile(spec(write(f"${{{root}.x}}")))


def test_a_kind_that_nothing_here_performs_is_refused_before_any_call():
    with pytest.raises(EffectRefusedError) as caught:
        GrantPlan.compile(spec(("mail.send", {})))
    assert caught.value.code == "effect.kind_unavailable"
    assert GrantPlan.compile(spec(("mail.send", {})), kinds=CORE_KINDS | {"mail.send"})


def test_a_refusal_says_what_was_granted_instead():
    with pytest.raises(EffectRefusedError) as caught:
        narrow(write("a", "b")).find("fs.write", "c")
    assert caught.value.code == "effect.undeclared"
    assert caught.value.details == ("granted to this call for fs.write: a, b",)


def test_a_grant_is_closed_when_it_names_every_target():
    named = narrow(write("${input.p}"), ("fs.read", {"paths": ["x"]}), arguments={"p": "a*"})
    assert named.is_closed
    assert not narrow(write("a", "b/*")).is_closed
    assert narrow().is_closed


def test_what_a_call_may_change_is_told_by_name_and_sorted():
    grant = narrow(
        write("b", "${input.p}", "c/*"),
        ("fs.delete", {"paths": ["b", "d"]}),
        ("fs.read", {"paths": ["r"]}),
        arguments={"p": "a"},
    )
    assert grant.may_change == ("a", "b", "d")


def test_the_json_of_a_grant_shows_targets_and_limits_and_can_be_written():
    grant = narrow(write("${input.p}", max_files=1), ("clock", {}), arguments={"p": "a"})
    expected = {**DEFAULTS["fs.write"], "max_files": 1, "paths": ["a"]}
    assert grant.as_json == ({"fs.write": expected}, {"clock": {}})
    assert canonical.value(list(grant.as_json))


# -------------------------------------------------------------------------------------- the broker


class FakePort:
    """An engine that records in a list, whose barriers and threads a test can hold or break."""

    run_id = "r7"

    def __init__(self):
        self.facts = []
        self.trace = []
        self.is_open = True
        self.durable = 0
        self.at_barrier = asyncio.Event()
        self.barrier_held = None
        self.barrier_error = None
        self.pool_error = None
        self.gate_asked = []
        self.gate_error = None
        self.priors = {}
        self.earlier = {}
        self.claims = []
        self.claim_held = None
        self.time_us = 1_000
        self.has_room = False

    def record(self, fact):
        self.facts.append(fact)
        self.trace.append(fact.kind)

    async def barrier(self):
        self.at_barrier.set()
        if self.barrier_held is not None:
            await self.barrier_held.wait()
        if self.barrier_error is not None:
            raise self.barrier_error
        self.trace.append("barrier")
        self.durable = len(self.facts)

    async def in_pool(self, work):
        await asyncio.sleep(0)
        if self.pool_error is not None:
            raise self.pool_error
        work()
        self.trace.append("flush")

    async def make_room(self, needed):
        self.trace.append(f"make room for {needed}")
        return self.has_room

    def prior(self, key):
        return self.priors.get(key)

    def touched(self, step, epoch):
        return self.earlier.get((step, epoch), frozenset())

    async def claim(self, step, resource):
        if self.claim_held is not None:
            await self.claim_held.wait()
        self.claims.append((step, resource))

    def now_us(self):
        return self.time_us

    def check_gate(self, step):
        self.gate_asked.append(step)
        if self.gate_error is not None:
            raise self.gate_error

    def of(self, kind):
        return [fact for fact in self.facts if isinstance(fact, kind)]


@attrs.frozen
class Bench:
    """One attempt of one step over a real workspace."""

    port: FakePort
    broker: StepBroker
    workspace: Workspace

    @property
    def root(self):
        return self.workspace.root


@pytest.fixture
def workspace(tmp_path):
    (tmp_path / "ws").mkdir()
    with Workspace.open(tmp_path / "ws", store=tmp_path / "undo") as opened:
        yield opened


@pytest.fixture
def bench_of(workspace):
    def make(*effects, undo=CAPTURED, config=None, is_synced=True, attempt=1, port=None):
        port = port or FakePort()
        broker = StepBroker(
            port,
            StepRef(path="w", attempt=attempt, epoch=0, key="k"),
            grant=narrow(*effects, config=config),
            workspace=workspace,
            config=config or {},
            is_synced=is_synced,
            undo=undo,
        )
        return Bench(port, broker, workspace)

    return make


def put(bench, path, data=b"new", **how):
    return bench.broker.write(
        path, data, **{"mode": "upsert", "expect": None, "parents": False, **how}
    )


@contextmanager
def refused(bench, code, **attributes):
    """Expect a refusal that is told, recorded, and changed nothing."""
    before = bench.workspace.tree_digest()
    with pytest.raises(PermissionError) as caught:
        yield
    error = caught.value
    assert code == error.code
    assert attributes.items() <= error.attributes.items()
    assert bench.workspace.tree_digest() == before
    assert bench.port.of(EffectRefused)[-1].code == code
    assert not bench.port.of(EffectIntended)


def test_an_effect_is_staged_intended_durable_done_and_recorded_in_this_order(bench_of):
    bench = bench_of(write("a"))
    (bench.root / "a").write_bytes(b"old")
    done = asyncio.run(put(bench, "a"))
    assert done == FileResult("a", canonical.sha256_hex(b"new"), 3, created=False)
    assert bench.port.trace == ["flush", "effect.intended", "barrier", "flush", "effect.applied"]
    assert (bench.root / "a").read_bytes() == b"new"


def test_the_intent_is_durable_before_the_world_changes(bench_of):
    bench = bench_of(write("a"))

    async def main():
        bench.port.barrier_held = asyncio.Event()
        writing = asyncio.ensure_future(put(bench, "a"))
        await bench.port.at_barrier.wait()
        assert not (bench.root / "a").exists()
        bench.port.barrier_held.set()
        await writing

    asyncio.run(main())
    assert (bench.root / "a").exists()


def test_an_intent_carries_what_is_needed_to_take_it_back(bench_of):
    bench = bench_of(write("a"))
    (bench.root / "a").write_bytes(b"old")
    asyncio.run(put(bench, "a"))
    (intent,) = bench.port.of(EffectIntended)
    assert (intent.effect, intent.key, intent.type, intent.target) == (
        "r7/w/1/0",
        "k-0",
        "fs.write",
        "a",
    )
    assert isinstance(intent.record, UndoRecord)
    assert intent.undo == {"strategy": intent.record.strategy}
    assert intent.pre == canonical.digest(b"old")
    assert intent.claims == ("fs/a",)
    assert bench.port.claims == [("w", "fs/a")]
    (applied,) = bench.port.of(EffectApplied)
    assert applied.effect == intent.effect
    assert applied.post == canonical.digest(b"new")


def test_without_flushes_the_barrier_stays(bench_of):
    bench = bench_of(write("a"), is_synced=False)
    asyncio.run(put(bench, "a"))
    assert bench.port.trace == ["effect.intended", "barrier", "effect.applied"]


@pytest.mark.parametrize(
    ("undo", "field", "record"),
    [
        (UndoNone("mailed"), {"none": "mailed"}, Irreversible("mailed")),
        (UndoNotNeeded(), {}, None),
    ],
)
def test_what_is_not_taken_back_says_so_in_its_intent(undo, field, record, bench_of):
    bench = bench_of(write("a"), undo=undo)
    asyncio.run(put(bench, "a"))
    (intent,), (applied,) = bench.port.of(EffectIntended), bench.port.of(EffectApplied)
    assert (intent.undo, intent.record) == (field, record)
    assert applied.record is None


# ---------------------------------------------------------------------------------------- refusals


def test_what_was_not_declared_is_refused_and_recorded(bench_of):
    bench = bench_of(write("a"))
    (bench.root / "b").write_bytes(b"theirs")
    with refused(bench, "effect.undeclared", kind="fs.write", target="b"):
        asyncio.run(put(bench, "b"))
    with refused(bench, "effect.undeclared", kind="fs.read"):
        asyncio.run(bench.broker.read("a"))
    with refused(bench, "effect.undeclared", kind="fs.delete"):
        asyncio.run(bench.broker.delete("a", recursive=False))
    with refused(bench, "effect.undeclared", kind="clock"):
        asyncio.run(bench.broker.now_us())
    assert [one.target for one in bench.port.of(EffectRefused)] == ["b", "a", "a", ""]


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a/../b", "./a", "a//b", "", "a\0b"])
def test_a_path_out_of_the_workspace_is_refused_whatever_was_granted(path, bench_of):
    bench = bench_of(write("**", "../a", "/etc/passwd"), ("fs.read", {"paths": ["**"]}))
    with refused(bench, "workspace.escape"):
        asyncio.run(put(bench, path))
    with refused(bench, "workspace.escape"):
        asyncio.run(bench.broker.read(path))


def test_a_move_needs_both_ends(bench_of):
    bench = bench_of(write("a"))
    (bench.root / "a").write_bytes(b"x")
    with refused(bench, "effect.undeclared", target="b"):
        asyncio.run(bench.broker.move("a", "b"))
    with refused(bench, "effect.undeclared", target="b"):
        asyncio.run(bench.broker.move("b", "a"))


def test_the_gate_is_asked_before_every_effect(bench_of):
    bench = bench_of(write("a", "b"))
    asyncio.run(put(bench, "a"))
    assert bench.port.gate_asked[-1] == "w"
    bench.port.gate_error = HandshakeRefusedError(
        "handshake.stopped", capability="t", by="person:lin", reason="drill", stop="s1"
    )
    with pytest.raises(HandshakeRefusedError):
        asyncio.run(put(bench, "b"))
    assert bench.port.of(EffectRefused)[-1].code == "handshake.stopped"
    assert not (bench.root / "b").exists()


def test_a_hundred_refusals_have_a_record_each_and_the_rest_one_together(bench_of):
    bench = bench_of()

    async def main():
        for _ in range(130):
            with pytest.raises(EffectRefusedError):
                await bench.broker.read("secret")
        await bench.broker.end("over")

    asyncio.run(main())
    found = bench.port.of(EffectRefused)
    assert len(found) == 101
    assert [one.n for one in found[:100]] == [None] * 100
    assert (found[100].n, found[100].code) == (30, "effect.undeclared")
    assert bench.broker.refused == 130


def test_a_target_is_recorded_cut(bench_of):
    bench = bench_of()
    with pytest.raises(EffectRefusedError):
        asyncio.run(bench.broker.read("é" * 1_000))
    (one,) = bench.port.of(EffectRefused)
    assert len(one.target.encode()) <= 512


# ------------------------------------------------------------------------------------------ limits


def test_more_bytes_than_declared_are_refused(bench_of):
    bench = bench_of(write("a", max_bytes=3), ("fs.read", {"paths": ["a"], "max_bytes": 3}))
    asyncio.run(put(bench, "a", b"123"))
    (bench.root / "a").write_bytes(b"1234")
    bench.port.facts.clear()
    with refused(bench, "effect.limit", which="max_bytes", limit=3):
        asyncio.run(put(bench, "a", b"1234"))
    with refused(bench, "effect.limit", which="max_bytes", limit=3):
        asyncio.run(bench.broker.read("a"))
    with refused(bench, "effect.limit", which="max_bytes", limit=3):
        asyncio.run(bench.broker.append("a", b"1234"))
    assert bench.port.of(EffectRefused)[-1].limit == "3"


def test_many_small_appends_are_no_way_around_the_limit(bench_of):
    bench = bench_of(write("a", max_bytes=5))
    (bench.root / "a").write_bytes(b"")
    asyncio.run(bench.broker.append("a", b"123"))
    with pytest.raises(EffectRefusedError, match="max_bytes"):
        asyncio.run(bench.broker.append("a", b"123"))
    asyncio.run(bench.broker.append("a", b"45"))
    assert (bench.root / "a").read_bytes() == b"12345"


@pytest.mark.parametrize(
    ("modes", "mode", "is_allowed"),
    [
        (["create"], "create", True),
        (["create"], "replace", False),
        (["create"], "upsert", False),
        (["replace"], "replace", True),
        (["create", "replace"], "upsert", True),
        (["append"], "create", False),
        (["append"], "append", False),
        (["create", "replace", "append"], "append", False),
        (["create", "replace", "append"], "truncate", False),
        ([], "create", False),
    ],
)
def test_a_write_is_done_only_in_the_declared_modes(modes, mode, is_allowed, bench_of):
    bench = bench_of(write("a", modes=modes))
    if "replace" in modes or mode == "append":
        (bench.root / "a").write_bytes(b"old")
    if is_allowed:
        asyncio.run(put(bench, "a", mode=mode))
        assert (bench.root / "a").read_bytes() == b"new"
    else:
        with refused(bench, "effect.limit"):
            asyncio.run(put(bench, "a", mode=mode))


def test_append_mkdir_and_move_need_their_modes_too(bench_of):
    bench = bench_of(write("a", "b", modes=["replace"]))
    (bench.root / "a").write_bytes(b"old")
    for asked in (
        bench.broker.append("a", b"x"),
        bench.broker.mkdir("b", parents=False),
        bench.broker.move("a", "b"),
    ):
        with refused(bench, "effect.limit", which="modes", limit="replace"):
            asyncio.run(asked)


def test_a_directory_with_content_goes_only_where_recursive_was_declared(bench_of):
    bench = bench_of(("fs.delete", {"paths": ["d"]}))
    (bench.root / "d").mkdir()
    (bench.root / "d" / "f").touch()
    with refused(bench, "effect.limit", which="recursive"):
        asyncio.run(bench.broker.delete("d", recursive=True))
    allowed = bench_of(("fs.delete", {"paths": ["d"], "recursive": True}))
    asyncio.run(allowed.broker.delete("d", recursive=True))
    assert not (bench.root / "d").exists()


def test_a_tree_larger_than_declared_is_not_deleted(bench_of):
    bench = bench_of(("fs.delete", {"paths": ["d"], "recursive": True, "max_files": 2}))
    (bench.root / "d").mkdir()
    for name in "abc":
        (bench.root / "d" / name).touch()
    with refused(bench, "effect.limit", which="max_files"):
        asyncio.run(bench.broker.delete("d", recursive=True))


def test_a_step_writes_no_more_files_than_declared(bench_of):
    bench = bench_of(write("*", max_files=2))

    async def main():
        await put(bench, "a")
        await put(bench, "b")
        await put(bench, "a", b"again")
        with pytest.raises(EffectRefusedError, match="max_files = 2"):
            await put(bench, "c")
        with pytest.raises(EffectRefusedError, match="max_files = 2"):
            await bench.broker.mkdir("d", parents=False)
        with pytest.raises(EffectRefusedError, match="max_files = 2"):
            await bench.broker.move("a", "e")
        await bench.broker.append("b", b"more")

    asyncio.run(main())
    assert sorted(p.name for p in bench.root.iterdir()) == ["a", "b"]


def test_a_step_reads_no_more_files_than_declared(bench_of):
    bench = bench_of(("fs.read", {"paths": ["*"], "max_files": 1}))
    for name in "ab":
        (bench.root / name).write_text(name)
    assert asyncio.run(bench.broker.read("a")) == b"a" == asyncio.run(bench.broker.read("a"))
    with refused(bench, "effect.limit", which="max_files"):
        asyncio.run(bench.broker.read("b"))


def test_files_of_earlier_attempts_count_and_the_same_ones_are_no_more(bench_of):
    port = FakePort()
    earlier = {("fs.write", "a"), ("fs.read", "b"), ("fs.write", "elsewhere/x")}
    port.earlier = {("w", 0): earlier, ("w", 1): {("fs.write", "z")}}
    bench = bench_of(write("*", max_files=2), port=port, attempt=2)
    asyncio.run(put(bench, "a"))
    asyncio.run(put(bench, "b"))
    with pytest.raises(EffectRefusedError, match="max_files"):
        asyncio.run(put(bench, "c"))


def test_each_declared_effect_has_a_counter_of_its_own(bench_of):
    bench = bench_of(write("a*", max_files=1), write("b*", max_files=1))
    asyncio.run(put(bench, "a1"))
    asyncio.run(put(bench, "b1"))
    for path in ("a2", "b2"):
        with pytest.raises(EffectRefusedError, match="max_files"):
            asyncio.run(put(bench, path))


# ----------------------------------------------------------------------------------------- listing


@pytest.fixture
def tree(workspace):
    for path in ("docs/a.md", "docs/b.txt", "docs/deep/c.md", "other/d.md"):
        (workspace.root / path).parent.mkdir(parents=True, exist_ok=True)
        (workspace.root / path).write_text(path)
    return workspace.root


def lists(*paths, **fields):
    return ("fs.list", {"paths": list(paths), **fields})


def found(entries):
    assert all(isinstance(one, FileEntry) for one in entries)
    return [one.path for one in entries]


@pytest.mark.usefixtures("tree")
def test_a_granted_directory_can_be_listed_and_what_is_in_it_looked_at(bench_of):
    bench = bench_of(lists("docs"))
    expected = ["docs/a.md", "docs/b.txt", "docs/deep"]
    assert found(asyncio.run(bench.broker.list("docs"))) == expected
    entry = asyncio.run(bench.broker.stat("docs/a.md"))
    assert (entry.type, entry.size) == ("file", 9)
    assert asyncio.run(bench.broker.stat("docs/none")) is None
    assert found(asyncio.run(bench.broker.glob("docs/*.md"))) == ["docs/a.md"]


@pytest.mark.usefixtures("tree")
def test_what_is_not_granted_is_neither_listed_nor_looked_at(bench_of):
    bench = bench_of(lists("docs"))
    for asked in (
        bench.broker.list("other"),
        bench.broker.list("."),
        bench.broker.list("docs/deep"),
        bench.broker.stat("other/d.md"),
        bench.broker.stat("docs/deep/c.md"),
        bench.broker.glob("other/*"),
        bench.broker.glob("*"),
        bench.broker.glob("**"),
        bench.broker.glob("docs/**"),
        bench.broker.glob("docs/*/c.md"),
    ):
        with refused(bench, "effect.undeclared"):
            asyncio.run(asked)


@pytest.mark.usefixtures("tree")
def test_a_pattern_of_the_contract_is_not_widened_by_a_pattern_of_the_handler(bench_of):
    bench = bench_of(lists("docs/*"))
    with refused(bench, "effect.undeclared"):
        asyncio.run(bench.broker.glob("docs/**/*.md"))


@pytest.mark.usefixtures("tree")
def test_the_whole_workspace_can_be_granted(bench_of):
    bench = bench_of(lists("**"))
    expected = ["docs/a.md", "docs/deep/c.md", "other/d.md"]
    assert found(asyncio.run(bench.broker.glob("**/*.md"))) == expected
    assert found(asyncio.run(bench.broker.list("."))) == ["docs", "other"]


@pytest.mark.usefixtures("tree")
def test_a_listing_longer_than_declared_is_refused(bench_of):
    bench = bench_of(lists("**", max_entries=2))
    with refused(bench, "effect.limit", which="max_entries"):
        asyncio.run(bench.broker.list("docs"))
    with refused(bench, "effect.limit", which="max_entries"):
        asyncio.run(bench.broker.glob("**"))


def test_reads_are_recorded_without_intent_and_barrier(bench_of, tree):
    bench = bench_of(lists("**"), ("fs.read", {"paths": ["**"]}))
    asyncio.run(bench.broker.read("docs/a.md"))
    asyncio.run(bench.broker.list("docs"))
    read, listed = bench.port.of(EffectApplied)
    assert bench.port.trace == ["effect.applied", "effect.applied"]
    assert (read.type, read.target) == ("fs.read", "docs/a.md")
    assert read.post == canonical.digest((tree / "docs/a.md").read_bytes())
    assert (listed.type, listed.target) == ("fs.list", "docs")
    assert read.effect != listed.effect


# -------------------------------------------------------------------------------- time and settings


def test_time_randomness_and_settings_are_recorded(bench_of):
    declared = [("clock", {}), ("random", {}), ("env.read", {"names": ["region"]})]
    bench = bench_of(*declared, config={"region": "eu", "secret": "x"})
    assert asyncio.run(bench.broker.now_us()) == 1_000
    assert len(asyncio.run(bench.broker.random(16))) == 16
    assert asyncio.run(bench.broker.env("region")) == "eu"
    types = [(one.type, one.target) for one in bench.port.of(EffectApplied)]
    assert types == [("clock", "1000"), ("random", "16 bytes"), ("env.read", "region")]
    with refused(bench, "effect.undeclared"):
        asyncio.run(bench.broker.env("secret"))


def test_a_setting_that_is_declared_and_not_given_is_an_error_of_the_deployment(bench_of):
    bench = bench_of(("env.read", {"names": ["region"]}))
    with pytest.raises(EffectError) as caught:
        asyncio.run(bench.broker.env("region"))
    assert caught.value.code == "effect.env_missing"


def test_the_environment_of_the_process_is_no_setting(bench_of):
    bench = bench_of(("env.read", {"names": ["PATH"]}))
    with pytest.raises(EffectError, match="declared but not given"):
        asyncio.run(bench.broker.env("PATH"))


@pytest.mark.parametrize("size", [0, -1, 65_537])
def test_randomness_comes_in_reasonable_pieces(size, bench_of):
    bench = bench_of(("random", {}))
    with pytest.raises(EffectError, match="65536"):
        asyncio.run(bench.broker.random(size))


# ------------------------------------------------------------------------------- changes to files


def test_parents_are_made_one_effect_each_and_outermost_first(bench_of):
    bench = bench_of(write("a/b/c.txt"))
    asyncio.run(put(bench, "a/b/c.txt", parents=True))
    intents = bench.port.of(EffectIntended)
    assert [one.target for one in intents] == ["a", "a/b", "a/b/c.txt"]
    assert "0" == intents[2].effect.rpartition("/")[2]
    assert (bench.root / "a/b/c.txt").read_bytes() == b"new"


def test_parents_that_are_there_by_now_do_not_shift_the_keys_of_what_follows(bench_of):
    """After a crash the directory is there, and the same write must have the same key."""
    first = bench_of(write("a/b.txt"))
    asyncio.run(put(first, "a/b.txt", parents=True))
    again = FakePort()
    ends = {one.effect: one for one in first.port.of(EffectApplied)}
    again.priors = {
        one.key: Prior(one, ends[one.effect], is_taken_back=False)
        for one in first.port.of(EffectIntended)
    }
    second = bench_of(write("a/b.txt"), port=again)
    asyncio.run(put(second, "a/b.txt", parents=True))
    (repeated,) = again.of(EffectApplied)
    assert repeated.repeated


def test_without_parents_a_missing_directory_is_an_error(bench_of):
    bench = bench_of(write("a/b.txt"))
    with pytest.raises(EffectError) as caught:
        asyncio.run(put(bench, "a/b.txt"))
    assert caught.value.code == "fs.missing"
    assert not bench.port.of(EffectIntended)


def test_a_directory_that_is_there_needs_no_effect_with_parents(bench_of):
    bench = bench_of(write("d"))
    (bench.root / "d").mkdir()
    asyncio.run(bench.broker.mkdir("d", parents=True))
    assert not bench.port.facts
    with pytest.raises(EffectError, match="exists already"):
        asyncio.run(bench.broker.mkdir("d", parents=False))


def test_append_move_delete_and_mkdir_do_what_they_say(bench_of):
    bench = bench_of(write("**"), ("fs.delete", {"paths": ["**"]}))
    (bench.root / "a").write_bytes(b"1")

    async def main():
        assert (await bench.broker.append("a", b"2")).size == 2
        await bench.broker.mkdir("d", parents=False)
        await bench.broker.move("a", "d/a")
        await bench.broker.delete("d/a", recursive=False)

    asyncio.run(main())
    assert [one.type for one in bench.port.of(EffectIntended)] == [*["fs.write"] * 3, "fs.delete"]
    assert bench.port.of(EffectIntended)[2].claims == ("fs/d/a", "fs/a")
    assert [p.name for p in bench.root.iterdir()] == ["d"]


def test_an_act_that_finds_another_file_is_recorded_as_not_applied(bench_of):
    bench = bench_of(write("a"))

    async def main():
        bench.port.barrier_held = asyncio.Event()
        writing = asyncio.ensure_future(put(bench, "a", mode="create"))
        await bench.port.at_barrier.wait()
        (bench.root / "a").write_bytes(b"theirs")
        bench.port.barrier_held.set()
        with pytest.raises(EffectError, match="exists already"):
            await writing

    asyncio.run(main())
    (failed,) = bench.port.of(EffectFailed)
    assert (failed.applied, failed.err.code) == ("no", "fs.exists")
    assert (bench.root / "a").read_bytes() == b"theirs"


def test_a_flush_that_fails_after_the_act_leaves_it_unknown(bench_of):
    bench = bench_of(write("a"))

    async def main():
        bench.port.barrier_held = asyncio.Event()
        writing = asyncio.ensure_future(put(bench, "a"))
        await bench.port.at_barrier.wait()
        bench.port.pool_error = OSError(5, "Input/output error")
        bench.port.barrier_held.set()
        with pytest.raises(EffectError, match="Input/output error"):
            await writing

    asyncio.run(main())
    (failed,) = bench.port.of(EffectFailed)
    assert (failed.applied, failed.err.code) == ("unknown", "fs.failed")
    assert not bench.port.of(EffectApplied)


# -------------------------------------------------------------------------- late, cut off, repeated


def slots(bench):
    return sorted(path.name for path in (bench.root.parent / "undo").rglob("*") if path.is_file())


def test_after_the_step_nothing_happens_any_more(bench_of):
    bench = bench_of(write("a"), ("fs.read", {"paths": ["a"]}), ("clock", {}), lists("."))
    (bench.root / "a").write_bytes(b"x")
    bench.broker.close("the step has ended")
    bench.broker.close("and again")
    for asked in (
        put(bench, "a"),
        bench.broker.read("a"),
        bench.broker.list("."),
        bench.broker.glob("*"),
        bench.broker.now_us(),
        bench.broker.delete("a", recursive=False),
    ):
        with refused(bench, "effect.late", why="the step has ended"):
            asyncio.run(asked)


def test_a_refusal_after_the_run_has_closed_has_no_record(bench_of):
    bench = bench_of(write("a"))
    bench.broker.close("over")
    bench.port.is_open = False
    with pytest.raises(EffectRefusedError):
        asyncio.run(put(bench, "a"))
    assert not bench.port.facts


def test_a_step_that_ends_before_the_act_leaves_nothing(bench_of):
    bench = bench_of(write("a"))
    before = slots(bench)

    async def main():
        bench.port.barrier_held = asyncio.Event()
        writing = asyncio.ensure_future(put(bench, "a"))
        await bench.port.at_barrier.wait()
        ending = asyncio.ensure_future(bench.broker.end("the run is ending"))
        await asyncio.sleep(0)
        assert not ending.done()
        bench.port.barrier_held.set()
        await ending
        recorded = bench.port.trace.copy()
        with pytest.raises(EffectRefusedError, match="the run is ending"):
            await writing
        return recorded

    assert asyncio.run(main())[-1] == "effect.failed"
    (failed,) = bench.port.of(EffectFailed)
    assert (failed.applied, failed.err.code) == ("no", "effect.late")
    assert not (bench.root / "a").exists()
    assert slots(bench) == before


def test_a_cancelled_barrier_leaves_nothing(bench_of):
    bench = bench_of(write("a"))
    before = slots(bench)

    async def main():
        bench.port.barrier_held = asyncio.Event()
        writing = asyncio.ensure_future(put(bench, "a"))
        await bench.port.at_barrier.wait()
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing

    asyncio.run(main())
    (failed,) = bench.port.of(EffectFailed)
    assert failed.applied == "no"
    assert not (bench.root / "a").exists()
    assert slots(bench) == before


def test_whoever_cancels_after_the_act_waits_for_its_record(bench_of):
    bench = bench_of(write("a"))
    acted, held, flush = asyncio.Event(), threading.Event(), bench.port.in_pool

    async def slow(work):
        await flush(work)
        if bench.port.of(EffectIntended):
            acted.set()
            await asyncio.to_thread(held.wait, 10)

    bench.port.in_pool = slow

    async def main():
        writing = asyncio.ensure_future(put(bench, "a"))
        await acted.wait()
        ending = asyncio.ensure_future(bench.broker.end("over"))
        for task in (writing, ending) * 3:
            task.cancel()
            await asyncio.sleep(0)
        assert not bench.port.of(EffectApplied)
        held.set()
        for task in (writing, ending):
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    assert len(bench.port.of(EffectApplied)) == 1
    assert (bench.root / "a").read_bytes() == b"new"


def test_a_log_that_cannot_be_written_lets_nothing_act(bench_of):
    bench = bench_of(write("a"))
    before = slots(bench)
    bench.port.barrier_error = JournalUnwritableError(
        "journal.unwritable", path="journal.db", reason="disk full"
    )
    with pytest.raises(JournalUnwritableError):
        asyncio.run(put(bench, "a"))
    assert not (bench.root / "a").exists()
    assert slots(bench) == before
    assert not bench.port.of(EffectApplied)


def test_a_stage_that_cannot_be_flushed_leaves_nothing(bench_of):
    bench = bench_of(write("a"))
    before = slots(bench)
    bench.port.pool_error = OSError(28, "No space left on device")
    with pytest.raises(OSError, match="No space"):
        asyncio.run(put(bench, "a"))
    assert not bench.port.facts
    assert slots(bench) == before


def test_changes_are_made_one_at_a_time_in_the_order_they_were_asked_for(bench_of):
    bench = bench_of(write("*"))

    async def main():
        await asyncio.gather(*(put(bench, name) for name in "cab"))

    asyncio.run(main())
    kinds = ["effect.intended", "effect.applied"] * 3
    assert [kind for kind in bench.port.trace if kind.startswith("effect.")] == kinds
    assert [one.target for one in bench.port.of(EffectIntended)] == ["c", "a", "b"]
    assert [one.effect for one in bench.port.of(EffectIntended)] == [
        f"r7/w/1/{n}" for n in range(3)
    ]


def test_a_step_that_ends_waits_for_no_claim_of_another_step(bench_of):
    bench = bench_of(write("a"))

    async def main():
        bench.port.claim_held = asyncio.Event()
        writing = asyncio.ensure_future(put(bench, "a"))
        await asyncio.sleep(0)
        await bench.broker.end("the run is ending")
        with pytest.raises(EffectRefusedError, match="the run is ending"):
            await writing
        assert not bench.port.claims

    asyncio.run(main())
    assert bench.port.trace == ["effect.refused"]


def test_a_late_change_claims_nothing(bench_of):
    bench = bench_of(write("a"))
    bench.broker.close("over")
    with pytest.raises(EffectRefusedError):
        asyncio.run(put(bench, "a"))
    assert not bench.port.claims


@pytest.fixture
def crashed(bench_of):
    """An attempt that wrote ``a`` and was cut off, and the one after the crash."""
    first = bench_of(write("a"), ("fs.delete", {"paths": ["a"]}))
    asyncio.run(put(first, "a", mode="create"))
    (intent,), (applied,) = first.port.of(EffectIntended), first.port.of(EffectApplied)
    again = FakePort()
    again.priors = {intent.key: Prior(intent, applied, is_taken_back=False)}
    return bench_of(write("a"), ("fs.delete", {"paths": ["a"]}), port=again)


def test_what_an_earlier_attempt_did_is_answered_from_the_log(crashed):
    done = asyncio.run(put(crashed, "a", mode="create"))
    assert done == FileResult("a", canonical.sha256_hex(b"new"), 3, created=True)
    (again,) = crashed.port.of(EffectApplied)
    assert again.repeated
    assert not crashed.port.of(EffectIntended)


@pytest.mark.parametrize("data", [b"other", b""])
def test_another_request_under_the_same_key_is_not_done(data, crashed):
    with pytest.raises(EffectError) as caught:
        asyncio.run(put(crashed, "a", data, mode="create"))
    assert caught.value.code == "effect.key_reused"
    assert (crashed.root / "a").read_bytes() == b"new"
    assert not crashed.port.of(EffectIntended)


def test_another_kind_under_the_same_key_is_not_done(crashed):
    with pytest.raises(EffectError) as caught:
        asyncio.run(crashed.broker.delete("a", recursive=False))
    assert caught.value.code == "effect.key_reused"
    assert (crashed.root / "a").exists()


def test_what_somebody_changed_since_is_not_answered_as_done(crashed):
    (crashed.root / "a").write_bytes(b"theirs")
    with pytest.raises(EffectError) as caught:
        asyncio.run(put(crashed, "a", mode="create"))
    assert caught.value.code == "fs.changed"


def test_what_was_taken_back_is_done_again(crashed):
    (crashed.root / "a").unlink()
    key, prior = next(iter(crashed.port.priors.items()))
    crashed.port.priors[key] = attrs.evolve(prior, is_taken_back=True)
    asyncio.run(put(crashed, "a", mode="create"))
    assert len(crashed.port.of(EffectIntended)) == 1
    assert (crashed.root / "a").exists()


# ------------------------------------------------------------------------------------- diagnostics


def test_lines_of_diagnostics_are_kept_up_to_64_kib(bench_of):
    bench = bench_of()
    bench.broker.log("info", "x", {"n": 1})
    for _ in range(100):
        bench.broker.log("info", "y" * 1_000, {})
    assert bench.broker.diagnostics[0] == {"level": "info", "text": "x", "n": 1}
    assert 60 < len(bench.broker.diagnostics) < 67


def test_fields_of_diagnostics_count_and_do_not_take_a_lines_place(bench_of):
    bench = bench_of()
    bench.broker.log("info", "x", {"level": "forged", "blob": "z" * 70_000})
    assert not bench.broker.diagnostics
    other = bench_of()
    other.broker.log("info", "x", {"level": "forged"})
    assert other.broker.diagnostics == [{"level": "info", "text": "x"}]


# ---------------------------------------------------------------------------------- the undo store


def test_what_was_staged_for_an_act_that_changed_nothing_is_forgotten(bench_of):
    bench = bench_of(write("*"))
    (bench.root / "a").write_bytes(b"old")
    bench.port.barrier_held = asyncio.Event()

    async def main():
        writing = asyncio.create_task(put(bench, "a", expect=canonical.sha256_hex(b"old")))
        await bench.port.at_barrier.wait()
        (bench.root / "a").write_bytes(b"theirs")  # between the intent and the act
        bench.port.barrier_held.set()
        with pytest.raises(EffectError) as caught:
            await writing
        assert "fs.changed" == caught.value.code

    asyncio.run(main())
    (failed,) = bench.port.of(EffectFailed)
    assert "no" == failed.applied
    assert b"theirs" == (bench.root / "a").read_bytes()
    assert [] == list((bench.root.parent / "undo").glob("r7/*"))


@pytest.mark.parametrize("has_room", [True, False])
def test_a_full_store_is_tried_again_once_where_room_was_made(has_room, tmp_path):
    (tmp_path / "ws").mkdir()
    (tmp_path / "ws" / "a").write_bytes(b"four")
    port = FakePort()
    port.has_room = has_room
    with Workspace.open(tmp_path / "ws", store=tmp_path / "undo", quota=3) as workspace:
        broker = StepBroker(
            port,
            StepRef(path="w", attempt=1, epoch=0, key="k"),
            grant=narrow(write("*")),
            workspace=workspace,
            config={},
            is_synced=False,
            undo=CAPTURED,
        )
        with refused(Bench(port, broker, workspace), "undo.full", needed=4, quota=3):
            asyncio.run(put(Bench(port, broker, workspace), "a"))
    assert ["make room for 4", "effect.refused"] == port.trace
