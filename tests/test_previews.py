"""Dry runs on a real deployment: what they foresee, and that nothing of it happens."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import attrs
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from awe_core.capability import UndoNone
from awe_core.cli import run
from awe_core.cli.drawing import drawn
from awe_core.effects.dry import told
from awe_core.engine import Submission
from awe_core.errors import AweError, RunError, TrustError
from awe_core.events import Actor, Approve, Deny
from awe_core.gate import GateSnapshot
from awe_core.handshake import PolicyChain
from awe_core.testing import Deployment, me
from awe_core.workflow import StepSpec, WorkflowSpec
from awe_core.workspace import Workspace, overlay

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from awe_core.runtime import Runtime


@pytest.fixture(scope="module")
def founded(tmp_path_factory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("founded")
    with Deployment.create(folder, ["awe-pack-stdlib"], people=(me(),)) as place:
        yield place


@pytest.fixture
def place(founded, tmp_path, monkeypatch) -> Iterator[Deployment]:
    here = founded.copy(tmp_path / "here")
    monkeypatch.chdir(here.root)
    yield here
    here.close()


@pytest.fixture
def rt(place) -> Iterator[Runtime]:
    with place.open() as opened:
        yield opened


def workflow(place: Deployment, *steps: dict[str, Any], **more: Any) -> str:
    """Write a workflow of *steps*, each after the one before unless it says otherwise."""
    ids = [step["id"] for step in steps]
    chained = [
        {"needs": ids[n - 1 : n] if n else [], **step} if "needs" not in step else step
        for n, step in enumerate(steps)
    ]
    document = {
        "awe": "workflow/v1",
        "id": "planned",
        "version": "1.0.0",
        "summary": "Be planned.",
        **more,
        "steps": chained,
    }
    file = place.root.parent / "planned.yaml"
    file.write_text(json.dumps(document), encoding="utf-8")
    return str(file)


def call(id_: str, capability: str, **arguments: Any) -> dict[str, Any]:
    return {"id": id_, "capability": f"{capability}@1", "with": arguments}


def effects(plan: Any) -> list[Any]:
    return [effect for step in plan["steps"] for effect in step["effects"]]


# ------------------------------------------------------------------------------- what is foreseen


def test_later_steps_see_what_earlier_ones_would_have_done(place, rt):
    (place.workspace / "old.txt").write_text("a\nb\n", encoding="utf-8")
    plan = rt.plan(
        workflow(
            place,
            call("write", "fs.write_text", path="d/n.txt", text="one\n", parents=True),
            call("append", "fs.append_text", path="d/n.txt", text="two\n"),
            call("move", "fs.move", source="d", target="e"),
            call("read", "fs.read_text", path="e/n.txt"),
            call("copy", "fs.write_text", path="old.txt", text="${steps.read.output.text}"),
            call("list", "fs.list", path="e"),
            outputs={"text": "${steps.read.output.text}"},
        )
    )
    assert ("COMPLETED", True) == (plan["state"], plan["complete"])
    assert ["mkdir", "create", "append", "move", "replace"] == [e["act"] for e in effects(plan)]
    assert (
        "--- a/old.txt\n+++ b/old.txt\n@@ -1,2 +1,2 @@\n-a\n-b\n+one\n+two\n"
        == (effects(plan)[-1]["diff"])
    )
    assert ["e", "old.txt"] == [change["path"] for change in plan["changes"]]


def test_a_dry_run_changes_no_file_no_slot_and_no_ticket(place, rt):
    (place.workspace / "old.txt").write_text("old", encoding="utf-8")
    before = snapshot(place)
    plan = rt.plan(
        workflow(
            place,
            call("write", "fs.write_text", path="a.txt", text="one"),
            call("replace", "fs.write_text", path="old.txt", text="new"),
            call("delete", "fs.delete", path="a.txt"),
        )
    )
    assert 3 == len(effects(plan))
    assert before == snapshot(place)
    assert [] == rt.journal.rows("SELECT * FROM handshake_ticket")
    kinds = {record.kind for record in rt.attach(plan["run"]).events(follow=False)}
    assert {"run.opened", "step.started", "step.completed", "run.closed"} == kinds


def snapshot(place: Deployment) -> dict[str, bytes]:
    """Everything of the workspace and of the undo store, byte by byte."""
    roots = (place.workspace, place.workspace / ".awe" / "undo")
    files = (one for root in roots for one in sorted(root.rglob("*")))
    return {
        str(one): one.read_bytes() if one.is_file() else b""
        for one in files
        if ".awe" not in one.parts or "undo" in one.parts
    }


def test_a_dry_run_is_listed_as_one_and_can_be_neither_taken_back_nor_gone_on_with(rt):
    plan = rt.plan_call("fs.write_text", {"path": "a.txt", "text": "x"})
    done = rt.submit_call("fs.write_text", {"path": "a.txt", "text": "x"})
    done.wait()
    assert {plan["run"]: True, done.run_id: False} == {r.run_id: r.dry for r in rt.runs()}
    handle = rt.attach(plan["run"])
    assert (True, ()) == (handle.status().dry, handle.status().actions)
    for verb in ("rollback", "retry", "resume", "pause"):
        with pytest.raises(RunError) as refused:
            rt.control(plan["run"], verb, from_="call")
        assert "run.illegal_state" == refused.value.code


def test_a_plan_lists_approvals_and_asks_nobody(place, rt):
    (place.workspace / "a.txt").write_text("x", encoding="utf-8")
    plan = rt.plan_call("fs.delete", {"path": "a.txt"})
    (asked,) = plan["approvals"]
    assert ("call", "high") == (asked["step"], asked["risk"])
    assert asked["requirements"]
    assert [] == rt.approvals()
    assert "COMPLETED" == plan["state"]


def test_a_dry_run_that_fails_says_where_and_why_and_what_was_taken_back(place, rt):
    file = workflow(
        place,
        call("write", "fs.write_text", path="a.txt", text="x"),
        call("fail", "flow.fail", message="it must"),
        call("never", "fs.delete", path="a.txt"),
    )
    plan = rt.plan(file)
    says = {step["step"]: step["says"] for step in plan["steps"]}
    assert {"write": "foreseen", "fail": "fails", "never": "not reached"} == says
    assert ("ROLLED_BACK", False) == (plan["state"], plan["complete"])
    assert "flow_failed" == plan["error"]["code"]


# ------------------------------------------------------------------- what is foreseen comes true

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map(lambda parts: "/".join(["t", *parts]))
TEXTS = st.sampled_from(["", "one\n", "two\nthree", "é\r\n"])
STEPS = st.one_of(
    st.fixed_dictionaries(
        {"path": PATHS, "text": TEXTS, "parents": st.booleans(), "mode": st.just("upsert")}
    ).map(lambda given: ("fs.write_text", given)),
    st.fixed_dictionaries({"path": PATHS, "text": TEXTS}).map(lambda g: ("fs.append_text", g)),
    st.fixed_dictionaries({"source": PATHS, "target": PATHS}).map(lambda g: ("fs.move", g)),
    st.fixed_dictionaries({"source": PATHS, "target": PATHS}).map(lambda g: ("fs.copy", g)),
    st.fixed_dictionaries({"path": PATHS, "recursive": st.booleans()}).map(
        lambda g: ("fs.delete", g)
    ),
    st.fixed_dictionaries({"path": PATHS, "parents": st.booleans()}).map(
        lambda g: ("fs.make_dir", g)
    ),
    st.fixed_dictionaries({"path": PATHS}).map(lambda g: ("fs.list", g)),
    st.just(("fs.find", {"pattern": "t/**"})),
)
BEFORE = st.dictionaries(st.lists(NAMES, min_size=1, max_size=3).map("/".join), TEXTS, max_size=4)


@pytest.fixture(scope="module")
def trusting(founded, tmp_path_factory) -> Iterator[tuple[Deployment, Runtime]]:
    """A deployment that asks nobody, so that what is planned is also done."""
    here = founded.copy(tmp_path_factory.mktemp("trusting") / "here")
    cells = "cells: {changes.high: approve}, accept_risk: a test"
    here.configure(f"confirm: [{{policy: auto, {cells}}}]\nengine: {{durability: normal}}\n")
    with here.open() as opened:
        yield here, opened


@settings(max_examples=60, suppress_health_check=list(HealthCheck))
@given(before=BEFORE, steps=st.lists(st.tuples(STEPS, st.booleans()), min_size=1, max_size=8))
@example(
    before={"a/a": ""},
    steps=[
        (("fs.find", {"pattern": "t/**"}), True),
        (
            ("fs.write_text", {"path": "t/a/a", "text": "", "parents": False, "mode": "upsert"}),
            False,
        ),
        (("fs.move", {"source": "t/a", "target": "t/b"}), False),
        (("fs.copy", {"source": "t/b", "target": "t/a"}), False),
    ],
)
@example(before={"a": "x"}, steps=[(("fs.delete", {"path": "t/a", "recursive": True}), False)])
def test_a_real_run_makes_exactly_the_changes_that_were_foreseen(trusting, before, steps):
    place, rt = trusting
    top = place.workspace / "t"
    shutil.rmtree(top, ignore_errors=True)
    top.mkdir()
    for path, text in before.items():
        with contextlib.suppress(OSError):  # it stands in the way of another
            (top / path).parent.mkdir(parents=True, exist_ok=True)
            (top / path).write_text(text, encoding="utf-8")
            (top / path).chmod(0o640)
    made = [
        {**call(f"s{n}", capability, **given), "on_failure": "continue" if goes_on else "rollback"}
        for n, ((capability, given), goes_on) in enumerate(steps)
    ]
    chained = [
        {**each, "needs": [{"step": f"s{n - 1}", "even_if": "skipped"}] if n else []}
        for n, each in enumerate(made)
    ]
    file, was = workflow(place, *chained), standing(top)
    plan = rt.plan(file)
    assert was == standing(top)
    with Workspace.open(place.workspace, store=place.root.parent / "store") as looking:
        images = {change["path"]: looking.digest(change["path"]) for change in plan["changes"]}
        assert {c["path"]: c["before"] for c in plan["changes"]} == {
            path: told(image) for path, image in images.items()
        }
        result = rt.run(file)
        assert plan["state"] == result.state, (plan["error"], result.error)
        assert plan["error"] == (
            None
            if result.error is None
            else {"code": result.error.code, "message": result.error.msg}
        )
        after = {path: told(looking.digest(path)) for path in images}
    assert calls(rt, plan["run"]) == calls(rt, result.run_id)
    assert {c["path"]: c["after"] for c in plan["changes"]} == after
    now = standing(top)
    changed = {path for path in was.keys() | now.keys() if was.get(path) != now.get(path)}
    foreseen = [str(place.workspace / path) for path in after]
    assert not {
        path for path in changed if not any(f"{path}/".startswith(f"{one}/") for one in foreseen)
    }


def calls(rt: Runtime, run_id: str) -> list[tuple[str, str]]:
    """The steps that started, each with the digest of its call, which binds what lies there."""
    records = rt.attach(run_id).events(follow=False)
    started = (record.event for record in records if record.kind == "step.started")
    return [(event["step"], event["digest"]) for event in started]


def standing(top: Path) -> dict[str, tuple[int, bytes]]:
    """Every name below *top* with its mode and content."""
    return {
        str(one): (one.lstat().st_mode, one.read_bytes() if one.is_file() else b"")
        for one in top.rglob("*")
    }


# ------------------------------------------------------------------------------- what is not known


def engine_of(rt: Runtime) -> Any:
    return rt._inner._door.engine  # noqa: SLF001 - what no caller may reach is changed here


def differing(rt: Runtime, reference: str, **how: Any) -> Any:
    """Offer a capability of this deployment as it would be if its pack had said otherwise."""
    held = engine_of(rt).parts.invoker.registry._capabilities  # noqa: SLF001 - as above
    held[reference] = attrs.evolve(held[reference], **how)
    return held[reference]


def test_what_only_another_process_can_do_is_unknown_and_so_is_all_that_needs_it(place, rt):
    differing(rt, "text.split@1", executor="walled")
    after_split = [{"step": "split", "even_if": "skipped"}]
    invoker = engine_of(rt).parts.invoker
    invoker.executors["walled"] = invoker.executors["inproc"]
    invoker._promises["walled"] = invoker.promises("inproc")  # noqa: SLF001 - as if it was probed
    plan = rt.plan(
        workflow(
            place,
            call("before", "fs.write_text", path="a.txt", text="x"),
            call("split", "text.split", text="a,b", separator=","),
            {
                **call("each", "fs.write_text", path="b.txt", text="y"),
                "foreach": "${inputs.no}",
                "needs": after_split,
            },
            call("after", "fs.write_text", path="c.txt", text="${steps.split.output.parts[0]}"),
            {
                **call("even", "fs.delete", path="a.txt"),
                "needs": [{"step": "after", "even_if": "skipped"}],
            },
            {**call("beside", "fs.write_text", path="d.txt", text="z"), "needs": ["before"]},
            inputs={"type": "object", "properties": {"no": {"type": "array", "default": []}}},
            outputs={"first": "${steps.split.output.parts[0]}"},
        )
    )
    says = {step["step"]: step["says"] for step in plan["steps"]}
    unknown = {name for name, one in says.items() if one == "unknown until run"}
    assert {"split", "each", "after", "even"} == unknown
    assert ("foreseen", "foreseen") == (says["before"], says["beside"])
    assert ("unknown until run", False) == (plan["output"], plan["complete"])
    assert {"a.txt", "d.txt"} == {change["path"] for change in plan["changes"]}


def test_a_plan_says_which_steps_differ_at_every_run(place, rt):
    plan = rt.plan(workflow(place, call("id", "id.uuid"), call("text", "fs.list", path=".")))
    assert {"id": True, "text": False} == {s["step"]: s["varies"] for s in plan["steps"]}


def test_nobody_waits_in_a_dry_run(place, rt):
    plan = rt.plan(workflow(place, {**call("sleep", "time.sleep", seconds=50), "timeout": "1s"}))
    assert "COMPLETED" == plan["state"]


class Remembering:
    name, version, is_pure = "remembering", "1", True

    def __init__(self) -> None:
        self.seen: list[bool] = []

    def judge(self, request, facts):
        self.seen.append(facts.is_dry)
        return (
            Deny(reason="not today")
            if request.capability.startswith("fs.delete")
            else Approve(reason="yes")
        )


def test_policies_know_that_a_run_is_dry_and_what_they_refuse_fails_there_too(place, rt):
    policy = Remembering()
    invoker = engine_of(rt).parts.invoker
    chain = PolicyChain([policy], threads=engine_of(rt).parts.pool)
    invoker.handshake = attrs.evolve(invoker.handshake, chain=chain)
    plan = rt.plan(
        workflow(
            place,
            call("write", "fs.write_text", path="a.txt", text="x"),
            call("delete", "fs.delete", path="a.txt"),
        )
    )
    assert [True, True] == policy.seen
    assert {"write": "foreseen", "delete": "fails"} == {
        step["step"]: step["says"] for step in plan["steps"]
    }
    assert "remembering said no" in json.dumps(plan["steps"][1]["error"])
    rt.run(workflow(place, call("write", "fs.write_text", path="a.txt", text="x")))
    assert [True, True, False] == policy.seen


def test_what_a_tolerated_step_would_have_begun_is_taken_back_in_a_dry_run_too(place, rt):
    wanted = {"path": "d/e/a.txt", "text": "x", "mode": "replace", "parents": True}
    plan = rt.plan(
        workflow(
            place,
            {**call("half", "fs.write_text", **wanted), "on_failure": "continue"},
            call("stat", "fs.stat", path="d"),
            outputs={"exists": "${steps.stat.output.exists}"},
        )
    )
    assert ["mkdir", "mkdir"] == [effect["act"] for effect in effects(plan)]
    assert "fails, and the run goes on" == plan["steps"][0]["says"]
    assert {"exists": False} == rt.attach(plan["run"]).status().output
    assert [] == plan["changes"]


# ------------------------------------------------------------------------- who would break out


def hostile(place: Deployment) -> Path:
    """A workspace with links and a secret beside it; gives the folder outside."""
    outside = place.root.parent / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("secret", encoding="utf-8")
    top = place.workspace
    (top / "in").mkdir()
    (top / "in" / "a.txt").write_text("a", encoding="utf-8")
    (top / "out").symlink_to(outside)
    (top / "in" / "link").symlink_to(outside / "secret.txt")
    os.link(outside / "secret.txt", top / "in" / "hard")
    os.mkfifo(top / "fifo")
    return outside


@pytest.mark.parametrize(
    ("capability", "arguments"),
    [
        ("fs.write_text", {"path": "out/new.txt", "text": "x"}),
        ("fs.write_text", {"path": "out/a/b.txt", "text": "x", "parents": True}),
        ("fs.write_text", {"path": "in/link", "text": "x"}),
        ("fs.write_text", {"path": "in/hard", "text": "x"}),
        ("fs.append_text", {"path": "in/hard", "text": "x"}),
        ("fs.append_text", {"path": "in/link", "text": "x"}),
        ("fs.read_text", {"path": "in/hard"}),
        ("fs.read_text", {"path": "in/link"}),
        ("fs.read_text", {"path": "out/secret.txt"}),
        ("fs.read_text", {"path": "fifo"}),
        ("fs.list", {"path": "out"}),
        ("fs.delete", {"path": "out/secret.txt"}),
        ("fs.delete", {"path": "in", "recursive": True}),
        ("fs.move", {"source": "in", "target": "moved"}),
        ("fs.move", {"source": "in/a.txt", "target": "out/a.txt"}),
        ("fs.make_dir", {"path": "out/new"}),
        ("fs.write_text", {"path": "awe.yaml", "text": "x"}),
        ("fs.delete", {"path": "governance", "recursive": True}),
        ("fs.write_text", {"path": "in/.awe/x", "text": "x"}),
        ("fs.write_text", {"path": "../x", "text": "x"}),
        ("fs.read_text", {"path": ".awe/journal.db"}),
    ],
)
def test_a_dry_run_refuses_what_a_real_run_refuses(place, capability, arguments):
    cells = "cells: {changes.high: approve}, accept_risk: a test"
    place.configure(f"confirm: [{{policy: auto, {cells}}}]\n")
    outside = hostile(place)
    with place.open() as rt:
        try:
            plan = rt.plan_call(capability, arguments)
            foreseen = plan["error"]["code"]
        except AweError as error:
            foreseen = error.code
        try:
            done = rt.submit_call(capability, arguments).wait()
            code = done.error.code
        except AweError as error:
            code = error.code
    assert code == foreseen
    assert ["secret.txt"] == sorted(one.name for one in outside.iterdir())
    assert "secret" == (outside / "secret.txt").read_text(encoding="utf-8")


def test_links_that_lie_in_a_moved_folder_are_not_followed_either(place, rt):
    outside = hostile(place)
    (place.workspace / "in" / "hard").unlink()
    (place.workspace / "in" / "deep").symlink_to(outside)
    for path in ("moved/link", "moved/deep/secret.txt"):
        plan = rt.plan(
            workflow(
                place,
                call("move", "fs.move", source="in", target="moved"),
                call("read", "fs.read_text", path=path),
            )
        )
        assert "workspace.escape" == plan["error"]["code"], path
        assert "read" == next(s["step"] for s in plan["steps"] if s["error"] is not None)


def test_a_name_that_replaces_a_link_in_a_dry_run_is_the_dry_runs_own(place, rt):
    hostile(place)
    plan = rt.plan(
        workflow(
            place,
            call("delete", "fs.delete", path="out"),
            call("make", "fs.make_dir", path="out"),
            call("write", "fs.write_text", path="out/secret.txt", text="mine"),
            call("read", "fs.read_text", path="out/secret.txt"),
            outputs={"text": "${steps.read.output.text}"},
        )
    )
    assert "COMPLETED" == plan["state"]
    done = rt.attach(plan["run"]).status()
    assert {"text": "mine"} == done.output


# ------------------------------------------------------------------------------------ large things


def test_a_listing_of_a_thousand_files_shows_what_would_be_there(place, rt):
    folder = place.workspace / "many"
    folder.mkdir()
    for n in range(1000):
        (folder / f"{n:04}.txt").write_text("x", encoding="utf-8")
    plan = rt.plan(
        workflow(
            place,
            call("delete", "fs.delete", path="many/0007.txt"),
            call("new", "fs.write_text", path="many/0500a.txt", text="y"),
            call("move", "fs.move", source="many", target="more"),
            call("last", "fs.delete", path="more/0999.txt"),
            call("list", "fs.list", path="more"),
            call("find", "fs.find", pattern="**/*.txt"),
            outputs={
                "listed": "${steps.list.output.entries[].path}",
                "found": "${steps.find.output.entries[].path}",
            },
        )
    )
    names = {f"{n:04}.txt" for n in range(1000)} - {"0007.txt", "0999.txt"} | {"0500a.txt"}
    expected = sorted(f"more/{name}" for name in names)
    output = rt.attach(plan["run"]).status().output
    assert expected == output["listed"]
    assert expected == output["found"]


def test_contents_beyond_memory_lie_in_a_file_without_a_name_and_are_gone_afterwards(place, rt):
    text = "0123456789abcde\n" * (512 * 1024 - 1)  # twice this is more than is kept in memory
    before = snapshot(place)
    plan = rt.plan(
        workflow(
            place,
            call("one", "fs.write_text", path="one.txt", text="${inputs.text}"),
            call("two", "fs.write_text", path="two.txt", text="${inputs.text}"),
            call("sum", "hash.sha256", path="one.txt"),
            inputs={"type": "object", "properties": {"text": {"type": "string"}}},
        ),
        {"text": text},
    )
    assert "COMPLETED" == plan["state"], plan["error"]
    assert [None, None] == [effect.get("diff") for effect in effects(plan)]
    assert before == snapshot(place)


def test_a_long_diff_is_cut_and_what_is_no_text_is_told_by_size_and_digest(place, rt):
    plan = rt.plan(
        workflow(
            place,
            call("long", "fs.write_text", path="a.txt", text="line\n" * 5000),
            call("binary", "fs.write_bytes", path="b.bin", base64="AAEC/w=="),
        )
    )
    long, binary = effects(plan)
    assert (True, 2000) == (long["is_cut"], len(long["diff"].splitlines()))
    assert "diff" not in binary
    assert {"kind": "file", "bytes": 4} == {k: binary["after"][k] for k in ("kind", "bytes")}


# ------------------------------------------------------------------------ other doors, and crashes


def test_a_guest_gets_its_plan_from_the_owner(place, rt):
    with place.open() as guest:
        assert "guest" == guest.role
        plan = guest.plan_call("fs.write_text", {"path": "a.txt", "text": "x"})
    assert "COMPLETED" == plan["state"]
    assert rt.attach(plan["run"]).status().dry


CRASHING = """
import os, sys
from awe_core.effects import DryBroker
from awe_core.runtime import Runtime
async def crash(*_): os._exit(9)
DryBroker._performed = crash
with Runtime.open(sys.argv[1]) as rt:
    rt.plan_call("fs.write_text", {"path": "a.txt", "text": "x"})
