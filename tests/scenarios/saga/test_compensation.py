"""Another capability takes a step's effect back: on the one road, once, and after a crash, too.

The world is a book in which lines are only ever added, so that it tells everything that was done.
"""

from __future__ import annotations

import json
import signal

import pytest

from awe_core.engine.active import loaded
from awe_core.errors import WorkflowError
from awe_core.journal import JournalReader

BOOK = "book.txt"


@pytest.fixture
def book(story):
    story.put(BOOK, "")
    return story


def lines(story):
    return (story.place.work / BOOK).read_text().splitlines()


def charge(story, *more, name="pay", needs="", **given):
    return story.call(name, "drill.charge", *more, needs=needs, ledger=BOOK, **given)


def failing(story, *steps, after="pay"):
    return "".join(steps) + story.call("fail", "flow.fail", needs=after)


def kinds(run, *wanted):
    return [r.event for r in run.events(follow=False) if r.event["kind"] in wanted]


def undo_record(place, run, kind, part, place_of="/1/0"):
    """Give what the log keeps to take the effect back, as of *kind*."""
    with JournalReader(place.home) as journal:
        for record in journal.read(run=run.run_id):
            if record.kind == kind and record.event.get("effect", "").endswith(place_of):
                return loaded(journal, record.run, record.rseq, part)
    raise AssertionError(kind)


def test_what_a_step_did_is_taken_back_by_the_call_that_its_contract_names(book):
    with book.place.open() as rt:
        run = book.submit(rt, failing(book, charge(book, entry="a")))
        assert "ROLLED_BACK" == run.wait().state
        told = book.tell("compensate", run)
        (started,) = kinds(run, "undo.started")
    assert ["+a", "-a at 3, 0 before"] == lines(book)
    assert ("compensate", "drill.refund@1") == (started["strategy"], started["cap"])
    assert "handshake.requested" not in {one["kind"] for one in told}  # it says confirm: always


def test_the_values_of_the_call_are_frozen_before_the_log_says_that_the_effect_happened(book):
    with book.place.open() as rt:
        run = book.submit(rt, charge(book, entry="a"))
        assert "COMPLETED" == run.wait().state
        intended = undo_record(book.place, run, "effect.intended", "undo")["payload"]
        applied = undo_record(book.place, run, "effect.applied", "rec")["payload"]
    assert {"input", "before"} == intended["known"].keys()
    assert {"times": 0, "effect": None} == intended["known"]["before"]
    assert {"ledger": BOOK, "entry": "a"} == intended["lookup"]["with"]
    assert "a at 3, 0 before" == applied["call"]["with"]["entry"]
    assert applied["call"]["when"] is True
    assert "known" not in applied


def test_no_value_that_a_compensation_reads_stands_in_the_log_itself(book):
    with book.place.open() as rt:
        run = book.submit(rt, failing(book, charge(book, entry="marked-text")))
        run.wait()
        of_undo = [
            json.dumps(event.get("undo") or event.get("rec"))
            for event in kinds(run, "effect.intended", "effect.applied")
        ]
    assert not [text for text in of_undo if "marked-text" in text]


def test_a_condition_that_does_not_hold_leaves_nothing_to_take_back(book):
    with book.place.open() as rt:
        run = book.submit(rt, failing(book, charge(book, entry="free")))
        assert "ROLLED_BACK" == run.wait().state
        (applied,) = kinds(run, "undo.applied")
    assert applied["noop"] is True
    assert ["+free"] == lines(book)


def test_a_step_that_is_tried_again_is_taken_back_before_and_its_new_effect_has_a_new_key(book):
    token = book.place.token("busy")
    retry = "retry: {attempts: 2, backoff: 1ms, on: [unavailable]}"
    with book.place.open() as rt:
        run = book.submit(rt, charge(book, retry, entry="a", failure=token))
        assert "COMPLETED" == run.wait().state
        keys = [one["key"] for one in kinds(run, "effect.intended") if "-undo" not in one["effect"]]
    assert ["+a", "-a at 3, 0 before", "+a"] == lines(book)
    assert keys[1] == f"{keys[0]}~1"


