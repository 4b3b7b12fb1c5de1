"""Strategies that a contract names, and calls that a program brings itself: here, gone, back again.

What they change lies beside the workspace; the broker knows nothing of it.
"""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import attrs
import pytest

import awe_core
from awe_core import governance
from awe_core.config import load_config
from awe_core.documents import load_capability
from awe_core.engine import open_questions
from awe_core.errors import AweError, UndoError
from awe_core.events import Actor, Decision
from awe_core.gate import GateSnapshot
from awe_core.runtime.deployment import governance_of
from awe_core.runtime.results import result_of, view_of
from awe_core.testing import me
from awe_core.undo import Applied, UndoManager
from awe_core.workspace import Workspace

ENTER = """\
awe: capability/v1
id: book.{name}
version: 1.0.0
summary: Enter a line in a book outside.
risk: medium
effects:
  - fs.write: {{paths: ["${{input.path}}"], modes: [create, replace]}}
undo: {undo}
input:
  type: object
  required: [path, book]
  properties: {{path: {{type: string}}, book: {{type: string}}, line: {{type: string, default: x}}}}
output: {{type: object}}
handler: m:f
"""
STRIKE = '{compensate: {capability: book.strike@1, with: {path: s, book: "${input.book}"}}}'
NAMED = '{strategy: book.restore, with: {book: "${input.book}"}}'


def enter(ctx, *, path, book, line):
    ctx.fs.write_text(path, line)
    with Path(book).open("a") as out:
        out.write(f"{line}\n")
    return {}


def strike(ctx, *, path, book, line):
    del path, line
    Path(book).write_text(f"struck by {ctx.idempotency_key[-5:]}\n")
    return {}


@attrs.define
class Restore:
    """Keeps a copy of the book before the act, and gives it back."""

    name: str = "book.restore"
    timeout_us: int = 10_000_000
    breaks: str = ""

    def capture(self, intent, args, world):
        assert world.workspace.stat(intent.target) is None  # nothing has acted yet
        if self.breaks == "capture":
            raise OSError(5, "unreadable")
        if self.breaks == "payload":
            return {"no": object()}
        return {"book": args["book"], "was": Path(args["book"]).read_text()}

    def complete(self, payload, result):
        if self.breaks == "complete":
            raise ValueError
        return {**payload, "size": result["size"]}

    def inspect(self, record, world):
        del world
        same = Path(record.payload["book"]).read_text() == record.payload["was"]
        return "not_applied" if same else "applied"

    def undo(self, record, world, key):
        del world
        text = f"{record.payload['was']}restored {record.payload.get('size')} {key[-5:]}\n"
        Path(record.payload["book"]).write_text(text)
        return Applied()


class Waiting(Restore):
    """The same as coroutines."""

    async def capture(self, intent, args, world):
        return super().capture(intent, args, world)

    async def inspect(self, record, world):
        return super().inspect(record, world)

    async def undo(self, record, world, key):
        return super().undo(record, world, key)


@attrs.define(slots=False)
class Process:
    """One life of a program that wires the parts by hand."""

    story: object
    strategies: tuple = ()
    brings: tuple = ()
    owner: str = "awe-plugin-book"

    def __enter__(self):
        place = self.story.place
        self.journal = awe_core.Journal.open(place.home)
        self.workspace = Workspace.open(place.work, store=place.home / "undo")
        undo = UndoManager(self.journal, self.workspace)
        undo.add((self.owner, one) for one in self.strategies)
        known = awe_core.CapabilityRegistry.load(home=place.home)
        for name, how, handler in self.brings:
            text = ENTER.format(name=name, undo=how)
            known.registry.register(load_capability(text, file=name), handler)
        known.gate.swap(GateSnapshot.of(known.verdict, local=known.registry.local))
        self.engine = awe_core.RuntimeEngine(
            known, undo_manager=undo, audit_logger=awe_core.AuditLogger(self.journal, [])
        )
        return self

    def __exit__(self, *_):
        self.engine.close()
        self.workspace.close()
        self.journal.close()

    def run(self, steps):
        file = self.story.place.workflow(steps)
        context = awe_core.ExecutionContext(actor=Actor.person(me()), workspace=self.workspace)
        flows = awe_core.WorkflowEngine(self.engine)
        return flows.run(awe_core.WorkflowSpec.load(file), {}, context)

    def ask(self, run, verb, **params):
        inner = self.engine.inner

        async def asked():
            await inner.control(run, verb, actor=Actor.person(me()), params=params)
            await inner.settled(run)
            return result_of(inner.reader, run)

        return self.engine.loop.wait(asked())

    def approve(self):
        """Say yes to the one question that waits."""
        inner = self.engine.inner
        runs = [str(row["id"]) for row in self.journal.run_rows(state="PAUSED")]
        (asked,) = (one for run in runs for one in open_questions(self.journal, run))
        who = Actor.person(me())
        said = {"by": str(who), "via": who.via, "assurance": who.assurance, "at_us": 1}
        shown = {"request": asked.id, "version": asked.version, "digest": asked.digest}

        async def decided():
            await inner.decide(Decision(verdict="approve", **shown, **said))
            await inner.settled(asked.run)

        self.engine.loop.wait(decided())

    def view(self, run):
        return view_of(self.journal, self.engine.inner.reader.view(run))

    def events(self, run, kind):
        return [r.event for r in self.journal.read(run=run) if r.kind == kind]


