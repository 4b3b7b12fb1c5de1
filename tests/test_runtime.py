"""The SDK: one deployment by an event loop, without one, and wired part by part."""

from __future__ import annotations

import asyncio
import json
import os
from typing import TYPE_CHECKING

import attrs
import pytest

import awe_core
from awe_core import AuditLogger, ExecutionContext, UndoManager
from awe_core.documents import load_workflow
from awe_core.errors import AccessError, RunError, RunNotCompletedError, UsageError, WiringError
from awe_core.events import Actor
from awe_core.handshake import DenyAll
from awe_core.runtime import AsyncRunHandle, AsyncRuntime, RunHandle, Runtime
from awe_core.runtime.requests import default_actor, document_of
from awe_core.testing import Deployment, me
from awe_core.workspace import Workspace

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE = b"""\
awe: workflow/v1
id: whole
version: 1.2.0
summary: Everything a workflow can say.
description: Long.
inputs: {type: object, properties: {n: {type: integer}}, additionalProperties: false}
outputs: {text: "${steps.b.output}"}
enable_auto_rollback: false
expires: 2h
in_flight: wait
concurrency: {key: "${inputs.n}", limit: 2}
confirm: plan
accept: {saga.pivot: it is a test}
steps:
  - id: a
    capability: fs.write_text@1
    with: {path: a.txt, text: "${inputs.n}"}
    timeout: 5s
    confirm: always
    on_failure: rollback
    retry: {attempts: 3, backoff: 250ms, factor: 3, max: 10s, jitter: none, on: [any]}
  - id: b
    workflow: other@1
    needs: [{step: a, even_if: skipped}]
    when: "${inputs.n}"
    foreach: "${inputs.list}"
    max_parallel: 2
    accept: {saga.pivot: it is a test}
  - id: c
    capability: fs.stat@1
    needs: [a]
    compensation:
      compensate: {capability: fs.delete@1, with: {path: a.txt}, when: "${output}"}
      before: {capability: fs.stat@1, with: {path: a.txt}}
"""
FLOW = b"""\
awe: workflow/v1
id: flow
version: 1.0.0
summary: Write a note, and fail if it shall.
inputs: {type: object, properties: {fails: {type: boolean, default: false}}}
outputs: {bytes: "${steps.write.output.bytes}"}
steps:
  - {id: write, capability: fs.write_text@1, with: {path: note.txt, text: hello}}
  - {id: fail, capability: flow.fail@1, needs: [write], when: "${inputs.fails}", with: {message: m}}
"""


@pytest.fixture(scope="module")
def founded(tmp_path_factory) -> Iterator[Deployment]:
    folder = tmp_path_factory.mktemp("founded")
    with Deployment.create(folder, ["awe-pack-stdlib"], people=(me(),)) as place:
        yield place


@pytest.fixture
def place(founded, tmp_path) -> Iterator[Deployment]:
    here = founded.copy(tmp_path / "here")
    yield here
    here.close()


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_the_sync_sdk_is_the_async_one_with_plain_calls(place):
    with place.open() as rt:
        run = rt.submit(load_workflow(FLOW, file="x"))
        for waiting, twin in ((rt, AsyncRuntime), (run, AsyncRunHandle)):
            own = public(type(waiting)) - {"open"}
            assert own <= public(twin)
            assert all(hasattr(waiting, name) for name in public(twin))
        assert isinstance(run, RunHandle)
        assert isinstance(rt, Runtime)
        assert "COMPLETED" == run.wait().state


def test_a_workflow_that_a_program_built_is_the_document_it_would_have_been_read_from():
    for text in (WHOLE, FLOW):
        spec = load_workflow(text, file="x")
        document = document_of(spec)
        assert spec == load_workflow(json.dumps(document), file="x")


def test_a_result_is_the_same_whether_it_is_read_from_the_last_record_or_from_all(place):
    with place.open() as rt:
        for fails in (False, True):
            run = rt.submit(load_workflow(FLOW, file="x"), {"fails": fails})
            result, seen = run.wait(), run.status()
            for name in ("run_id", "state", "output", "error", "residue", "standing", "waiting"):
                assert getattr(seen, name) == getattr(result, name)
            *_, last = run.events()
            assert f"{last.seq}:{last.hash.hex()}" == result.head
        assert "flow_failed" == result.error.code
        with pytest.raises(RunNotCompletedError) as caught:
            result.unwrap()
        assert caught.value.result is result


def test_a_run_taken_back_after_its_end_is_what_its_last_record_says(place):
    with place.open() as rt:
        run = rt.submit(load_workflow(FLOW, file="x"))
        assert ("COMPLETED", {"bytes": 5}, 1) == attrs.astuple(
            run.wait(), filter=attrs.filters.include("state", "output", "standing")
        )
        assert ["fs.write"] == [item.type for item in run.undo_plan()]
        run.rollback("wrong")
        assert ("ROLLED_BACK", None, 0) == attrs.astuple(
            run.wait(), filter=attrs.filters.include("state", "output", "standing")
        )
        assert () == run.undo_plan()
        with pytest.raises(RunError):
            run.rollback("again")