def test_a_compensation_that_fails_is_tried_again_and_what_it_did_is_not_done_twice(book):
    token = book.place.token("busy")
    with book.place.open() as rt:
        run = book.submit(rt, failing(book, charge(book, entry="a", undo_failure=token)))
        assert "ROLLED_BACK" == run.wait().state
        (failed,) = kinds(run, "undo.failed")
        repeated = [one["effect"] for one in kinds(run, "effect.applied") if one.get("repeated")]
    assert ("busy", True) == (failed["err"]["code"], "due_us" in failed)
    assert ["+a", "-a at 3, 0 before"] == lines(book)
    assert [f"{run.run_id}/pay/1/0-undo/0"] == repeated


def test_a_compensation_that_a_crash_cut_off_is_not_done_twice(book, host):
    token = book.place.token("death")
    flow = book.place.workflow(failing(book, charge(book, entry="a", undo_death=token)))
    assert -signal.SIGKILL == host.run("work", book.place, workflow=flow, inputs={})
    assert ["+a", "-a at 3, 0 before"] == lines(book)
    with book.place.open() as rt:
        run = rt.attach(rt.runs()[0].run_id)
        assert "ROLLED_BACK" == run.wait().state
        assert 1 == len(kinds(run, "undo.applied"))
    assert ["+a", "-a at 3, 0 before"] == lines(book)
    assert ("verified", 0) == (book.place.proof().verdict, book.place.proof().open_runs)


def test_after_a_crash_the_lookup_tells_whether_it_happened(book, host):
    token = book.place.token("death")
    flow = book.place.workflow(charge(book, entry="a", death=token))
    assert -signal.SIGKILL == host.run("work", book.place, workflow=flow, inputs={})
    with book.place.open() as rt:
        run = rt.attach(rt.runs()[0].run_id)
        assert "COMPLETED" == run.wait().state
    assert "+a" == lines(book)[0]
    assert "+a" == lines(book)[-1]
    assert 3 == len(lines(book))


def test_what_did_not_come_about_by_the_lookup_is_done_again(book, host):
    token = book.place.token("death")
    flow = book.place.workflow(charge(book, entry="a", death=token))
    assert -signal.SIGKILL == host.run("work", book.place, workflow=flow, inputs={})
    book.put(BOOK, "")  # as if the far side had never heard of it
    with book.place.open() as rt:
        run = rt.attach(rt.runs()[0].run_id)
        assert "COMPLETED" == run.wait().state
        (failed,) = kinds(run, "effect.failed")
    assert ("no", "inspect") == (failed["applied"], failed["found_by"])
    assert ["+a"] == lines(book)


# ---- what a step says itself -------------------------------------------------------------------
DELETES = 'compensation: {compensate: {capability: fs.delete@1, with: {path: "${output.path}"}}}'
REFUNDS = (
    "compensation: {compensate: {capability: drill.refund@1, with: {ledger: book.txt,"
    ' entry: "${input.first} ${inputs.path} ${effect.path} ${steps.w.output.path}"}}}'
)


def test_a_step_may_say_itself_how_it_is_taken_back_with_its_output(story):
    with story.place.open() as rt:
        run = story.submit(rt, failing(story, story.write("w", "a.txt", DELETES), after="w"))
        assert "ROLLED_BACK" == run.wait().state
        story.tell("compensate_step", run)
        (item,) = run.status().items
    assert "compensate: fs.delete@1" == item.undo
    assert {} == story.world()


def test_what_a_step_says_makes_one_item_of_all_its_effects(book):
    gates = {"gate": "g"}
    steps = (
        book.write("w", "w.txt")
        + book.call("two", "drill.meet", REFUNDS, needs="w", first="1.txt", second="2.txt", **gates)
        + book.call("too", "drill.meet", first="3.txt", second="4.txt", **gates)
    )
    with book.place.open() as rt:
        run = rt.submit(book.place.workflow(failing(book, steps, after="two, too")), {"path": "in"})
        assert "ROLLED_BACK" == run.wait().state
    assert ["-1.txt in 1.txt w.txt"] == lines(book)
    assert {BOOK, "1.txt", "2.txt"} == set(book.world())