"""


def test_a_dry_run_that_a_crash_cut_off_is_ended_and_never_gone_on_with(place):
    ended = subprocess.run([sys.executable, "-c", CRASHING, str(place.config)], check=False)
    assert 9 == ended.returncode
    with place.open() as rt:
        (row,) = rt.runs()
        assert (True, "ROLLED_BACK") == (row.dry, rt.attach(row.run_id).wait(timeout=20).state)
        kinds = [record.kind for record in rt.attach(row.run_id).events(follow=False)]
        assert "run.cancel_requested" in kinds
        assert not {kind for kind in kinds if kind.startswith("effect.")}
    assert not (place.workspace / "a.txt").exists()


# ------------------------------------------------------------------------------- the command line


def test_the_command_line_shows_diffs_approvals_and_how_it_would_end(place, capsys):
    (place.workspace / "a.txt").write_text("a\n", encoding="utf-8")
    assert 0 == run(["call", "fs.write_text", "path=a.txt", "text=b", "--dry-run"])
    out = capsys.readouterr().out
    for line in ("nothing was changed", "replace a.txt", "-a", "+b", "undo: captured", "complete"):
        assert line in out
    assert 0 == run(["call", "fs.delete", "path=a.txt", "--dry-run"])
    assert "approval to expect: step call, risk high" in capsys.readouterr().out
    assert 4 == run(["call", "fs.delete", "path=none.txt", "--dry-run"])
    assert "it would fail: error[fs.missing]" in capsys.readouterr().out
    assert "a\n" == (place.workspace / "a.txt").read_text(encoding="utf-8")


def test_check_with_a_plan_narrows_effects_and_starts_nothing(place, capsys):
    file = workflow(
        place,
        call("write", "fs.write_text", path="${inputs.to}", text="x"),
        call("read", "fs.read_text", path="${inputs.to}"),
        call("copy", "fs.write_text", path="${steps.read.output.text}", text="y"),
        {**call("gone", "fs.delete", path="z.txt"), "when": "${inputs.no}"},
        inputs={
            "type": "object",
            "required": ["to"],
            "properties": {"to": {"type": "string"}, "no": {"type": "boolean", "default": False}},
        },
    )
    assert 0 == run(["workflows", "check", file, "--plan", "to=new.txt", "--json"])
    plan = json.loads(capsys.readouterr().out)["data"]["plan"]
    write, read, copy, gone = plan["steps"]
    assert ["new.txt"] == write["effects"][0]["fs.write"]["paths"]
    assert ["new.txt"] == read["effects"][0]["fs.read"]["paths"]
    assert ["unknown until run"] == copy["effects"][0]["fs.write"]["paths"]
    assert ("planned", "skipped") == (write["says"], gone["says"])
    assert {"copy", "gone"} == {asked["step"] for asked in plan["approvals"]}
    assert not (place.workspace / "new.txt").exists()
    with place.open(observer=True) as looking:
        assert [] == looking.runs()
    assert 2 == run(["workflows", "check", file, "to=new.txt"])


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own


def test_a_drawing_is_well_formed_escaped_and_says_in_words_what_colour_says(place, capsys):
    steps = [call(f"s{n}", "fs.write_text", path=f"{n}.txt", text="x") for n in range(49)]
    for n, step in enumerate(steps):
        step["needs"] = [f"s{n // 3}"] if n else []
    steps.append({**call("ask", "flow.approve", question="?"), "needs": ["s7"]})
    steps[5]["foreach"] = "${inputs.list}"
    file = workflow(
        place,
        *steps,
        inputs={"type": "object", "properties": {"list": {"type": "array", "default": []}}},
    )
    assert 0 == run(["workflows", "graph", file, "--svg", "g.svg"])
    picture = parsed((place.root / "g.svg").read_text(encoding="utf-8"))
    space = "{http://www.w3.org/2000/svg}"
    boxes = {(one.get("x"), one.get("y")) for one in picture.iter(f"{space}rect")}
    assert 50 == len(boxes)  # no two in one place
    texts = [one.text for one in picture.iter(f"{space}text")]
    assert {"confirm", "each"} <= set(texts)
    assert 0 == run(["workflows", "graph", file, "--svg", "-"])
    assert parsed(capsys.readouterr().out.partition("\n")[2]).tag == f"{space}svg"


def test_no_label_of_a_drawing_is_markup():
    step = StepSpec('<a b="c">&\x1b', workflow="w<x>@1")
    spec = WorkflowSpec(id="w", version="1.0.0", summary="s", steps=(step,))
    document = "".join(drawn(spec, {}))
    assert "w<x>" not in document
    texts = [one.text for one in parsed(document).iter() if one.tag.endswith("text")]
    assert ['<a b="c">&<U+001B>', "w<x>@1", "workflow"] == texts


def test_what_cannot_be_undone_is_drawn_and_planned_as_such(place, rt):
    spec = engine_of(rt).parts.invoker.registry.resolve("fs.write_text@1").spec
    spec = attrs.evolve(spec, undo=UndoNone("paper is patient"))
    differing(rt, "fs.write_text@1", spec=spec)
    file = workflow(place, call("write", "fs.write_text", path="a.txt", text="x"))
    assert "write" == rt.plan(file)["pivot"]
    assert "write" == rt.outline(file)["pivot"]
    step = StepSpec("write", capability="fs.write_text@1")
    lone = WorkflowSpec(id="w", version="1.0.0", summary="s", steps=(step,))
    assert "cannot be undone" in "".join(drawn(lone, {"fs.write_text@1": spec}))


# ----------------------------------------------------------------------- no way around anybody


def test_what_people_would_have_to_allow_to_be_read_is_not_read(place, rt):
    (place.workspace / "a.txt").write_text("secret", encoding="utf-8")
    plan = rt.plan(
        workflow(
            place,
            {**call("read", "fs.read_text", path="a.txt"), "confirm": "always"},
            call("copy", "fs.write_text", path="b.txt", text="${steps.read.output.text}"),
            outputs={"text": "${steps.read.output.text}"},
        )
    )
    assert ["unknown until run"] * 2 == [step["says"] for step in plan["steps"]]
    assert ["read"] == [asked["step"] for asked in plan["approvals"]]
    kinds = {record.kind for record in rt.attach(plan["run"]).events(follow=False)}
    assert {"run.opened", "step.skipped", "run.closed"} == kinds
    assert rt.attach(plan["run"]).status().output is None


def test_agents_make_no_dry_runs(place):
    with place.open(actor=Actor("agent", "bot", "person:ann", via="sdk")) as rt:
        with pytest.raises(AweError) as refused:
            rt.plan_call("fs.write_text", {"path": "a.txt", "text": "x"})
        assert refused.value.code in {"access.not_a_facade", "access.refused"}
        engine = engine_of(rt)
        spec = engine.plans.call(engine.parts.invoker.registry.resolve("fs.write_text").spec)
        wanted = Submission(spec=spec, inputs={"path": "a.txt", "text": "x"}, actor=rt.actor)
        with pytest.raises(AweError) as refused:
            rt._loop.wait(engine.plan(wanted))  # noqa: SLF001 - as a facade would ask
        assert "access.refused" == refused.value.code
        assert [] == rt.runs()


def test_a_dry_run_that_something_holds_is_ended_and_says_what_holds_it(place, rt):
    engine = engine_of(rt)

    class Closing(Remembering):
        def judge(self, request, facts):
            engine.parts.invoker.gate.swap(
                GateSnapshot.closed(TrustError("trust.unknown_role", name="x", role="y"))
            )
            return super().judge(request, facts)

    chain = PolicyChain([Closing()], threads=engine.parts.pool)
    engine.parts.invoker.handshake = attrs.evolve(engine.parts.invoker.handshake, chain=chain)
    plan = rt.plan(
        workflow(
            place,
            call("ask", "flow.approve", question="?"),
            call("write", "fs.write_text", path="a.txt", text="x"),
        )
    )
    assert ("ROLLED_BACK", "trust") == (plan["state"], plan["held"])
    assert {"ask": "foreseen", "write": "not reached"} == {
        step["step"]: step["says"] for step in plan["steps"]
    }
    assert "ROLLED_BACK" == rt.attach(plan["run"]).status().state


def test_an_overlay_holds_no_more_than_the_undo_store_may(place):
    place.configure("undo: {quota: 64KiB}\n")
    with place.open() as rt:
        plan = rt.plan_call("fs.write_text", {"path": "a.txt", "text": "x" * 70_000})
    assert "undo.full" == plan["error"]["code"]


def test_a_dry_run_appends_to_no_file_that_is_too_long_for_it(place, rt, monkeypatch):
    monkeypatch.setattr(overlay, "_LONGEST", 3)
    (place.workspace / "a.txt").write_text("long", encoding="utf-8")
    plan = rt.plan_call("fs.append_text", {"path": "a.txt", "text": "x"})
    assert "effect.limit" == plan["error"]["code"]