ENTERS = ("enter", NAMED, enter)


@pytest.fixture
def book(story):
    path = story.place.folder / "book"
    path.write_text("as it was\n")
    return path


def entering(story, *, fails=True):
    steps = story.call("enter", "book.enter", path="a.txt", book=story.place.folder / "book")
    return steps + (story.call("fail", "flow.fail", needs="enter") if fails else "")


@pytest.mark.parametrize("strategy", [Restore, Waiting])
def test_a_strategy_that_a_contract_names_captures_before_the_act_and_takes_it_back(
    strategy, story, book
):
    with Process(story, (strategy(),), (ENTERS,)) as process:
        result = process.run(entering(story))
        (intent,) = process.events(result.run_id, "effect.intended")
        (item,) = process.view(result.run_id).items
    assert "ROLLED_BACK" == result.state
    assert "as it was\nrestored 1 -undo\n" == book.read_text()
    assert ("book.restore", "book.restore") == (intent["undo"]["strategy"], item.undo)
    assert str(book) not in json.dumps(intent)  # what a strategy keeps is not shown


@pytest.mark.parametrize("breaks", ["capture", "payload"])
def test_a_strategy_that_cannot_capture_lets_nothing_act(breaks, story, book):
    with Process(story, (Restore(breaks=breaks),), (ENTERS,)) as process:
        result = process.run(entering(story))
        assert [] == process.events(result.run_id, "effect.intended")
    assert ("ROLLED_BACK", "undo.capture") == (result.state, result.error.code)
    assert "as it was\n" == book.read_text()
    assert not (story.place.work / "a.txt").exists()


def test_a_strategy_that_cannot_complete_takes_back_with_what_it_has(story, book):
    with Process(story, (Restore(breaks="complete"),), (ENTERS,)) as process:
        assert "ROLLED_BACK" == process.run(entering(story)).state
    assert "as it was\nrestored None -undo\n" == book.read_text()


def test_no_run_begins_whose_strategy_nobody_offers(story, book):
    with Process(story, (), (ENTERS,)) as process, pytest.raises(UndoError) as refused:
        process.run(entering(story))
    assert "undo.strategy_missing" == refused.value.code
    assert "as it was\n" == book.read_text()
    file = ("enter", "{strategy: fs.swap}", enter)  # of the core, and captures nothing itself
    with Process(story, (), (file,)) as process, pytest.raises(UndoError) as refused:
        process.run(entering(story))
    assert "undo.strategy_missing" == refused.value.code


def test_a_rollback_whose_strategy_is_missing_waits_named_until_it_is_back(story, book):
    with Process(story, (Restore(),), (ENTERS,)) as process:
        run = process.run(entering(story, fails=False)).run_id
    with Process(story, (), (ENTERS,)) as process:
        assert "PAUSED" == process.ask(run, "rollback", reason="no more").state
        (paused,) = process.events(run, "run.paused")
        assert "book.restore" in process.view(run).error.msg
        assert [] == process.events(run, "undo.started")
    assert ("strategy", ["enter"]) == (paused["cause"], paused["steps"])
    with Process(story, (Restore(),), (ENTERS,)) as process:
        assert "ROLLED_BACK" == process.ask(run, "resume").state
    assert "restored 1" in book.read_text()