def test_each_item_of_a_fan_out_is_taken_back_with_its_own_item(book):
    refunds = (
        "compensation: {compensate: {capability: drill.refund@1,"
        ' with: {ledger: book.txt, entry: "${item} ${index} of ${length(inputs.path)}"}}}'
    )
    steps = book.write(
        "w", '"${item}.txt"', "foreach: \"${['a', 'b']}\"", "max_parallel: 1", refunds
    )
    with book.place.open() as rt:
        flow = book.place.workflow(failing(book, steps, after="w"))
        run = rt.submit(flow, {"path": "four"})
        assert "ROLLED_BACK" == run.wait().state
    assert ["-a 0 of 4", "-b 1 of 4"] == sorted(lines(book))


def test_a_call_that_needs_the_output_of_a_step_that_failed_leaves_its_effect_as_residue(book):
    token = book.place.token("busy")
    late = (
        "compensation: {compensate: {capability: drill.refund@1,"
        ' with: {ledger: book.txt, entry: "${output.entry}"}}}'
    )
    with book.place.open() as rt:
        run = book.submit(rt, charge(book, late, entry="a", failure=token))
        result = run.wait()
        (failed,) = kinds(run, "undo.failed")
    assert "FAILED" == result.state
    assert ["pay"] == [one.step for one in result.residue]
    assert "output" in result.residue[0].why
    assert ("undo.incomplete", False) == (failed["err"]["code"], "due_us" in failed)
    assert ["+a"] == lines(book)


def test_without_a_lookup_a_crash_leaves_the_step_in_doubt_for_a_person(book, host):
    token = book.place.token("death")
    flow = book.place.workflow(charge(book, REFUND_IT, entry="a", death=token))
    assert -signal.SIGKILL == host.run("work", book.place, workflow=flow, inputs={})
    with book.place.open() as rt:
        run = rt.attach(rt.runs()[0].run_id)
        assert "PAUSED" == run.wait().state
        (doubt,) = kinds(run, "step.in_doubt")
        run.resolve("pay", "applied", output={"entry": "a"}, reason="I looked")
        assert "COMPLETED" == run.wait().state
        run.rollback("not wanted after all")
        assert "ROLLED_BACK" == run.wait().state
    assert ["unknown"] == doubt["inspect"]
    assert ["+a", "-a"] == lines(book)


REFUND_IT = (
    "compensation: {compensate: {capability: drill.refund@1,"
    ' with: {ledger: "${input.ledger}", entry: "${input.entry}"}}}'
)


def test_what_a_failed_compensation_did_is_not_done_again_by_a_later_rollback(book):
    with book.place.open() as rt:
        run = book.submit(rt, failing(book, charge(book, entry="a", undo_failure="breach")))
        assert "FAILED" == run.wait().state
        run.rollback("once more")
        result = run.wait()
        failures = [one["err"]["code"] for one in kinds(run, "undo.failed")]
    assert ["pay"] == [one.step for one in result.residue]
    assert ["contract.output"] * 2 == failures
    assert ["+a", "-a at 3, 0 before"] == lines(book)


# ---- before anything runs ----------------------------------------------------------------------
def test_nothing_runs_that_could_not_be_taken_back_as_its_contract_says(story):
    flow = story.place.workflow(story.write("w", "a.txt") + story.call("x", "drill.lost", path="b"))
    with story.place.open() as rt, pytest.raises(WorkflowError) as refused:
        rt.submit(flow)
    assert "saga.compensation" == refused.value.code
    assert "awe_pack_drill/contracts/drill_lost.yaml:9:28" in str(refused.value)
    assert {} == story.world()


def test_the_dry_run_and_the_outline_name_what_would_take_a_step_back(book):
    flow = book.place.workflow(book.write("w", "a.txt", DELETES) + charge(book, entry="a"))
    with book.place.open() as rt:
        undos = [
            [one["undo"] for one in plan["steps"]] for plan in (rt.plan(flow), rt.outline(flow))
        ]
    fs, pay = ({"kind": "compensate", "capability": c} for c in ("fs.delete@1", "drill.refund@1"))
    assert [[fs, pay]] * 2 == undos
    assert [] == lines(book)


def test_who_is_asked_sees_the_call_that_would_take_it_back(book):
    with book.place.open() as rt:
        run = book.submit(rt, book.write("w", "a.txt", DELETES, "confirm: always"))
        assert "PAUSED" == run.wait().state
        (asked,) = rt.approvals()
    assert {
        "kind": "compensate",
        "capability": "fs.delete@1",
        "with": {"path": "${output.path}"},
    } == asked.undo