def test_a_call_gives_its_output_and_an_agent_only_gets_facades(place):
    with place.open() as rt:
        assert 2 == rt.call("fs.write_text", path="a.txt", text="hi")["bytes"]
        assert "hi" == rt.call("fs.read_text", {"path": "a.txt"})["text"]
        with pytest.raises(AccessError, match=r"nothing\.such"):
            rt.call("nothing.such")
    with place.open(actor=Actor("agent", "helper", via="sdk")) as rt:
        with pytest.raises(AccessError) as caught:
            rt.call("fs.read_text", path="a.txt")
        assert "access.not_a_facade" == caught.value.code
        *_, refused = rt.journal.read(kinds={"access.refused"})
        assert "fs.read_text" == refused.event["asked"]


def test_only_whoever_runs_the_process_is_local(place):
    here = default_actor("cli")
    with place.open(actor=here) as rt:
        assert here == rt.actor
    for other in (Actor.person("eve", via="cli"), attrs.evolve(here, on_behalf_of="person:eve")):
        with place.open(actor=other, observer=True) as rt:
            assert "relayed" == rt.actor.assurance


def test_plain_calls_are_refused_inside_a_loop_after_a_fork_and_after_the_end(place):
    with place.open() as rt:

        async def inside() -> str:
            with pytest.raises(UsageError) as caught:
                rt.runs()
            return caught.value.code

        assert "sdk.sync_in_loop" == asyncio.run(inside())
        if (child := os.fork()) == 0:
            try:
                rt.runs()
            except UsageError as error:
                os._exit(0 if error.code == "sdk.forked" else 1)
            os._exit(2)
        assert 0 == os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        run = rt.submit_call("time.sleep", {"seconds": 0})
        run.wait()
    for late in (rt.runs, run.status, lambda: list(run.events())):
        with pytest.raises(UsageError) as caught:
            late()
        assert "sdk.closed" == caught.value.code


def test_waiting_too_long_leaves_the_run_alone(place):
    with place.open() as rt:
        run = rt.submit_call("time.sleep", {"seconds": 1})
        with pytest.raises(TimeoutError):
            run.wait(0.01)
        assert "COMPLETED" == run.wait().state


# ------------------------------------------------------------------------------ the classic wiring
@pytest.fixture
def parts(place):
    """Wire journal, undo and audit by hand, as the evaluation document does."""
    journal = awe_core.Journal.open(place.home / "journal.db")
    workspace = Workspace.open(place.workspace, store=place.home / "undo")
    undo, audit = UndoManager(journal, workspace), AuditLogger(journal, [])
    yield awe_core.CapabilityRegistry.load(home=place.home), undo, audit
    workspace.close()
    journal.close()


def test_the_classic_wiring_runs_a_workflow_and_takes_it_back(place, parts, tmp_path):
    registry, undo, audit = parts
    file = tmp_path / "flow.yaml"
    file.write_bytes(FLOW)
    engine = awe_core.RuntimeEngine(registry, undo_manager=undo, audit_logger=audit)
    context = ExecutionContext(actor=Actor.person("ana"), workspace=undo.workspace)
    spec = awe_core.WorkflowSpec.load(file)
    flows = awe_core.WorkflowEngine(engine, enable_auto_rollback=True)
    assert {"bytes": 5} == flows.run(spec, {}, context).unwrap()
    assert "hello" == (place.workspace / "note.txt").read_text()
    (place.workspace / "note.txt").unlink()
    assert "ROLLED_BACK" == flows.run(spec, {"fails": True}, context).state
    assert not (place.workspace / "note.txt").exists()
    stays = awe_core.WorkflowEngine(engine, enable_auto_rollback=False)
    assert "ROLLED_BACK" != stays.run(spec, {"fails": True}, context).state
    other = ExecutionContext(actor=Actor.person("ana"), workspace=object())
    with pytest.raises(WiringError):
        flows.run(spec, {}, other)
    engine.close()


def test_the_classic_wiring_asks_the_policies_it_is_given_and_misses_no_part(parts, tmp_path):
    registry, undo, audit = parts
    file = tmp_path / "flow.yaml"
    file.write_bytes(FLOW)
    with pytest.raises(TypeError):
        awe_core.RuntimeEngine(registry, undo_manager=undo)
    engine = awe_core.RuntimeEngine(
        registry, undo_manager=undo, audit_logger=audit, handshake=[DenyAll()]
    )
    context = ExecutionContext(actor=Actor.person("ana"), workspace=undo.workspace)
    result = awe_core.WorkflowEngine(engine).run(awe_core.WorkflowSpec.load(file), {}, context)
    assert "ROLLED_BACK" == result.state
    engine.close()