def test_no_step_starts_whose_way_back_has_gone_while_its_run_was_open(story, book):
    held = story.call("hold", "fs.stat", "confirm: always", path="x")
    steps = held + story.call("enter", "book.enter", needs="hold", path="a.txt", book=book)
    with Process(story, (Restore(),), (ENTERS,)) as process:
        run = process.run(steps).run_id
    with Process(story, (), (ENTERS,)) as process:
        process.approve()
        (paused,) = process.events(run, "run.paused")
        assert ("strategy", ["enter"]) == (paused["cause"], paused["steps"])
        assert "as it was\n" == book.read_text()
    with Process(story, (Restore(),), (ENTERS,)) as process:
        assert "COMPLETED" == process.ask(run, "resume").state


def test_a_rollback_whose_call_is_missing_waits_named_until_it_is_back(story, book):
    ours, theirs = ("enter", STRIKE, enter), ("strike", "{none: it is struck}", strike)
    with Process(story, (), (ours, theirs)) as process:
        run = process.run(entering(story, fails=False)).run_id
    with Process(story, (), (ours,)) as process:
        with pytest.raises(AweError) as refused:
            process.run(entering(story))
        assert "saga.compensation" == refused.value.code
        assert "PAUSED" == process.ask(run, "rollback", reason="no more").state
        (paused,) = process.events(run, "run.paused")
    assert "pack" == paused["cause"]
    assert "book.strike" in paused["reason"]
    other = ("strike", "{none: it is struck otherwise}", strike)
    with Process(story, (), (ours, other)) as process:  # not what the run was opened with
        assert "PAUSED" == process.ask(run, "resume").state
        assert "pack.changed" in process.events(run, "run.paused")[-1]["reason"]
    with Process(story, (), (ours, theirs)) as process:
        assert "ROLLED_BACK" == process.ask(run, "resume").state
    assert "struck by -undo\n" == book.read_text()


def stop(place, founded, verb):
    """Have the people of *place* stop the drill, for a while or for ever."""
    config = load_config(place.file, flags={}, environ={})
    signer = governance.load_person(place.home, me())
    about = {"signer": signer, "reason": "a test", "now": int(time.time())}
    getattr(governance_of(config), verb)(founded.subjects[0], **about)


def test_no_code_of_a_revoked_plugin_takes_anything_back(story, book, founded):
    owner = "awe-pack-drill"
    with Process(story, (Restore(),), (ENTERS,), owner) as process:
        run = process.run(story.call("enter", "book.enter", path="a.txt", book=book)).run_id
    stop(story.place, founded, "revoke")
    with Process(story, (Restore(),), (ENTERS,), owner) as process:
        result = process.ask(run, "rollback", reason="no more")
        (failed,) = process.events(run, "undo.failed")
    assert ("FAILED", ["enter"]) == (result.state, [one.step for one in result.residue])
    assert "pack.not_active" == failed["err"]["code"]
    assert "as it was\nx\n" == book.read_text()


def test_what_is_dropped_twice_at_once_is_on_record_once(story):
    story.put("old.txt", "theirs")
    with Process(story) as process:
        run = process.run(story.write("w", "old.txt")).run_id
        inner = process.engine.inner

        async def dropped():
            await asyncio.gather(*(inner.retention.discard(run, "quota") for _ in range(3)))

        process.engine.loop.wait(dropped())
        assert 1 == len(process.events(run, "undo.discarded"))
        assert "COMPLETED" == process.view(run).state
    assert [] == story.slots()


@pytest.mark.parametrize(("verb", "end"), [("suspend", "ROLLED_BACK"), ("revoke", "FAILED")])
def test_a_call_of_a_suspended_pack_takes_back_and_one_of_a_revoked_pack_never(
    verb, end, story, founded
):
    story.put("book.txt", "")
    with story.place.open() as rt:
        run = story.submit(rt, story.call("pay", "drill.charge", ledger="book.txt", entry="a"))
        assert "COMPLETED" == run.wait().state
        name = run.run_id
    stop(story.place, founded, verb)
    with story.place.open() as rt:
        run = rt.attach(name)
        run.rollback("not wanted")
        result = run.wait()
        reasons = [r.event["err"]["code"] for r in run.events(follow=False) if "err" in r.event]
    assert end == result.state
    book = (story.place.work / "book.txt").read_text()
    if verb == "suspend":
        assert "+a\n-a at 3, 0 before\n" == book
    else:
        assert ("+a\n", ["pay"]) == (book, [one.step for one in result.residue])
        assert {"pack.not_active"} == set(reasons)
